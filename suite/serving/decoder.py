"""One loaded model and the one thread that decodes with it; imported only after a trial load went well."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import logging
import queue
import secrets
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import jinja2
import llama_cpp

from suite.errors import ContextOverflow, NotReady, SuiteError, UpstreamError, WeightsError
from suite.serving.pieces import Pieces
from suite.serving.reply import Reply, ReplyStream
from suite.serving.request import Request
from suite.serving.template import Template
from suite.serving.weights import Weights

log = logging.getLogger("suite.serving")
SHORT_SWITCH_S = 0.0005  # with Python's 5 ms a busy cell would halve the decoding speed
LONGEST_TOKEN = 256  # characters; the longest of known vocabularies are runs of 128 blanks
_loading = threading.Lock()  # Llama swaps sys.stdout while it loads; two at once would leave the process without one
# llama.cpp asks "shall I stop?" between operations. strlen answers in C, without the GIL: a flag of "" is 0 (go on), one of "x" is 1 (stop).
_strlen = ctypes.cast(ctypes.CDLL(None).strlen, llama_cpp.ggml_abort_callback)


@llama_cpp.llama_log_callback
def _to_log(level: int, text: bytes, _data: Any) -> None:
    """llama.cpp's own messages go to our log, not into whichever notebook cell runs: errors (4) as errors, the rest for debugging."""
    message = text.decode("utf-8", "replace").strip()
    if message:
        log.log(logging.ERROR if level == 4 else logging.DEBUG, "llama.cpp: %s", message)


llama_cpp.llama_log_set(_to_log, ctypes.c_void_p(0))


