"""The trial load: a model file is first loaded in a throw-away child, so that what kills llama.cpp does not kill this process."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import json
import logging
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from suite.errors import WeightsError
from suite.serving.parameters import Parameters
from suite.serving.weights import Weights
from suite.settings import child_environment

RECORD = "trial-loads.json"
NO_LIBRARY = "llama.cpp itself cannot be loaded"  # how the child begins the reason that no model file is to blame for
CHILD = Path(__file__).with_name("trial_child.py")
SECONDS_AT_LEAST, BYTES_PER_SECOND = 120.0, 20_000_000  # how long a load may take, however slow the disk
KV_KINDS = {"f16": 1, "q8_0": 8}  # ggml's numbers of how the cache may be kept
NEXT = {
    "SIGILL": "llama-cpp-python was built for another processor; install it again on this machine with "
              "`pip install --force-reinstall --no-binary llama-cpp-python llama-cpp-python`",
    "SIGABRT": "its metadata contradict each other, or memory ran out; copy the file again, or lower LLAMA_KV_TOKENS or the GPU layers",
    "SIGKILL": "memory ran out; lower LLAMA_KV_TOKENS or choose a smaller model (`suite models fit` shows what fits)",
    "SIGSEGV": "it is damaged in a way that only llama.cpp notices; copy the file again and compare its sha256",
}
log = logging.getLogger("suite.serving")
_one_at_a_time = threading.Lock()


def llama_folder() -> Path:
    """The folder of the installed llama_cpp package. Raises WeightsError, with how to get it, when there is none; imports nothing."""
    try:
        spec = importlib.util.find_spec("llama_cpp")
    except (ImportError, ValueError):  # an import hook, or a broken stand-in, in the way
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise WeightsError("llama-cpp-python is not installed, so no model can be loaded; run `python -m pip install llama-cpp-python` "
                           "(it needs a C/C++ compiler and about 7 minutes), or install conda-forge's build.")
    return Path(next(iter(spec.submodule_search_locations)))


def ensure(weights: Weights, parameters: Parameters, cache_dir: Path) -> float:
    """Make the trial load unless one with the same file, parameters, llama.cpp and processor is on record; gives the seconds it took, 0 if recorded.

    Raises WeightsError naming the signal, or llama.cpp's own reason, and the next step. The calling process lives in any case.
    """
    folder = llama_folder()
    wanted = {"kv_tokens": parameters.kv_tokens, "n_batch": parameters.n_batch, "sequences": parameters.sequences,
              "kv_kind": KV_KINDS[parameters.kv_type], "n_gpu_layers": parameters.n_gpu_layers}
    key = _key(weights.sha256, wanted, folder)
    record = cache_dir / RECORD
    with _one_at_a_time:  # chat and code servers often share a file: the second finds the first one's record
        if key in _read(record):
            return 0.0
        seconds = _run(weights, wanted, folder)
        _add(record, key, {"file": weights.path.name, "sha256": weights.sha256, **wanted, "seconds": round(seconds, 3), "at": time.time()})
        return seconds


def _run(weights: Weights, wanted: dict[str, int], folder: Path) -> float:
    # the child keeps the environment, less what is secret: library paths and GPU choices decide whether the real load works; -I drops PYTHON* alone
    command = [sys.executable, "-I", "-S", str(CHILD), str(folder), str(weights.path), json.dumps(wanted)]
    limit = SECONDS_AT_LEAST + weights.bytes / BYTES_PER_SECOND
    began = time.monotonic()
    try:
        done = subprocess.run(command, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, timeout=limit, check=False,
                              env=child_environment())
    except subprocess.TimeoutExpired as error:
        raise WeightsError(f"Model file {weights.path} took longer than {limit:.0f} s to load in a trial; move it to a faster disk.") from error
    if done.returncode == 0:
        return time.monotonic() - began
    said = [line.strip() for line in done.stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        signs = ("GGML_ASSERT", "error", "Error", "what():")
        told = next((line for line in reversed(said) if any(sign in line for sign in signs)), (said or [""])[-1])
        raise WeightsError(f"Model file {weights.path} kills llama.cpp with {name} in a trial load{f' ({told[:200]})' if told else ''}: "
                           f"{NEXT.get(name, 'copy the file again and compare its sha256')}.", signal=name)
    reason = next((line.removeprefix("reason: ") for line in reversed(said) if line.startswith("reason: ")), f"exit status {done.returncode}")
    if reason.startswith(NO_LIBRARY):
        raise WeightsError(f"No model can be loaded: {reason}; install it again on this machine with "
                           "`pip install --force-reinstall --no-binary llama-cpp-python llama-cpp-python`.")
    told = next((line for line in said if "error" in line.lower() and not line.startswith("reason: ")),
                next((line for line in reversed(said) if line.startswith("llama_init_from_model: ")), ""))
    raise WeightsError(f"Model file {weights.path} fails its trial load: {reason}{f' ({told[:300]})' if told else ''}; "
                       "copy it again and compare its sha256, or choose another model.")


def _key(sha256: str, wanted: dict[str, int], folder: Path) -> str:
    """What a trial depends on, as a digest: the file, the parameters, the very llama.cpp library, the processor."""
    try:
        version = importlib.metadata.version("llama-cpp-python")
    except importlib.metadata.PackageNotFoundError:  # conda-forge's build may lack the metadata
        version = "unknown"
    built = sorted((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in (folder / "lib").glob("*llama*"))
    return hashlib.sha256(repr((sha256, sorted(wanted.items()), version, built, _processor())).encode()).hexdigest()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        return f"{platform.machine()} {platform.processor()}"
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.machine())


def _read(record: Path) -> dict[str, Any]:
    try:
        found = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # absent or damaged: the trial is made again
        return {}
    return found if isinstance(found, dict) else {}


def _add(record: Path, key: str, facts: dict[str, Any]) -> None:
    """Written to a temporary name and renamed. A record that cannot be written only costs the next start another trial."""
    waiting = record.with_name(f"{RECORD}.{os.getpid()}")
    try:
        record.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        waiting.touch(mode=0o600)
        waiting.write_text(json.dumps({**_read(record), key: facts}, indent=1), encoding="utf-8")
        os.replace(waiting, record)
    except OSError as error:
        log.warning("the trial load could not be recorded in %s: %s", record, error)
        with contextlib.suppress(OSError):  # on a full disk the half-written one goes; where nothing could be written there is nothing
            waiting.unlink()
