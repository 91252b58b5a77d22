"""The throw-away child of `suite models doctor`: asks the installed llama.cpp what it can use, loads a model onto a card if it has one, and waits.

Run by path, never imported: `python -I -S doctor_child.py <folder of llama_cpp> <model file>`. It writes one line of JSON and ends when its
standard input does, so that the driver can be asked meanwhile what this process holds.
"""

import ctypes
import glob
import json
import os
import sys

KINDS = {0: "cpu", 1: "gpu", 2: "integrated gpu", 3: "accelerator"}  # ggml's numbers


def main(folder, path):
    """Look, tell, wait."""
    sys.path.append(os.path.dirname(os.path.abspath(__file__)))  # last, so that nothing of ours hides a module of Python
    from trial_child import library

    llama = library(folder)
    llama.llama_backend_init()
    ggml = libraries(os.path.join(folder, "lib"))
    told = {"system_info": llama.llama_print_system_info().decode("utf-8", "replace"), "offload": bool(llama.llama_supports_gpu_offload()),
            "devices": devices(ggml), "pid": os.getpid(), "loaded": False}
    cards = [device for device in told["devices"] if "gpu" in device["kind"]]
    if cards:
        model_params = llama.llama_model_default_params()
        model_params.load_mode, model_params.n_gpu_layers = llama.LLAMA_LOAD_MODE_NONE, 999
        model = llama.llama_model_load_from_file(os.fsencode(path), model_params)
        context = model and llama.llama_init_from_model(model, llama.llama_context_default_params())
        told["loaded"] = bool(context)
        after = {device["name"]: device["free"] for device in devices(ggml)}
        for card in cards:
            card["taken"] = card["free"] - after.get(card["name"], card["free"])
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()
    sys.stdin.read()


def libraries(folder):
    """ggml's two libraries, already in this process; those that a conda build keeps elsewhere are found by name."""
    found = []
    for name in ("libggml", "libggml-base"):
        for place in [*sorted(glob.glob(os.path.join(folder, name + ".so*")) + glob.glob(os.path.join(folder, name + ".dylib"))), name + ".so"]:
            try:
                found.append(ctypes.CDLL(place))
                break
            except OSError:
                continue
    return found


def devices(ggml):
    """What ggml can compute on: name, description, kind, bytes in all and free; nothing where its functions are not to be found."""
    def function(name, result, *arguments):
        for each in ggml:
            if hasattr(each, name):
                found = getattr(each, name)
                found.restype, found.argtypes = result, list(arguments)
                return found
        return None

    pointer, size = ctypes.c_void_p, ctypes.POINTER(ctypes.c_size_t)
    count, get = function("ggml_backend_dev_count", ctypes.c_size_t), function("ggml_backend_dev_get", pointer, ctypes.c_size_t)
    name, text = function("ggml_backend_dev_name", ctypes.c_char_p, pointer), function("ggml_backend_dev_description", ctypes.c_char_p, pointer)
    kind, memory = function("ggml_backend_dev_type", ctypes.c_int, pointer), function("ggml_backend_dev_memory", None, pointer, size, size)
    if None in (count, get, name, text, kind, memory):
        return []
    rows = []
    for index in range(count()):
        device = get(index)
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        memory(device, ctypes.byref(free), ctypes.byref(total))
        rows.append({"name": name(device).decode("utf-8", "replace"), "description": text(device).decode("utf-8", "replace"),
                     "kind": KINDS.get(kind(device), "other"), "free": free.value, "total": total.value})
    return rows


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
    os._exit(0)
