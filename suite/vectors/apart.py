"""Work on a shard's files in a child process, which may take long or die of what it reads without harm to this one."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from suite.errors import NotReady, StorageError
from suite.settings import child_environment

CHILD = Path(__file__).with_name("edge_child.py")
FEW_ARENAS = {"MALLOC_ARENA_MAX": "1"}  # for glibc: each of the engine's threads would keep memory of its own
NOTHING_TO_DO = 5  # as edge_child.py says it


def release_freed() -> None:
    """Give memory that was freed back to the system, which the C library keeps otherwise: a child needs room."""
    with contextlib.suppress(AttributeError, OSError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)


class Apart:
    """One child at a time, which `stop` ends."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False
        self._starting = threading.Lock()

    def run(self, verb: str, place: Path) -> bool:
        """`optimize` the shard in a folder, or `open` it and read it through; False when there was nothing to optimize.

        Raises StorageError with the engine's reason, or with the signal that the child died of; NotReady when it was stopped.
        """
        spec = importlib.util.find_spec("qdrant_edge")
        packages = str(Path(spec.origin).parent.parent) if spec is not None and spec.origin else ""
        command = [sys.executable, "-I", str(CHILD), packages, str(os.getpid()), verb, str(place)]
        with self._starting:
            if self._stopped:
                raise NotReady("The vector store was closed; call start().", part="qdrant", retry_after=5)
            process = self._process = subprocess.Popen(command, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                                       start_new_session=True, env={**child_environment(), **FEW_ARENAS})
        with process:
            said = process.stderr.read().decode("utf-8", "replace").splitlines() if process.stderr else []
            code = process.wait()
        self._process = None
        if self._stopped:
            raise NotReady("The vector store was closed; call start().", part="qdrant", retry_after=5)
        if code in (0, NOTHING_TO_DO):
            return code == 0
        reason = next((line.removeprefix("reason: ") for line in reversed(said) if line.startswith("reason: ")), (said or ["no reason given"])[-1])
        how = f"it died of {signal.Signals(-code).name}" if code < 0 else reason[:300]
        raise StorageError(f"The engine could not {verb} the files in {place}: {how}; restore the collection from a backup if this happens again.")

    def stop(self) -> None:
        """End the child, if there is one, and start none any more."""
        with self._starting:
            self._stopped = True
        self.interrupt()

    def interrupt(self) -> None:
        """End the child, if there is one."""
        process = self._process
        if process is not None and process.poll() is None:
            process.kill()
