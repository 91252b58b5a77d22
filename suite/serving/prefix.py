"""Which sequence of the cache holds which tokens, what a new prompt can take from them, and what has to go when room is needed.

Pure bookkeeping: it mirrors what Context does in llama.cpp's cache, where sequences that share a beginning share its cells.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

LEAST_SHARED = 8  # tokens; a shorter common beginning is read again rather than kept alive for it


@dataclass(eq=False)
class Sequence:
    """Tokens that are in the cache, in order: `tokens[:count]`, and the cell that each of them lies in. `busy` while a reply is written to it."""

    number: int
    tokens: np.ndarray
    cells: np.ndarray
    count: int = 0
    busy: bool = False
    used: int = 0  # when it was last of use, as a running number
    planned: np.ndarray = field(default_factory=lambda: np.empty(0, np.int32))  # the whole prompt that is being read into it

    def common(self, tokens: np.ndarray) -> int:
        """How many tokens this sequence and `tokens` have in common from the beginning."""
        return _common(self.tokens[: self.count], tokens)


class Prefixes:
    """`size` cells, `sequences` sequences of at most `longest` tokens."""

    def __init__(self, size: int, sequences: int, longest: int, share: bool = True) -> None:
        self.size, self.used, self._share, self._clock = size, 0, share, 0
        self._holders = np.zeros(size, np.int32)  # how many sequences share each cell
        self._free = list(range(size - 1, -1, -1))
        self.sequences = [Sequence(number, np.zeros(longest, np.int32), np.zeros(longest, np.int32)) for number in range(sequences)]

    def source(self, tokens: np.ndarray) -> tuple[Sequence | None, int]:
        """The sequence that a prompt can take most of its beginning from, and how many tokens; the last one is always read, for its scores."""
        if not self._share:
            return None, 0
        best = max(self.sequences, key=lambda each: (each.common(tokens[:-1]), not each.busy), default=None)
        count = best.common(tokens[:-1]) if best is not None else 0
        return (best, count) if count >= LEAST_SHARED else (None, 0)

    def coming(self, tokens: np.ndarray, than: int) -> bool:
        """Whether a prompt that is being read now will soon give this one clearly more to take than `than` tokens."""
        return self._share and any(each.busy and _common(each.planned, tokens[:-1]) >= than + 4 * LEAST_SHARED
                                   and each.count < min(len(each.planned), _common(each.planned, tokens[:-1])) for each in self.sequences)

    def open(self, source: Sequence | None, count: int) -> tuple[Sequence, list[Sequence]] | None:
        """A busy sequence that begins with `count` tokens of `source`, and the sequences that were emptied for it; None when all are busy."""
        dropped = []
        target = next((each for each in self.sequences if not each.busy and each.count == 0), None)
        if target is None:
            idle = [each for each in self.sequences if not each.busy and each is not source]
            if not idle:
                return None
            target = min(idle, key=lambda each: each.used)
            self.drop(target)
            dropped.append(target)
        target.busy = True
        self._touch(target)
        if source is not None:
            self._touch(source)
            target.tokens[:count], target.cells[:count], target.count = source.tokens[:count], source.cells[:count], count
            self._holders[target.cells[:count]] += 1
        return target, dropped

    def swallowed(self, source: Sequence | None, count: int) -> bool:
        """Whether an idle source has nothing that its heir does not have."""
        return source is not None and not source.busy and source.count == count

    def oldest(self, keep: Sequence | None = None) -> Sequence | None:
        """The idle sequence that was of use longest ago."""
        idle = [each for each in self.sequences if not each.busy and each.count and each is not keep]
        return min(idle, key=lambda each: each.used) if idle else None

    def extend(self, sequence: Sequence, tokens: np.ndarray) -> None:
        """Note that tokens were computed into a sequence."""
        count = len(tokens)
        cells = [self._free.pop() for _ in range(count)]
        self._holders[cells] = 1
        self.used += count
        end = sequence.count + count
        sequence.tokens[sequence.count:end], sequence.cells[sequence.count:end], sequence.count = tokens, cells, end

    def rest(self, sequence: Sequence) -> None:
        """The reply is written: keep the tokens for whoever begins alike."""
        sequence.busy, sequence.planned = False, np.empty(0, np.int32)
        self._touch(sequence)

    def drop(self, sequence: Sequence) -> None:
        """Forget a sequence; cells that no other shares become free."""
        cells = sequence.cells[: sequence.count]
        self._holders[cells] -= 1
        free = cells[self._holders[cells] == 0]
        self._free.extend(free.tolist())
        self.used -= len(free)
        sequence.count, sequence.busy, sequence.planned = 0, False, np.empty(0, np.int32)

    def _touch(self, sequence: Sequence) -> None:
        self._clock += 1
        sequence.used = self._clock


def _common(one: np.ndarray, other: np.ndarray) -> int:
    length = min(len(one), len(other))
    different = np.flatnonzero(one[:length] != other[:length])
    return int(different[0]) if len(different) else length
