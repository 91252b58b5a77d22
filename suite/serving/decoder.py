"""One loaded model and the one thread that computes with it, many replies at a time; imported only after a trial load went well."""

from __future__ import annotations

import atexit
import collections
import contextlib
import logging
import math
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from suite.errors import BadRequest, NotReady, SuiteError, UpstreamError, WeightsError
from suite.serving.calling import Calling
from suite.serving.context import Aborted, Context, StepFailed
from suite.serving.count import Counts
from suite.serving.grammar import Grammars, constraint
from suite.serving.job import Job, reading
from suite.serving.model import LoadedModel
from suite.serving.pace import Pace
from suite.serving.parameters import Parameters
from suite.serving.prefix import Prefixes
from suite.serving.prompt import Prompts
from suite.serving.reply import Reply, ReplyStream
from suite.serving.request import Request
from suite.serving.sampling import NoNumbers
from suite.serving.slot import Slot
from suite.serving.weights import Weights

log = logging.getLogger("suite.serving")
SHORT_SWITCH_S = 0.0005  # with Python's 5 ms a busy cell would halve the decoding speed
LONGEST_WAIT_S = 60  # what a refused caller is told at most


class Decoder:
    """Continuous batching: each step computes the next token of every running reply and a share of the prompts that wait to be read.

    A reply joins and leaves between two steps; one whose reader is slow, or gone, holds nobody up.
    """

    def __init__(self, name: str, model: str, weights: Weights, parameters: Parameters, defaults: dict[str, float]) -> None:
        """Load the model. Raises WeightsError with what is wrong and what to do."""
        self.name, self.model, self.weights, self.parameters, self.defaults = name, model, weights, parameters, defaults
        if not weights.chat_template:
            raise WeightsError(f"Model file {weights.path} has no chat template, so it is no chat model; choose an instruct model.")
        self._loaded = LoadedModel(weights, parameters.n_gpu_layers)
        try:
            self._prompts = Prompts(self._loaded, weights.chat_template, name, parameters.n_ctx)
            self._context = Context(self._loaded, parameters)
        except SuiteError:
            self._loaded.close()
            raise
        self._calling, self._grammars = Calling.of(weights.chat_template), Grammars(self._loaded.vocab)
        self._counts, self._pace = Counts(), Pace(self._context.size)
        self._forget_all()
        self._waiting: collections.deque[Job] = collections.deque()
        self._running: list[Slot] = []
        self._open, self._drain, self._users, self._news = True, False, 0, threading.Condition()
        self._thread = threading.Thread(target=self._work, name=f"decode-{name}", daemon=True)
        self._thread.start()
        atexit.register(self.close)  # a thread that computes while the interpreter frees the model would crash at exit

    def stream(self, request: Request) -> ReplyStream:
        """Queue the request. Raises ContextOverflow with both numbers, BadRequest, NotReady when the queue is full or the model unloaded."""
        with self._using():
            job = self._job(request)
        with self._news:
            self._refuse_closed()
            if len(self._waiting) >= self.parameters.queue:
                self._counts.refused += 1
                wait = min(LONGEST_WAIT_S, max(1, math.ceil(self._counts.seconds_each * len(self._waiting) / self.parameters.slots)))
                raise NotReady(f"{self.name} has {len(self._waiting)} requests waiting, as many as LLAMA_QUEUE allows; ask again in {wait} s.",
                               part=self.name, retry_after=wait)
            self._waiting.append(job)
            self._news.notify_all()
        return reading(job, self.name)

    def _job(self, request: Request) -> Job:
        messages, tools = ((), ()) if request.raw else self._calling.prepare(request)
        tokens = np.array(self._prompts.encode(request, messages, tools), np.int32)
        strange = next((token for token, _ in request.logit_bias if token >= self._loaded.n_vocab), None)
        if strange is not None:
            raise BadRequest(f"logit_bias names token {strange}, but {self.model} has {self._loaded.n_vocab}; tokenize the text with this model.",
                             param="logit_bias")
        called = bool(request.tools) and request.tool_choice != "none"
        source = self._calling.constraint(request) if called else constraint(request)
        return Job(request, tokens, min(request.max_tokens, self.parameters.n_ctx - len(tokens)), on_cancel=self._cancelled,
                   matcher=self._grammars.compile(source) if source else None, reader=self._calling.reader(request) if called else None)

    @contextlib.contextmanager
    def _using(self) -> Iterator[None]:
        """Keeps the vocabulary in memory while another thread reads it: `close` waits. Raises NotReady once it has been closed."""
        with self._news:
            self._refuse_closed()
            self._users += 1
        try:
            yield
        finally:
            with self._news:
                self._users -= 1
                self._news.notify_all()

    def _refuse_closed(self) -> None:
        if not self._open:
            raise NotReady(f"{self.name} was unloaded; load it again.", part=self.name, retry_after=5)

    def tokenize(self, text: str, special: bool = False) -> list[int]:
        """The tokens of a text; control words are read as controls when `special`. Raises ContextOverflow for a text far beyond any context."""
        with self._using():
            return self._prompts.tokenize(text, special)

    def detokenize(self, tokens: list[int]) -> str:
        """The text of tokens; bytes that are no UTF-8 become the replacement character. Raises BadRequest for a number that is no token."""
        strange = next((token for token in tokens if not 0 <= token < self._loaded.n_vocab), None)
        if strange is not None:
            raise BadRequest(f"{strange} is no token of {self.model}, which has {self._loaded.n_vocab}.", param="tokens")
        with self._using():
            return b"".join(map(self._loaded.piece, tokens)).decode("utf-8", "replace")

    def facts(self) -> dict[str, Any]:
        """What does not change: n_ctx, slots, kv_tokens, kv_type, n_threads, n_gpu_layers, n_vocab, and whether the model can fill a gap."""
        p = self.parameters
        return {"n_ctx": p.n_ctx, "slots": p.slots, "kv_tokens": p.kv_tokens, "kv_type": p.kv_type, "n_threads": p.n_threads,
                "n_gpu_layers": p.n_gpu_layers, "n_vocab": self._loaded.n_vocab, "infill": self._loaded.infill is not None}

    def stats(self) -> dict[str, Any]:
        """Totals since the model was loaded, and how it is now (see Counts)."""
        return {**self._counts.totals(), "busy": len(self._running), "waiting": len(self._waiting), "kv_tokens": self.parameters.kv_tokens,
                "kv_used": self._prefixes.used}

    def close(self, drain: bool = False) -> None:
        """End the thread and give the memory back; with `drain` the requests that were accepted are finished first."""
        with self._news:
            again, self._open, self._drain = not self._open, False, drain and (self._open or self._drain)
            if not self._drain:
                self._context.abort(True)
            self._news.notify()
        if again:  # whoever closed it first is waiting for the thread, now perhaps for less long
            return
        self._thread.join()
        with self._news:
            self._news.wait_for(lambda: not self._users)
        atexit.unregister(self.close)
        self._context.close()
        self._loaded.close()

    def _cancelled(self, job: Job) -> None:
        running = self._running
        if len(running) == 1 and running[0].job is job:  # nobody else is in the step: it need not be computed to its end
            self._context.abort(True)

    def _work(self) -> None:
        while True:
            with self._news:
                while self._open and not self._waiting and not self._running:
                    self._news.wait()
                if not self._open and not (self._drain and (self._waiting or self._running)):
                    break
            try:
                self._turn()
            except Exception as error:  # the edge of the thread: the readers get it, and the next request is served
                log.exception("%s failed while it wrote", self.name, extra={"service": self.name})
                self._fail(UpstreamError(f"{self.name} failed while it wrote this reply ({type(error).__name__}: {error}); ask again.",
                                         part=self.name))
        self._fail(UpstreamError(f"{self.name} was unloaded while it wrote this reply; ask again later.", part=self.name))
        for job in self._waiting:
            job.end(NotReady(f"{self.name} was unloaded before it began this reply; ask again later.", part=self.name, retry_after=5))
        self._waiting.clear()

    def _turn(self) -> None:
        """One step: let go of what nobody waits for, begin what there is room for, compute, say the new tokens."""
        if self._open or self._drain:
            self._context.abort(False)  # before looking for cancelled jobs: one that comes later sets it again
        for slot in [slot for slot in self._running if slot.job.cancelled]:
            self._end(slot, "cancelled")
        self._admit()
        if not self._running:
            return
        writing = [slot for slot in self._running if slot.first]
        waiting = sorted((slot for slot in self._running if not slot.first), key=self._long)  # in the order of their coming otherwise
        gap, now = self._pace.gap(len(writing), len(waiting)), time.monotonic()
        ahead = min((slot.due + gap - now for slot in writing), default=0.0)
        tokens, write = self._pace.plan(len(writing), len(waiting), sum(not self._long(slot) for slot in waiting), ahead)
        if not write:
            writing = []
        for slot in writing:
            slot.index = self._context.add(slot.sequence.number, slot.sequence.count, [slot.last], scored=True)
        reads = self._read(waiting, tokens)
        began = time.monotonic()
        try:
            self._context.step()
        except Aborted:
            return
        except StepFailed as error:
            self._make_room(error)
            return
        now = time.monotonic()
        self._pace.note(len(writing), sum(len(tokens) for _, tokens in reads), now - began)
        self._counts.step(len(writing) + len(reads))
        for slot, tokens in reads:
            self._prefixes.extend(slot.sequence, tokens)
        for slot in writing:
            self._prefixes.extend(slot.sequence, [slot.last])
            slot.due = max(now, slot.due + gap)
        for slot in writing + [slot for slot, _ in reads if not len(slot.unread)]:
            self._say(slot)

    def _admit(self) -> None:
        """Begin waiting requests in their order, as long as there are slots and cells for all that they may write."""
        for job in list(self._waiting):
            if job.cancelled:
                self._waiting.remove(job)
                self._counts.cancelled += 1
                job.end(Reply("", 0, len(job.tokens), time.monotonic() - job.asked, self.model, smoke=self.weights.smoke, finish="cancelled"))
                continue
            if len(self._running) >= self.parameters.slots:
                return
            source, count = self._prefixes.source(job.tokens) if job.request.cache_prompt else (None, 0)
            if job.request.cache_prompt and self._prefixes.coming(job.tokens, count):
                continue  # what it has in common with a prompt that is being read right now need not be read twice
            need = len(job.tokens) + job.most
            while need - count > self._unpromised() and (old := self._prefixes.oldest(keep=source)):
                self._drop(old)
            if need - count > self._unpromised() and source is not None and not source.busy:  # its own tail is in the way
                self._drop(source)
                source, count = None, 0
            if need - count > self._unpromised():
                return
            self._waiting.remove(job)
            try:
                self._begin(job, source, count)
            except Exception as error:  # it is in neither list now, and its reader waits
                job.end(UpstreamError(f"{self.name} could not begin this reply ({type(error).__name__}: {error}); ask again.", part=self.name))
                raise

    def _begin(self, job: Job, source: Any, count: int) -> None:
        sequence, dropped = self._prefixes.open(source, count)
        for each in dropped:
            self._context.forget(each.number)
        if count:
            self._context.share(source.number, sequence.number, count)
        if self._prefixes.swallowed(source, count):
            self._drop(source)
        sequence.planned = job.tokens
        self._running.append(Slot(job, sequence, count, self._loaded, self.defaults))

    def _long(self, slot: Slot) -> bool:
        """Whether what it has to read does not fit into one step."""
        return len(slot.job.tokens) - slot.cached > self._context.size

    def _read(self, waiting: list[Slot], budget: int) -> list[tuple[Slot, np.ndarray]]:
        """Put the next tokens of waiting prompts into the step, first come first served."""
        reads, budget = [], min(budget, self._context.room)
        for slot in waiting:
            tokens = slot.unread[:budget]
            if not len(tokens):
                break
            whole = len(tokens) == len(slot.unread)
            slot.index = self._context.add(slot.sequence.number, slot.sequence.count, tokens, scored=whole)
            reads.append((slot, tokens))
            budget -= len(tokens)
        return reads

    def _say(self, slot: Slot) -> None:
        try:
            why = slot.take(self._context.scores(slot.index))
        except NoNumbers:
            self._end(slot, UpstreamError(f"{self.model} gave no usable scores for the next token; compare the file's sha256, or loosen the grammar.",
                                          part=self.name))
            return
        except SuiteError as error:  # a grammar that became too complex: it ends this reply, not those beside it
            self._end(slot, error)
            return
        if why:
            self._end(slot, why)

    def _end(self, slot: Slot, why: str | SuiteError) -> None:
        """Free the slot; its tokens stay in the cache for whoever begins alike."""
        self._running.remove(slot)
        slot.sampler.close()
        if self._loaded.forgets:
            self._drop(slot.sequence)
        else:
            self._prefixes.rest(slot.sequence)
        if isinstance(why, SuiteError):
            self._counts.failed += 1
            slot.job.end(why)
            return
        reply = replace(slot.finish(why), model=self.model, smoke=self.weights.smoke)
        self._counts.end(reply)
        slot.job.end(reply)

    def _unpromised(self) -> int:
        return self._prefixes.size - self._prefixes.used - sum(slot.promised for slot in self._running)

    def _drop(self, sequence: Any) -> None:
        self._context.forget(sequence.number)
        self._prefixes.drop(sequence)

    def _make_room(self, error: StepFailed) -> None:
        """After a step that llama.cpp refused: throw away what nobody needs and try again; with nothing left to throw away it is an error."""
        old = self._prefixes.oldest() if error.full else None
        if old is None:
            raise error
        while old is not None:
            self._drop(old)
            old = self._prefixes.oldest()

    def _fail(self, error: SuiteError) -> None:
        """Every running reply gets the error, and the cache begins anew: nobody knows what a failed step left in it."""
        for slot in self._running:
            slot.sampler.close()
            slot.job.end(error)
        self._counts.failed += len(self._running)
        self._running.clear()
        self._context.clear()
        self._forget_all()

    def _forget_all(self) -> None:
        self._prefixes = Prefixes(self.parameters.kv_tokens, self._context.sequences, self.parameters.n_ctx, share=not self._loaded.forgets)
