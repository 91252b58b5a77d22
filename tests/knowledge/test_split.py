"""Chunks: nothing is lost, nothing is cut that need not be, and neighbours share whole sentences."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from suite.knowledge.split import MOST_CHARS, split

PIECES = st.sampled_from(["가나다라마", "The quick brown fox. ", "백업은 세 시에 돈다. ", "x" * 300, "\n\n", "  ", "a", "! ", "。",
                          "# Heading\n", "\u3000", "\x1c", "e\u0301", "1.5 kg ", "|---|", "👩‍👩‍👧", "끝", ".", "\r\n", "word ", "```\n", "| a | b |\n", "===\n"])
KINDS = st.sampled_from(["prose", "code", "table"])


def characters(texts):
    return [len(text) for text in texts]


def words(texts):
    return [len(text.split()) for text in texts]


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=60).map("".join) | st.text(max_size=600), st.integers(1, 200), st.integers(0, 300), KINDS)
def test_no_text_is_ever_lost_and_every_chunk_is_a_slice(text, size, overlap, kind):
    chunks = split(text, size, overlap, characters, kind)
    for index, chunk in enumerate(chunks):
        assert chunk.index == index
        assert text[chunk.start:chunk.end] == chunk.text and chunk.text.strip()
        assert chunk.after.strip() == "" and text[chunk.end:chunk.end + len(chunk.after)] == chunk.after
    assert not text[:chunks[0].start if chunks else None].strip()
    for before, after in pairwise(chunks):
        assert after.start <= before.end + len(before.after), "characters lie in no chunk"
    assert not chunks or chunks[-1].end + len(chunks[-1].after) == len(text)


@settings(max_examples=200, deadline=None)
@given(st.lists(PIECES, max_size=60).map("".join), st.integers(8, 200), st.integers(0, 300), KINDS)
def test_chunks_are_as_long_as_allowed_go_forward_and_share_no_more_than_the_overlap(text, size, overlap, kind):
    chunks = split(text, size, overlap, words, kind)
    assert all(words([chunk.text]) <= [size] for chunk in chunks)
    for before, after in pairwise(chunks):
        assert before.start < after.start and before.end < after.end
        assert words([text[after.start:before.end]]) <= [min(overlap, size // 2)]


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet="ab가 \n", max_size=3000), st.integers(1, 20))
def test_no_chunk_has_more_characters_than_its_size_can_mean_whatever_counts_the_tokens(text, size):
    assert all(len(chunk.text) <= 2 * MOST_CHARS * size * size for chunk in split(text, size, 0, lambda texts: [1 for _ in texts]))
    assert all(len(chunk.text) <= MOST_CHARS * size for chunk in split(text.replace(" ", "").replace("\n", ""), size, 0, lambda texts: [size for _ in texts]))


def test_neighbours_share_whole_sentences():
    text = "One is here. Two is here. Three is here. Four is here. Five is here. Six is here."
    chunks = split(text, 40, 15, characters)
    assert len(chunks) > 2
    for before, after in pairwise(chunks):
        assert after.start < before.end and text[after.start - 1] == " "


def test_a_word_longer_than_a_chunk_is_cut_and_kept_whole():
    text = "가" * 1600
    chunks = split(text, 400, 100, characters)
    assert "".join(chunk.text for chunk in chunks[:1]) and chunks[-1].end == 1600 and len(chunks) >= 4


def test_text_that_fits_is_one_chunk_and_white_space_none():
    assert [chunk.text for chunk in split(" Short. Text.\n", 100, 10, characters)] == ["Short. Text."]
    assert split(" \n\t ", 100, 10, characters) == []


def test_each_chunk_says_under_which_headings_it_stands():
    text = "Before.\n\n# Guide\n\nIntro text.\n\n## Backups\n\nThey run at three.\n\n## Leave\n\nAsk two weeks ahead.\n\n# Other\n\nEnd.\n"
    chunks = split(text, 28, 0, characters)
    assert [(chunk.text.splitlines()[-1], chunk.headings) for chunk in chunks] == [
        ("Before.", ()), ("Intro text.", ("Guide",)), ("They run at three.", ("Guide", "Backups")),
        ("Ask two weeks ahead.", ("Guide", "Leave")), ("End.", ("Other",))]


def test_a_heading_never_ends_a_chunk_of_more():
    text = "First sentence here. Second sentence here.\n\n## Next part\n\nThird sentence here.\n"
    for size in range(30, 90):
        assert all(not chunk.text.endswith("Next part") or chunk.text == "## Next part" for chunk in split(text, size, 0, characters))


def test_code_and_tables_are_kept_whole_where_they_fit():
    code = "```python\ndef f(x):\n\n    return x + 1.  # Done. Really.\n```"
    table = "| Name | Port |\n|---|---|\n| chat | 8001 |\n| code | 8004 |"
    chunks = split(f"Some words before it. More words.\n\n{code}\n\nBetween them. Again.\n\n{table}\n\nAfter. End.\n", 70, 0, characters)
    assert any(code in chunk.text for chunk in chunks) and any(table in chunk.text for chunk in chunks)


def test_code_that_does_not_fit_is_cut_between_lines():
    lines = [f"value_{number} = call({number}). more" for number in range(20)]
    chunks = split("\n".join(lines), 100, 0, characters, "code")
    assert len(chunks) > 4 and all(line in lines for chunk in chunks for line in chunk.text.splitlines())