@dataclass
class Job:
    """A request on its way: `out` gets pieces of text, then one Reply or one error; `flag` is what llama.cpp looks at while it computes."""

    request: Request
    tokens: list[int]
    out: queue.SimpleQueue[str | Reply | SuiteError] = field(default_factory=queue.SimpleQueue)
    flag: Any = field(default_factory=lambda: ctypes.create_string_buffer(2))

    def cancel(self) -> None:
        """Stop within a token, wherever it is."""
        self.flag[0] = b"x"

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked to stop."""
        return self.flag[0] != b"\0"


class Decoder:
    """Decodes requests one after another, each at full speed whatever its reader does: one who reads slowly, or not at all, holds nobody up."""

    def __init__(self, name: str, model: str, weights: Weights, n_ctx: int, n_gpu_layers: int, n_threads: int, n_batch: int,
                 defaults: dict[str, float]) -> None:
        self.name, self.model, self.weights, self.defaults = name, model, weights, defaults
        self.n_ctx, self.n_gpu_layers, self.n_threads = n_ctx, n_gpu_layers, n_threads
        self.requests, self.tokens, self.tokens_per_s, self.busy = 0, 0, 0.0, False
        if not weights.chat_template:
            raise WeightsError(f"Model file {weights.path} has no chat template, so it is no chat model; choose an instruct model.")
        try:
            # without mmap: a file that is cut short while it is mapped would kill this process
            with _loading:
                self._llama = llama_cpp.Llama(str(weights.path), n_ctx=n_ctx, n_gpu_layers=n_gpu_layers, n_threads=n_threads,
                                              n_threads_batch=n_threads, n_batch=min(n_batch, n_ctx), n_ubatch=min(n_batch, n_ctx),
                                              use_mmap=False, verbose=False)
        except jinja2.TemplateError as error:  # Llama compiles every template of the file as soon as it has it
            raise WeightsError(f"Model file {weights.path} has a chat template that is damaged ({error}); "
                               "choose another file of this model.") from error
        except (ValueError, RuntimeError) as error:
            raise WeightsError(f"Model file {weights.path} cannot be loaded here although its trial load went well ({error}); "
                               "free some memory or lower LLAMA_CTX.") from error
        self._vocab = self._llama._model.vocab
        self._template = Template(weights.chat_template, self._word(llama_cpp.llama_vocab_bos(self._vocab)),
                                  self._word(llama_cpp.llama_vocab_eos(self._vocab)), self._llama.tokenize)
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._job: Job | None = None
        self._open, self._drain, self._gate = True, False, threading.Lock()
        self._thread = threading.Thread(target=self._work, name=f"decode-{name}", daemon=True)
        self._thread.start()
        atexit.register(self.close)  # a thread that decodes while the interpreter frees the model would crash at exit

    def stream(self, request: Request) -> ReplyStream:
        """Queue the request. Raises ContextOverflow with both numbers, BadRequest when the template refuses, NotReady when closed."""
        size = sum(len(str(message.get("content", ""))) for message in request.messages)
        if size > self.n_ctx * LONGEST_TOKEN:  # before its tokens are counted, which takes seconds per megabyte and holds up everybody
            raise ContextOverflow(f"The prompt has {size:,} characters, more than the context of {self.name} holds ({self.n_ctx} tokens); "
                                  "shorten it, or raise LLAMA_CTX.", param="messages", n_ctx=self.n_ctx)
        with self._gate:
            if not self._open:
                raise NotReady(f"{self.name} was unloaded; load it again.", part=self.name, retry_after=5)
            tokens = self._template.encode(request.messages)
            if len(tokens) >= self.n_ctx:
                raise ContextOverflow(f"The prompt has {len(tokens)} tokens but {self.name} has a context of {self.n_ctx}; shorten it, "
                                      "or raise LLAMA_CTX.", param="messages", prompt_tokens=len(tokens), n_ctx=self.n_ctx)
            job = Job(request, tokens)
            self._jobs.put(job)
        return _reading(job, self.name)

    def close(self, drain: bool = False) -> None:
        """End the thread and give the memory back; with `drain` the requests that were accepted are finished first."""
        with self._gate:
            if not self._open:
                return
            self._open, self._drain = False, drain
            current = self._job
            if current is not None and not drain:
                current.cancel()
            self._jobs.put(None)
        self._thread.join()
        atexit.unregister(self.close)
        self._llama.close()
        del self._template
        with contextlib.suppress(AttributeError):  # glibc only: hands freed memory back to the system at once
            ctypes.CDLL(None).malloc_trim(0)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            self._job = job
            if not self._open and not self._drain:
                job.out.put(NotReady(f"{self.name} was unloaded before it began this reply; ask again later.", part=self.name, retry_after=5))
                continue
            self.busy = True
            try:
                job.out.put(self._decode(job))
            except Exception as error:  # the edge of the thread: the reader gets it, and the next request is served
                log.exception("%s failed while it wrote a reply", self.name)
                self._llama.reset()
                job.out.put(UpstreamError(f"{self.name} failed while it wrote this reply ({type(error).__name__}: {error}); ask again.",
                                          part=self.name))
            finally:
                self.busy, self._job = False, None

    def _decode(self, job: Job) -> Reply | SuiteError:
        request, pieces, parts, finish, count = job.request, Pieces(job.request.stop), [], "length", 0
        most = min(request.max_tokens, self.n_ctx - len(job.tokens))
        if job.cancelled:  # nobody waits for it any more
            return Reply("", 0, len(job.tokens), 0.0, self.model, smoke=self.weights.smoke, finish="cancelled")
        began = time.monotonic()
        llama_cpp.llama_set_abort_callback(self._llama.ctx, _strlen, ctypes.addressof(job.flag))
        try:
            with contextlib.closing(self._generate(job)) as tokens:
                for token in tokens:
                    if job.cancelled or llama_cpp.llama_vocab_is_eog(self._vocab, token):
                        finish = "cancelled" if job.cancelled else "stop"
                        break
                    count += 1
                    self._put(job, parts, pieces.feed(self._bytes(token)))
                    if pieces.stopped or count >= most:
                        finish = "stop" if pieces.stopped else "length"
                        break
        except RuntimeError:
            if not job.cancelled:
                raise
            finish = "cancelled"  # llama.cpp broke off in the middle of a batch
            self._llama.reset()
        if finish == "cancelled" and not self._open:
            return UpstreamError(f"{self.name} was unloaded while it wrote this reply; ask again later.", part=self.name)
        self._put(job, parts, pieces.end())
        seconds = time.monotonic() - began
        self.requests, self.tokens = self.requests + 1, self.tokens + count
        self.tokens_per_s = count / seconds if seconds > 0 else 0.0
        return Reply("".join(parts), count, len(job.tokens), seconds, self.model, smoke=self.weights.smoke, finish=finish)

    def _generate(self, job: Job) -> Any:
        request, default = job.request, self.defaults
        self._llama.set_seed(secrets.randbelow((1 << 32) - 1) if request.seed is None else request.seed)
        if request.seed is not None:
            self._llama.reset()  # without reused prefixes, whose other batch sizes give other last bits: the same seed shall give the same text

        def chosen(name: str) -> float:
            value = getattr(request, name)
            return float(default[name] if value is None else value)

        return self._llama.generate(job.tokens, temp=chosen("temperature"), top_p=chosen("top_p"), repeat_penalty=chosen("repeat_penalty"))

    @staticmethod
    def _put(job: Job, parts: list[str], text: str) -> None:
        if text:
            parts.append(text)
            job.out.put(text)

    def _bytes(self, token: int) -> bytes:
        size = 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            length = llama_cpp.llama_token_to_piece(self._vocab, token, buffer, size, 0, False)
            if length >= 0:
                return buffer.raw[:length]
            size = -length

    def _word(self, token: int) -> str:
        return llama_cpp.llama_vocab_get_text(self._vocab, token).decode("utf-8", "replace") if token >= 0 else ""


def _reading(job: Job, name: str) -> ReplyStream:
    """The reader's end of a job. It knows the job only, so a reader that is dropped can be noticed."""
    deadline = None if job.request.timeout is None else time.monotonic() + job.request.timeout
    last: list[Reply | SuiteError] = []

    def take() -> str | None:
        try:
            item = job.out.get(timeout=None if deadline is None else max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            job.cancel()
            item = UpstreamError(f"{name} gave no complete reply within {job.request.timeout:g} s; ask for fewer tokens, "
                                 "or raise LLM_REQUEST_TIMEOUT.", part=name, timeout=True)
        if isinstance(item, str):
            return item
        last.append(item)
        return None

    def pieces() -> Any:
        while (piece := take()) is not None:
            yield piece
        if isinstance(last[0], SuiteError):
            raise last[0]

    def finished() -> Reply:
        while not last:  # closed early: the decoder notices within a token and then says what there is
            take()
        if isinstance(last[0], SuiteError):
            raise last[0]
        return last[0]

    return ReplyStream(pieces(), finished, job.cancel)
