"""From a model's scores to one token, as a request asks for it: llama.cpp's samplers in llama-server's order."""

from __future__ import annotations

import ctypes
import math
import secrets
from typing import Any

import llama_cpp
import numpy as np

from suite.serving.model import LoadedModel
from suite.serving.request import Request

TOP_K, MIN_P = 40, 0.05  # llama.cpp's own defaults, where neither request nor settings say anything
WINDOW = 64  # how many tokens of the reply a penalty looks back at
NEVER = -math.inf
CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])  # llama.cpp's llama_token_data
_GOLDEN, _FIRST, _SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)  # SplitMix64's


class NoNumbers(Exception):
    """The model gave scores that are not numbers, or left no token to choose."""


class Sampler:
    """One request's way of choosing tokens; `close()` gives its memory back.

    A seed gives every token of every step its own number, and the token with the largest sum of score and number is chosen (the Gumbel-max
    trick: the same chances as drawing by weight). The scores may differ in their last bits when other requests are computed in the same step, or
    when the prompt was there already, since llama.cpp sums in another order then; only where the two best sums are that close does a text change.
    Drawing by weight would add up the differences of all tokens before the one that is drawn.
    """

    def __init__(self, model: LoadedModel, request: Request, defaults: dict[str, float], constrained: bool = False) -> None:
        """`defaults` for what the request leaves open; `constrained` says that a grammar decides when the reply may end."""
        self._vocab = model.n_vocab
        self._all, self._cells = np.arange(self._vocab, dtype=np.int32), np.zeros(self._vocab, CANDIDATE)
        self._noise: Noise | None = None
        self._chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())

        def chosen(name: str, otherwise: float = 0.0) -> float:
            value = getattr(request, name)
            return float(defaults.get(name, otherwise) if value is None else value)

        biases = list(request.logit_bias) + [(token, NEVER) for token in model.ends if request.ignore_eos and not constrained]
        self._biased = np.array([token for token, _ in biases], np.int32)
        self._biases = np.array([bias for _, bias in biases], np.float32)
        self._plain = False  # the best score as it stands
        penalties = chosen("repeat_penalty", 1.0), chosen("frequency_penalty"), chosen("presence_penalty")
        if penalties != (1.0, 0.0, 0.0):
            self._add(llama_cpp.llama_sampler_init_penalties(self._vocab, WINDOW, *penalties))
        temperature = chosen("temperature", 0.8)
        if temperature <= 0:
            self._plain = penalties == (1.0, 0.0, 0.0)
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
        self._noise = Noise(secrets.randbits(64) if request.seed is None else request.seed)

    def _add(self, sampler: Any) -> None:
        llama_cpp.llama_sampler_chain_add(self._chain, sampler)

    def choose(self, scores: np.ndarray) -> int:
        """The token for these scores (n_vocab,), to which the request's biases are added in place.

        Raises NoNumbers: llama.cpp would end the process over such scores.
        """
        if len(self._biased):
            np.add.at(scores, self._biased, self._biases)  # of two for one token both count
        best = int(scores.argmax())  # of the first that is no number, if there is one
        if not math.isfinite(scores[best]):
            raise NoNumbers
        if self._plain:
            return best
        self._cells["id"], self._cells["logit"] = self._all, scores  # llama.cpp sorts and cuts the cells in place
        left = llama_cpp.llama_token_data_array(self._cells.ctypes.data_as(llama_cpp.llama_token_data_p), self._vocab, -1, False)
        llama_cpp.llama_sampler_apply(self._chain, ctypes.byref(left))
        tokens = self._cells["id"][:left.size]
        chosen = left.selected if self._noise is None else int(np.argmax(self._cells["logit"][:left.size] + self._noise.next(tokens)))
        token = int(tokens[chosen])
        llama_cpp.llama_sampler_accept(self._chain, token)
        return token

    def close(self) -> None:
        """Give the memory back; safe to call twice."""
        chain, self._chain = self._chain, None
        if chain:
            llama_cpp.llama_sampler_free(chain)


class Noise:
    """Random numbers of Gumbel's distribution that depend on the seed, the step and the token alone (SplitMix64 over the three)."""

    def __init__(self, seed: int) -> None:
        self._seed, self._step = np.array([seed % (1 << 64)], np.uint64), 0

    def next(self, tokens: np.ndarray) -> np.ndarray:
        """One number for each of the tokens (n,), float64; every call is a step further."""
        self._step += 1
        bits = _mixed(_mixed(_mixed(self._seed) + np.uint64(self._step)) + tokens.astype(np.uint64))
        return -np.log(-np.log(((bits >> np.uint64(12)) + 0.5) / (1 << 52)))


def _mixed(numbers: np.ndarray) -> np.ndarray:
    """SplitMix64's last step: numbers that differ in one bit differ in half of them afterwards. Overflow is meant."""
    numbers = numbers * _GOLDEN + _GOLDEN
    numbers = (numbers ^ (numbers >> np.uint64(30))) * _FIRST
    numbers = (numbers ^ (numbers >> np.uint64(27))) * _SECOND
    return numbers ^ (numbers >> np.uint64(31))


def logprobs(scores: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """(log-probabilities of all tokens (n_vocab,) float64, the `most` likeliest token numbers, likeliest first) of the model's own scores."""
    values = scores.astype(np.float64)
    values -= values.max()
    values -= math.log(np.exp(values).sum())
    if most == 0:
        return values, np.empty(0, np.int64)
    top = np.argpartition(values, -most)[-most:] if most < len(values) else np.arange(len(values))
    return values, top[np.argsort(-values[top], kind="stable")]
