"""What the next step does when prompts wait to be read beside running replies: enough reading to get on, so evenly that no reader notices.

A few tokens of a prompt in each step of the replies would be the simplest, and is slow: llama.cpp reads few tokens at a time badly, the worse the
longer the context is. So prompts are read in larger portions without the replies, and before each portion the replies are written ahead. Their
readers get the tokens one by one at an even distance (`gap`), also while a portion is being read.
"""

from __future__ import annotations

GAP = 3.3  # how many times farther apart than usual the tokens of a reply may come, when prompts are read beside it
READ_S = 0.75  # seconds that one portion of a prompt should take: a new request waits so long at most
LEAST, WEIGHT = 16, 0.25
SPARE = 1.5  # how much longer than foreseen a portion may take before a reader notices; costs nothing but writing farther ahead
# prompts that fit into one step are read at full speed for as long as replies have been held up by less than this; it comes back slowly
CREDIT_S, RETURN = 4.0, 0.25


class Pace:
    """Learns from the steps that were made: seconds of a step that only writes, by number of replies, and seconds per token that is read."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._writing: dict[int, float] = {}
        self._per_token = 0.0
        self._credit = CREDIT_S

    def gap(self, writing: int, waiting: int) -> float:
        """Seconds from one token of a reply to its next, as its reader is to get them; 0 where no prompt waits.

        The more prompts wait in comparison with the replies that they hold up, the farther apart.
        """
        return self._writing.get(writing, 0.0) * GAP * max(1.0, 2.0 * waiting / writing) if waiting and writing else 0.0

    def plan(self, writing: int, waiting: int, short: int = 0, ahead: float = 0.0) -> tuple[int, bool]:
        """How many tokens of prompts the next step reads, and whether it writes, with so many replies running and so many prompts to be read.

        `short` is how many of those prompts fit into one step: many short ones, asked at the same time, are better begun soon than one by one.
        `ahead` is in how many seconds the first of the readers has to get a token that is not written yet.
        """
        if not waiting:
            return 0, True
        if not writing:
            return self.most, False
        if short and self._credit > 0:
            return self.most, True
        if writing not in self._writing:
            return 0, True  # to see how long that takes
        portion = max(LEAST, min(self.most, int(READ_S / self._per_token))) if self._per_token else LEAST
        needed = SPARE * portion * self._per_token + self._writing[writing]  # and then there is the next token to be written
        return (portion, False) if ahead >= needed else (0, True)

    def note(self, writing: int, read: int, seconds: float) -> None:
        """What a step took that wrote so many replies and read so many tokens of prompts."""
        self._credit = min(CREDIT_S, self._credit + RETURN * seconds)
        if not read:
            known = self._writing.get(writing)
            self._writing[writing] = seconds if known is None else known + WEIGHT * (seconds - known)
            return
        base = self._writing.get(writing, 0.0)
        if writing:
            self._credit -= max(0.0, seconds - GAP * base)
        cost = max(seconds - base, seconds * 0.1) / read
        self._per_token = cost if not self._per_token else self._per_token + WEIGHT * (cost - self._per_token)
