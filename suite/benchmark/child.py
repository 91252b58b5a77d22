"""Processes of a measurement: each contender in its own, none of which outlives the measurement, however that ends."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any

import psutil

from suite.errors import RunFailed, SuiteError, from_dict

log = logging.getLogger(__name__)
END_SECONDS = 10.0
ASK_SECONDS = 600.0
# asks Linux to end this very process when the one that started it is gone (which it may be by now), then becomes the command
LEASH = ("import contextlib, ctypes, os, sys\n"
         "with contextlib.suppress(AttributeError, OSError): ctypes.CDLL(None).prctl(1, 9)\n"
         "if os.getppid() != int(sys.argv[1]): os._exit(1)\n"
         "os.execvp(sys.argv[2], sys.argv[2:])")


class Process:
    """A running command with a session of its own. `title` is what errors call it, `pid` the process that `psutil` can be asked about."""

    def __init__(self, title: str, command: list[str], *, pipes: bool = False) -> None:
        self.title = title
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  (it lives as long as the process)
        self._child = subprocess.Popen([sys.executable, "-S", "-c", LEASH, str(os.getpid()), *command],
                                       stdin=subprocess.PIPE if pipes else subprocess.DEVNULL,
                                       stdout=subprocess.PIPE if pipes else self._log, stderr=self._log, start_new_session=True)
        self.pid, self._killed = self._child.pid, False

    def ended(self) -> RunFailed | None:
        """The error that says how it ended, or None while it runs."""
        status = self._child.poll()
        if status is None:
            return None
        cause = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        said = self.said()
        return RunFailed(f"{self.title} {cause}{': ' + said if said else ', and said nothing'}")

    def said(self) -> str:
        """The last line it wrote that is no log of a request."""
        self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, self._log.tell() - 4000))
        lines = [line.strip() for line in self._log.read().decode("utf-8", "replace").splitlines() if line.strip()]
        return lines[-1][:300] if lines else ""

    def wait_until(self, ready: Callable[[], Any], seconds: float) -> Any:
        """What `ready` gives once that is true. Raises RunFailed when the process ends before, or takes longer."""
        deadline = time.monotonic() + seconds
        while not (found := ready()):
            if (error := self.ended()) is not None:
                raise error
            if time.monotonic() > deadline:
                raise RunFailed(f"{self.title} was not ready within {seconds:.0f} s: {self.said()}")
            time.sleep(0.1)
        return found

    def memory(self) -> tuple[int, int]:
        """Bytes that it holds now: all that are resident, its children's too; and of its own those that are no pages of mapped files.

        The system takes such pages back when it needs room; where it does not tell them apart, they are counted. A child that is only being started
        lives in its parent's memory and is not counted twice. Raises RunFailed when nothing can be read.
        """
        try:
            process = psutil.Process(self.pid)
            command, own, children = process.cmdline(), process.memory_info(), process.children(recursive=True)
        except psutil.Error as error:
            raise RunFailed(f"The memory of {self.title} (pid {self.pid}) could not be read: {error}.") from error
        total = own.rss
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):  # ended in this moment
                total += child.memory_info().rss if child.cmdline() != command else 0
        return total, own.rss - getattr(own, "shared", 0)

    def kill(self) -> None:
        """End it as a crash would: at once, with everything it started."""
        if not self._killed:  # a second time the number could be somebody else's
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self._child.wait()
            self._killed = True

    def close(self) -> None:
        """End it, orderly if it can; safe to call twice."""
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        if self._child.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(END_SECONDS)
        self.kill()
        self._log.close()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Asked(Process):
    """A process that is asked by name and answers, one question at a time; the other end is `attend`."""

    def __init__(self, title: str, command: list[str]) -> None:
        super().__init__(title, command, pipes=True)
        self._rest = b""

    def ask(self, verb: str, seconds: float = ASK_SECONDS, /, **values: Any) -> Any:
        """The answer. Raises what the other side raised of ours, RunFailed when it dies or says nothing in time."""
        self.tell(verb, **values)
        return self.answer(seconds)

    def tell(self, verb: str, /, **values: Any) -> None:
        """Put the question without waiting; `answer` must follow."""
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(json.dumps([verb, values]).encode() + b"\n")
            self._child.stdin.flush()
        except OSError:
            raise self._died() from None

    def answer(self, seconds: float = ASK_SECONDS) -> Any:
        """The answer to the last question; raises like `ask`."""
        assert self._child.stdout is not None
        deadline = time.monotonic() + seconds
        while b"\n" not in self._rest:
            ready, _, _ = select.select([self._child.stdout], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise RunFailed(f"{self.title} gave no answer within {seconds:.0f} s: {self.said()}")
            part = os.read(self._child.stdout.fileno(), 1 << 16)
            if not part:
                raise self._died()
            self._rest += part
        row, _, self._rest = self._rest.partition(b"\n")
        read = json.loads(row)
        if "error" in read:
            raise from_dict(read, 500)
        return read["answer"]

    def _died(self) -> RunFailed:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(END_SECONDS)
        return self.ended() or RunFailed(f"{self.title} closed its end: {self.said()}")


class Child(Asked):
    """Such a process with our own Python, of a kind that suite.benchmark.contender knows."""

    def __init__(self, kind: str, /, **values: Any) -> None:
        super().__init__(f"the contender {kind!r}", [sys.executable, "-m", "suite.benchmark.contender", kind, json.dumps(values)])


def attend(verbs: Mapping[str, Callable[..., Any]]) -> None:
    """Answer the questions on standard input until it ends; whatever else prints, prints to standard error."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    for line in sys.stdin:
        verb, values = json.loads(line)
        try:
            row = {"answer": verbs[verb](**values)}
        except SuiteError as error:
            row = error.to_dict()
        except Exception as error:  # the edge of the process: the asker is told, and may go on
            log.exception("the question %r failed", verb)
            row = RunFailed(f"The question {verb!r} failed ({type(error).__name__}: {error}).").to_dict()
        answers.write(json.dumps(row, default=str).encode() + b"\n")
        answers.flush()
