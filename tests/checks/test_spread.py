"""Quantiles and their intervals, against chance itself."""

from __future__ import annotations

import numpy as np
import pytest

from suite.checks.spread import interval, quantile, spread


def test_a_handful_gives_its_own_least_median_and_most() -> None:
    found = spread([0.3, 0.1, 0.2])
    assert (found["n"], found["min"], found["p50"], found["p95"], found["max"]) == (3, 0.1, 0.2, 0.3, 0.3)
    assert found["high"] is None and spread([]) == {"n": 0}


@pytest.mark.parametrize(("n", "high"), [(30, None), (58, None), (59, 58), (92, 91), (93, 91), (200, 195), (20_000, 19_050)])
def test_the_upper_end_is_there_from_59_on(n: int, high: int | None) -> None:
    assert interval(n, 0.95)[1] == high


@pytest.mark.parametrize(("n", "share"), [(60, 0.95), (100, 0.95), (40, 0.5)])
def test_both_ends_hold_in_nineteen_of_twenty_samples_whatever_the_distribution(n: int, share: float) -> None:
    chance, rounds = np.random.default_rng(7), 4000
    low, high = interval(n, share)
    assert low is not None and high is not None
    samples = np.sort(chance.exponential(size=(rounds, n)), axis=1)
    truth = -np.log(1 - share)
    for held in ((samples[:, high] >= truth).mean(), (samples[:, low] <= truth).mean()):
        assert held >= 0.94
    tighter = (samples[:, high - 1] >= truth).mean(), (samples[:, low + 1] <= truth).mean()
    assert max(tighter) < 0.955  # one place nearer would be too sure


def test_a_quantile_is_one_of_the_rows() -> None:
    rows = [float(number) for number in range(1, 21)]
    assert (quantile(rows, 0.95), quantile(rows, 0.5), quantile(rows, 1.0), quantile(rows, 0.0)) == (19.0, 10.0, 20.0, 1.0)
