"""What the installed llama.cpp can use of this machine, whether a card is really used, and the command that installs a better build."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from suite.errors import WeightsError
from suite.monitoring.gpu import Gpu, gpus
from suite.serving import trial
from suite.settings import child_environment, package_file

CHILD = Path(__file__).with_name("doctor_child.py")
SECONDS = 120.0
WHEELS = "https://abetlen.github.io/llama-cpp-python/whl"
CUDA_WHEEL = "cu124"  # runs with any driver of CUDA 12.4 or later
REQUIREMENT = "llama-cpp-python>=0.3.36,<0.4"
RENDER = Path("/dev/dri")
# what llama.cpp calls a feature of the processor -> what the system calls it
FEATURES = {"SSSE3": "ssse3", "AVX": "avx", "AVX2": "avx2", "F16C": "f16c", "FMA": "fma", "BMI2": "bmi2", "AVX_VNNI": "avx_vnni",
            "AVX512": "avx512f", "AVX512_VBMI": "avx512_vbmi", "AVX512_VNNI": "avx512_vnni", "AVX512_BF16": "avx512_bf16", "AMX_INT8": "amx_int8",
            "NEON": "asimd", "DOTPROD": "asimddp", "MATMUL_INT8": "i8mm", "SVE": "sve", "SME": "sme"}


@dataclass(frozen=True)
class Findings:
    """The report: `used` is whether a model's layers were really seen on a card (None: there is no card to use)."""

    version: str
    system_info: str
    offload: bool
    devices: tuple[dict[str, Any], ...]
    cards: tuple[Gpu, ...]
    used: bool | None
    evidence: str
    built_with: tuple[str, ...]
    unused_features: tuple[str, ...]
    sentence: str
    commands: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)


def examine(cards: Callable[[], tuple[Gpu, ...]] = gpus, folder: Path | None = None) -> Findings:
    """Look at the build (of `folder`, else the installed one) and at the machine; a tiny model is loaded in a child where llama.cpp sees a card.

    `cards` asks the driver.

    Raises WeightsError when llama.cpp is not installed or dies of being loaded, with the command that installs one that does not.
    """
    folder = folder or trial.llama_folder()
    try:
        version = importlib.metadata.version("llama-cpp-python")
    except importlib.metadata.PackageNotFoundError:  # conda-forge's build may lack the metadata
        version = "unknown"
    seen, held = _asked(folder, cards)
    on_build = [device for device in seen["devices"] if "gpu" in device["kind"]]
    used, evidence = _used(seen, on_build, held)
    here = cards()
    built_with = tuple(sorted(re.findall(r"(\w+) = 1", seen["system_info"])))
    missing = tuple(name for name, flag in FEATURES.items() if flag in processor_flags() and name not in built_with)
    sentence, commands = _advice(on_build, here, used, missing)
    return Findings(version, seen["system_info"], seen["offload"], tuple(seen["devices"]), here, used, evidence, built_with, missing, sentence,
                    commands)


def offloads() -> bool:
    """Whether the installed llama.cpp can put layers onto a card at all; asked in a child, False when it cannot be loaded."""
    try:
        seen, _ = _asked(trial.llama_folder(), tuple)
    except WeightsError:
        return False
    return any("gpu" in device["kind"] for device in seen["devices"]) or bool(seen["offload"])


def processor_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """What this processor can do, in the system's words; empty where the system does not tell."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        return frozenset()
    return frozenset(next((line.partition(":")[2].split() for line in lines if line.startswith(("flags", "Features"))), []))


def _asked(folder: Path, cards: Callable[[], tuple[Gpu, ...]]) -> tuple[dict[str, Any], int | None]:
    """The child's answer, and the bytes of cards that the driver says it held meanwhile (None where the driver does not say)."""
    command = [sys.executable, "-I", "-S", str(CHILD), str(folder), str(package_file("models/smoke.gguf"))]
    # what llama.cpp says goes to a file: a pipe that nobody reads would stop it
    with tempfile.TemporaryFile() as said, subprocess.Popen(command, cwd="/", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said,
                                                            env=child_environment()) as child:
        late = threading.Timer(SECONDS, child.kill)  # a driver may hang
        late.start()
        try:
            line = child.stdout.readline() if child.stdout else b""
            sizes = [card.held_by(child.pid) for card in cards()] if line else []
            child.communicate()
        finally:
            late.cancel()
        said.seek(0)
        last = said.read().decode("utf-8", "replace").strip().splitlines()[-1:] or [""]
    try:
        answer = json.loads(line)
    except ValueError:
        died = signal.Signals(-child.returncode).name if child.returncode < 0 else last[0].removeprefix("reason: ")
        raise WeightsError(f"The installed llama.cpp cannot be used here ({died}); build it on this machine: {_build('-DGGML_NATIVE=ON')}") from None
    return answer, None if None in sizes else sum(size for size in sizes if size is not None)


def _used(seen: dict[str, Any], on_build: list[dict[str, Any]], held: int | None) -> tuple[bool | None, str]:
    if not on_build:
        return None, "llama.cpp sees no card"
    taken = sum(max(0, device.get("taken", 0)) for device in on_build)
    evidence = f"a tiny model took {taken / 1e6:.0f} MB of {on_build[0]['description'] or on_build[0]['name']}"
    if held:
        evidence += f"; the driver says that the process held {held / 1e6:.0f} MB"
    return bool(seen["loaded"] and (taken > 0 or held)), evidence if seen["loaded"] else "a tiny model could not be loaded onto the card"


def _advice(on_build: list[dict[str, Any]], cards: tuple[Gpu, ...], used: bool | None, missing: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """One sentence, and the commands that would better it, the quickest first."""
    names = " and ".join(card.name for card in cards)
    if used:
        return f"Good: layers really run on {on_build[0]['description'] or on_build[0]['name']}.", ()
    if on_build:
        return (f"llama.cpp sees {on_build[0]['description'] or on_build[0]['name']}, but no layer was seen on it; check the driver, or install it "
                "again:", (_build("-DGGML_CUDA=on") if cards else _build("-DGGML_VULKAN=on"),))
    if cards:
        return (f"{names} is not used: this build of llama.cpp has no CUDA. Install one that has (prebuilt, or built here with the CUDA toolkit, "
                "or conda's):",
                (_wheel(CUDA_WHEEL), _build("-DGGML_CUDA=on"), f'conda install -c conda-forge "{REQUIREMENT}"'))
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return "This Mac's GPU is not used: this build of llama.cpp has no Metal. Install one that has:", (_wheel("metal"), _build("-DGGML_METAL=on"))
    if any(RENDER.glob("renderD*")):
        return ("There is a GPU that is not NVIDIA's, and this build of llama.cpp has no Vulkan. Install one that has (it needs the Vulkan SDK):",
                (_build("-DGGML_VULKAN=on"),))
    if missing:
        return (f"No GPU. This build of llama.cpp leaves {', '.join(missing)} of the processor unused; build it on this machine:",
                (_build("-DGGML_NATIVE=ON"),))
    return "No GPU, and llama.cpp uses all that this processor has.", ()


def _wheel(kind: str) -> str:
    return (f"{shlex.quote(sys.executable)} -m pip install --force-reinstall --no-deps --no-cache-dir --only-binary :all: "
            f"--extra-index-url {WHEELS}/{kind} \"{REQUIREMENT}\"")


def _build(flags: str) -> str:
    return (f'CMAKE_ARGS="{flags}" {shlex.quote(sys.executable)} -m pip install --force-reinstall --no-deps --no-cache-dir '
            f'--no-binary llama-cpp-python "{REQUIREMENT}"')
