"""llama.cpp with as little around it as possible: what a server's speed is held against, and nothing that serves anybody."""

from __future__ import annotations

import ctypes
import time
from pathlib import Path
from typing import Any

import llama_cpp

from suite.errors import UpstreamError
from suite.serving.parameters import Parameters
from suite.serving.random_model import dialogue


@llama_cpp.llama_log_callback
def _silent(_level: int, _text: bytes, _data: Any) -> None:
    pass


class BareLoops:
    """Two loops over one set of weights: llama_cpp.Llama's own generator, and one batch for many sequences by the low-level functions.

    Both take the likeliest token at each place and turn nothing into text. What they give is one list of times per reply: seconds from
    the start of the call to each token.
    """

    def __init__(self, path: Path, parameters: Parameters) -> None:
        llama_cpp.llama_log_set(_silent, ctypes.c_void_p(0))
        self.parameters = parameters
        self._llama = llama_cpp.Llama(str(path), n_ctx=parameters.n_ctx, n_batch=parameters.n_batch, n_ubatch=parameters.n_batch,
                                      n_threads=parameters.n_threads, n_threads_batch=parameters.n_threads,
                                      n_gpu_layers=parameters.n_gpu_layers, verbose=False)
        wanted = llama_cpp.llama_context_default_params()
        wanted.n_ctx, wanted.n_batch, wanted.n_ubatch = parameters.kv_tokens, parameters.n_batch, parameters.n_batch
        wanted.n_seq_max, wanted.kv_unified = parameters.slots, True
        wanted.n_threads = wanted.n_threads_batch = parameters.n_threads
        self._context = llama_cpp.llama_init_from_model(self._llama.model, wanted)
        self._batch = llama_cpp.llama_batch_init(parameters.n_batch, 0, 1)
        self._best = llama_cpp.llama_sampler_init_greedy()

    def one(self, prompt: str, tokens: int) -> list[float]:
        """One reply by llama_cpp.Llama."""
        marks: list[float] = []
        began = time.perf_counter()
        for _ in self._llama.generate(self._tokens(prompt), temp=0.0):
            marks.append(time.perf_counter() - began)
            if len(marks) == tokens:
                break
        return marks

    def many(self, prompts: list[str], tokens: int) -> list[list[float]]:
        """All replies at once, each step one token of each. Raises UpstreamError when llama.cpp cannot compute a step."""
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._context), True)
        began = time.perf_counter()
        read = [self._tokens(prompt) for prompt in prompts]
        marks: list[list[float]] = [[] for _ in prompts]
        last, places = [0] * len(prompts), [len(each) for each in read]
        waiting = [(owner, place, token) for owner, each in enumerate(read) for place, token in enumerate(each)]
        size = self.parameters.n_batch
        for begin in range(0, len(waiting), size):
            part = waiting[begin:begin + size]
            wanted = [place == places[owner] - 1 for owner, place, _ in part]
            for owner, token in self._step(part, wanted):
                last[owner] = token
                marks[owner].append(time.perf_counter() - began)
        for _ in range(tokens - 1):
            part = [(owner, places[owner], last[owner]) for owner in range(len(prompts))]
            for owner, token in self._step(part, [True] * len(part)):
                last[owner], places[owner] = token, places[owner] + 1
                marks[owner].append(time.perf_counter() - began)
        return marks

    def _step(self, part: list[tuple[int, int, int]], wanted: list[bool]) -> list[tuple[int, int]]:
        """Compute rows of (sequence, place, token); gives (sequence, next token) of those that are wanted."""
        batch = self._batch
        for at, (owner, place, token) in enumerate(part):
            batch.token[at], batch.pos[at], batch.n_seq_id[at], batch.logits[at] = token, place, 1, wanted[at]
            batch.seq_id[at][0] = owner
        batch.n_tokens = len(part)
        status = llama_cpp.llama_decode(self._context, batch)
        if status:
            raise UpstreamError(f"llama_decode gave {status} for a batch of {len(part)} tokens; raise LLAMA_KV_TOKENS.")
        return [(part[at][0], llama_cpp.llama_sampler_sample(self._best, self._context, at)) for at, yes in enumerate(wanted) if yes]

    def _tokens(self, prompt: str) -> list[int]:
        return self._llama.tokenize(dialogue(prompt).encode(), add_bos=False, special=True)

    def close(self) -> None:
        """Give the memory back."""
        llama_cpp.llama_sampler_free(self._best)
        llama_cpp.llama_batch_free(self._batch)
        llama_cpp.llama_free(self._context)
        self._llama.close()
