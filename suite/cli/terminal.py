"""What commands that talk to a person have in common: the process that a stack may run in, and what is shown."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from suite.bench import Bench

ENDING = (signal.SIGTERM, signal.SIGHUP)
INSIST_SECONDS = 0.5


@contextmanager
def joined() -> Iterator[Bench]:
    """The stack that runs, or one for as long as this takes."""
    from suite.bench import start

    with own_process():
        say_looking()
        bench = start(attach=True)
        try:
            yield bench
        finally:
            bench.stop()


def say_looking() -> None:
    """Tell a person at a terminal why nothing happens for a moment."""
    if sys.stderr.isatty():
        print(dim("Finding the stack, or starting one …"), file=sys.stderr)


@contextmanager
def own_process() -> Iterator[None]:
    """While a stack may run in it: files for nobody else, and `kill` or a closed terminal ends it in order, once."""
    mask, before, ending = os.umask(0o077), {}, threading.Event()

    def ended(number: int, _frame: Any) -> None:
        if not ending.is_set():
            ending.set()
            raise SystemExit(128 + number)

    try:
        if threading.current_thread() is threading.main_thread():
            before = {number: signal.signal(number, ended) for number in ENDING}
            with _insisting(ending):
                yield
        else:
            yield
    finally:
        os.umask(mask)
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _insisting(ending: threading.Event) -> Iterator[None]:
    """Send a signal that ends again, until Python has seen it.

    One that comes while a prompt is being written is kept for later, and then readline waits for a key: without this, until somebody presses one.
    """
    told, tell = socket.socketpair()
    tell.setblocking(False)  # a signal is never waited for
    before = signal.set_wakeup_fd(tell.fileno(), warn_on_full_buffer=False)
    main = threading.get_ident()

    def insist() -> None:
        while number := told.recv(1):
            while number[0] in ENDING and not ending.wait(INSIST_SECONDS):
                signal.pthread_kill(main, number[0])

    thread = threading.Thread(target=insist, name="suite-signals", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        signal.set_wakeup_fd(before)
        tell.close()
        thread.join()
        told.close()


def when(seconds: float) -> str:
    """UTC seconds since 1970 in local time, to the second."""
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S")


def write(text: str) -> None:
    """Show a piece now; on a terminal without the control characters by which a text could take the terminal over."""
    if sys.stdout.isatty():
        text = "".join(char for char in text if char in "\n\t" or not (char < " " or "\x7f" <= char <= "\x9f"))
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "replace").decode(encoding, "replace"))
    sys.stdout.flush()


def dim(text: str) -> str:
    """The text in grey, where standard error is a terminal."""
    return f"\x1b[2m{text}\x1b[0m" if sys.stderr.isatty() else text
