from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from suite.serving.pieces import Pieces

TEXT = st.text(st.characters(codec="utf-8"), max_size=40)


def _run(pieces: Pieces, chunks: list[bytes]) -> list[str]:
    return [*(pieces.feed(chunk) for chunk in chunks), pieces.end()]


@given(TEXT, st.lists(st.integers(1, 4), max_size=60))
def test_characters_are_never_split_however_their_bytes_are_cut(text, cuts):
    raw, chunks = text.encode(), []
    for length in cuts:
        chunks, raw = [*chunks, raw[:length]], raw[length:]
    shown = _run(Pieces(), [*chunks, raw])
    assert "".join(shown) == text.lstrip()
    assert all("�" not in piece for piece in shown if "�" not in text)


@given(TEXT, st.text("ab", min_size=1, max_size=3), st.integers(1, 3))
def test_nothing_is_shown_after_a_stop_text_nor_a_part_of_it(text, stop, size):
    whole = "x" + text + stop + "after"
    raw = whole.encode()
    pieces = Pieces((stop,))
    shown = "".join(_run(pieces, [raw[at : at + size] for at in range(0, len(raw), size)]))
    assert pieces.stopped
    assert shown == whole[: whole.index(stop)]


def test_a_stop_text_that_never_comes_holds_nothing_back_at_the_end():
    assert "".join(_run(Pieces(("<end>",)), [b"a <en", b"d"])) == "a <end"


def test_a_character_cut_off_by_the_token_limit_is_dropped():
    assert "".join(_run(Pieces(), ["서버".encode()[:-1]])) == "서"


def test_a_stop_of_whitespace_does_not_end_a_reply_before_its_first_word():
    assert "".join(_run(Pieces((" ",)), [b" one", b" two"])) == "one"
