"""What steps do when prompts wait beside running replies, on a machine whose costs are known."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from suite.serving.pace import CREDIT_S, GAP, LEAST, READ_S, Pace

MOST = 512


@dataclass
class Machine:
    """Takes `step_s` for a step of replies and `token_s` more for each token that is read; keeps when each token reached its reader."""

    step_s: float
    token_s: float
    pace: Pace = field(default_factory=lambda: Pace(MOST))
    now: float = 0.0
    due: float = 0.0
    shown: list[float] = field(default_factory=list)
    read: int = 0

    def step(self, writing: int, waiting: int, short: int = 0) -> int:
        """One step as the decoder makes it; gives how many tokens it read."""
        gap = self.pace.gap(writing, waiting)
        tokens, write = self.pace.plan(writing, waiting, short, self.due + gap - self.now)
        assert tokens or write, "every step does something"
        seconds = (self.step_s if write and writing else 0.0) + tokens * self.token_s
        self.now += seconds
        self.pace.note(writing if write else 0, tokens, seconds)
        if write and writing:
            self.due = max(self.now, self.due + gap)
            self.shown.append(self.due)
        self.read += tokens
        return tokens


@given(writing=st.integers(2, 8), step_s=st.floats(0.005, 0.4), ratio=st.floats(0.01, 0.2))
def test_beside_a_long_prompt_tokens_come_evenly_and_the_prompt_gets_most_of_the_time(writing: int, step_s: float, ratio: float) -> None:
    machine = Machine(step_s, step_s * ratio)
    for _ in range(5):
        machine.step(writing, 0)
    for _ in range(30):
        machine.step(writing, 1)  # both costs are known from here on
    began, read, first = machine.now, machine.read, len(machine.shown)
    while machine.now < began + 60 * step_s + 20 * READ_S:
        machine.step(writing, 1)
    gaps = [b - a for a, b in itertools.pairwise(machine.shown[first:])]
    assert max(gaps) <= GAP * step_s * 1.05
    spent = (machine.read - read) * machine.token_s
    assert spent >= 0.6 * (machine.now - began), "two thirds of the time at that gap"


@given(step_s=st.floats(0.005, 0.4), ratio=st.floats(0.01, 0.2))
def test_a_portion_takes_no_longer_than_it_may(step_s: float, ratio: float) -> None:
    machine = Machine(step_s, step_s * ratio)
    machine.step(3, 0)
    read = [machine.step(3, 1) for _ in range(200)]
    assert max(read) * machine.token_s <= max(READ_S * 1.05, LEAST * machine.token_s) and max(read) >= LEAST


def test_nobody_is_held_up_where_nobody_writes() -> None:
    assert Pace(MOST).plan(0, 1) == (MOST, False) and Pace(MOST).plan(3, 0) == (0, True)
    pace = Pace(MOST)
    pace.note(3, 0, 0.02)
    assert pace.gap(3, 0) == pace.gap(0, 1) == 0.0 and pace.gap(3, 1) == GAP * 0.02


def test_many_waiting_prompts_get_more_of_the_time_than_one() -> None:
    shares = []
    for waiting in (1, 7):
        machine = Machine(0.02, 0.002)
        machine.step(1, 0)
        for _ in range(200):
            machine.step(1, waiting)
        shares.append(machine.read * machine.token_s / machine.now)
    assert shares[1] > shares[0] > 0.4


def test_short_prompts_are_read_at_once_until_replies_were_held_up_long_enough() -> None:
    machine = Machine(0.02, 0.002)
    machine.step(1, 0)
    asked = [machine.step(1, 3, short=3) for _ in range(12)]
    assert asked[0] == MOST and min(asked) < MOST / 2
    while machine.now < 40 * CREDIT_S:
        machine.step(1, 0)
    assert machine.step(1, 3, short=3) == MOST, "what was lent comes back"


def test_what_a_step_of_replies_takes_is_seen_before_a_prompt_is_read_beside_them() -> None:
    assert Pace(MOST).plan(2, 1) == (0, True)
