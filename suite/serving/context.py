"""The working memory of a loaded model: sequences of tokens side by side in one cache, and one step of computation for all of them."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from typing import Any

import llama_cpp
import numpy as np

from suite.errors import WeightsError
from suite.serving.model import LoadedModel, aborting
from suite.serving.parameters import Parameters

KV_TYPES = {"f16": 1, "q8_0": 8}  # ggml's numbers
ABORTED = 2
# llama.cpp asks "shall I stop?" between operations. strlen answers in C, without the GIL: a flag of "" is 0 (go on), one of "x" is 1 (stop).
_strlen = ctypes.cast(ctypes.CDLL(None).strlen, llama_cpp.ggml_abort_callback)


class Aborted(Exception):
    """A step was broken off on request; nothing of it counts."""


class StepFailed(Exception):
    """llama.cpp could not compute a step; `full` says that the cache had no room for it."""

    def __init__(self, status: int) -> None:
        super().__init__(f"llama_decode gave {status}")
        self.full = status == 1


class Context:
    """A cache of `kv_tokens` cells that all sequences share, and a batch of at most `n_batch` tokens per step. One thread uses it."""

    def __init__(self, model: LoadedModel, parameters: Parameters) -> None:
        """Reserve the memory. Raises WeightsError when there is not enough of it."""
        self.model, self.size = model, parameters.n_batch
        self.sequences = parameters.slots if model.forgets else parameters.sequences
        wanted = llama_cpp.llama_context_default_params()
        wanted.n_ctx, wanted.n_batch, wanted.n_ubatch = parameters.kv_tokens, self.size, self.size
        wanted.n_seq_max, wanted.kv_unified = self.sequences, True
        wanted.n_threads = wanted.n_threads_batch = parameters.n_threads
        wanted.type_k = wanted.type_v = KV_TYPES[parameters.kv_type]
        self.pointer = llama_cpp.llama_init_from_model(model.pointer, wanted)
        if not self.pointer:
            raise WeightsError(f"There is no memory for {parameters.kv_tokens:,} tokens of context of {model.weights.path.name}; "
                               "lower LLAMA_KV_TOKENS and LLAMA_CTX, or choose a smaller model.")
        self._memory = llama_cpp.llama_get_memory(self.pointer)
        self._flag = ctypes.create_string_buffer(2)
        llama_cpp.llama_set_abort_callback(self.pointer, _strlen, ctypes.addressof(self._flag))
        self._make_batch()

    def _make_batch(self) -> None:
        """llama.cpp's batch over arrays of ours, so that a step is filled in without a call per token."""
        self._tokens, self._places = np.zeros(self.size, np.int32), np.zeros(self.size, np.int32)
        self._counts, self._wanted = np.ones(self.size, np.int32), np.zeros(self.size, np.int8)
        self._owners = np.zeros(self.size, np.int32)  # the one sequence of each token
        step, start = self._owners.itemsize, self._owners.ctypes.data
        self._pointers = np.array([start + step * at for at in range(self.size)], np.uintp)
        whole = ctypes.POINTER(ctypes.c_int32)
        batch = llama_cpp.llama_batch()
        batch.token, batch.pos = self._tokens.ctypes.data_as(whole), self._places.ctypes.data_as(whole)
        batch.n_seq_id = self._counts.ctypes.data_as(whole)
        batch.seq_id = self._pointers.ctypes.data_as(ctypes.POINTER(whole))
        batch.logits = self._wanted.ctypes.data_as(ctypes.POINTER(ctypes.c_int8))
        batch.n_tokens = 0
        self._batch = batch

    @property
    def room(self) -> int:
        """How many more tokens this step can take."""
        return self.size - self._batch.n_tokens

    def add(self, sequence: int, place: int, tokens: Any, scored: bool) -> int:
        """Put tokens at `place` of a sequence into the coming step; gives the index of the last one, whose scores are kept when `scored`."""
        begin = self._batch.n_tokens
        end = begin + len(tokens)
        self._tokens[begin:end], self._owners[begin:end], self._wanted[begin:end] = tokens, sequence, 0
        self._places[begin:end] = np.arange(place, place + len(tokens), dtype=np.int32)
        self._wanted[end - 1] = scored
        self._batch.n_tokens = end
        return end - 1

    def step(self) -> None:
        """Compute what was added. Raises Aborted, or StepFailed; in both cases nothing of the step is in the cache."""
        try:
            status = llama_cpp.llama_decode(self.pointer, self._batch)
        finally:
            self._batch.n_tokens = 0
        if status == ABORTED:
            raise Aborted
        if status:
            raise StepFailed(status)

    def scores(self, index: int) -> np.ndarray:
        """The scores for what follows the token at `index` of the last step: (n_vocab,) float32, llama.cpp's own memory, valid until the next."""
        pointer = llama_cpp.llama_get_logits_ith(self.pointer, index)
        return np.ctypeslib.as_array(pointer, (self.model.n_vocab,))

    def share(self, source: int, target: int, count: int) -> None:
        """Let `target` begin with the first `count` tokens of `source`; takes no room."""
        llama_cpp.llama_memory_seq_cp(self._memory, source, target, 0, count)

    def forget(self, sequence: int) -> None:
        """Empty a sequence."""
        llama_cpp.llama_memory_seq_rm(self._memory, sequence, -1, -1)

    def clear(self, sequences: Iterable[int] = ()) -> None:
        """Empty everything, whatever state it is in."""
        for sequence in sequences:
            self.forget(sequence)
        llama_cpp.llama_memory_clear(self._memory, True)

    def abort(self, on: bool) -> None:
        """Break off the step that is being computed (from another thread), or allow steps again."""
        (aborting.add if on else aborting.discard)(id(self))
        self._flag[0] = b"x" if on else b"\0"

    def close(self) -> None:
        """Give the memory back; safe to call twice."""
        aborting.discard(id(self))
        pointer, self.pointer = self.pointer, None
        if pointer:
            llama_cpp.llama_free(pointer)
