"""When a model server that keeps failing is left alone, and when it is tried again."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable

CLOSED, OPEN, HALF_OPEN = "closed", "open", "half-open"


class Breaker:
    """One server's breaker: closed lets requests through; after `failures` in a row it is open for `seconds`; then half-open: one probe at a time.

    A probe that succeeds closes it, one that fails opens it again. What a request says about a state that has passed does not count.
    """

    def __init__(self, failures: int = 3, seconds: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.failures, self.seconds, self._clock = failures, seconds, clock
        self._lock = threading.RLock()  # reentrant: a stream that is collected settles its permit, in whichever thread that happens
        self._row, self._until, self._open = 0, 0.0, False
        self._generation = 0
        self._probe: weakref.ref[Permit] | None = None  # weak: a probe that nobody settled must not keep the server out for ever
        self.why = ""  # the last failure

    @property
    def state(self) -> str:
        """closed, open or half-open."""
        with self._lock:
            return CLOSED if not self._open else OPEN if self._clock() < self._until else HALF_OPEN

    def rests(self) -> float:
        """Seconds until a request may pass: 0 when one may now; what a probe will show is not foreseen."""
        with self._lock:
            return max(0.0, self._until - self._clock()) if self._open else 0.0

    def enter(self) -> Permit | None:
        """Leave to send one request, to be settled; None when the server is to be left alone."""
        with self._lock:
            if not self._open:
                return Permit(self, self._generation)
            if self._clock() < self._until or (self._probe is not None and self._probe() is not None):
                return None
            permit = Permit(self, self._generation)
            self._probe = weakref.ref(permit)
            return permit

    def _good(self, permit: Permit, ended: bool) -> None:
        with self._lock:
            if permit.generation != self._generation:
                return
            if self._open:  # a probe: nobody else has a permit of this generation
                self._change(False)
                permit.generation = self._generation  # it may still break off, and then counts as one failure
            elif ended:
                self._row = 0

    def _bad(self, permit: Permit, why: str) -> None:
        with self._lock:
            if permit.generation != self._generation:
                return
            self.why = why
            self._row += 1
            if self._open or self._row >= self.failures:
                self._until = self._clock() + self.seconds
                self._change(True)

    def _void(self, permit: Permit) -> None:
        with self._lock:
            if self._probe is not None and self._probe() is permit:
                self._probe = None

    def _change(self, opened: bool) -> None:
        self._open, self._row, self._probe = opened, 0, None
        self._generation += 1


class Permit:
    """Leave for one request; settle it once by `good`, `bad` or `void`."""

    def __init__(self, breaker: Breaker, generation: int) -> None:
        self._breaker, self.generation, self._settled = breaker, generation, False

    def begun(self) -> None:
        """The server has begun to answer: enough for a probe, not yet enough to forget earlier failures."""
        if not self._settled:
            self._breaker._good(self, False)

    def good(self) -> None:
        """The server did its work."""
        if not self._settle():
            self._breaker._good(self, True)

    def bad(self, why: str) -> None:
        """The server failed."""
        if not self._settle():
            self._breaker._bad(self, why)

    def void(self) -> None:
        """The request says nothing about the server: it was taken back, or refused for another reason."""
        if not self._settle():
            self._breaker._void(self)

    def _settle(self) -> bool:
        settled, self._settled = self._settled, True
        return settled
