"""A model file in memory: its weights and its vocabulary, over llama.cpp's low-level functions."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import threading
from functools import cached_property
from typing import Any

import llama_cpp

from suite.errors import WeightsError
from suite.serving.grammar import SPOKEN
from suite.serving.weights import Weights

log = logging.getLogger("suite.serving")
_loading = threading.Lock()  # llama.cpp's one-time initialisation, and one reader of the disk at a time
_begun = False
aborting: set[int] = set()  # contexts that were told to break off a step: llama.cpp then reports errors that are none


@llama_cpp.llama_log_callback
def _to_log(level: int, text: bytes, _data: Any) -> None:
    """llama.cpp's own messages go to our log, not into whichever notebook cell runs: errors (4) as errors, the rest for debugging."""
    message = text.decode("utf-8", "replace").strip()
    if message:
        log.log(logging.ERROR if level == 4 and not aborting else logging.DEBUG, "llama.cpp: %s", message)


llama_cpp.llama_log_set(_to_log, ctypes.c_void_p(0))


class LoadedModel:
    """The weights of one file. Reading functions may be called from any thread; `close()` must be the last call."""

    def __init__(self, weights: Weights, n_gpu_layers: int) -> None:
        """Load. Raises WeightsError when llama.cpp refuses a file that passed its checks and its trial load."""
        global _begun
        self.weights = weights
        with _loading:
            if not _begun:
                llama_cpp.llama_backend_init()
                _begun = True
            parameters = llama_cpp.llama_model_default_params()
            # without mmap: a file that is cut short while it is mapped would kill this process
            parameters.load_mode, parameters.n_gpu_layers = llama_cpp.LLAMA_LOAD_MODE_NONE, n_gpu_layers
            self.pointer = llama_cpp.llama_model_load_from_file(os.fsencode(weights.path), parameters)
        if not self.pointer:
            raise WeightsError(f"Model file {weights.path} cannot be loaded here although its trial load went well; free some memory, "
                               "or choose a smaller model.")
        self.vocab = llama_cpp.llama_model_get_vocab(self.pointer)
        self.n_vocab = llama_cpp.llama_vocab_n_tokens(self.vocab)

    def close(self) -> None:
        """Give the memory back; safe to call twice."""
        pointer, self.pointer = self.pointer, None
        if pointer:
            llama_cpp.llama_model_free(pointer)
            with contextlib.suppress(AttributeError):  # glibc only: hands freed memory back to the system at once
                ctypes.CDLL(None).malloc_trim(0)

    def tokenize(self, text: bytes, begin: bool, controls: bool) -> list[int]:
        """Tokens of UTF-8 `text`; `begin` puts the model's begin token first where it has one, `controls` reads control words as controls."""
        room = len(text) // 2 + 16
        while True:
            tokens = (llama_cpp.llama_token * room)()
            count = llama_cpp.llama_tokenize(self.vocab, text, len(text), tokens, room, begin, controls)
            if count >= 0:
                return tokens[:count]
            room = -count

    def piece(self, token: int) -> bytes:
        """The bytes that a token stands for; none for a control, except those that begin a tool call, which the reader of calls has to see."""
        size, spoken = 64, self.word(token) in SPOKEN
        while True:
            buffer = ctypes.create_string_buffer(size)
            length = llama_cpp.llama_token_to_piece(self.vocab, token, buffer, size, 0, spoken)
            if length >= 0:
                return buffer.raw[:length]
            size = -length

    def word(self, token: int) -> str:
        """How the vocabulary writes a token; empty for a token that the model does not have."""
        return llama_cpp.llama_vocab_get_text(self.vocab, token).decode("utf-8", "replace") if token >= 0 else ""

    @cached_property
    def ends(self) -> frozenset[int]:
        """The tokens that end a reply."""
        return frozenset(token for token in range(self.n_vocab) if llama_cpp.llama_vocab_is_eog(self.vocab, token))

    @cached_property
    def begin_word(self) -> str:
        """The begin token as templates write it."""
        return self.word(llama_cpp.llama_vocab_bos(self.vocab))

    @cached_property
    def end_word(self) -> str:
        """The end token as templates write it."""
        return self.word(llama_cpp.llama_vocab_eos(self.vocab))

    @cached_property
    def infill(self) -> tuple[int, int, int] | None:
        """The tokens before a prefix, before a suffix and before the gap; None where the model was not made for that."""
        tokens = tuple(getattr(llama_cpp, f"llama_vocab_fim_{name}")(self.vocab) for name in ("pre", "suf", "mid"))
        return None if min(tokens) < 0 else tokens  # type: ignore[return-value]

    @property
    def forgets(self) -> bool:
        """Whether its memory is one state instead of a row per token, so that no beginning of a text can be taken from another."""
        return bool(llama_cpp.llama_model_is_recurrent(self.pointer) or llama_cpp.llama_model_is_hybrid(self.pointer))
