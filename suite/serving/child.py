"""The decoder in a supervised child process: whatever signal llama.cpp ends it with, this process lives and says what happened."""

from __future__ import annotations

import atexit
import collections
import contextlib
import itertools
import json
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from suite.errors import NotReady, SuiteError, UpstreamError, WeightsError, from_dict
from suite.serving.count import nothing
from suite.serving.job import Job, reading
from suite.serving.parameters import Parameters
from suite.serving.reply import Piece, Reply, ReplyStream
from suite.serving.request import Request
from suite.serving.trial import NEXT
from suite.serving.weights import Weights
from suite.settings import child_environment

MAIN = Path(__file__).with_name("child_main.py")
SOON_S = 2  # when a caller whose reply had not begun may ask again
GRACE_S = 10.0  # how long a child that was told to end may take before it is killed
ANSWER_S = 60.0  # how long it may take for what is no reply
KEPT_LINES = 20
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
log = logging.getLogger("suite.serving")


@dataclass(eq=False)
class Call:
    """Something that was asked of the child: `first` gets what it says at once, `job` the pieces and the end of a reply."""

    first: queue.SimpleQueue[Any] = field(default_factory=queue.SimpleQueue)
    job: Job | None = None
    accepted: bool = False
    begun: bool = False

    def fail(self, error: SuiteError) -> None:
        """It ends with an error, wherever it is."""
        if self.job is not None and self.accepted:
            self.job.out.put(error)
        else:
            self.first.put(error)


