from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from suite.errors import WeightsError
from suite.serving.catalog import ProfileModel
from suite.serving.weights import Place, check, locate
from suite.settings import package_file

SMOKE = package_file("models/smoke.gguf")
WHOLE = SMOKE.read_bytes()
HEAD = 140_000  # the metadata and tensor table end before this; the rest is weights
ONE_SENTENCE = r"^[A-Z][^\n]*\.$"


def _file(folder: Path, content: bytes) -> Path:
    path = folder / "model.gguf"
    path.write_bytes(content)
    return path


def test_the_bundled_model_passes_and_says_that_it_is_a_smoke_model():
    weights = check(SMOKE)
    assert weights.smoke and weights.entry.name == "smoke" and weights.tensors == 21
    assert "assistant" in weights.chat_template


def test_a_renamed_smoke_model_of_another_hash_still_says_so(tmp_path, make_smoke):
    make_smoke.write(tmp_path / "innocent.gguf", ends=True)
    weights = check(tmp_path / "innocent.gguf")
    assert weights.entry is None and weights.smoke


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"PK\x03\x04 a zip archive", "not a GGUF file"),
        (b"\x00" * 4096, "not a GGUF file"),
        (b"GGUF", "cut off"),
        (b"GGUF" + struct.pack("<I", 1) + b"\0" * 64, "GGUF version 1"),
        (b"GGUF" + struct.pack(">I", 3) + b"\0" * 64, "GGUF version"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 5), "claims"),
        (b"GGUF" + struct.pack("<IQQ", 3, 5, 1 << 60), "claims"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 5, 5, 1 << 62) + b"x" * 100, "claims"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 5, 5, 60_000) + b"x" * 100, "cut off"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 0), "claims 0 tensors"),
        (WHOLE[:-1], "cut off"),
        (WHOLE[: len(WHOLE) // 2], "cut off"),
        (WHOLE[:5000], "cut off"),
        (WHOLE.replace(b"llama.embedding_length", b"llama.embedding_lengtH"), "is missing"),
        (WHOLE.replace(b"tokenizer.ggml.tokens", b"tokenizer.ggml.tokenz"), "vocabulary"),
        (WHOLE.replace(b"blk.0.attn_q.weight", b"blk.0.attn_k.weight"), "twice"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{len(value)} bytes",
)
def test_what_is_no_whole_model_is_refused_in_one_sentence(tmp_path, content, said):
    with pytest.raises(WeightsError, match=said) as caught:
        check(_file(tmp_path, content))
    assert str(tmp_path) in caught.value.message
    assert caught.value.message.count("\n") == 0


def test_missing_files_folders_and_unreadable_names_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.gguf")
    for path, said in ((tmp_path / "none.gguf", "does not exist"), (tmp_path, "is not a file"), (tmp_path / "pipe.gguf", "is not a file"),
                       (tmp_path / ("x" * 300), "cannot be read")):
        with pytest.raises(WeightsError, match=said):
            check(path)


def test_a_file_of_another_hash_than_the_catalogues_is_refused(tmp_path):
    entry = check(SMOKE).entry
    changed = bytearray(WHOLE)
    changed[-1] ^= 1
    with pytest.raises(WeightsError, match=entry.sha256):
        check(Place(_file(tmp_path, bytes(changed)), entry, "the profile"))


def test_a_model_is_found_by_catalogue_name_by_file_name_and_by_path(tmp_path):
    smoke = ProfileModel("smoke", 512)
    assert locate("chat", "", smoke, tmp_path).path == SMOKE
    assert locate("code", "", ProfileModel("qwen2.5-coder-7b-instruct", 512), tmp_path).path == tmp_path / "qwen2.5-coder-7b-instruct-q4_k_m.gguf"
    assert locate("chat", "smoke", smoke, tmp_path).path == SMOKE
    assert locate("chat", "mine.gguf", smoke, tmp_path).path == tmp_path / "mine.gguf"
    assert locate("chat", "/else/mine.gguf", smoke, tmp_path).path == Path("/else/mine.gguf")
    assert locate("chat", "Qwen2.5-3B-Instruct-Q4_K_M.gguf", smoke, tmp_path).entry.name == "qwen2.5-3b-instruct"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, len(WHOLE)), changes=st.lists(st.tuples(st.integers(0, HEAD), st.integers(0, 255)), max_size=6))
def test_no_damage_makes_the_check_do_anything_but_pass_or_refuse(tmp_path, cut, changes):
    damaged = bytearray(WHOLE)
    for at, value in changes:
        damaged[at] = value
    try:
        assert check(_file(tmp_path, bytes(damaged[:cut]))).tensors > 0
    except WeightsError as error:
        assert str(tmp_path) in error.message


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=400))
def test_no_garbage_behind_a_right_beginning_passes(tmp_path, content):
    with pytest.raises(WeightsError):
        check(_file(tmp_path, b"GGUF" + struct.pack("<I", 3) + content))
