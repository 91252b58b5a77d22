"""The bookkeeping of the cache against a plain model of it: every token of every sequence has a cell, and shared beginnings share theirs."""

from __future__ import annotations

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from suite.serving.prefix import LEAST_SHARED, Prefixes

CELLS, SEQUENCES, LONGEST = 120, 5, 60
texts = st.lists(st.integers(0, 2), min_size=LEAST_SHARED + 2, max_size=LONGEST - 10)


class Cache(RuleBasedStateMachine):
    """`held[number]` is what a sequence should hold, `cells[number]` an identity per token, as llama.cpp's cells have."""

    def __init__(self) -> None:
        super().__init__()
        self.made = Prefixes(CELLS, SEQUENCES, LONGEST)
        self.held: dict[int, list[int]] = {}
        self.cells: dict[int, list[object]] = {}
        self.busy: set[int] = set()

    @rule(tokens=texts)
    def begin(self, tokens: list[int]) -> None:
        wanted = np.array(tokens, np.int32)
        source, count = self.made.source(wanted)
        assert count == max([0, *(n for n in (self.common(number, tokens) for number in self.held) if n >= LEAST_SHARED)])
        while len(tokens) - count > CELLS - self.made.used:
            old = self.made.oldest(keep=source)
            if old is None:
                return
            self.forget(old.number)
            self.made.drop(old)
        opened = self.made.open(source, count)
        if opened is None:
            assert len(self.busy) >= SEQUENCES - (source is not None and not source.busy)
            return
        sequence, dropped = opened
        for each in dropped:
            self.forget(each.number)
        assert sequence.number not in self.held and sequence.busy
        self.held[sequence.number] = list(self.held[source.number][:count]) if source is not None else []
        self.cells[sequence.number] = list(self.cells[source.number][:count]) if source is not None else []
        self.busy.add(sequence.number)
        if self.made.swallowed(source, count):
            self.forget(source.number)
            self.made.drop(source)
        self.write(sequence.number, tokens[count:])

    @precondition(lambda self: self.busy)
    @rule(data=st.data(), tokens=st.lists(st.integers(0, 2), min_size=1, max_size=3))
    def go_on(self, data: st.DataObject, tokens: list[int]) -> None:
        number = data.draw(st.sampled_from(sorted(self.busy)))
        if len(tokens) <= min(CELLS - self.made.used, LONGEST - len(self.held[number])):
            self.write(number, tokens)

    @precondition(lambda self: self.busy)
    @rule(data=st.data(), keep=st.booleans())
    def end(self, data: st.DataObject, keep: bool) -> None:
        number = data.draw(st.sampled_from(sorted(self.busy)))
        self.busy.discard(number)
        if keep:
            self.made.rest(self.made.sequences[number])
        else:
            self.made.drop(self.made.sequences[number])
            self.forget(number)

    @invariant()
    def holds_what_it_should(self) -> None:
        assert self.made.used == len({id(cell) for cells in self.cells.values() for cell in cells})
        for sequence in self.made.sequences:
            assert sequence.tokens[: sequence.count].tolist() == self.held.get(sequence.number, [])
            assert sequence.busy == (sequence.number in self.busy)
        alive = [int(cell) for sequence in self.made.sequences for cell in sequence.cells[: sequence.count]]
        assert len(set(alive)) == self.made.used

    def common(self, number: int, tokens: list[int]) -> int:
        held = self.held[number]
        return next((at for at, (one, other) in enumerate(zip(held, tokens[:-1], strict=False)) if one != other), min(len(held), len(tokens) - 1))

    def write(self, number: int, tokens: list[int]) -> None:
        self.made.extend(self.made.sequences[number], np.array(tokens, np.int32))
        self.held[number] += tokens
        self.cells[number] += [object() for _ in tokens]

    def forget(self, number: int) -> None:
        assert number not in self.busy
        del self.held[number], self.cells[number]


TestCache = Cache.TestCase
TestCache.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_a_prompt_waits_for_the_one_that_is_being_read_and_begins_alike() -> None:
    cache = Prefixes(1000, 4, 400)
    first, second = np.arange(300, dtype=np.int32), np.concatenate([np.arange(200), [7, 7, 7]]).astype(np.int32)
    sequence, _ = cache.open(None, 0)
    sequence.planned = first
    assert cache.coming(second, 0)
    cache.extend(sequence, first[:150])
    assert cache.coming(second, 150), "50 more of the common tokens are still to come"
    cache.extend(sequence, first[150:220])
    assert not cache.coming(second, 200) and cache.source(second) == (sequence, 200)


def test_nothing_is_shared_where_the_model_cannot() -> None:
    cache = Prefixes(1000, 4, 400, share=False)
    sequence, _ = cache.open(None, 0)
    cache.extend(sequence, np.arange(100, dtype=np.int32))
    assert cache.source(np.arange(200, dtype=np.int32)) == (None, 0) and not cache.coming(np.arange(200, dtype=np.int32), 0)
