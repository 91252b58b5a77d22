"""The throw-away child of a trial load: loads a model file, makes a context, decodes one token, and may die of it.

Run by path, never imported: `python -I -S trial_child.py <folder of llama_cpp> <model file> <n_ctx> <n_gpu_layers>`. It exits with 0 when all
went well, with 3 and a reason on its last line of standard error when llama.cpp refused, and by a signal when llama.cpp gave up.
"""

import ctypes
import importlib
import os
import sys
import types


def main(folder: str, path: str, n_ctx: int, n_gpu_layers: int) -> None:
    """Load and decode; prints nothing of its own unless it is a reason."""
    os.putenv("GGML_NO_BACKTRACE", "1")  # an aborting llama.cpp would otherwise start a debugger on itself, which takes seconds
    # a bare package object in place of llama_cpp/__init__.py: only the ctypes declarations are wanted, not numpy and jinja2 behind the rest
    package = types.ModuleType("llama_cpp")
    package.__path__ = [folder]
    sys.modules["llama_cpp"] = package
    sys.path.append(os.path.dirname(folder))
    try:
        llama = importlib.import_module("llama_cpp.llama_cpp")
    except (OSError, RuntimeError, ImportError) as error:
        refuse(f"llama.cpp itself cannot be loaded: {error}")
    llama.llama_backend_init()
    model_params = llama.llama_model_default_params()
    model_params.use_mmap, model_params.n_gpu_layers = False, n_gpu_layers
    model = llama.llama_model_load_from_file(os.fsencode(path), model_params)
    if not model:
        refuse("llama.cpp cannot load it")
    context_params = llama.llama_context_default_params()
    context_params.n_ctx, context_params.n_threads, context_params.n_threads_batch = n_ctx, 1, 1
    context = llama.llama_init_from_model(model, context_params)
    if not context:
        refuse(f"llama.cpp cannot make a context of {n_ctx} tokens for it")
    vocab = llama.llama_model_get_vocab(model)
    if llama.llama_vocab_n_tokens(vocab) < 1:
        refuse("it has no vocabulary")
    token = llama.llama_vocab_bos(vocab)
    tokens = (llama.llama_token * 1)(max(token, 0))
    if llama.llama_decode(context, llama.llama_batch_get_one(tokens, 1)) != 0:
        refuse("llama.cpp cannot decode a token with it")
    logits = llama.llama_get_logits_ith(context, -1)
    if not ctypes.cast(logits, ctypes.c_void_p).value:
        refuse("llama.cpp gives no result for a token")
    if any(logits[index] != logits[index] for index in range(llama.llama_vocab_n_tokens(vocab))):
        refuse("its numbers are damaged: a token's scores are not numbers")


def refuse(reason: str) -> None:
    """End with the reason as the last line, and without the destructors of a half-made model."""
    sys.stderr.write("\nreason: " + reason + "\n")
    sys.stderr.flush()
    os._exit(3)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    os._exit(0)  # freeing a large model costs time, and the system does it anyway
