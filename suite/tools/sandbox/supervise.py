"""Watching one run: what it prints, what it uses, and which limit it breaks."""

from __future__ import annotations

import os
import selectors
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from suite.errors import ToolFailed
from suite.tools.sandbox.folder import too_much
from suite.tools.sandbox.limits import Limits
from suite.tools.sandbox.processes import Process, crowd
from suite.tools.sandbox.start import Started

TICK = 0.01  # seconds between two looks at the program
_EVERY = 0.02  # seconds between two looks at its processes, which take longer; at once when the machine has many more of them
_FIRST = 0.05  # seconds until the tree of processes is looked at: most programs have ended by then
_SHARE = 10  # a look may take one part in so many of the time; half of it while the machine gets fuller
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
        self._crowd = crowd()
        self._soonest, self._next, self._cpu = self.began, self.began + _FIRST, 0.0

    def watch(self) -> str:
        """Wait for the end, or bring it about; gives which limit was broken, as `Ran.ended` names it. No process is left afterwards.

        Raises ToolFailed when the child could not be confined, so that nothing was run.
        """
        gone = os.pidfd_open(self.process.pid)
        try:
            ended = self._wait(gone)
        finally:
            os.close(gone)
            self.tree.kill()
            confined = os.read(self.started.ready, 1)
            os.close(self.started.ready)
        for pipe, stream in self._streams():
            os.set_blocking(pipe.fileno(), False)
            while _take(pipe.fileno(), stream):  # what is left
                pass
        if not ended and not confined:
            reason = self.stderr.text().strip().rpartition("\n")[2] or f"status {self.returncode()}"
            raise ToolFailed(f"The sandbox did not get ready, so nothing was run ({reason[:300]}); mend that and call again.")
        return ended or _SIGNALS.get(self.returncode(), "")

    def _wait(self, gone: int) -> str:
        """Read what is printed until the child has ended or a limit is broken."""
        with selectors.DefaultSelector() as selector:
            selector.register(gone, selectors.EVENT_READ)
            for pipe, stream in self._streams():
                selector.register(pipe, selectors.EVENT_READ, stream)
            ended, over = "", False
            while not ended and not over:
                for key, _ in selector.select(TICK):
                    if key.data is None:
                        over = True
                    elif not _take(key.fd, key.data):
                        selector.unregister(key.fileobj)
                ended = self._broken()
        return ended

    def _streams(self) -> list[tuple[IO[bytes], Stream]]:
        assert self.process.stdout is not None and self.process.stderr is not None  # both were asked for
        return [(self.process.stdout, self.stdout), (self.process.stderr, self.stderr)]

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
        if now < self._next and (now < self._soonest or crowd() - self._crowd <= self.limits.processes):
            return ""
        found = self._over(self.tree.members())
        self._crowd = crowd()
        spent = time.monotonic() - now
        self._soonest, self._next = now + 2 * spent, now + max(_EVERY, spent * _SHARE)
        return found

    def _over(self, members: list[Process]) -> str:
        limits = self.limits
        if len(members) > limits.processes or sum(one.threads for one in members) > limits.threads:
            return "processes"
        if sum(one.resident for one in members) > limits.memory:
            return "memory"
        self._cpu = max(self._cpu, sum(one.cpu for one in members))
        if self._cpu > limits.cpu:
            return "cpu"
        return "disk" if too_much(self.folder, limits.folder, limits.entries) or _unnamed(members) > limits.folder else ""


def _take(fd: int, stream: Stream) -> bool:
    """Read once; false at the end of the pipe, or when there is nothing in it."""
    try:
        piece = os.read(fd, 1 << 16)
    except BlockingIOError:
        return False
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
