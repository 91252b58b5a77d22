from __future__ import annotations

import math
import os
import random
import struct
from pathlib import Path
from typing import Any

import pytest
from damaged_gguf import ARRAY, BOOL, F32, I32, TEXT, U32, U64, Model
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from suite.errors import Denied, WeightsError
from suite.serving.catalog import ProfileModel, catalog
from suite.serving.weights import Place, check, glance, licensed, locate
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
    assert weights.smoke and weights.entry.name == "smoke" and weights.tensors > 10
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


def tiny(change: Any = None, family: str = "llama") -> bytes:
    model = Model(family, random.Random(1))
    if change is not None:
        change(model)
    return model.bytes()


def number(name: str, value: Any, kind: int = U32) -> Any:
    return lambda model: model.keys.__setitem__(name, (kind, value))


def listed(name: str, kind: int, items: list[Any]) -> Any:
    return lambda model: model.keys.__setitem__(name, (ARRAY, (kind, items)))


def reshaped(name: str, shape: tuple[int, ...], kind: int = 0) -> Any:
    def change(model: Model) -> None:
        model.tensors[name] = [shape, kind, bytes(64 * 64 * 4)]
    return change


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_a_tiny_whole_model_agrees_with_itself(tmp_path, family):
    weights = check(_file(tmp_path, tiny(family=family)))
    assert {tensor.name: tensor.shape for tensor in weights.table}["blk.1.ffn_down.weight"] == (64, 64)
    assert sum(tensor.bytes for tensor in weights.table) < weights.bytes


WORDS = Model("llama", random.Random(1)).keys["tokenizer.ggml.tokens"][1][1]


@pytest.mark.parametrize(("change", "said"), [
    (number("llama.attention.head_count_kv", 8), "8 heads for keys but only 4"),
    (number("llama.attention.head_count_kv", 3), "cannot share 3 heads"),
    (number("llama.attention.head_count_kv", 0), "is 0"),
    (number("llama.attention.head_count", 0), "is 0"),
    (number("llama.attention.head_count", 7), "cannot"),
    (number("llama.block_count", 0), "is 0"),
    (number("llama.block_count", 3), "'blk.2.attn_norm.weight' is missing"),
    (number("llama.block_count", 1), "has the tensor 'blk.1.attn_norm.weight' but only 1 layers"),
    (number("llama.block_count", 1 << 31), "is 2147483648"),
    (number("llama.context_length", 1 << 40, U64), "is 1099511627776"),
    (number("llama.context_length", True, BOOL), "is True"),
    (number("llama.embedding_length", 128), "turns 16 dimensions of heads that have 32"),
    (number("llama.embedding_length", 32), "turns 16 dimensions of heads that have 8"),
    (number("llama.feed_forward_length", 65), "where"),
    (number("llama.rope.dimension_count", 32), "turns 32 dimensions of heads that have 16"),
    (number("llama.rope.dimension_count", 7), "turns 7 dimensions"),
    (number("llama.attention.layer_norm_rms_epsilon", math.nan, F32), "is nan"),
    (number("llama.attention.layer_norm_rms_epsilon", 0.0, F32), "is 0.0"),
    (number("llama.rope.freq_base", -1.0, F32), "is -1.0"),
    (number("llama.rope.scaling.type", "nonsense", TEXT), "unknown rule 'nonsense'"),
    (number("llama.expert_used_count", 2), "more experts than it has"),
    (number("llama.nextn_predict_layers", 9), "predicts with more layers"),
    (number("tokenizer.ggml.bos_token_id", 9999), "is 9999, but it has"),
    (number("tokenizer.ggml.model", "no_vocab", TEXT), "tokenizer is 'no_vocab'"),
    (number("tokenizer.ggml.model", "bert", TEXT), "which no llama model has"),
    (number("llama.rope.scaling.factor", math.inf, F32), "factor' is inf"),
    (number("llama.rope.dimension_count", 8), "turns 8 dimensions"),
    (number("tokenizer.ggml.model", 3), "is no text"),
    (listed("tokenizer.ggml.tokens", I32, [1, 2, 3]), "no list of texts"),
    (listed("tokenizer.ggml.tokens", TEXT, [*WORDS[:-1], WORDS[5]]), "is there twice"),
    (listed("tokenizer.ggml.tokens", TEXT, [f"w{at}" for at in range(len(WORDS))]), "no token for the byte 0"),
    (listed("tokenizer.ggml.tokens", TEXT, WORDS[:-1]), "one entry for each"),
    (listed("tokenizer.ggml.scores", F32, [0.5]), "one entry for each"),
    (listed("tokenizer.ggml.token_type", TEXT, ["a"]), "one entry for each"),
    (listed("tokenizer.ggml.merges", I32, [1]), "list of merges"),
    (listed("llama.attention.head_count", U32, [4, 70_000]), "is"),
    (reshaped("token_embd.weight", (64, 64)), "where"),
    (reshaped("blk.0.attn_norm.weight", (64,), 2), "is of the type 2, which no weights have"),
    (reshaped("blk.0.attn_norm.weight", (64,), 1), "is of the type 1, which no weights have"),
    (reshaped("blk.0.attn_q.weight", (64, 64), 26), "which no weights have"),
    (lambda model: model.tensors.pop("output_norm.weight"), "'output_norm.weight' is missing"),
], ids=lambda value: value if isinstance(value, str) else "")
def test_contradictions_are_refused_before_llama_cpp_sees_them(tmp_path, change, said):
    with pytest.raises(WeightsError, match=said) as caught:
        check(_file(tmp_path, tiny(change)))
    assert "is damaged" in caught.value.message and "\n" not in caught.value.message


