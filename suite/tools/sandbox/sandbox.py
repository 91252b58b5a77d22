"""Programs of strangers, run where they can do no harm."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from suite.errors import BadRequest, NotReady
from suite.tools.sandbox.folder import make_folder, remove_folder
from suite.tools.sandbox.limits import Limits
from suite.tools.sandbox.places import Places, find_places
from suite.tools.sandbox.start import Program, Way, start
from suite.tools.sandbox.strength import Strength, find_strength
from suite.tools.sandbox.supervise import Watched

Language = Literal["python", "bash"]
Ended = Literal["", "timeout", "memory", "cpu", "output", "processes", "disk", "syscall", "halted"]
BASH_BYTES = 120_000  # a kernel takes 128 KiB in one argument
_RUN, _CANARY = "run-", "outside-"


@dataclass(frozen=True)
class Ran:
    """How a run went.

    `returncode` is 128 and its number for a signal. `ended` names the limit that ended it, is `syscall` when the kernel killed it for a call of
    another architecture, `halted` when nobody waited any longer, and empty when it ended by itself. `*_cut` tells that there was more output.
    """

    stdout: str
    stderr: str
    returncode: int
    seconds: float
    ended: Ended
    sandbox: str
    stdout_cut: bool = False
    stderr_cut: bool = False


class Sandbox:
    """Runs Python and bash in child processes that can use a folder of their own, and nothing else.

    Landlock, seccomp and resource limits always; inside bubblewrap where that works, unless `bubblewrap` is false. No network, no other
    processes, no files but the system's programs and libraries and this interpreter's packages. Folders of runs are made below `folder`.
    """

    def __init__(self, folder: Path, limits: Limits | None = None, bubblewrap: bool = True) -> None:
        self.folder, self.limits, self._bubblewrap = Path(os.path.abspath(folder)), limits or Limits(), bubblewrap
        self._lock = threading.Lock()
        self._found: tuple[Strength, Way | None] | None = None
        self._places: Places | None = None

    def strength(self) -> Strength:
        """What confines programs here; found out by a trial on the first call, and remembered."""
        return self._way()[0]

    def run(self, language: Language, source: str, *, timeout: float = 30.0, halted: Callable[[], bool] = bool, folder: Path | None = None) -> Ran:
        """Run a program to its end, or to that of a limit; nothing of it is left running.

        It starts in `folder`, one below this sandbox's, which is kept; without one, in a new one that is removed. `timeout` is in seconds,
        `halted` is asked 50 times a second and ends the run when it gives true.
        Raises NotReady when nothing would confine it, BadRequest for a source that cannot be passed on, ToolFailed when it cannot be started.
        """
        strength, way = self._way()
        if way is None:
            raise NotReady(f"Programs cannot be run here, because nothing would confine them: {' '.join(strength.weaker)}", part="sandbox",
                           retry_after=3600)
        program = _program(language, source)
        own = folder or make_folder(self.folder, _RUN)
        try:
            return self._run(program, way, strength.name, own, timeout, halted)
        finally:
            if folder is None:
                remove_folder(own)

    def sweep(self) -> int:
        """Remove what earlier suites left below the folder; gives how many folders. For the start, when nothing runs."""
        left = [path for path in self.folder.iterdir() if path.is_dir() and not path.is_symlink()] if self.folder.is_dir() else []
        for path in left:
            remove_folder(path)
        return len(left)

    def _way(self) -> tuple[Strength, Way | None]:
        with self._lock:
            if self._found is None:
                canary = make_folder(self.folder, _CANARY)
                try:
                    (canary / "canary").write_text("outside", encoding="utf-8")
                    self._found = find_strength(self._trial, canary / "canary", os.getpid(), self._bubblewrap)
                finally:
                    remove_folder(canary)
            return self._found

    def _trial(self, way: Way, source: str) -> tuple[int, str, str]:
        own = make_folder(self.folder, _RUN)
        try:
            ran = self._run(Program(source), way, "", own, 30.0, bool)
        finally:
            remove_folder(own)
        return ran.returncode, ran.stdout, ran.stderr

    def _run(self, program: Program, way: Way, name: str, folder: Path, timeout: float, halted: Callable[[], bool]) -> Ran:
        if self._places is None:
            self._places = find_places()
        began = time.perf_counter()
        started = start(program, way, self._places, self.limits, folder)
        with started.process:  # closes the pipes
            watched = Watched(started, folder, self.limits, timeout, halted)
            ended = watched.watch()
        out, err = watched.stdout, watched.stderr
        return Ran(out.text(), err.text(), watched.returncode(), time.perf_counter() - began, ended, name, out.size > out.room, err.size > err.room)


def _program(language: Language, source: str) -> Program:
    if "\0" in source:
        raise BadRequest("The program holds a NUL character; remove it.", param="code")
    try:
        size = len(source.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise BadRequest(f"Character {error.start} of the program is half of a surrogate pair; remove it.", param="code") from None
    if language == "python":
        return Program(source)
    if size > BASH_BYTES:
        raise BadRequest(f"The command has {size} bytes, more than the {BASH_BYTES} that bash is given; make it shorter.", param="command")
    return Program(argv=("/bin/bash", "--noprofile", "--norc", "-c", source))
