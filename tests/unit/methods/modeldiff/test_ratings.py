"""Precision and good inputs agree with sums done by hand; the verdict follows the intervals."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from armillary.errors import UsageError
from armillary.methods.modeldiff.core import Direction
from armillary.methods.modeldiff.ratings import RatedDirection, agreement_with_people
from armillary.records.plain import plain

NAN = math.nan


def direction(side: Any, differences: Any, weights: Any, ratings: Any, **more: Any) -> RatedDirection:
    with np.errstate(divide="ignore"):
        log_weight_N = np.log(np.array(weights, np.float64))
    numbers = {"difference_N": np.array(differences, np.float64), "rating_N": np.array(ratings, np.float64)}
    return RatedDirection(side=side, log_weight_N=log_weight_N, **numbers, **more)


OVERLAP = np.array([False, False, True, False, True])
A = direction("a", [-5, -4, -1, -6, -7], [2, 1, 5, 1, 0], [1, 0, 1, NAN, 1], overlap_N=OVERLAP)
B = direction("b", [3, -9, np.inf], [1, 4, 3], [0.5, 1, 0.25], overlap_N=np.array([True, True, False]))


def test_precision_and_good_inputs_by_hand() -> None:
    (found,) = agreement_with_people(A, B, [3.0])
    # Beyond 3 nats A has weights 2 (rated 1), 1 (rated 0) and 1 (not rated); the weight 0 lies outside the window.
    assert found.a.precision is not None and found.a.good is not None
    assert found.a.precision.estimate == pytest.approx(2 / 3)
    assert found.a.good.estimate == pytest.approx(2 / 3 * 4 / 5)
    assert (found.a.beyond, found.a.rated, found.a.covered) == (3, 2, 1.0)
    assert found.a.effective == pytest.approx(9 / 5)
    assert found.b.precision is not None and found.b.good is not None
    assert found.b.precision.estimate == pytest.approx((0.5 + 0.75) / 4)
    assert found.b.good.estimate == pytest.approx(1.25 / 5)
    assert found.verdict == "undecided" and "overlap" in found.reason


def test_a_bin_without_a_rating_is_left_out_and_said() -> None:
    (found,) = agreement_with_people(A, B, [3.0], bin_width=1.0)
    assert found.a.precision is not None and found.a.good is not None
    assert found.a.precision.estimate == pytest.approx(2 / 3)
    assert found.a.good.estimate == pytest.approx(2 / 5)
    assert found.a.covered == pytest.approx(3 / 4)


def test_the_rated_of_a_bin_speak_for_the_whole_bin() -> None:
    a = direction("a", [-3.2, -3.9, -4.5], [2, 2, 1], [1, NAN, 0])
    plain, binned = (agreement_with_people(a, B, [3.0], bin_width=width)[0] for width in (None, 1.0))
    assert plain.a.precision is not None and binned.a.precision is not None
    assert plain.a.precision.estimate == pytest.approx(2 / 3)
    assert binned.a.precision.estimate == pytest.approx(4 / 5)
    assert binned.a.good is None, "without an overlap there is nothing to count in"


def test_weights_of_any_size() -> None:
    heavy = replace(A, log_weight_N=A.log_weight_N + 900)
    first, second = (agreement_with_people(one, B, [0.0, 3.0])[1].a for one in (A, heavy))
    assert second.precision is not None and first.precision is not None and first.good is not None
    assert second.precision.estimate == pytest.approx(first.precision.estimate)
    assert second.good is not None and second.good.estimate == pytest.approx(first.good.estimate)


def test_nothing_beyond_the_threshold_is_said() -> None:
    (far,) = agreement_with_people(A, B, [50.0])
    assert far.a.precision is None and far.a.good is None and far.verdict == "undecided"
    assert far.reason == "of the inputs of A that it prefers by 50 nats or more, no sample lies there"
    (unrated,) = agreement_with_people(A, B, [5.5])
    assert "none of 1 samples is rated" in unrated.reason and unrated.a.beyond == 1
    assert plain(unrated)["a"]["precision"] is None
    outside = replace(A, log_weight_N=np.full(5, -np.inf))
    assert agreement_with_people(outside, B, [0.0])[0].a.beyond == 0


def raters(side: Any, good: float, n: int, seed: int) -> RatedDirection:
    generator = np.random.default_rng(seed)
    differences = np.where(generator.random(n) < 0.5, 4.0, 0.0) * (-1 if side == "a" else 1)
    overlap_N = differences == 0
    return direction(side, differences, np.ones(n), (generator.random(n) < good) * 1.0, overlap_N=overlap_N)


@pytest.mark.parametrize(
    ("good_a", "good_b", "n", "verdict"),
    [
        (0.9, 0.5, 400, "A agrees better"),
        (0.5, 0.9, 400, "B agrees better"),
        (0.7, 0.7, 400, "undecided"),
        (0.9, 0.5, 4, "undecided"),
    ],
)
def test_the_verdict(good_a: float, good_b: float, n: int, verdict: str) -> None:
    (found,) = agreement_with_people(raters("a", good_a, n, 1), raters("b", good_b, n, 2), [2.0])
    assert found.verdict == verdict


def test_the_interval_is_as_wide_as_theory_says_and_covers() -> None:
    n, good, covered = 400, 0.7, 0
    for seed in range(60):
        (found,) = agreement_with_people(raters("a", good, n, seed), B, [2.0], replicates=400, seed=seed)
        interval, count = found.a.precision, found.a.good
        assert interval is not None and interval.low is not None and interval.high is not None and count is not None
        covered += not interval.excludes(good)
        expected = 2 * 1.96 * math.sqrt(good * (1 - good) / interval.n)
        assert interval.high - interval.low == pytest.approx(expected, rel=0.25)
    assert 52 <= covered <= 60


def test_a_replicate_that_lacks_ratings_widens_the_interval() -> None:
    lone = direction("a", [-4, -4, 0, 0, 0, 0], np.ones(6), [1, NAN, 0, 0, 0, 0], overlap_N=np.ones(6, bool))
    (found,) = agreement_with_people(lone, B, [2.0])
    assert found.a.precision is not None
    assert (found.a.precision.low, found.a.precision.estimate, found.a.precision.high) == (0.0, 1.0, 1.0)


def test_the_samples_of_a_comparison_with_ratings() -> None:
    held = Direction(
        side="b",
        window=(1.0, 10.0),
        other_window=(1.0, 7.0),
        ids_NL=np.zeros((4, 2), np.int64),
        own_N=np.array([2.0, 3.0, 11.0, 4.0]),
        other_N=np.array([8.0, 6.0, 20.0, 9.0]),
        log_weight_N=np.log([1.0, 2.0, 50.0, 3.0]),
        unit_N=np.arange(4),
        stratum_N=np.zeros(4, np.int64),
    )
    b = RatedDirection.of(held, np.array([1, 0, 1, 0.5]))
    (found,) = agreement_with_people(A, b, [3.0])
    assert found.b.beyond == 3 and found.b.precision is not None and found.b.good is not None
    assert found.b.precision.estimate == pytest.approx((1 + 0 + 1.5) / 6)
    assert found.b.good.estimate == pytest.approx(2.5 / 2)


def test_settings_out_of_range() -> None:
    with pytest.raises(UsageError, match="threshold is a number of nats"):
        agreement_with_people(A, B, [-1.0])
    with pytest.raises(UsageError, match="samples of A come first"):
        agreement_with_people(B, A, [1.0])
    with pytest.raises(UsageError, match="replicates must be 2"):
        agreement_with_people(A, B, [1.0], replicates=1)
    with pytest.raises(UsageError, match="rating_N has 2 values for 3 samples"):
        replace(B, rating_N=np.zeros(2))
    with pytest.raises(UsageError, match="between 0 and 1"):
        replace(B, rating_N=np.array([0.0, 1.5, NAN]))
    with pytest.raises(UsageError, match="must not be NaN"):
        replace(B, difference_N=np.array([0.0, NAN, 1.0]))
