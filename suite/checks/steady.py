"""Callers that ask at a steady rate, and what became of each request."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

OWN, STAND_IN, FAILED = "own", "stand-in", "failed"
OUTCOMES = (OWN, STAND_IN, FAILED)


@dataclass(frozen=True)
class Asked:
    """One request: the moments (seconds since the load began) of its begin and end, and its outcome; `why` of one that failed."""

    began: float
    ended: float
    outcome: str
    why: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)


class Steady:
    """`callers` threads that together begin `rate` requests per second, as long as each is answered in time, until `stop`.

    `ask(number)` gives an outcome and why; whatever it raises is a failure.
    """

    def __init__(self, ask: Callable[[int], tuple[str, str]], callers: int, rate: float) -> None:
        self._ask, self._callers, self._rate = ask, callers, rate
        self._rows: list[Asked] = []
        self._news, self._ending = threading.Condition(), threading.Event()
        self.began = time.monotonic()
        self._threads = [threading.Thread(target=self._call, args=(number,), name=f"steady-{number}", daemon=True) for number in range(callers)]
        for thread in self._threads:
            thread.start()

    def now(self) -> float:
        """Seconds since the load began."""
        return time.monotonic() - self.began

    def rows(self) -> list[Asked]:
        """What has ended, in the order of its end."""
        with self._news:
            return list(self._rows)

    def wait_for(self, condition: Callable[[Sequence[Asked]], bool], seconds: float) -> bool:
        """Whether the condition holds of what has ended, within so many seconds."""
        with self._news:
            return self._news.wait_for(lambda: condition(self._rows), seconds)

    def stop(self) -> list[Asked]:
        """End the load, wait for what is on its way, and give all of it."""
        self._ending.set()
        for thread in self._threads:
            thread.join()
        return self.rows()

    def _call(self, number: int) -> None:
        turn = number
        while not self._ending.wait(max(0.0, turn / self._rate - self.now())):
            began = self.now()
            try:
                outcome, why = self._ask(turn)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is what the caller got
                outcome, why = FAILED, f"{type(error).__name__}: {error}"[:200]
            with self._news:
                self._rows.append(Asked(round(began, 4), round(self.now(), 4), outcome, why))
                self._news.notify_all()
            turn += self._callers