class ChildDecoder:
    """A Decoder's face; behind it a process of its own, and lines of JSON between the two.

    Neither side waits for a slow reader: the child says what it has, and it is kept here until it is read, at most one whole reply per request.
    `watch()` names somebody who is told when the child dies without having been told to.
    """

    def __init__(self, name: str, model: str, weights: Weights, parameters: Parameters, defaults: dict[str, float]) -> None:
        """Start the child and load the model in it. Raises WeightsError with what is wrong, or the signal that it died of."""
        self.name, self.model, self.weights, self.parameters, self.defaults = name, model, weights, parameters, defaults
        self._calls: dict[int, Call] = {0: Call()}
        self._numbers = itertools.count(1)
        self._gate = threading.Lock()
        self._open, self._closing, self._death, self._signal, self._watcher = True, False, "", "", None
        self._said: collections.deque[str] = collections.deque(maxlen=KEPT_LINES)
        self._stats = nothing()
        # a stream may be dropped, and cancelled by that, wherever Python collects it: no lock may be taken there, but SimpleQueue.put() is safe
        self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        first = self._calls[0].first
        self._send({"name": name, "model": model, "weights": _row(weights), "parameters": asdict(parameters), "defaults": defaults,
                    "path": _path(), "log_level": log.getEffectiveLevel()})
        # a session of its own: Ctrl-C in the terminal, or a notebook's interrupt, is meant for a cell and not for it; -P: not our folder's modules
        self._process = subprocess.Popen([sys.executable, "-P", str(MAIN), str(os.getpid())], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         stderr=subprocess.PIPE, cwd="/", start_new_session=True, env=child_environment())
        self.pid = self._process.pid
        self._threads = [threading.Thread(target=work, name=f"child-{name}", daemon=True) for work in (self._talk, self._listen, self._copy_log)]
        for thread in self._threads:
            thread.start()
        atexit.register(self.close)
        try:
            told = first.get()
        except BaseException:  # an interrupt while a large model is being read
            self._kill()
            raise
        if isinstance(told, SuiteError):
            self._kill()
            if not self._death:
                raise told
            raise WeightsError(f"Model file {weights.path} cannot be loaded: {self._death}; {NEXT.get(self._signal, 'copy the file again')}.",
                               signal=self._signal)
        self._facts = told["facts"]
        self.stats()

    def stream(self, request: Request) -> ReplyStream:
        """Queue the request. Raises like a Decoder's; NotReady when the child has died before the reply began, UpstreamError when it had begun."""
        job = Job(request, np.zeros(0, np.int32), 0)
        call, number = self._ask({"do": "stream", "request": {name: value for name, value in vars(request).items() if name != "timeout"}}, job)
        job.on_cancel = lambda _job: self._cancel(number)
        try:
            self._answer(call, request.timeout or None)
        except BaseException:
            self._cancel(number)
            raise
        return reading(job, self.name)

    def tokenize(self, text: str, special: bool = False) -> list[int]:
        """The tokens of a text; control words are read as controls when `special`."""
        return self._answer(self._ask({"do": "tokenize", "text": text, "special": special})[0])

    def detokenize(self, tokens: list[int]) -> str:
        """The text of tokens. Raises BadRequest for a number that is no token."""
        return self._answer(self._ask({"do": "detokenize", "tokens": [int(token) for token in tokens]})[0])

    def facts(self) -> dict[str, Any]:
        """What does not change, as Decoder.facts."""
        return dict(self._facts)

    def stats(self) -> dict[str, Any]:
        """Totals and the present, as Decoder.stats; the last that were known when the child cannot answer."""
        with contextlib.suppress(NotReady, UpstreamError):
            self._stats = self._answer(self._ask({"do": "stats"})[0], SOON_S)
        return dict(self._stats)

    def watch(self, told: Callable[[ChildDecoder, str], None]) -> None:
        """Let `told` know (with the sentence of what happened) when the child dies; at once when it has."""
        with self._gate:
            self._watcher = told
            death = self._death
        if death:
            told(self, death)

    def close(self, drain: bool = False) -> None:
        """End the child; with `drain` the requests that were accepted are finished first, unless a second call is in more of a hurry."""
        with self._gate:
            again, self._closing, self._open = self._closing, True, False
        if again and drain:
            return
        self._send({"do": "close", "drain": drain})
        listener = self._threads[1]
        listener.join(None if drain else GRACE_S)
        if listener.is_alive():
            log.error("%s did not end within %.0f s and is killed", self.name, GRACE_S, extra={"service": self.name})
        self._kill()

    def _kill(self) -> None:
        """End what is left of it, and wait for that."""
        with self._gate:
            self._closing, self._open = True, False
        atexit.unregister(self.close)
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()
        self._outbox.put(None)
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()

    def _send(self, row: dict[str, Any]) -> None:
        self._outbox.put(json.dumps(row).encode("ascii") + b"\n")

    def _ask(self, row: dict[str, Any], job: Job | None = None) -> tuple[Call, int]:
        call, number = Call(job=job), next(self._numbers)
        with self._gate:
            if not self._open:
                raise self._gone()
            self._calls[number] = call
        self._send({**row, "id": number})
        return call, number

    def _answer(self, call: Call, limit: float | None = ANSWER_S) -> Any:
        try:
            told = call.first.get(timeout=limit)
        except queue.Empty:
            raise UpstreamError(f"{self.name}'s process gave no answer within {limit:g} s; ask again, or raise LLM_REQUEST_TIMEOUT.", part=self.name,
                                timeout=True) from None
        if isinstance(told, SuiteError):
            raise told
        return told

    def _cancel(self, number: int) -> None:
        self._outbox.put(b'{"do": "cancel", "id": %d}\n' % number)

    def _gone(self) -> NotReady:
        if self._death:
            return NotReady(f"{self._death}; ask again in a moment.", part=self.name, retry_after=SOON_S)
        return NotReady(f"{self.name} was unloaded; load it again.", part=self.name, retry_after=5)

    def _talk(self) -> None:
        """One thread writes, so that nobody else ever waits for the pipe."""
        with contextlib.suppress(OSError), self._process.stdin as pipe:  # a child that has gone is noticed by the listener
            while (line := self._outbox.get()) is not None:
                pipe.write(line)
                pipe.flush()

    def _listen(self) -> None:
        with contextlib.suppress(OSError, ValueError), self._process.stdout as pipe:  # ValueError: half a line, of one who died while he spoke
            for line in pipe:
                self._heard(json.loads(line))
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE_S)
        self._ended()

    def _heard(self, row: dict[str, Any]) -> None:
        call = self._calls.get(row["id"])
        if call is None:
            return
        if "piece" in row:
            call.begun = True
            call.job.out.put(Piece.of(row["piece"], tuple(row.get("logprobs", ()))))
        elif "accepted" in row:
            call.accepted = True
            call.first.put(True)
        else:
            self._calls.pop(row["id"], None)
            if "error" in row:
                call.fail(from_dict(row, 500))
            elif "reply" in row:
                call.job.out.put(Reply.from_dict(row["reply"]))
            else:
                call.first.put(row["done"])

    def _ended(self) -> None:
        """The child has ended: whoever still waits is told why, and so is whoever watches."""
        name, how = _how(self._process.poll())
        with self._gate:
            expected, self._open = self._closing, False
            if not expected:
                self._signal = name
                reason = next((line for line in reversed(self._said) if "GGML_ASSERT" in line or "rror" in line), "")
                self._death = f"The process of {self.name} {how}{f' ({reason[:200]})' if reason else ''}"
            calls, self._calls = list(self._calls.values()), {}
            watcher = self._watcher
        if not expected:
            log.error("%s", self._death, extra={"service": self.name})
        if watcher is not None and not expected:
            watcher(self, self._death)  # first: who asks again at once must find the server that knows
        for call in calls:
            call.fail(self._broken(call, expected))

    def _broken(self, call: Call, expected: bool) -> SuiteError:
        if not call.begun:
            return self._gone()
        why = f"{self.name} was unloaded" if expected else self._death
        return UpstreamError(f"{why} while it wrote this reply; ask again.", part=self.name)

    def _copy_log(self) -> None:
        """What the child says on standard error goes to our log, at the level it names."""
        with self._process.stderr as pipe:
            for raw in pipe:
                line = raw.decode("utf-8", "replace").rstrip()
                level, _, rest = line.partition(" ")
                if level not in LEVELS:
                    level, rest = "DEBUG", line
                if rest:
                    self._said.append(rest)
                    log.log(getattr(logging, level), "%s: %s", self.name, rest, extra={"service": self.name})


def _path() -> list[str]:
    """Where this process finds its modules, for the child to find the same: without the current directory, whose files may be anybody's."""
    root = str(MAIN.parents[2])
    known = [entry for entry in sys.path if os.path.isabs(entry)]
    return known if root in known else [root, *known]


def _row(weights: Weights) -> dict[str, Any]:
    """What a decoder needs of the weights, as JSON can say it."""
    return {"path": os.path.abspath(weights.path), "bytes": weights.bytes, "sha256": weights.sha256, "meta": weights.meta, "tensors": weights.tensors}


def _how(code: int | None) -> tuple[str, str]:
    """The signal that ended a process (empty when none did), and its end in words."""
    if code is None:
        return "", "closed its output"
    if code >= 0:
        return "", f"ended with status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return name, f"died of {name}"
