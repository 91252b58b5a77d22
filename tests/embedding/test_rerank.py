"""The reranker, on a real cross-encoder of a few kilobytes."""

import threading

import numpy as np
import pytest
from tiny_models import PLACES, Oracle

from suite.embedding.pull import pull
from suite.embedding.rerank import Reranker, open_reranker, windows
from suite.errors import BadRequest, NotReady, SettingsError, WeightsError

TEXTS = ["the backup runs at night", "chat model", "", "longer longest a b c d abcd"]


def reranker(place, **values) -> Reranker:
    return Reranker(place.settings(rag_reranker="judge", **values), place.models, place.folder / "cache")


@pytest.fixture
def part(place):
    made = reranker(place)
    made.fetch()
    yield made
    made.close()


@pytest.fixture
def oracle(tiny_judge):
    return Oracle(tiny_judge)


def score(oracle, question: str, text: str) -> float:
    return float(oracle.run(question, text, types=True)[0])


def test_the_scores_are_those_of_the_network_for_question_and_text_together(part, oracle):
    found = part.scores("when runs the backup", TEXTS)
    assert np.allclose(found, [score(oracle, "when runs the backup", text) for text in TEXTS], atol=1e-4)
    assert len(set(np.round(found, 3))) == len(TEXTS) and all(isinstance(each, float) for each in found)
    assert not np.allclose(found, part.scores("chat", TEXTS), atol=1e-3), "the question counts"


def test_the_order_is_kept_across_batches(place, part, oracle):
    small = reranker(place, embedding_batch_size=2)
    texts = ["the " * number for number in (5, 1, 9, 2, 2, 7, 3)]
    assert np.allclose(small.scores("chat", texts), [score(oracle, "chat", text) for text in texts], atol=1e-4)


def test_no_text_is_cut_the_best_of_its_windows_counts(part, oracle):
    question, filler, room = "chat model", "a b c d " * 20, PLACES - 5
    part.scores(question, ["a"])
    best = []
    for text in ("the backup runs at night " + filler, filler + "the backup runs at night " + filler, filler + "the backup runs at night", filler):
        spans = windows(part._loaded[1], text, room)
        assert len(spans) > 1
        best.append(max(score(oracle, question, text[begin:end]) for begin, end in spans))
        assert part.scores(question, [text, "a"]) == pytest.approx([best[-1], score(oracle, question, "a")], abs=1e-4)
    assert min(best[:3]) != pytest.approx(best[3], abs=1e-3), "what stands in it counts wherever it stands"


def test_every_letter_of_a_long_text_is_in_a_window_that_fits_whatever_it_is_made_of(part):
    part.scores("a", ["a"])
    tokenizer = part._loaded[1]
    for text in ("abcd" * 200, "longer " * 100, "a" * 500, "abcdabcd longest " * 40, "백업 " * 90, "🙂" * 200, "the\n" * 300, "  the" * 30 + "  "):
        spans = windows(tokenizer, text, 20)
        assert len(spans) > 1 or len(tokenizer.encode(text, add_special_tokens=False)) <= 20
        assert all(len(tokenizer.encode(text[begin:end], add_special_tokens=False)) <= 20 for begin, end in spans)
        covered = {place for begin, end in spans for place in range(begin, end)}
        assert all(place in covered or letter.isspace() for place, letter in enumerate(text))


def test_a_question_that_leaves_no_room_is_refused_with_the_limit(part):
    with pytest.raises(BadRequest, match=rf"The question has 27 tokens, but judge reads {PLACES} with the passage; shorten the question") as caught:
        part.scores("the " * 27, TEXTS)
    assert caught.value.facts["param"] == "query"
    assert len(part.scores("the " * 20, TEXTS)) == len(TEXTS)


def test_no_texts_have_no_scores_and_what_is_no_text_is_refused(part):
    assert part.scores("chat", []) == []
    for question, texts in (("chat", "a text"), ("chat", [1]), (None, ["a"]), ("\ud800", ["a"]), ("chat", ["\ud800"])):
        with pytest.raises(BadRequest):
            part.scores(question, texts)


def test_it_is_loaded_when_it_is_first_asked_and_not_before(place):
    reranker(place).fetch()
    part = reranker(place)
    part.start()
    assert part.ready().ok and part.ready().facts == {"model": "judge", "languages": ["en"], "loaded": False}
    part.scores("chat", ["a"])
    assert part.ready().facts["loaded"] and part.live().ok and part.deep().ok
    part.close()
    assert not part.ready().facts["loaded"] and part.scores("chat", ["a"])


def test_threads_load_it_once_and_get_the_same(place):
    reranker(place).fetch()
    part, found = reranker(place), []
    threads = [threading.Thread(target=lambda: found.append((part.scores("chat", TEXTS), part._loaded))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 4 and len({id(loaded) for _, loaded in found}) == 1
    assert all(np.allclose(scores, found[0][0], atol=1e-5) for scores, _ in found)


def test_without_weights_it_is_not_ready_says_what_to_do_and_asks_nobody(place):
    part = reranker(place)
    part.start()
    state = part.ready()
    assert not state.ok and "`suite models pull judge`, or leave RAG_RERANKER empty" in state.reasons[0] and state.retry_after
    with pytest.raises(NotReady, match="suite models pull judge") as caught:
        part.scores("chat", ["a"])
    assert caught.value.facts["part"] == "reranker" and not part.deep().ok and place.stage.asked == []
    pull(part.model, place.models, place.folder / "cache", place.stage.url)
    assert part.ready().ok and len(part.scores("chat", ["a"])) == 1, "weights that came later are taken without a restart"


def test_damaged_weights_are_said_and_not_hashed_again_and_again(place):
    reranker(place).fetch()
    file = place.models / "judge" / "onnx" / "model.onnx"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    part = reranker(place)
    for _ in range(2):
        with pytest.raises(WeightsError, match="is damaged"):
            part.scores("chat", ["a"])
    assert not part.ready().ok and "is damaged" in part.ready().reasons[0]
    file.write_bytes(whole)
    assert part.scores("chat", ["a"]) and part.ready().ok


def test_an_encoder_is_no_reranker_and_numbers_that_are_none_are_refused(place, tiny_word):
    place.carry(tiny_word, "someone/judge")
    with pytest.raises(WeightsError, match=r"judge cannot be run|no usable score"):
        reranker(place).fetch()
    assert not (place.models / "judge" / "manifest.json").exists()


def test_the_setting_names_it_or_nobody(place):
    assert open_reranker(place.settings(), place.models, place.folder) is None
    made = open_reranker(place.settings(rag_reranker="judge"), place.models, place.folder)
    assert made is not None and made.model.id == "judge" and made.reads("When?") and not made.reads("언제 백업이 도나요?")
    with pytest.raises(SettingsError, match="RAG_RERANKER is 'tiny-word' but must be empty or one of"):
        open_reranker(place.settings(rag_reranker="tiny-word"), place.models, place.folder)
