"""Watching one run: what it prints, what it uses, and which limit it breaks."""

from __future__ import annotations

import os
import platform
import selectors
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO

from suite.errors import ToolFailed
from suite.tools.sandbox import seccomp
from suite.tools.sandbox.folder import too_much
from suite.tools.sandbox.forks import Forks
from suite.tools.sandbox.limits import Limits
from suite.tools.sandbox.processes import Process
from suite.tools.sandbox.start import Started

TICK = 0.02  # seconds between two looks at the program, more where a look takes long
_FIRST = 0.05  # seconds until the tree of processes is looked at: most programs have ended by then
_SHARE = 10  # a look may take one part in so many of the time
_SIGNALS = {128 + 24: "cpu", 128 + 25: "disk", 128 + 31: "syscall"}  # SIGXCPU, SIGXFSZ, SIGSYS, as a shell reports them


@dataclass
class Stream:
    """What a program printed: the first `room` bytes are kept, the rest is counted."""

    room: int
    kept: bytearray = field(default_factory=bytearray)
    size: int = 0

    def add(self, piece: bytes) -> None:
        """Keep what there is room for."""
        self.kept += piece[:max(0, self.room - self.size)]
        self.size += len(piece)

    def text(self) -> str:
        """What was kept, and a last line that says what was not."""
        text = self.kept.decode("utf-8", "replace")
        return text if self.size <= self.room else f"{text}\n[cut: only the first {self.room} of {self.size} bytes or more are shown]\n"


@dataclass
class Watched:
    """A run that is being watched."""

    started: Started
    folder: Path
    limits: Limits
    timeout: float
    halted: Callable[[], bool]

    def __post_init__(self) -> None:
        self.began = time.monotonic()
        self.stdout, self.stderr = Stream(self.limits.output), Stream(self.limits.output)
        self.process, self.tree = self.started.process, self.started.tree
        self._forks = Forks(self.tree, self.limits, seccomp.numbers(platform.machine())["clone"])
        self._opened: list[int] = []
        self.confined = False  # whether the child got so far as to run the program
        self._next, self._cpu = self.began + _FIRST, 0.0

    def watch(self) -> str:
        """Wait for the end, or bring it about; gives which limit was broken, as `Ran.ended` names it. No process is left afterwards.

        Raises ToolFailed when the child could not be confined, so that nothing was run.
        """
        with ExitStack() as stack:
            selector = stack.enter_context(selectors.DefaultSelector())
            stack.callback(self._close)
            stack.callback(self.tree.kill)  # before anything is closed: what waits for an answer is to get none
            for pipe, stream in self._streams():
                selector.register(pipe, selectors.EVENT_READ, partial(self._read, selector, pipe, stream))
            greeting = self.started.listener
            selector.register(greeting, selectors.EVENT_READ, partial(self._greet, selector, greeting))
            gone = os.pidfd_open(self.process.pid)
            self._opened.append(gone)
            selector.register(gone, selectors.EVENT_READ, None)
            ended, over = "", False
            while not ended and not over:
                for key, _ in selector.select(TICK):
                    over = over or key.data is None
                    ended = ended or (key.data() if key.data else "")
                ended = ended or self._broken()
        for pipe, stream in self._streams():
            while _take(pipe.fileno(), stream):  # what is left: nobody can write any more
                pass
        if not ended and not self.confined:
            reason = self.stderr.text().strip().rpartition("\n")[2] or f"status {self.returncode()}"
            raise ToolFailed(f"The sandbox did not get ready, so nothing was run ({reason[:300]}); mend that and call again.")
        return ended or _SIGNALS.get(self.returncode(), "")

    def _streams(self) -> list[tuple[IO[bytes], Stream]]:
        assert self.process.stdout is not None and self.process.stderr is not None  # both were asked for
        return [(self.process.stdout, self.stdout), (self.process.stderr, self.stderr)]

    def _read(self, selector: selectors.BaseSelector, pipe: IO[bytes], stream: Stream) -> str:
        if not _take(pipe.fileno(), stream):
            selector.unregister(pipe)
        return ""

    def _greet(self, selector: selectors.BaseSelector, greeting: socket.socket) -> str:
        """The child sends `+` with the descriptor on which the kernel asks, and `!` when it has given up its rights; nothing when it ends."""
        said, opened, _, _ = socket.recv_fds(greeting, 1, 1)
        for fd in opened:
            self._opened.append(fd)
            selector.register(fd, selectors.EVENT_READ, partial(self._answer, fd))
        self.confined = self.confined or said == b"!"
        if not said:
            selector.unregister(greeting)
        return ""

    def _close(self) -> None:
        self.started.listener.close()
        while self._opened:
            os.close(self._opened.pop())

    def _answer(self, listener: int) -> str:
        return "" if self._forks.answer(listener) else "processes"

    def returncode(self) -> int:
        """The program's exit status; 128 and its number for a signal, as a shell has it."""
        code = self.process.returncode
        return 128 - code if code < 0 else code

    def _broken(self) -> str:
        """The limit that is broken now; the tree of processes is looked at only every so often."""
        now = time.monotonic()
        if self.halted():
            return "halted"
        if now - self.began > self.timeout:
            return "timeout"
        if self.stdout.size + self.stderr.size > self.limits.flood:
            return "output"
        if now < self._next:
            return ""
        found = self._over(self.tree.members())
        spent = time.monotonic() - now
        self._next = now + max(TICK, spent * _SHARE)
        return found

    def _over(self, members: list[Process]) -> str:
        limits = self.limits
        if not self._forks.count(members):
            return "processes"
        if sum(one.resident for one in members) > limits.memory:
            return "memory"
        self._cpu = max(self._cpu, sum(one.cpu for one in members))
        if self._cpu > limits.cpu:
            return "cpu"
        return "disk" if too_much(self.folder, limits.folder, limits.entries) or _unnamed(members) > limits.folder else ""


def _take(fd: int, stream: Stream) -> bool:
    """Read once; false at the end of the pipe. Only after a selector said that there is something, or when nobody can write any more."""
    piece = os.read(fd, 1 << 16)
    stream.add(piece)
    return bool(piece)


def _unnamed(members: list[Process]) -> int:
    """Bytes of open files that have no name any more: they take disk space that no folder shows. Each is counted once."""
    sizes: dict[tuple[int, int], int] = {}
    for one in members:
        try:
            names = os.listdir(f"/proc/{one.pid}/fd")
            for name in names:
                facts = os.stat(f"/proc/{one.pid}/fd/{name}")
                if facts.st_nlink == 0 and facts.st_size:
                    sizes[facts.st_dev, facts.st_ino] = facts.st_blocks * 512
        except OSError:  # it ended just now, or is a zombie
            continue
    return sum(sizes.values())
