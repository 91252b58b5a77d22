from __future__ import annotations

import json
import random
import stat
from dataclasses import replace

import pytest

from suite.errors import WeightsError
from suite.serving import trial
from suite.serving.parameters import Parameters
from suite.serving.weights import Weights, check
from suite.settings import package_file

SMOKE = package_file("models/smoke.gguf")
SMALL = Parameters(n_ctx=512, kv_tokens=512, slots=2)


def test_a_trial_is_made_once_per_file_and_parameters_that_matter(tmp_path):
    weights = check(SMOKE)
    assert trial.ensure(weights, SMALL, tmp_path) > 0
    assert trial.ensure(weights, SMALL, tmp_path) == 0.0
    assert trial.ensure(weights, replace(SMALL, n_threads=2, queue=1, n_ctx=256), tmp_path) == 0.0  # these change nothing in the memory
    for other in ({"kv_tokens": 1024}, {"slots": 3}, {"n_batch": 128}, {"n_gpu_layers": 1}):
        assert trial.ensure(weights, replace(SMALL, **other), tmp_path) > 0
    rows = json.loads((tmp_path / trial.RECORD).read_text())
    assert sorted(row["kv_tokens"] for row in rows.values()) == [512] * 4 + [1024]
    assert [file.name for file in tmp_path.glob("*.json*")] == [trial.RECORD]


def test_a_cache_that_the_model_cannot_have_is_refused_with_llama_cpps_reason(tmp_path, make_smoke):
    make_smoke.write(tmp_path / "narrow.gguf")  # heads of 16 numbers, and q8_0 packs 32 together
    with pytest.raises(WeightsError, match="q8_0 with block size 32"):
        trial.ensure(check(tmp_path / "narrow.gguf"), replace(SMALL, kv_type="q8_0"), tmp_path)


def test_the_child_gets_the_environment_without_its_secrets(tmp_path, monkeypatch):
    child = tmp_path / "child.py"
    child.write_text(f"import json, os\nopen({str(tmp_path / 'seen')!r}, 'w').write(json.dumps(dict(os.environ)))\n")
    monkeypatch.setattr(trial, "CHILD", child)
    for name, value in (("HF_TOKEN", "hf_abc"), ("QDRANT_API_KEY", "k"), ("DATABASE_URL", "postgresql://u:pw@h/d"), ("CUDA_VISIBLE_DEVICES", "0")):
        monkeypatch.setenv(name, value)
    trial.ensure(check(SMOKE), SMALL, tmp_path)
    seen = json.loads((tmp_path / "seen").read_text())
    assert seen["CUDA_VISIBLE_DEVICES"] == "0" and seen["PATH"]
    assert not {"HF_TOKEN", "QDRANT_API_KEY", "DATABASE_URL"} & set(seen)


@pytest.mark.parametrize("damage", ["{", "[]", "\xff"])
def test_a_damaged_record_costs_another_trial_and_nothing_else(tmp_path, damage):
    (tmp_path / trial.RECORD).write_text(damage, encoding="latin-1")
    assert trial.ensure(check(SMOKE), SMALL, tmp_path) > 0
    assert len(json.loads((tmp_path / trial.RECORD).read_text())) == 1


def test_a_file_that_ends_llama_cpp_is_caught_in_the_child_and_the_signal_named(tmp_path, make_smoke):
    path = tmp_path / "contradictory.gguf"
    make_smoke.write(path, kv_heads=8)  # more key heads than heads: an assertion inside llama.cpp, which the check would have seen
    weights = Weights(path, path.stat().st_size, "0" * 64, {})
    with pytest.raises(WeightsError, match=r"SIGABRT.*GGML_ASSERT") as caught:
        trial.ensure(weights, SMALL, tmp_path)
    assert caught.value.facts["signal"] == "SIGABRT"
    assert not (tmp_path / trial.RECORD).exists()


def test_what_llama_cpp_refuses_is_said_in_its_own_words(tmp_path):
    broken = tmp_path / "broken.gguf"  # an architecture that nobody knows is none of ours to judge
    broken.write_bytes(SMOKE.read_bytes().replace(b"llama.", b"lamma.").replace(b"\5\0\0\0\0\0\0\0llama", b"\5\0\0\0\0\0\0\0lamma", 1))
    with pytest.raises(WeightsError, match="unknown model architecture: 'lamma'"):
        trial.ensure(check(broken), SMALL, tmp_path)


def test_a_llama_cpp_for_another_processor_is_recognised(tmp_path, monkeypatch):
    child = tmp_path / "child.py"  # what a library with instructions that this processor lacks does
    child.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n")
    monkeypatch.setattr(trial, "CHILD", child)
    with pytest.raises(WeightsError, match=r"SIGILL.*another processor.*install it again"):
        trial.ensure(check(SMOKE), SMALL, tmp_path)


def test_a_record_that_cannot_be_written_does_not_stop_the_load(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    assert trial.ensure(check(SMOKE), SMALL, tmp_path / "file" / "cache") > 0
    assert "could not be recorded" in caplog.text


def test_random_damage_that_passes_the_check_never_harms_this_process(tmp_path):
    whole, chance, tried = SMOKE.read_bytes(), random.Random(20), 0
    outcomes = set()
    while tried < 12:
        damaged = bytearray(whole)
        for _ in range(3):
            damaged[chance.randrange(700, 140_000)] = chance.randrange(256)
        path = tmp_path / "damaged.gguf"
        path.write_bytes(bytes(damaged))
        try:
            weights = check(path)
        except WeightsError:
            continue
        tried += 1
        try:
            trial.ensure(weights, SMALL, tmp_path)
            outcomes.add("loads")
        except WeightsError as error:
            assert "trial load" in error.message
            outcomes.add("refused")
    assert outcomes


def test_the_cache_folder_is_made_private(tmp_path):
    trial.ensure(check(SMOKE), SMALL, tmp_path / "cache")
    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700
