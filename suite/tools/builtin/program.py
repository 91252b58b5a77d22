"""One run of an installed program: its output bounded, its time bounded, ended when nobody waits for it any longer."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from suite.errors import TimedOut, ToolFailed
from suite.tools.tool import Watch

GRACE = 2.0  # seconds between asking a program to end and ending it
LOOK = 0.05  # seconds between two looks at whether anybody still waits
ERROR_LIMIT = 10_000  # bytes of the error stream that are kept


@dataclass(frozen=True)
class Outcome:
    """How a run ended; `cut` says that there was more output than `out` holds, and that the program was ended for it."""

    code: int
    out: bytes
    err: bytes
    cut: bool = False

    def sentence(self) -> str:
        """The first line of what the program complained of."""
        text = self.err.decode("utf-8", "replace").strip()
        return text.splitlines()[0][:300] if text else "no reason given"


def run_program(command: Sequence[str], *, name: str, cwd: Path | str, env: Mapping[str, str], stdin: bytes, limit: int, deadline: float,
                watch: Watch, pass_fds: tuple[int, ...] = ()) -> Outcome:
    """Run a program without a shell and without a terminal; `deadline` is a time of `time.monotonic()`.

    Raises TimedOut after the deadline and ToolFailed when the caller has gone; the program and its children are ended in both cases.
    """
    with tempfile.TemporaryFile() as source:
        source.write(stdin)
        source.seek(0)
        # a session of its own: no terminal to ask on, and one group to end it by
        with subprocess.Popen(command, cwd=cwd, env=dict(env), stdin=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=pass_fds,
                              start_new_session=True) as child:
            try:
                return _follow(child, name, limit, deadline, watch)
            finally:
                _end(child)


def _follow(child: subprocess.Popen[bytes], name: str, limit: int, deadline: float, watch: Watch) -> Outcome:
    assert child.stdout is not None and child.stderr is not None
    kept: dict[IO[bytes], bytearray] = {child.stdout: bytearray(), child.stderr: bytearray()}
    with selectors.DefaultSelector() as selector:
        for stream in kept:
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map():
            if watch.halted():
                raise ToolFailed(f"{name} was ended, since nobody waits for it any longer; call it again.", tool=name)
            if time.monotonic() > deadline:
                raise TimedOut(f"{name} was ended because it took too long; ask for less.", tool=name)
            for key, _ in selector.select(LOOK):
                piece = os.read(key.fd, 1 << 16)
                if not piece:
                    selector.unregister(key.fileobj)
                    continue
                stream = key.fileobj
                assert not isinstance(stream, int)
                kept[stream] += piece
                if stream is child.stderr:
                    del kept[stream][ERROR_LIMIT:]
                elif len(kept[stream]) > limit:
                    return Outcome(0, bytes(kept[child.stdout][:limit]), b"", cut=True)
    try:
        code = child.wait(max(0.0, deadline - time.monotonic()) + GRACE)
    except subprocess.TimeoutExpired:
        raise TimedOut(f"{name} was ended because it took too long; ask for less.", tool=name) from None
    return Outcome(code, bytes(kept[child.stdout]), bytes(kept[child.stderr]))


def _end(child: subprocess.Popen[bytes]) -> None:
    """Ask first: git takes its lock files away when it is asked."""
    if child.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            child.wait(GRACE)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)  # what the program started and left behind
