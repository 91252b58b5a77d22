"""Parse documents in processes of their own, each kept for many: whatever a document does to its parser, this process lives and says why."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path
from typing import Any

from suite.errors import BadRequest, NotReady
from suite.knowledge.formats.extract import Extract
from suite.settings import child_environment

MAIN = Path(__file__).with_name("child.py")
AT_ONCE = 3  # processes: one for whoever indexes, others for questions meanwhile
START_S = 60.0  # how long a process may take until it has its libraries, on a machine that does much else
IDLE_S = 60.0  # a process that got no document for so long ends, and its memory is free
LARGE_MB = 256  # of memory: a process that ever needed more ends after the document, since Python gives little back
_PIECE = 1 << 20


class Parsers:
    """The processes. Safe to use from several threads; `seconds` and `megabytes` are what one document may take."""

    def __init__(self, seconds: float, megabytes: int) -> None:
        self._seconds, self._megabytes = seconds, megabytes
        self._places = threading.BoundedSemaphore(AT_ONCE)
        self._gate = threading.Lock()
        self._idle: list[_Child] = []
        self._busy: set[_Child] = set()
        self._open = True
        weakref.finalize(self, _kill_all, self._idle)  # whoever forgets to close leaves no process behind either

    def parse(self, reader: str, data: bytes) -> Extract:
        """What a reader makes of the bytes (see `extracted`).

        Raises BadRequest for what is no such file, for what takes too much time or memory, and for what its parser dies of; NotReady once closed.
        """
        with self._places:
            while True:
                child = self._taken()
                used = child.used
                try:
                    told, body = child.ask(reader, data, self._seconds)
                except TimeoutError:
                    raise BadRequest(f"takes more time to read than the {self._seconds:g} s of RAG_PARSE_SECONDS; split it, or raise that") from None
                except _Ended as error:
                    if used:  # one that had idled out, or that an earlier document had left in a bad way: only a fresh one's word counts
                        continue
                    raise BadRequest(f"its reader ended over it ({error}); open it in the program that made it and save it again") from error
                finally:
                    self._given(child)
                if "memory" in told and used:
                    continue
                if "memory" in told:
                    raise BadRequest(f"takes more memory to read than the {self._megabytes} MB of RAG_PARSE_MB; split it, or raise that")
                if "reason" in told:
                    raise BadRequest(told["reason"])
                return Extract(body.decode("utf-8"), tuple(told["pages"]))

    def close(self) -> None:
        """End all of them, also those at work."""
        with self._gate:
            self._open = False
            for child in self._busy:
                child.end()  # the thread that waits for it cleans up
        _kill_all(self._idle)

    def _taken(self) -> _Child:
        with self._gate:
            if not self._open:
                raise NotReady("No document is read any more: the stack is stopping; add it again after the next start.", part="rag", retry_after=5)
            child = self._idle.pop() if self._idle else _Child(self._seconds, self._megabytes)
            self._busy.add(child)
        return child

    def _given(self, child: _Child) -> None:
        """Keep a process that waits for the next document; end any other, whatever it was interrupted in."""
        with self._gate:
            self._busy.discard(child)
            if child.waiting and self._open:
                self._idle.append(child)
                return
        child.kill()


def _kill_all(children: list[_Child]) -> None:
    while children:
        children.pop().kill()


class _Ended(Exception):
    """The process is gone; says how it ended."""


class _Child:
    """One process. `used`: it has read a document before; `waiting`: it can take the next one."""

    def __init__(self, seconds: float, megabytes: int) -> None:
        try:
            # a session of its own: Ctrl-C in the terminal is not meant for it; -P: not our folder's modules; -B: it may write no file
            self._process = subprocess.Popen([sys.executable, "-P", "-B", str(MAIN), str(os.getpid())], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                             stderr=subprocess.DEVNULL, cwd="/", start_new_session=True, bufsize=0,
                                             env={**child_environment(), "MALLOC_ARENA_MAX": "1"})  # else threads reserve address space, which counts
        except OSError as error:
            raise BadRequest(f"cannot be read now: no process can be started to read it in ({error.strerror}); add it again later") from error
        self.used, self.waiting = False, True
        for pipe in (self._process.stdin, self._process.stdout):
            os.set_blocking(pipe.fileno(), False)
        self._buffer = bytearray()
        order = {"path": _path(), "seconds": seconds, "memory": megabytes, "idle": IDLE_S, "large": LARGE_MB}
        self._order = json.dumps(order).encode("ascii") + b"\n"
        threading.Thread(target=self._process.wait, name="suite-parser", daemon=True).start()  # so that it is no zombie after it has idled out

    def ask(self, reader: str, data: bytes, seconds: float) -> tuple[dict[str, Any], bytes]:
        """What it says of a document, and the text. Raises TimeoutError and _Ended."""
        self.waiting = False
        row = json.dumps({"reader": reader, "bytes": len(data)}).encode("ascii") + b"\n"
        soon = time.monotonic() + START_S
        try:
            for piece in (self._order + row, data):
                self._write(memoryview(piece), soon)
            self._line(soon)
        except TimeoutError:
            raise BadRequest(f"cannot be read now: the process to read it in did not begin within {START_S:.0f} s; add it again later") from None
        except OSError as error:
            raise self._ended() from error
        self._order = b""
        until = time.monotonic() + seconds
        told = self._line(until)
        body = self._exactly(told.get("bytes", 0), until)
        self.used, self.waiting = True, "memory" not in told
        return told, body

    def end(self) -> None:
        """Send it away, whatever it does."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    def kill(self) -> None:
        """End it, and let go of it; for the one thread that has it."""
        self.end()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            pipe.close()

    def _write(self, data: memoryview, until: float) -> None:
        pipe = self._process.stdin.fileno()
        while data:
            _wait(pipe, select.POLLOUT, until)
            with contextlib.suppress(BlockingIOError):
                data = data[os.write(pipe, data[:_PIECE]):]

    def _line(self, until: float) -> dict[str, Any]:
        while (end := self._buffer.find(b"\n")) < 0:
            self._read(until)
        return json.loads(self._cut(end + 1))

    def _exactly(self, count: int, until: float) -> bytes:
        while len(self._buffer) < count:
            self._read(until)
        return self._cut(count)

    def _cut(self, count: int) -> bytes:
        piece = bytes(self._buffer[:count])
        del self._buffer[:count]
        return piece

    def _read(self, until: float) -> None:
        pipe = self._process.stdout.fileno()
        _wait(pipe, select.POLLIN, until)
        with contextlib.suppress(BlockingIOError):
            piece = os.read(pipe, _PIECE)
            if not piece:
                raise self._ended()
            self._buffer += piece

    def _ended(self) -> _Ended:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(START_S)  # it has closed its output: the rest takes no time
        code = self._process.poll()
        return _Ended("it closed its output" if code is None else f"with status {code}" if code >= 0 else signal.Signals(-code).name)


def _wait(pipe: int, event: int, until: float) -> None:
    poll = select.poll()
    poll.register(pipe, event)
    if not poll.poll(max(0.0, until - time.monotonic()) * 1000):
        raise TimeoutError


def _path() -> list[str]:
    """Where this process finds its modules, for the child to find the same: without the current directory, whose files may be anybody's."""
    root = str(MAIN.parents[3])
    known = [entry for entry in sys.path if os.path.isabs(entry)]
    return known if root in known else [root, *known]
