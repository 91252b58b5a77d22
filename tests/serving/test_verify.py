from __future__ import annotations

import hashlib
import random

import pytest
from damaged_gguf import Model, damaged

from suite.serving import verify as verifying
from suite.serving.catalog import CatalogModel
from suite.serving.pull import RECORD
from suite.serving.verify import present, verify

CONTENT = Model("llama", random.Random(1)).bytes()
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.mark.parametrize(("recorded", "state"), [("", "unverified"), (DIGEST, "hub"), ("0" * 64, "unverified")])
def test_a_whole_file_is_hub_or_unverified_but_never_verified_without_a_pinned_hash(tmp_path, recorded, state):
    (tmp_path / "mine.gguf").write_bytes(CONTENT)
    (tmp_path / RECORD).write_text(f'{{"mine.gguf": {{"sha256": "{recorded}"}}}}')
    verdict = verify("mine.gguf", tmp_path)
    assert (verdict.state, verdict.bytes, verdict.sha256, verdict.tensors) == (state, len(CONTENT), DIGEST, 21)


def test_the_bundled_model_is_verified_by_name_and_by_path(tmp_path):
    verdict = verify("smoke", tmp_path)
    assert verdict.state == "verified" and verify(verdict.file, tmp_path).state == "verified"


def test_a_pinned_hash_that_differs_is_damage_and_says_both(tmp_path, monkeypatch):
    pinned = CatalogModel("tiny", "tiny.gguf", 1, "f" * 64, "Apache-2.0", 128, "chat", "a/b")
    monkeypatch.setattr(verifying, "locate", lambda *_: verifying_place(tmp_path, pinned))
    (tmp_path / "tiny.gguf").write_bytes(CONTENT)
    verdict = verify("tiny", tmp_path)
    assert verdict.state == "damaged" and "f" * 64 in verdict.sentence and DIGEST in verdict.sentence


def verifying_place(folder, entry):
    from suite.serving.weights import Place

    return Place(folder / entry.file, entry, "a test")


def test_what_is_not_there_is_missing_and_says_how_to_get_it(tmp_path):
    assert verify("nothing.gguf", tmp_path).state == "missing"
    verdict = verify("qwen2.5-7b-instruct", tmp_path)
    assert verdict.state == "missing" and "`suite models pull qwen2.5-7b-instruct`" in verdict.sentence


def test_garbage_gets_a_verdict_and_never_an_exception(tmp_path):
    chance = random.Random(5)
    states = set()
    for at in range(150):
        content = damaged(at)[1] if at % 3 else b"GGUF" + chance.randbytes(chance.randrange(2000))
        (tmp_path / "x.gguf").write_bytes(content)
        states.add(verify("x.gguf", tmp_path).state)
    assert states == {"damaged", "unverified"}
    (tmp_path / "folder.gguf").mkdir()
    assert verify("folder.gguf", tmp_path).state == "damaged"


def test_which_models_are_here(tmp_path):
    assert [entry.name for entry in present(tmp_path)] == ["smoke"]
    (tmp_path / "Qwen2.5-7B-Instruct-Q4_K_M.gguf").touch()
    assert [entry.name for entry in present(tmp_path, lambda _: True)] == ["smoke", "qwen2.5-7b-instruct", "minilm"]
