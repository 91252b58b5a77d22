"""How much of a prompt a step may read beside running replies, on a machine whose costs are known."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from suite.serving.pace import GAP, LEAST, REFRESH, Pace

MOST = 512


def settled(pace: Pace, writing: int, waiting: int, step_s: float, token_s: float, turns: int = 200) -> list[int]:
    """What a machine that takes `step_s` for a step of replies and `token_s` more for each token read would be asked to read."""
    asked = []
    for _ in range(turns):
        tokens = pace.tokens(writing, waiting)
        pace.note(writing, tokens, step_s + tokens * token_s)
        asked.append(tokens)
    return asked[turns // 2:]


@given(writing=st.integers(1, 4), step_s=st.floats(0.001, 1.0), ratio=st.floats(0.001, 0.2))
def test_one_long_prompt_never_makes_a_step_much_longer_than_an_ordinary_one(writing: int, step_s: float, ratio: float) -> None:
    token_s = step_s * ratio  # reading one token costs this share of an ordinary step
    asked = settled(Pace(MOST), writing, 1, step_s, token_s)
    longest = max(step_s + tokens * token_s for tokens in asked if tokens > LEAST) if max(asked) > LEAST else step_s
    assert longest <= step_s * (2 * GAP + 0.5) if writing < 2 else longest <= step_s * (GAP + 0.5)
    assert sum(asked) >= len(asked) * 0.5 * min(MOST, LEAST), "and yet it gets on"


def test_nobody_is_held_up_where_nobody_writes() -> None:
    assert Pace(MOST).tokens(0, 1) == MOST and Pace(MOST).tokens(3, 0) == 0


def test_many_waiting_prompts_get_more_room_than_one() -> None:
    few, many = (max(settled(Pace(MOST), 1, waiting, 0.02, 0.002)) for waiting in (1, 7))
    assert many > 2 * few


def test_short_prompts_are_read_at_once_until_replies_were_held_up_long_enough() -> None:
    pace, asked = Pace(MOST), []
    pace.note(1, 0, 0.02)
    pace.note(1, 10, 0.04)
    for _ in range(12):
        asked.append(pace.tokens(1, 3, short=3))
        pace.note(1, asked[-1], 0.02 + asked[-1] * 0.002)
    assert asked[0] == MOST and asked[-1] < MOST / 2
    for _ in range(400):
        pace.note(1, 0, 0.05)
    assert pace.tokens(1, 3, short=3) == MOST, "what was lent comes back"


def test_now_and_then_a_step_only_writes_to_see_how_long_that_takes() -> None:
    asked = settled(Pace(MOST), 2, 1, 0.02, 0.001)
    assert asked.count(0) == len(asked) // (REFRESH + 1)
