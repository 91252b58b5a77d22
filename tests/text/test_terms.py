"""Search terms of Korean, English and everything between."""

import json
import math
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from hypothesis import given, strategies

from suite.text.terms import MAX_TERM, terms

SAMPLES = Path(__file__).parents[2] / ".." / "shared" / "data"


def test_words_of_alphabets_are_lowered_and_kept_whole():
    assert terms("The GPU's VRAM, 24GB!") == ["the", "gpu", "s", "vram", "24gb"]


def test_korean_words_become_pairs_so_that_a_particle_does_not_hide_them():
    assert terms("백업은") == ["백업", "업은"]
    assert set(terms("백업")) < set(terms("백업은 몇 시에 도나요?"))


def test_a_single_korean_character_stands_alone():
    assert terms("몇 시") == ["몇", "시"]


def test_a_mixed_run_is_cut_where_the_scripts_meet():
    assert terms("2026년 GPU용") == ["2026", "년", "gpu", "용"]


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


@pytest.mark.parametrize(("sample", "first", "fifth"), [("korquad_sample.json", 0.88, 0.98), ("xquad_en_sample.json", 0.93, 0.98)])
def test_the_right_paragraph_is_found_by_its_terms(sample, first, fifth):
    file = SAMPLES / sample
    if not file.is_file():
        pytest.skip(f"{file} is not there: the public samples stay out of the repository")
    at_1, at_5 = _bm25_recall(json.loads(file.read_text(encoding="utf-8")))
    assert at_1 >= first and at_5 >= fifth


def _bm25_recall(sample) -> tuple[float, float]:
    paragraphs, questions = [], []
    for article in sample["data"]:
        for paragraph in article["paragraphs"]:
            paragraphs.append(Counter(terms(paragraph["context"])))
            questions.extend((entry["question"], len(paragraphs) - 1) for entry in paragraph["qas"])
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
            weight = math.log(1 + (len(paragraphs) - frequency[term] + 0.5) / (frequency[term] + 0.5))
            for index, value in postings[term]:
                scores[index] += weight * value
        best = [index for index, _ in scores.most_common(5)]
        ranks.append(best.index(wanted) if wanted in best else 9)
    return sum(rank == 0 for rank in ranks) / len(ranks), sum(rank < 5 for rank in ranks) / len(ranks)