@pytest.mark.parametrize("change", [
    number("tokenizer.ggml.eos_token_id", 0xFFFFFFFF),  # llama.cpp's "there is none"
    listed("llama.attention.head_count_kv", U32, [2, 2]),  # one number per layer
    lambda model: model.tensors.pop("output.weight"),  # one matrix reads and writes tokens
    listed("tokenizer.ggml.tokens", TEXT, [*WORDS[:-2], "", ""]),  # unused places of a vocabulary
    number("general.architecture", "llama", TEXT),
], ids=["no end token", "heads per layer", "tied", "empty words", "as it was"])
def test_what_is_unusual_but_right_passes(tmp_path, change):
    assert check(_file(tmp_path, tiny(change))).tensors >= 20


def test_other_architectures_are_left_to_the_trial_but_their_sizes_are_looked_at(tmp_path):
    other = tiny().replace(b"llama.", b"phi99.").replace(b"\5\0\0\0\0\0\0\0llama", b"\5\0\0\0\0\0\0\0phi99", 1)
    assert check(_file(tmp_path, other)).meta["general.architecture"] == "phi99"
    with pytest.raises(WeightsError, match="8 heads for keys"):
        check(_file(tmp_path, other.replace(b"head_count_kv" + struct.pack("<II", 4, 2), b"head_count_kv" + struct.pack("<II", 4, 8))))


def test_a_glance_reads_the_head_alone(tmp_path):
    seen = glance(_file(tmp_path, tiny()))
    assert seen.sha256 == "" and seen.tensors == 21 and seen.entry is None


@pytest.mark.parametrize(("name", "wanted"), [("Qwen2.5-3B-Instruct-Q4_K_M.gguf", False), ("qwen2.5-3b-INSTRUCT-q4_k_m.gguf", False), ("mine.gguf", True)])
def test_the_licence_of_a_file_counts_wherever_it_lies_and_however_it_was_asked_for(tmp_path, name, wanted):
    path = tmp_path / name
    path.write_bytes(tiny())
    place = Place(path, catalog()["qwen2.5-3b-instruct"] if wanted else None, "CHAT_MODEL")
    weights = check(path)
    licensed(place, weights, "dev", "")
    licensed(place, weights, "prod", "qwen2.5-3b-instruct")
    with pytest.raises(Denied, match="Qwen Research License"):
        licensed(place, weights, "prod", "")


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
