"""Choosing a token: by chance as likely as its score says, the same again with the same seed, and hardly ever another because of a last bit."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from suite.serving.request import Request
from suite.serving.sampling import NoNumbers, Sampler

PLAIN = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}
seeds = st.integers(0, 2**32 - 1)


def sampler(size: int, **options: Any) -> Sampler:
    made = SimpleNamespace(n_vocab=size, ends=())
    return Sampler(made, Request(messages=({"role": "user", "content": "x"},), **options), {})  # type: ignore[arg-type]


def chosen(scores: Any, count: int, **options: Any) -> list[int]:
    values = np.asarray(scores, np.float32)
    one = sampler(len(values), **options)
    try:
        return [one.choose(values) for _ in range(count)]
    finally:
        one.close()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_come_as_often_as_their_scores_say(temperature: float) -> None:
    scores, draws = np.array([2.0, 1.0, 0.0, -1.0, -8.0]), 20_000
    expected = np.exp(scores / temperature) / np.exp(scores / temperature).sum() * draws
    seen = np.bincount(chosen(scores, draws, seed=5, **{**PLAIN, "temperature": temperature}), minlength=5)
    assert ((seen - expected) ** 2 / expected.clip(1)).sum() < 23.5  # chi-square with four degrees of freedom: one run in ten thousand is above


@pytest.mark.parametrize("temperature", [0.0, 0.01])
def test_biases_are_added_to_the_scores_and_a_reply_that_may_not_end_has_no_end(temperature: float) -> None:
    def first(ignore_eos: bool = False, **biases: float) -> int:
        request = Request(messages=({"role": "user", "content": "x"},), temperature=temperature, seed=1, ignore_eos=ignore_eos,
                          logit_bias=tuple((int(token[1:]), bias) for token, bias in biases.items()))
        one = Sampler(SimpleNamespace(n_vocab=4, ends=(3,)), request, {})  # type: ignore[arg-type]
        try:
            return one.choose(np.array([1.0, 2.0, 0.0, 9.0], np.float32))
        finally:
            one.close()

    assert (first(), first(ignore_eos=True), first(ignore_eos=True, t2=2.5), first(t1=8.0)) == (3, 1, 2, 1)
    with pytest.raises(NoNumbers):
        first(ignore_eos=True, t0=-math.inf, t1=-math.inf, t2=-math.inf)


def test_neighbouring_seeds_choose_independently() -> None:
    first = np.array([chosen([0.0, 0.0], 64, seed=seed, **PLAIN) for seed in range(200)])
    assert abs(np.corrcoef(first[:-1].ravel(), first[1:].ravel())[0, 1]) < 0.04
    assert abs(np.corrcoef(first[:, :-1].ravel(), first[:, 1:].ravel())[0, 1]) < 0.04  # nor do the steps of one seed depend on each other


@given(seeds, st.lists(st.floats(-20, 20, width=32), min_size=2, max_size=60))
def test_a_seed_chooses_the_same_again_and_a_cut_that_keeps_the_token_changes_nothing(seed: int, scores: list[float]) -> None:
    whole = chosen(scores, 6, seed=seed, **PLAIN)
    assert whole == chosen(scores, 6, seed=seed, **PLAIN)
    best = set(np.argsort(-np.asarray(scores, np.float32), kind="stable")[:5].tolist())
    cut = chosen(scores, 6, seed=seed, **{**PLAIN, "top_k": 5})
    ties = len({np.float32(score) for score in scores}) < len(scores)  # which of equal scores top-k keeps is not said
    assert ties or all(a == b for a, b in zip(whole, cut, strict=True) if a in best)


def test_a_difference_in_the_last_bits_changes_next_to_no_choice() -> None:
    random = np.random.default_rng(3)
    scores = random.normal(size=4000).astype(np.float32)
    near = scores + random.normal(scale=1e-4, size=4000).astype(np.float32)
    one, other = (chosen(values, 2000, seed=9, **PLAIN) for values in (scores, near))
    assert sum(a != b for a, b in zip(one, other, strict=True)) <= 1  # drawing by weight from the running sum changes ten


@given(st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=40))
def test_temperature_zero_takes_the_best(scores: list[float]) -> None:
    token = chosen(scores, 1, temperature=0.0)[0]
    assert np.float32(scores[token]) == max(np.float32(score) for score in scores)


@pytest.mark.parametrize("scores", [[1.0, float("nan")], [float("-inf"), float("-inf")], [float("inf"), 0.0]])
def test_scores_that_are_no_numbers_are_refused(scores: list[float]) -> None:
    with pytest.raises(NoNumbers):
        chosen(scores, 1, **PLAIN)
