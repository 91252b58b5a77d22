"""`suite models`: what each verb prints and which status it ends with."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from damaged_gguf import Model
from hub_stage import hub

from suite.cli.main import main
from suite.monitoring import gpu
from suite.serving import doctor
from suite.serving.catalog import catalog
from suite.settings import package_file

CONTENT = Model("llama", random.Random(1)).bytes()


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    status = main(["models", *arguments, "--json"])
    return status, json.loads(capsys.readouterr().out)


def test_the_list_says_size_licence_hash_and_what_is_here(capsys, own_folder):
    (own_folder / "Qwen2.5-7B-Instruct-Q4_K_M.gguf").touch()
    _, found = said(capsys, "list")
    rows = {row["name"]: row for row in found["rows"]}
    assert set(rows) == set(catalog())
    assert rows["smoke"]["hash"] == "pinned" and rows["smoke"]["here"]
    seven = rows["qwen2.5-7b-instruct"]
    assert (seven["hash"], seven["here"], seven["approximate"], rows["qwen2.5-14b-instruct"]["here"]) == ("unknown", True, True, False)
    assert main(["models", "list"]) == 0
    printed = capsys.readouterr().out
    assert "about 4.68 GB" in printed and "(not for stage prod)" in printed


def test_pull_says_the_licence_and_puts_the_file_in_place(capsys, own_folder, monkeypatch):
    entry = catalog()["qwen2.5-3b-instruct"]
    with hub({f"{entry.source}/{entry.remote}": CONTENT}) as stage:
        monkeypatch.setenv("HF_ENDPOINT", stage.url)
        assert main(["models", "pull", entry.name]) == 0
    printed = capsys.readouterr().out
    assert printed.index("Qwen Research License (non-commercial) (not for stage prod)") < printed.index(str(own_folder / entry.file))
    assert (own_folder / entry.file).read_bytes() == CONTENT
    assert {row["name"]: row["hash"] for row in said(capsys, "list")[1]["rows"]}[entry.name] == "hub"
    status, found = said(capsys, "verify", entry.name)
    assert (status, found["rows"][0]["state"]) == (1, "hub")


def test_pull_without_a_name_fetches_the_profiles_models(capsys, own_folder, monkeypatch):
    entries = [catalog()[name] for name in ("qwen2.5-1.5b-instruct", "qwen2.5-coder-7b-instruct")]
    with hub({f"{entry.source}/{entry.remote or entry.file}": CONTENT for entry in entries}) as stage:
        monkeypatch.setenv("HF_ENDPOINT", stage.url)
        assert main(["models", "pull", "--profile", "cpu"]) == 0
    assert all((own_folder / entry.file).exists() for entry in entries)
    assert main(["models", "pull"]) == 2 and "nothing to pull" in capsys.readouterr().err


def test_a_hub_that_is_not_there_is_status_2(capsys, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert main(["models", "pull", "qwen2.5-1.5b-instruct"]) == 2
    assert "cannot be reached" in capsys.readouterr().err


def test_verify_is_0_only_when_every_hash_is_pinned(capsys, own_folder):
    shutil.copyfile(package_file("models/smoke.gguf"), own_folder / "copy.gguf")
    (own_folder / "other.gguf").write_bytes(CONTENT)
    (own_folder / "broken.gguf").write_bytes(CONTENT[:-1])
    assert said(capsys, "verify")[0] == 0
    assert said(capsys, "verify", "smoke", "copy.gguf")[0] == 0
    status, found = said(capsys, "verify", "smoke", "other.gguf", str(own_folder / "broken.gguf"), "none.gguf", "minilm")
    assert (status, [row["state"] for row in found["rows"]]) == (1, ["verified", "unverified", "damaged", "missing", "missing"])
    assert main(["models", "verify", "other.gguf"]) == 1 and "unverified" in capsys.readouterr().out


def test_fit_plans_for_a_card_that_is_not_there(capsys):
    status, found = said(capsys, "fit", "--profile", "gpu-6gb", "--vram", "6141MB", "--ram", "16GB")
    chat, code = found["plans"][0]["parts"]
    assert status == 0 and chat["n_gpu_layers"] == chat["most"] and 15 <= code["n_gpu_layers"] < code["most"]
    status, found = said(capsys, "fit", "--profile", "gpu-6gb", "--vram", "2GB", "--ram", "16GB")
    assert (status, found["fits"]) == (1, False)
    assert main(["models", "fit", "--profile", "cpu", "--vram", "0", "--ram", "16GB"]) == 0
    assert "Fits without a card" in capsys.readouterr().out
    assert main(["models", "fit", "--vram", "much"]) == 2 and "--vram is 'much'" in capsys.readouterr().err


def test_fit_reads_the_file_where_it_is_there_and_follows_the_settings(capsys, own_folder, monkeypatch):
    (own_folder / "tiny.gguf").write_bytes(CONTENT)
    monkeypatch.setenv("CHAT_MODEL", "tiny.gguf")
    monkeypatch.setenv("CHAT_N_GPU_LAYERS", "2")
    _, found = said(capsys, "fit", "--vram", "6GB", "--ram", "16GB")
    assert (found["plans"][0]["parts"][0]["name"], found["plans"][0]["parts"][0]["n_gpu_layers"]) == ("tiny", 2)
    before = found["plans"][0]["parts"][0]["card"]
    monkeypatch.setenv("LLAMA_KV_TOKENS", "1000000")
    assert said(capsys, "fit", "--vram", "6GB", "--ram", "16GB")[1]["plans"][0]["parts"][0]["card"] > before


def test_fit_does_not_count_a_card_that_llama_cpp_cannot_use(capsys, monkeypatch):
    card = gpu.Gpu(0, "NVIDIA GeForce RTX 4050", "GPU-0", 6 << 30, 0, 6 << 30)
    monkeypatch.setattr(gpu, "gpus", lambda: (card,))
    monkeypatch.setattr(doctor, "offloads", lambda: False)
    _, found = said(capsys, "fit", "--profile", "gpu-6gb", "--ram", "16GB")
    assert "cannot use it" in found["note"] and found["plans"][0]["parts"][0]["n_gpu_layers"] == 0
    monkeypatch.setattr(doctor, "offloads", lambda: True)
    _, found = said(capsys, "fit", "--profile", "gpu-6gb", "--ram", "16GB")
    assert found["note"] == "" and found["plans"][0]["parts"][0]["n_gpu_layers"] == 37


def test_models_that_take_turns_are_planned_one_by_one(capsys, monkeypatch):
    monkeypatch.setattr("suite.serving.catalog.Profile.together", lambda self, *models: False)
    _, found = said(capsys, "fit", "--profile", "gpu-12gb", "--vram", "6GB", "--ram", "16GB")
    assert not found["together"] and [len(plan["parts"]) for plan in found["plans"]] == [1, 1]


def test_the_doctor_ends_with_1_when_a_card_is_not_used(capsys, monkeypatch):
    status, found = said(capsys, "doctor")
    assert status == int(bool(found["cards"]) and not found["used"]) and found["devices"]
    used = doctor.examine()
    card = gpu.Gpu(0, "NVIDIA GeForce RTX 4050", "GPU-0", 6 << 30, 0, 6 << 30)
    monkeypatch.setattr(doctor, "examine", lambda: doctor.Findings(**{**used.__dict__, "cards": (card,), "used": None, "commands": ("pip install it",)}))
    assert main(["models", "doctor"]) == 1
    assert "    pip install it\n" in capsys.readouterr().out
