"""Search terms of Korean, English and everything between."""

import json
import math
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, strategies

from suite.text.terms import MAX_TERM, PAIR, PAIR_WEIGHT, content, terms, weight

SAMPLES = Path(__file__).parents[2] / ".." / "shared" / "data"


def test_words_of_alphabets_are_lowered_and_kept_whole():
    assert terms("The GPU's VRAM, 24GB!") == ["the", "gpu", "s", "vram", "24gb", "24", "gb"]


@pytest.mark.parametrize("form", ["파일", "파일을", "파일에서는", "파일들이", "「파일」", "새파일"])
def test_a_korean_word_is_found_whatever_is_glued_to_it(form):
    assert set(terms("파일")) & set(terms(f"{form} 저장했습니다."))


def test_a_verb_is_found_in_its_other_forms():
    assert "저장" in terms("저장했습니다") and "먹" in set(terms("먹었어요")) & set(terms("먹는다"))


def test_pairs_of_characters_are_marked_and_count_less():
    found = terms("백업은")
    assert found == ["백업", PAIR + "백업", PAIR + "업은"]
    assert [weight(term) for term in found] == [1.0, PAIR_WEIGHT, PAIR_WEIGHT] and 0 < PAIR_WEIGHT < 1


def test_a_mixed_run_is_cut_where_the_scripts_meet():
    assert {"2026", "년", "gpu"} <= set(terms("2026년 GPU용"))


def test_kana_and_han_become_plain_pairs():
    assert terms("東京タワー") == ["東京", "京タ", "タワ", "ワー"]


@pytest.mark.parametrize(("text", "wanted"), [("C++", "c++"), ("in C#, too", "c#"), ("what's", "what"), ("readFile()", "file"), ("HTTPServer", "server"),
                                              ("HTTPServer", "httpserver"), ("24GB", "gb"), ("a.b.Config", "config")])
def test_code_and_contractions_are_found(text, wanted):
    assert wanted in terms(text)


def test_runs_too_long_for_words_do_not_reach_the_analyser():
    assert terms("가" * 500) == [PAIR + "가가"] * 499


def test_many_threads_may_ask_at_once():
    with ThreadPoolExecutor(4) as pool:
        assert len(set(map(tuple, pool.map(terms, ["백업 파일을 저장했습니다"] * 40)))) == 1


def test_identifiers_are_cut_at_underscores():
    assert terms("rag_top_k") == ["rag", "top", "k"]


def test_decomposed_hangul_gives_the_same_terms_as_composed():
    assert terms("\u1112\u1161\u11ab\u1100\u1173\u11af") == terms("한글")


def test_full_width_letters_give_the_same_terms_as_plain_ones():
    assert terms("ＧＰＵ２４") == ["gpu24"]


def test_repeats_are_kept_for_counting():
    assert terms("backup backup") == ["backup", "backup"]


def test_a_text_without_letters_gives_no_terms():
    assert terms(" …?! \n") == []


@given(strategies.text(max_size=400))
def test_every_term_of_any_text_is_short_and_not_blank(text):
    assert all(0 < len(term) <= MAX_TERM and not term.isspace() for term in terms(text))


def test_a_run_of_ten_thousand_letters_gives_one_short_term():
    assert [len(term) for term in terms("a" * 10_000)] == [MAX_TERM]


@pytest.mark.parametrize(("sample", "first", "fifth"), [("korquad_sample.json", 0.925, 0.985), ("xquad_en_sample.json", 0.94, 0.985)])
def test_the_right_paragraph_is_found_by_its_terms(sample, first, fifth):
    file = SAMPLES / sample
    if not file.is_file():
        pytest.skip(f"{file} is not there: the public samples stay out of the repository")
    at_1, at_5 = _bm25_recall(json.loads(file.read_text(encoding="utf-8")))
    assert at_1 >= first and at_5 >= fifth


def _bm25_recall(sample) -> tuple[float, float]:
    places: dict[str, int] = {}  # two paragraphs stand twice in the Korean sample
    questions = []
    for article in sample["data"]:
        for paragraph in article["paragraphs"]:
            place = places.setdefault(paragraph["context"], len(places))
            questions.extend((entry["question"], place) for entry in paragraph["qas"])
    paragraphs = [Counter(terms(context)) for context in places]
    frequency = Counter(term for counts in paragraphs for term in counts)
    average = sum(counts.total() for counts in paragraphs) / len(paragraphs)
    postings = defaultdict(list)
    for index, counts in enumerate(paragraphs):
        for term, n in counts.items():
            postings[term].append((index, n * 2.2 / (n + 1.2 * (0.25 + 0.75 * counts.total() / average))))
    ranks = []
    for question, wanted in questions:
        scores: Counter[int] = Counter()
        for term in set(terms(question)):
            rarity = math.log(1 + (len(paragraphs) - frequency[term] + 0.5) / (frequency[term] + 0.5))
            for index, value in postings[term]:
                scores[index] += weight(term) * rarity * value
        best = [index for index, _ in scores.most_common(5)]
        ranks.append(best.index(wanted) if wanted in best else 9)
    return sum(rank == 0 for rank in ranks) / len(ranks), sum(rank < 5 for rank in ranks) / len(ranks)


def test_english_words_are_found_in_other_forms_and_other_words_are_not_touched():
    assert terms("indexing") == terms("indexes") == ["index"]
    assert terms("naïve Größe x1ing") == ["naïve", "größe", "x1ing"]


def test_the_content_of_a_question_has_no_function_words_and_no_pairs():
    assert content("Where does the nightly backup go, and why the backup?") == [*terms("nightly"), *terms("backup"), *terms("go")]
    assert content("백업은 몇 시에 어디로 가나요?") == ["백업", "시"]
    assert content("what is it?") == []
