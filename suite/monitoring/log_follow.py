"""Following the log: new lines as they come, waited for or not."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from suite.monitoring.log_query import frame

if TYPE_CHECKING:
    import pandas as pd

INTERVAL = 0.5  # seconds between two looks; one costs some 50 µs on the host and a request of 2 ms on a guest
Row = dict[str, Any]


class Following:
    """Lines that were written after this was made. `for` waits for them (and an interrupt ends it), `async for` leaves the kernel free meanwhile,
    `new()` gives what there is and waits for nothing. It ends with `close()`, by another thread as well, and with the bench.

    A line is a mapping of the columns of `bench.logs`. Safe for one reader at a time.
    """

    def __init__(self, after: Callable[[str], tuple[list[Row], str]], cursor: str, ended: Callable[[], bool] = lambda: False,
                 interval: float = INTERVAL) -> None:
        """`after(cursor)` gives the lines after a place in the log and the next place."""
        self._after, self._cursor, self._ended, self._interval = after, cursor, ended, interval
        self._closed = threading.Event()
        self._ready: deque[Row] = deque()

    @property
    def cursor(self) -> str:
        """The place in the log up to which it was read."""
        return self._cursor

    @property
    def closed(self) -> bool:
        """Whether no line will come any more."""
        return self._closed.is_set() or self._ended()

    def new(self) -> pd.DataFrame:
        """The lines since the last look, as a table; an empty one when there are none."""
        if not self.closed:
            self._look()
        rows = [self._ready.popleft() for _ in range(len(self._ready))]
        return frame(rows)

    def close(self) -> None:
        """Stop; whoever waits for a line stops waiting. Safe to call twice."""
        self._closed.set()

    def __iter__(self) -> Following:
        return self

    def __next__(self) -> Row:
        while not self.closed:
            if self._ready or self._look():
                return self._ready.popleft()
            self._closed.wait(self._interval)
        raise StopIteration

    def __aiter__(self) -> Following:
        return self

    async def __anext__(self) -> Row:
        while not self.closed:
            if self._ready or await asyncio.to_thread(self._look):
                return self._ready.popleft()
            await asyncio.sleep(self._interval)
        raise StopAsyncIteration

    def __enter__(self) -> Following:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _look(self) -> bool:
        rows, self._cursor = self._after(self._cursor)
        self._ready.extend(rows)
        return bool(rows)
