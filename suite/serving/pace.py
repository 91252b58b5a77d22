"""How much of the waiting prompts one step may read beside running replies: enough to get on, little enough that no reader notices."""

from __future__ import annotations

GAP = 4.0  # how many times longer than an ordinary step one may take, when prompts are read beside replies
LEAST, REFRESH, WEIGHT = 8, 32, 0.25
# prompts that fit into one step are read at full speed for as long as replies have been held up by less than this; it comes back slowly
CREDIT_S, RETURN = 4.0, 0.25


class Pace:
    """Learns from the steps that were made: seconds of a step that only writes, by number of replies, and seconds per token that is read."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._writing: dict[int, float] = {}
        self._per_token = 0.0
        self._since = 0
        self._credit = CREDIT_S

    def tokens(self, writing: int, waiting: int, short: int = 0) -> int:
        """How many tokens of prompts the next step may read, with so many replies running and so many prompts waiting to be read.

        `short` is how many of those prompts fit into one step: many short ones, asked at the same time, are better begun soon than one by one.
        """
        if not waiting:
            return 0
        if not writing or (short and self._credit > 0):
            return self.most
        ordinary = self._writing.get(writing)
        if ordinary is None or self._since >= REFRESH:
            return 0  # a step that only writes, to see how long it takes
        if not self._per_token:
            return LEAST * 4
        # the more prompts wait in comparison with the replies that they hold up, the more room they get
        allowed = ordinary * (GAP * max(1.0, 2.0 * waiting / writing) - 1.0)
        return max(LEAST, min(self.most, int(allowed / self._per_token)))

    def note(self, writing: int, read: int, seconds: float) -> None:
        """What a step took that wrote so many replies and read so many tokens of prompts."""
        self._credit = min(CREDIT_S, self._credit + RETURN * seconds)
        if not read:
            self._since = 0
            known = self._writing.get(writing)
            self._writing[writing] = seconds if known is None else known + WEIGHT * (seconds - known)
            return
        self._since += bool(writing)
        base = self._writing.get(writing, 0.0)
        if writing:
            self._credit -= max(0.0, seconds - GAP * base)
        cost = max(seconds - base, seconds * 0.1) / read
        self._per_token = cost if not self._per_token else self._per_token + WEIGHT * (cost - self._per_token)
