from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from suite.knowledge.split import split

PIECES = st.sampled_from(["가나다라마", "The quick brown fox. ", "백업은 세 시에 돈다. ", "x" * 300, "\n\n", "  ", "a", "! ", "。",
                          "# Heading\n", "\u3000", "\x1c", "e\u0301", "1.5 kg ", "|---|", "👩‍👩‍👧", "끝", ".", "\r\n", "word "])


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=60).map("".join) | st.text(max_size=600), st.integers(1, 200), st.integers(0, 300))
def test_no_text_is_ever_lost_and_every_chunk_is_a_slice(text, size, overlap):
    chunks = split(text, size, overlap)
    covered = set()
    for index, chunk in enumerate(chunks):
        assert chunk.index == index
        assert text[chunk.start:chunk.end] == chunk.text
        assert 0 < len(chunk.text) <= size
        covered.update(range(chunk.start, chunk.end))
    assert all(character.isspace() or place in covered for place, character in enumerate(text))


@settings(max_examples=200, deadline=None)
@given(st.lists(PIECES, max_size=60).map("".join), st.integers(8, 200), st.integers(0, 300))
def test_chunks_go_forward_and_share_no_more_than_the_overlap(text, size, overlap):
    chunks = split(text, size, overlap)
    for before, after in pairwise(chunks):
        assert before.start < after.start and before.end < after.end
        assert before.end - after.start <= min(overlap, size // 2)


def test_neighbours_share_whole_sentences():
    text = "One is here. Two is here. Three is here. Four is here. Five is here."
    chunks = split(text, 40, 15)
    assert len(chunks) > 2
    for before, after in pairwise(chunks):
        assert after.start < before.end and text[after.start - 1] == " "


def test_a_word_longer_than_a_chunk_is_cut_and_kept_whole():
    text = "가" * 1600
    chunks = split(text, 400, 100)
    assert chunks[-1].end == 1600 and len(chunks) >= 4
    assert all(after.start < before.end for before, after in pairwise(chunks))


def test_text_that_fits_is_one_chunk_and_white_space_none():
    assert [chunk.text for chunk in split(" Short. Text.\n", 100, 10)] == ["Short. Text."]
    assert split(" \n\t ", 100, 10) == []
