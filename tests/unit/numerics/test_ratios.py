"""A ratio of sums against NumPy, the t interval of a mean, and its coverage where the truth is known."""

import numpy as np
import pytest

from armillary.numerics.intervals import across_seeds
from armillary.numerics.ratios import RatioSums


def summed(pairs: np.ndarray) -> RatioSums:
    sums = RatioSums()
    for x, y in pairs:
        sums.add(float(x), float(y))
    return sums


def test_a_mean_has_the_interval_of_student() -> None:
    values = np.random.default_rng(0).random(40)
    made = summed(np.stack([values, np.ones(40)], 1)).interval()
    wanted = across_seeds(values)
    assert made is not None and made.n == 40
    assert (made.estimate, made.low, made.high) == pytest.approx((wanted.estimate, wanted.low, wanted.high))


def test_streams_add_up() -> None:
    pairs = np.random.default_rng(1).integers(0, 9, (60, 2))
    whole, parts = summed(pairs), summed(pairs[:17])
    parts.merge(summed(pairs[17:]))
    assert parts == whole
    assert whole.interval() is None or whole.interval() == parts.interval()


def test_the_interval_covers_a_known_ratio() -> None:
    generator = np.random.default_rng(2)
    hits = 0
    for _ in range(300):
        sizes = generator.integers(1, 12, 80)
        late = generator.binomial(sizes, np.clip(generator.normal(0.3, 0.2, 80), 0, 1))
        interval = summed(np.stack([late, sizes], 1)).interval()
        assert interval is not None
        hits += interval.lower <= TRUTH <= interval.upper
    assert 270 <= hits <= 299  # 95 % of 300 are 285, with a standard deviation of 3.8


TRUTH = float(np.clip(np.random.default_rng(3).normal(0.3, 0.2, 2_000_000), 0, 1).mean())
"""The share of late steps: independent of a sample's size."""


def test_samples_that_are_all_alike() -> None:
    none = summed(np.array([[0, 3]] * 10)).interval()
    assert none is not None and none.low == 0 and none.high == pytest.approx(0.3085, abs=1e-4)
    assert none.how == "exact binomial over 10 samples, all alike"
    half = summed(np.array([[1, 2], [2, 4], [3, 6]])).interval()
    assert half is not None and half.estimate == 0.5 and half.low is None
    assert summed(np.array([[0, 0]])).interval() is None
    assert RatioSums().interval() is None
