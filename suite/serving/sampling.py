"""From a model's scores to one token, as a request asks for it: llama.cpp's samplers in llama-server's order."""

from __future__ import annotations

import ctypes
import math
import secrets
from collections.abc import Iterable
from typing import Any

import llama_cpp
import numpy as np

from suite.serving.model import LoadedModel
from suite.serving.request import Request

TOP_K, MIN_P = 40, 0.05  # llama.cpp's own defaults, where neither request nor settings say anything
WINDOW = 64  # how many tokens of the reply a penalty looks back at
NEVER = -math.inf


class NoNumbers(Exception):
    """The model gave scores that are not numbers, or left no token to choose."""


class Sampler:
    """One request's way of choosing tokens; `close()` gives its memory back.

    The same seed draws the same numbers. The scores themselves may differ in their last bits when other requests are computed in the same step,
    since llama.cpp sums in another order for another number of rows; where two tokens are that close, a text may change.
    """

    def __init__(self, model: LoadedModel, request: Request, defaults: dict[str, float], constrained: bool = False) -> None:
        """`defaults` for what the request leaves open; `constrained` says that a grammar decides when the reply may end."""
        self._vocab = model.n_vocab
        self._chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())

        def chosen(name: str, otherwise: float = 0.0) -> float:
            value = getattr(request, name)
            return float(defaults.get(name, otherwise) if value is None else value)

        biases = list(request.logit_bias) + [(token, NEVER) for token in model.ends if request.ignore_eos and not constrained]
        if biases:
            self._add(llama_cpp.llama_sampler_init_logit_bias(self._vocab, len(biases), _biases(biases)))
        penalties = chosen("repeat_penalty", 1.0), chosen("frequency_penalty"), chosen("presence_penalty")
        if penalties != (1.0, 0.0, 0.0):
            self._add(llama_cpp.llama_sampler_init_penalties(self._vocab, WINDOW, *penalties))
        temperature = chosen("temperature", 0.8)
        if temperature <= 0:
            self._add(llama_cpp.llama_sampler_init_greedy())
            return
        top_k, top_p, min_p = int(chosen("top_k", TOP_K)), chosen("top_p", 1.0), chosen("min_p", MIN_P)
        if top_k > 0:
            self._add(llama_cpp.llama_sampler_init_top_k(top_k))
        if top_p < 1:
            self._add(llama_cpp.llama_sampler_init_top_p(top_p, 1))
        if min_p > 0:
            self._add(llama_cpp.llama_sampler_init_min_p(min_p, 1))
        self._add(llama_cpp.llama_sampler_init_temp(temperature))
        self._add(llama_cpp.llama_sampler_init_dist(secrets.randbelow((1 << 32) - 1) if request.seed is None else request.seed))

    def _add(self, sampler: Any) -> None:
        llama_cpp.llama_sampler_chain_add(self._chain, sampler)

    def choose(self, context: Any, index: int, scores: np.ndarray) -> int:
        """The token for the scores at `index` of the last step. Raises NoNumbers: llama.cpp would end the process over such scores."""
        if not math.isfinite(scores.max()):
            raise NoNumbers
        return llama_cpp.llama_sampler_sample(self._chain, context, index)

    def close(self) -> None:
        """Give the memory back; safe to call twice."""
        chain, self._chain = self._chain, None
        if chain:
            llama_cpp.llama_sampler_free(chain)


def _biases(pairs: Iterable[tuple[int, float]]) -> Any:
    rows = list(pairs)
    array = (llama_cpp.llama_logit_bias * len(rows))()
    for at, (token, bias) in enumerate(rows):
        array[at].token, array[at].bias = token, bias
    return ctypes.cast(array, ctypes.POINTER(llama_cpp.llama_logit_bias))


def logprobs(scores: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """(log-probabilities of all tokens (n_vocab,) float64, the `most` likeliest token numbers, likeliest first) of the model's own scores."""
    values = scores.astype(np.float64)
    values -= values.max()
    values -= math.log(np.exp(values).sum())
    if most == 0:
        return values, np.empty(0, np.int64)
    top = np.argpartition(values, -most)[-most:] if most < len(values) else np.arange(len(values))
    return values, top[np.argsort(-values[top], kind="stable")]
