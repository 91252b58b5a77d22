"""One thread for calls that take no time: to hand each of many to a thread of its own costs more than the calls themselves."""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from suite.errors import NotReady

T = TypeVar("T")
_Job = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Any]", contextvars.Context, Callable[[], Any]]


class Lane:
    """Runs functions one after the other; the thread begins with the first. Whoever is cancelled does not wait, the function is run all the same."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False

    async def run(self, function: Callable[[], T]) -> T:
        """What the function gives or raises. Raises NotReady once the lane is closed."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        with self._lock:
            if self._closed:
                raise NotReady("The tools are stopped; call suite.start().", retry_after=5)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="suite-lane", daemon=True)
                self._thread.start()
            self._jobs.put((loop, future, contextvars.copy_context(), function))
        return await future

    def close(self) -> None:
        """Run what waits and end the thread; safe to call twice."""
        with self._lock:
            self._closed, thread, self._thread = True, self._thread, None
        if thread is not None:
            self._jobs.put(None)
            thread.join()

    def open(self) -> None:
        """Take functions again after `close`."""
        with self._lock:
            self._closed = False

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            loop, future, context, function = job
            value, error = None, None
            try:
                value = context.run(function)
            except BaseException as raised:  # noqa: BLE001 - carried to whoever waits, whatever it is
                error = raised
            try:
                loop.call_soon_threadsafe(_settle, future, value, error)
            except RuntimeError:  # the loop has ended meanwhile, and with it whoever waited
                continue


def _settle(future: asyncio.Future[Any], value: Any, error: BaseException | None) -> None:
    if future.cancelled():
        return
    if error is None:
        future.set_result(value)
    else:
        future.set_exception(error)
