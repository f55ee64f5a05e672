"""Intervals against SciPy, known cases, and their coverage in repeated simulations."""

import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from armillary.errors import NumericError, UsageError
from armillary.numerics.intervals import (
    Interval,
    across_seeds,
    binomial,
    bootstrap,
    bootstrap_mean,
    bootstrap_of_counts,
    bootstrap_weighted,
    mean_correlation_under_weights,
    paired_difference,
    range_over_seeds,
)


def normal(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=n)


def ends(interval: Interval) -> tuple[float, float]:
    assert interval.low is not None
    assert interval.high is not None
    return interval.low, interval.high


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_bootstrap_mean_agrees_with_scipy(method: str) -> None:
    values = np.random.default_rng(0).exponential(size=80)
    ours = bootstrap_mean(values, seed=1, replicates=20_000, method=method)  # type: ignore[arg-type]
    reference = stats.bootstrap((values,), np.mean, n_resamples=20_000, method=method, rng=0).confidence_interval
    assert ours.estimate == pytest.approx(values.mean())
    np.testing.assert_allclose(ends(ours), (reference.low, reference.high), atol=0.01)


def test_bca_leans_where_the_values_are_skewed() -> None:
    values = np.random.default_rng(0).exponential(size=40) ** 2
    plain, corrected = (bootstrap_mean(values, seed=0, method=method) for method in ("percentile", "bca"))
    assert ends(corrected)[0] > ends(plain)[0]
    assert ends(corrected)[1] > ends(plain)[1]


def test_the_general_and_the_weighted_bootstrap_draw_the_same() -> None:
    values = normal(60)
    by_index = bootstrap(lambda i: values[i].mean(1), 60, seed=4)
    by_weight = bootstrap_weighted(lambda w: w @ values / 60, 60, seed=4)
    assert ends(by_index) == pytest.approx(ends(by_weight), abs=1e-12)
    assert ends(bootstrap_mean(values, seed=4)) == pytest.approx(ends(by_weight), abs=1e-12)
    assert ends(bootstrap(lambda i: values[i].mean(1), 60, seed=5)) != ends(by_index)


def test_things_that_are_alike_are_resampled_by_their_counts() -> None:
    values, counts = np.array([0.0, 0.25, 1.0]), [30, 50, 20]
    spread = bootstrap_mean(np.repeat(values, counts), seed=0)
    counted = bootstrap_of_counts(lambda drawn: drawn @ values / drawn.sum(1), counts, seed=0)
    assert counted.estimate == pytest.approx(spread.estimate) and counted.n == 100
    # Both draw the same distribution with other random numbers: the ends lie as close as 2,000 replicates let them.
    assert abs(counted.lower - spread.lower) < 0.01 and abs(counted.upper - spread.upper) < 0.01
    assert bootstrap_of_counts(lambda drawn: drawn @ [0.5], [1], seed=0).low is None
    for wrong in ([], [1, 0], [[1]]):
        with pytest.raises(UsageError, match="at least 1 for each sort"):
            bootstrap_of_counts(lambda drawn: drawn.sum(1), wrong, seed=0)  # type: ignore[arg-type]


def test_any_statistic_can_be_resampled() -> None:
    values = normal(101)
    median = bootstrap(lambda i: np.median(values[i], axis=1), 101, seed=0)
    reference = stats.bootstrap((values,), np.median, method="percentile", rng=0).confidence_interval
    assert median.estimate == np.median(values)
    np.testing.assert_allclose(ends(median), (reference.low, reference.high), atol=0.06)


def test_a_block_boundary_does_not_show() -> None:
    values = normal(5000)
    interval = bootstrap_mean(values, seed=0, replicates=2000)  # several blocks
    np.testing.assert_allclose(ends(interval), values.mean() + np.array([-1.96, 1.96]) / 5000**0.5, atol=0.003)


def test_pairing_removes_what_both_share() -> None:
    shared, noise = 100 * normal(200), 0.1 * normal(200, seed=1)
    paired = paired_difference(shared + 0.05 + noise, shared, seed=0)
    assert paired.excludes(0)
    assert ends(paired)[1] - ends(paired)[0] < 0.05
    assert ends(bootstrap_mean(shared, seed=0))[1] - ends(bootstrap_mean(shared, seed=0))[0] > 10


