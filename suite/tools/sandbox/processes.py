"""The processes of one run: what they use, and their certain end."""

from __future__ import annotations

import os
import select
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from subprocess import Popen, TimeoutExpired
from typing import Protocol

from suite.errors import ToolFailed

_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")
_LAST_WAIT = 10.0  # seconds that killed processes may take to go; more means that the kernel holds one


@dataclass(frozen=True)
class Process:
    """One line of /proc/*/stat; `cpu` in seconds, with that of children which ended and were waited for."""

    pid: int
    state: str
    parent: int
    group: int
    cpu: float
    threads: int
    resident: int


class Tree(Protocol):
    """The processes of one run."""

    def members(self) -> list[Process]:
        """Those there are now, the sandbox's own not among them."""
        ...

    def kill(self) -> None:
        """End all of them, and return when none is left and the child was waited for."""
        ...


def every_process() -> list[Process]:
    """All processes of the machine that can be seen."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(FileNotFoundError, ProcessLookupError, PermissionError), open(f"/proc/{name}/stat", "rb") as stream:
                found.append(_parse(int(name), stream.read()))
    return found


def crowd() -> int:
    """How many threads the machine has: one short file, read much faster than all processes."""
    with open("/proc/loadavg", "rb") as stream:
        return int(stream.read().split()[3].partition(b"/")[2])


def _parse(pid: int, line: bytes) -> Process:
    words = line[line.rindex(b")") + 2:].split()  # the name before it may hold anything
    cpu = sum(map(int, words[11:15])) / _TICKS
    return Process(pid, words[0].decode(), int(words[1]), int(words[2]), cpu, int(words[17]), int(words[21]) * _PAGE)


def readable(fd: int, seconds: float) -> bool:
    """Whether there is something to read within so many seconds; select() knows no descriptors above 1023."""
    waiting = select.poll()
    waiting.register(fd, select.POLLIN)
    return bool(waiting.poll(seconds * 1000))


def _wait(child: Popen[bytes]) -> None:
    try:
        child.wait(_LAST_WAIT)
    except TimeoutExpired:
        raise ToolFailed(f"A process of the sandbox ({child.pid}) does not end; look at it with `ps {child.pid}`.") from None


class Group:
    """The processes of a group that none can leave, because setsid and setpgid are refused: one signal ends all of them at once."""

    def __init__(self, leader: Popen[bytes]) -> None:
        self._leader = leader

    def members(self) -> list[Process]:
        """The group, zombies included."""
        return [one for one in every_process() if one.group == self._leader.pid]

    def kill(self) -> None:
        """One SIGKILL to the group; the kernel lets no process fork away from it. The leader is waited for last: until then its number is its own."""
        group, until = self._leader.pid, time.monotonic() + _LAST_WAIT
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
        _wait(self._leader)
        with suppress(ProcessLookupError):
            while not os.killpg(group, 0) and any(one.state not in "ZX" for one in self.members()):
                if time.monotonic() > until:
                    raise ToolFailed(f"A process of the sandbox (group {group}) does not end; look at it with `ps -g {group}`.")
                time.sleep(0.001)


class Namespace:
    """The processes of a pid namespace: they end with its first one, and the kernel ends that only when all others are gone."""

    def __init__(self, bwrap: Popen[bytes], first: int) -> None:
        self._bwrap, self._first = bwrap, first
        try:
            self._pidfd: int | None = os.pidfd_open(first)
        except ProcessLookupError:  # it has ended, and with it all others
            self._pidfd = None

    def members(self) -> list[Process]:
        """Descendants of bwrap, without bwrap's own two processes."""
        children: dict[int, list[Process]] = {}
        for one in every_process():
            children.setdefault(one.parent, []).append(one)
        found, queue = [], [self._bwrap.pid]
        while queue:
            for child in children.get(queue.pop(), []):
                queue.append(child.pid)
                if child.pid != self._first:
                    found.append(child)
        return found

    def kill(self) -> None:
        """SIGKILL to the first process, then wait until the namespace is empty."""
        if self._pidfd is not None:
            try:
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
                if not readable(self._pidfd, _LAST_WAIT):
                    raise ToolFailed(f"A sandbox (process {self._first}) does not end; look at it with `ps {self._first}`.")
            finally:
                os.close(self._pidfd)
                self._pidfd = None
        _wait(self._bwrap)
