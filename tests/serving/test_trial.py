from __future__ import annotations

import json
import random
import stat

import pytest

from suite.errors import WeightsError
from suite.serving import trial
from suite.serving.weights import check
from suite.settings import package_file

SMOKE = package_file("models/smoke.gguf")


def test_a_trial_is_made_once_per_file_and_parameters(tmp_path):
    weights = check(SMOKE)
    assert trial.ensure(weights, 512, 0, tmp_path) > 0
    assert trial.ensure(weights, 512, 0, tmp_path) == 0.0
    assert trial.ensure(weights, 1024, 0, tmp_path) > 0
    rows = json.loads((tmp_path / trial.RECORD).read_text())
    assert sorted(row["n_ctx"] for row in rows.values()) == [512, 1024]
    assert [file.name for file in tmp_path.glob("*.json*")] == [trial.RECORD]


@pytest.mark.parametrize("damage", ["{", "[]", "\xff"])
def test_a_damaged_record_costs_another_trial_and_nothing_else(tmp_path, damage):
    (tmp_path / trial.RECORD).write_text(damage, encoding="latin-1")
    assert trial.ensure(check(SMOKE), 512, 0, tmp_path) > 0
    assert len(json.loads((tmp_path / trial.RECORD).read_text())) == 1


def test_a_file_that_aborts_llama_cpp_is_caught_in_the_child_and_the_signal_named(tmp_path, make_smoke):
    make_smoke.write(tmp_path / "contradictory.gguf", kv_heads=8)  # more key heads than heads: an assertion inside llama.cpp
    weights = check(tmp_path / "contradictory.gguf")
    with pytest.raises(WeightsError, match="SIGABRT") as caught:
        trial.ensure(weights, 512, 0, tmp_path)
    assert caught.value.facts["signal"] == "SIGABRT"
    assert not (tmp_path / trial.RECORD).exists()


def test_what_llama_cpp_refuses_is_said_in_its_own_words(tmp_path):
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(SMOKE.read_bytes().replace(b"blk.1.ffn_up.weight", b"blk.1.ffn_xp.weight"))
    with pytest.raises(WeightsError, match=r"blk\.1\.ffn_up"):
        trial.ensure(check(broken), 512, 0, tmp_path)


def test_a_llama_cpp_for_another_processor_is_recognised(tmp_path, monkeypatch):
    child = tmp_path / "child.py"  # what a library with instructions that this processor lacks does
    child.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n")
    monkeypatch.setattr(trial, "CHILD", child)
    with pytest.raises(WeightsError, match=r"SIGILL.*another processor.*install it again"):
        trial.ensure(check(SMOKE), 512, 0, tmp_path)


def test_a_record_that_cannot_be_written_does_not_stop_the_load(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    assert trial.ensure(check(SMOKE), 512, 0, tmp_path / "file" / "cache") > 0
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
            trial.ensure(weights, 512, 0, tmp_path)
            outcomes.add("loads")
        except WeightsError as error:
            assert "trial load" in error.message
            outcomes.add("refused")
    assert outcomes


def test_the_cache_folder_is_made_private(tmp_path):
    trial.ensure(check(SMOKE), 512, 0, tmp_path / "cache")
    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700