def test_mean_correlation_under_weights_is_the_correlation_of_the_drawn_rows() -> None:
    generator = np.random.default_rng(0)
    a = generator.normal(size=(40, 5)) + 100
    b = a * [1, 1, -1, 0.1, 1] + generator.normal(size=(40, 5))
    drawn = generator.integers(40, size=(6, 40))
    counts = np.stack([np.bincount(row, minlength=40) for row in drawn]).astype(float)
    expected = [np.mean([stats.pearsonr(a[i, j], b[i, j]).statistic for j in range(5)]) for i in drawn]
    np.testing.assert_allclose(mean_correlation_under_weights(a, b)(counts), expected, atol=1e-10)


def mean_correlation(a: np.ndarray, b: np.ndarray, **settings: int) -> Interval:
    return bootstrap_weighted(mean_correlation_under_weights(a, b), len(a), **settings)


def test_constant_columns_are_left_out_of_the_mean_correlation() -> None:
    a = np.c_[normal(50), np.full(50, 1 / 3)]
    b = np.c_[normal(50, seed=1), normal(50, seed=2)]
    whole = mean_correlation(a, b, seed=0)
    assert ends(whole) == pytest.approx(ends(mean_correlation(a[:, :1], b[:, :1], seed=0)))
    assert whole.estimate == pytest.approx(stats.pearsonr(a[:, 0], b[:, 0]).statistic)
    with pytest.raises(NumericError, match="every column is constant"):
        mean_correlation(a[:, 1:], b[:, 1:], seed=0)


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (3, 10), (10, 10), (57, 100)])
def test_binomial_equals_scipy_exact(successes: int, n: int) -> None:
    reference = stats.binomtest(successes, n).proportion_ci(0.95, "exact")
    ours = binomial(successes, n)
    assert ours.estimate == successes / n
    np.testing.assert_allclose(ends(ours), (reference.low, reference.high), atol=1e-12)


def test_range_over_seeds_is_mean_and_ends() -> None:
    found = range_over_seeds([3.0, -1.0, 1.0])
    assert (found.estimate, found.low, found.high, found.n) == (1.0, -1.0, 3.0, 3)
    assert range_over_seeds([2.0]).excludes(1.9)


def test_across_seeds_is_students_interval() -> None:
    values = [0.71, 0.74, 0.69]
    expected = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
    np.testing.assert_allclose(ends(across_seeds(values)), expected)
    assert across_seeds(values).n == 3


def test_one_value_has_no_interval_and_says_so() -> None:
    for interval in (across_seeds([0.5]), bootstrap_mean([0.5], seed=0)):
        assert (interval.estimate, interval.low, interval.high, interval.n) == (0.5, None, None, 1)
        assert "no interval" in interval.how
        assert not interval.excludes(0)


def test_equal_values_give_a_point() -> None:
    assert ends(bootstrap_mean([2.0] * 9, seed=0, method="bca")) == (2.0, 2.0)


@pytest.mark.parametrize("method", ["percentile", "bca", "t", "binomial", "correlation"])
def test_nominal_95_percent_covers_in_90_to_99_percent_of_simulations(method: str) -> None:
    generator = np.random.default_rng(7)
    covered, simulations = 0, 300
    for seed in range(simulations):
        if method == "binomial":
            truth, interval = 0.3, binomial(int(generator.binomial(60, 0.3)), 60)
        elif method == "t":
            truth, interval = 1.0, across_seeds(generator.normal(1.0, 2.0, size=5))
        elif method == "correlation":
            truth, signal = 0.6, generator.normal(size=(120, 1))
            other = 0.6 * signal + 0.8 * generator.normal(size=(120, 1))
            interval = mean_correlation(signal, other, seed=seed, replicates=400)
        else:
            values = generator.normal(1.0, 2.0, size=60)
            truth = 1.0
            interval = bootstrap_mean(values, seed=seed, replicates=400, method=method)  # type: ignore[arg-type]
        covered += not interval.excludes(truth)
    assert 0.90 <= covered / simulations <= 0.99


def test_bad_input_is_one_sentence() -> None:
    with pytest.raises(UsageError, match="at least one number"):
        bootstrap_mean([], seed=0)
    with pytest.raises(NumericError, match="must be finite; got nan"):
        bootstrap_mean([1.0, float("nan")], seed=0)
    with pytest.raises(UsageError, match="one length; got 2 and 3"):
        paired_difference([1, 2], [1, 2, 3], seed=0)
    with pytest.raises(UsageError, match="got 5 of 4"):
        binomial(5, 4)
    with pytest.raises(UsageError, match="between 0 and 1"):
        across_seeds([1, 2], level=95.0)
    with pytest.raises(NumericError, match="bootstrapped statistic"):
        bootstrap(lambda i: np.full(len(i), np.nan), 5, seed=0)


def test_intervals_need_no_torch() -> None:
    code = "import sys; from armillary.numerics import binomial; binomial(1, 2); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
