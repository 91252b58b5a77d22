from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from suite.errors import WeightsError
from suite.monitoring.gpu import Gpu, GpuProcess
from suite.serving import doctor, trial
from suite.serving.doctor import examine, offloads, processor_flags

CARD = Gpu(0, "NVIDIA GeForce RTX 4050", "GPU-0", 6 << 30, 0, 6 << 30, driver="581.29")
CPU = {"name": "CPU", "description": "a processor", "kind": "cpu", "free": 1, "total": 1}
CUDA = {"name": "CUDA0", "description": "RTX 4050", "kind": "gpu", "free": 6 << 30, "total": 6 << 30}


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A child that tells what another build of llama.cpp would, and waits as the real one does."""
    def tell(**answer: Any) -> None:
        whole = {"system_info": "CPU : AVX = 1 | AVX2 = 1 | AVX512 = 0 |", "offload": False, "devices": [CPU], "loaded": False, **answer}
        child = tmp_path / "child.py"
        child.write_text(f"import sys\nprint({json.dumps(whole)!r}, flush=True)\nsys.stdin.read()\n")
        monkeypatch.setattr(doctor, "CHILD", child)
        monkeypatch.setattr(doctor, "processor_flags", lambda: frozenset({"avx", "avx2"}))
        monkeypatch.setattr(doctor, "RENDER", tmp_path / "dri")
        monkeypatch.setattr(doctor.sys, "platform", "linux")
    return tell


def test_the_installed_build_is_described():
    found = examine()
    assert any(device["kind"] == "cpu" and device["description"] for device in found.devices)
    assert found.version.startswith("0.3") and found.built_with and set(found.unused_features).isdisjoint(found.built_with)
    assert found.sentence.endswith((".", ":")) and bool(found.commands) == found.sentence.endswith(":")
    assert json.loads(json.dumps(found.to_dict()))["version"] == found.version
    assert offloads() == any("gpu" in device["kind"] for device in found.devices)


def test_a_card_without_a_build_for_it_gets_the_commands_that_install_one(told):
    told()
    found = examine(lambda: (CARD,))
    assert found.used is None and "RTX 4050 is not used" in found.sentence
    wheel, build, conda = found.commands
    assert "--only-binary" in wheel and "whl/cu124" in wheel and "-m pip install" in wheel
    assert build.startswith('CMAKE_ARGS="-DGGML_CUDA=on" ') and "--no-binary llama-cpp-python" in build
    assert conda.startswith("conda install -c conda-forge")


def test_a_card_that_holds_layers_is_good(told):
    told(offload=True, devices=[CPU, {**CUDA, "taken": 120_000_000}], loaded=True)
    found = examine(lambda: (CARD,))
    assert found.used is True and found.commands == () and "a tiny model took 120 MB of RTX 4050" in found.evidence


def test_what_the_driver_says_about_the_child_counts_too(told, monkeypatch):
    told(offload=True, devices=[CUDA], loaded=True)
    monkeypatch.setattr(Gpu, "held_by", lambda self, pid: 90_000_000)
    found = examine(lambda: (CARD,))
    assert found.used is True and "the process held 90 MB" in found.evidence


def test_a_card_that_is_seen_but_holds_nothing_is_not_used(told):
    told(offload=True, devices=[CUDA], loaded=True)
    for processes in ((), (GpuProcess(1, None),)):
        found = examine(lambda processes=processes: (Gpu(**{**CARD.__dict__, "processes": processes}),))
        assert found.used is False and "no layer was seen on it" in found.sentence and found.commands
    told(offload=True, devices=[CUDA], loaded=False)
    assert "could not be loaded" in examine(lambda: (CARD,)).evidence


def test_other_gpus_and_macs_get_their_own_way(told, tmp_path, monkeypatch):
    told()
    (tmp_path / "dri").mkdir()
    (tmp_path / "dri" / "renderD128").touch()
    assert "-DGGML_VULKAN=on" in examine(tuple).commands[0]
    monkeypatch.setattr(doctor.sys, "platform", "darwin")
    monkeypatch.setattr(doctor.platform, "machine", lambda: "arm64")
    assert any("-DGGML_METAL=on" in command for command in examine(tuple).commands)


def test_features_of_the_processor_that_the_build_leaves_unused_are_named(told, monkeypatch):
    told()
    assert examine(tuple).commands == ()
    monkeypatch.setattr(doctor, "processor_flags", lambda: frozenset({"avx2", "avx512f"}))
    found = examine(tuple)
    assert found.unused_features == ("AVX512",) and "-DGGML_NATIVE=ON" in found.commands[0]


@pytest.mark.parametrize(("code", "said"), [
    ("import os, signal; os.kill(os.getpid(), signal.SIGILL)", "SIGILL"),
    ("import sys; sys.stderr.write('\\nreason: llama.cpp itself cannot be loaded: no libcuda\\n'); sys.exit(3)", "no libcuda"),
])
def test_a_build_that_does_not_run_here_is_one_sentence_with_the_command(told, monkeypatch, tmp_path, code, said):
    child = tmp_path / "dies.py"
    child.write_text(code)
    monkeypatch.setattr(doctor, "CHILD", child)
    with pytest.raises(WeightsError, match=said) as caught:
        examine(tuple)
    assert "\n" not in caught.value.message and "-DGGML_NATIVE=ON" in caught.value.message
    assert offloads() is False


def test_a_driver_that_hangs_is_not_waited_for(told, monkeypatch, tmp_path):
    child = tmp_path / "hangs.py"
    child.write_text("import time\ntime.sleep(600)\n")
    monkeypatch.setattr(doctor, "CHILD", child)
    monkeypatch.setattr(doctor, "SECONDS", 0.2)
    with pytest.raises(WeightsError, match="SIGKILL"):
        examine(tuple)


def test_without_llama_cpp_the_doctor_says_how_to_get_it(monkeypatch):
    def none() -> Path:
        raise WeightsError("llama-cpp-python is not installed, so no model can be loaded.")

    monkeypatch.setattr(trial, "llama_folder", none)
    with pytest.raises(WeightsError, match="not installed"):
        examine()
    assert offloads() is False


def test_the_flags_of_a_processor_are_read(tmp_path):
    (tmp_path / "x86").write_text("processor\t: 0\nflags\t\t: fpu avx2 avx512f\n")
    (tmp_path / "arm").write_text("Features\t: fp asimd i8mm\n")
    assert processor_flags(tmp_path / "x86") == {"fpu", "avx2", "avx512f"} and "i8mm" in processor_flags(tmp_path / "arm")
    assert processor_flags(tmp_path / "none") == frozenset()
