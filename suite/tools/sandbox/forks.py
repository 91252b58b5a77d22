"""Every new process and thread is asked for: the kernel holds the call until the supervisor has answered it.

RLIMIT_NPROC would not do: it exempts root, and without namespaces it counts all processes of the user.
"""

from __future__ import annotations

import errno
import fcntl
import struct

from suite.tools.sandbox.limits import Limits
from suite.tools.sandbox.processes import Process, Tree

_RECEIVE, _SEND = 0xC0502100, 0xC0182101  # SECCOMP_IOCTL_NOTIF_RECV and _SEND
_REQUEST = struct.Struct("=QIIiIQ6Q")  # id, pid, flags, call, architecture, instruction, arguments
_ANSWER = struct.Struct("=QqiI")  # id, value, error, flags
_CONTINUE = 1
_THREAD = 0x10000  # CLONE_THREAD
_GONE = (errno.ENOENT, errno.EINPROGRESS)  # the caller was killed, or interrupted and will ask again


class Forks:
    """Answers requests for processes and threads, as long as there is room for them."""

    def __init__(self, tree: Tree, limits: Limits, clone: int) -> None:
        self._tree, self._limits, self._clone = tree, limits, clone
        self._processes = self._threads = 1  # the first one; more at most than there are

    def answer(self, listener: int) -> bool:
        """Take one request and let it pass; false, and no answer, when there would be too many of them."""
        request = bytearray(_REQUEST.size)
        try:
            fcntl.ioctl(listener, _RECEIVE, request)
        except OSError as error:
            if error.errno in _GONE:
                return True
            raise
        number, _, _, call, _, _, flags, *_ = _REQUEST.unpack(request)
        thread = call == self._clone and bool(flags & _THREAD)
        if not self._room(thread):
            self.count(self._tree.members())  # some may have ended since
            if not self._room(thread):
                return False
        self._threads += 1
        self._processes += not thread
        try:
            fcntl.ioctl(listener, _SEND, _ANSWER.pack(number, 0, 0, _CONTINUE))
        except OSError as error:
            if error.errno not in _GONE:
                raise
        return True

    def count(self, members: list[Process]) -> bool:
        """Take note of how many there are; false when there are too many."""
        self._processes, self._threads = len(members), sum(one.threads for one in members)
        return self._processes <= self._limits.processes and self._threads <= self._limits.threads

    def _room(self, thread: bool) -> bool:
        return self._threads < self._limits.threads and (thread or self._processes < self._limits.processes)
