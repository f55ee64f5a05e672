"""An estimate with its uncertainty, and the resampling that gives it. Needs NumPy and SciPy, no torch.

Legend: N things resampled, R replicates, Q columns.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from armillary.errors import NumericError, UsageError

Array = NDArray[np.float64]
BLOCK = 4_000_000
"""Resampling weights held at once: 32 MB of float64 whatever the number of replicates."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A number that is shown to a user: an estimate, its interval, and what it comes from."""

    estimate: float
    """The point estimate, in ``unit``."""

    low: float | None = None
    """Lower end of the interval; None when only a count of runs is known."""

    high: float | None = None
    """Upper end of the interval."""

    n: int = 1
    """Number of independent things behind the estimate (prompts, words, seeds); ``how`` says which."""

    level: float = 0.95
    """Coverage the interval aims at."""

    how: str = ""
    """Where the interval comes from, for a reader: "paired bootstrap over 1,000 prompts"."""

    @property
    def lower(self) -> float:
        """The lower end; the estimate where no interval is known."""
        return self.estimate if self.low is None else self.low

    @property
    def upper(self) -> float:
        """The upper end; the estimate where no interval is known."""
        return self.estimate if self.high is None else self.high

    def excludes(self, value: float | int) -> bool:
        """True when the interval is known and ``value`` lies outside it."""
        return self.low is not None and self.high is not None and not self.low <= value <= self.high


def bootstrap(
    statistic: Callable[[NDArray[np.int64]], ArrayLike],
    n: int,
    *,
    seed: int,
    replicates: int = 2000,
    level: float = 0.95,
    how: str = "",
) -> Interval:
    """Percentile bootstrap of any statistic of ``n`` things.

    ``statistic`` gets row indices ``[r, n]`` and gives one value a row, ``[r]``; on ``arange(n)`` it gives
    the estimate. NumericError when it gives NaN or infinity.
    """

    def of_indices(indices_RN: NDArray[np.int64]) -> Array:
        return _finite(statistic(indices_RN), "the bootstrapped statistic")

    _check_resampling(n, replicates, level)
    estimate = float(of_indices(np.arange(n)[None]).reshape(-1)[0])
    if n == 1:
        return Interval(estimate=estimate, n=1, level=level, how="one value: no interval")
    values_R = np.concatenate([of_indices(indices) for indices in _index_blocks(n, replicates, seed)])
    how = how or f"percentile bootstrap, {replicates} replicates"
    return percentile_interval(estimate, values_R, n, level, how)


def bootstrap_weighted(
    statistic: Callable[[Array], ArrayLike],
    n: int,
    *,
    seed: int,
    replicates: int = 2000,
    level: float = 0.95,
    how: str = "",
) -> Interval:
    """Percentile bootstrap of a statistic that is computed from how often each of ``n`` things was drawn.

    ``statistic`` gets counts ``[r, n]`` (each row sums to ``n``) and gives ``[r]``: sums become one matrix product,
    so this is the fast way for means, correlations and their differences. The draws of a seed are ``bootstrap``'s.
    """

    def of_indices(indices_RN: NDArray[np.int64]) -> ArrayLike:
        return statistic(_counts(indices_RN))

    return bootstrap(of_indices, n, seed=seed, replicates=replicates, level=level, how=how)


def bootstrap_of_counts(
    statistic: Callable[[Array], ArrayLike],
    counts: Sequence[int] | NDArray[np.int64],
    *,
    seed: int,
    replicates: int = 2000,
    level: float = 0.95,
    how: str = "",
) -> Interval:
    """``bootstrap_weighted`` of things of which many are alike: ``counts[q]`` of each sort, [Q], 1 at least.

    ``statistic`` gets how many of each sort were drawn, ``[r, Q]``, each row summing to all, and gives ``[r]``. The
    cost is that of the number of sorts, whatever the number of things.
    """
    counts_Q = np.asarray(counts, np.int64)
    if counts_Q.ndim != 1 or not len(counts_Q) or counts_Q.min() < 1:
        raise UsageError(f"a bootstrap of counts needs one of at least 1 for each sort; got {counts!r:.80}.")
    n = int(counts_Q.sum())
    _check_resampling(n, replicates, level)
    estimates_1 = _finite(statistic(counts_Q[None].astype(np.float64)), "the bootstrapped statistic")
    estimate = float(estimates_1.reshape(-1)[0])
    if n == 1:
        return Interval(estimate=estimate, n=1, level=level, how="one value: no interval")
    drawn_RQ = np.random.default_rng(seed).multinomial(n, counts_Q / n, size=replicates).astype(np.float64)
    values_R = _finite(statistic(drawn_RQ), "the bootstrapped statistic")
    return percentile_interval(estimate, values_R, n, level, how or f"percentile bootstrap, {replicates} replicates")


def bootstrap_mean(
    values: ArrayLike,
    *,
    seed: int,
    replicates: int = 2000,
    level: float = 0.95,
    method: Literal["percentile", "bca"] = "percentile",
    how: str = "",
) -> Interval:
    """The mean of independent values with its bootstrap interval.

    ``"bca"`` (Efron 1987) corrects for bias and skew: better for few or lopsided values.
    """
    values_N = _vector(values, "values")
    n = len(values_N)
    _check_resampling(n, replicates, level)
    how = how or f"{'BCa' if method == 'bca' else 'percentile'} bootstrap over {n:,} values"
    if n == 1:
        return Interval(estimate=float(values_N[0]), n=1, level=level, how="one value: no interval")
    estimate = float(values_N.mean())
    means_R = np.concatenate([_counts(block) @ values_N / n for block in _index_blocks(n, replicates, seed)])
    if method == "percentile" or np.ptp(values_N) == 0:
        return percentile_interval(estimate, means_R, n, level, how)
    if method != "bca":
        raise UsageError(f"method must be 'percentile' or 'bca'; got {method!r}.")
    low, high = np.quantile(means_R, _bca_levels(values_N - estimate, means_R - estimate, level))
    return Interval(estimate=estimate, low=float(low), high=float(high), n=n, level=level, how=how)


def paired_difference(
    a: ArrayLike,
    b: ArrayLike,
    *,
    seed: int,
    replicates: int = 2000,
    level: float = 0.95,
    method: Literal["percentile", "bca"] = "percentile",
    how: str = "",
) -> Interval:
    """Mean of ``a - b`` over things measured both ways (the same prompts, texts or words), resampled as pairs."""
    a_N, b_N = _vector(a, "values"), _vector(b, "values")
    if len(a_N) != len(b_N):
        raise UsageError(f"a paired difference needs two lists of one length; got {len(a_N)} and {len(b_N)}.")
    how = how or f"paired bootstrap over {len(a_N):,} pairs"
    return bootstrap_mean(a_N - b_N, seed=seed, replicates=replicates, level=level, method=method, how=how)


def mean_correlation_under_weights(a: ArrayLike, b: ArrayLike) -> Callable[[Array], Array]:
    """The function of counts ``[r, n]`` that gives, per replicate, the mean Pearson correlation of matching columns.

    For ``bootstrap_weighted``: the difference of two such functions is the paired bootstrap of two correlations over
    the same rows. Columns constant in ``a`` or ``b`` are left out, also where only a replicate makes them so.
    """
    a_NQ, b_NQ = _standardised(a), _standardised(b)
    if a_NQ.shape != b_NQ.shape:
        raise UsageError(f"expected two tables of one shape; got {a_NQ.shape} and {b_NQ.shape}.")
    varies = np.isfinite(a_NQ).all(0) & np.isfinite(b_NQ).all(0)
    if not varies.any():
        raise NumericError("every column is constant: no correlation is defined.")
    a_NQ, b_NQ = a_NQ[:, varies], b_NQ[:, varies]
    products = [np.ascontiguousarray(x) for x in (a_NQ, b_NQ, a_NQ * a_NQ, b_NQ * b_NQ, a_NQ * b_NQ)]

    def statistic(counts_RN: Array) -> Array:
        share_RN = counts_RN / counts_RN.sum(1, keepdims=True)
        mean_a, mean_b, aa, bb, ab = (share_RN @ x for x in products)
        spread = np.maximum(aa - mean_a**2, 0) * np.maximum(bb - mean_b**2, 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            r_RQ = np.where(spread > 1e-20, (ab - mean_a * mean_b) / np.sqrt(spread), np.nan)
        known = np.isfinite(r_RQ)
        mean_R: Array = np.where(known, np.clip(r_RQ, -1.0, 1.0), 0).sum(1) / np.maximum(known.sum(1), 1)
        return mean_R

    return statistic


def binomial(successes: int, n: int, *, level: float = 0.95, how: str = "") -> Interval:
    """Share of successes with the exact interval of Clopper and Pearson (1934)."""
    from scipy.stats import beta

    if n < 1 or not 0 <= successes <= n:
        raise UsageError(f"a share needs 0 <= successes <= n with n of at least 1; got {successes} of {n}.")
    _check_level(level)
    tail = (1 - level) / 2
    low = float(beta.ppf(tail, successes, n - successes + 1)) if successes else 0.0
    high = float(beta.ppf(1 - tail, successes + 1, n - successes)) if successes < n else 1.0
    how = how or f"exact binomial, {successes} of {n}"
    return Interval(estimate=successes / n, low=low, high=high, n=n, level=level, how=how)


def across_seeds(
    values: Sequence[float] | ArrayLike,
    *,
    within: tuple[float, float] | None = None,
    level: float = 0.95,
    how: str = "",
) -> Interval:
    """Mean over independent runs with Student's t interval; of one run the value alone, without an interval.

    ``within``: the range that the mean can have, as (0, 1) of a share, which the interval then keeps to.
    """
    from scipy.stats import t

    values_N = _vector(values, "values")
    n = len(values_N)
    _check_level(level)
    estimate = float(values_N.mean())
    if n == 1:
        return Interval(estimate=estimate, n=1, level=level, how=how or "one run: no interval")
    half = float(t.ppf((1 + level) / 2, n - 1) * values_N.std(ddof=1) / np.sqrt(n))
    how = how or f"t interval over {n} runs"
    least, most = within or (-np.inf, np.inf)
    low, high = max(estimate - half, least), min(estimate + half, most)
    return Interval(estimate=estimate, low=low, high=high, n=n, level=level, how=how)


def range_over_seeds(values: Sequence[float] | ArrayLike) -> Interval:
    """Mean and range of what too few runs gave for an interval: all lies above a value where each of them does."""
    values_N = _vector(values, "values")
    low, high = float(values_N.min()), float(values_N.max())
    return Interval(estimate=float(values_N.mean()), low=low, high=high, n=len(values_N), how="range over seeds")


def _index_blocks(n: int, replicates: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """``[r, n]`` drawn with replacement, in blocks whose size depends on ``n`` alone."""
    generator = np.random.default_rng(seed)
    rows = max(1, BLOCK // n)
    for start in range(0, replicates, rows):
        yield generator.integers(n, size=(min(rows, replicates - start), n))


def _counts(indices_RN: NDArray[np.int64]) -> Array:
    rows, n = indices_RN.shape
    flat = (indices_RN + np.arange(rows)[:, None] * n).reshape(-1)
    return np.bincount(flat, minlength=rows * n).reshape(rows, n).astype(np.float64)


def percentile_interval(
    estimate: float, values_R: Array | Sequence[float], n: int, level: float, how: str
) -> Interval:
    """The interval between the two quantiles of the replicates that leave out equally much on either side."""
    low, high = np.quantile(values_R, [(1 - level) / 2, (1 + level) / 2])
    return Interval(estimate=estimate, low=float(low), high=float(high), n=n, level=level, how=how)


def _bca_levels(deviations_N: Array, shifts_R: Array, level: float) -> Array:
    """The two quantiles that BCa reads; the acceleration of a mean is a sixth of its skewness over sqrt(n)."""
    from scipy.stats import norm

    below = (np.sum(shifts_R < 0) + np.sum(shifts_R == 0) / 2 + 0.5) / (len(shifts_R) + 1)
    bias = norm.ppf(below)
    acceleration = np.sum(deviations_N**3) / (6 * np.sum(deviations_N**2) ** 1.5)
    z = bias + norm.ppf([(1 - level) / 2, (1 + level) / 2])
    levels: Array = norm.cdf(bias + z / (1 - acceleration * z))
    return levels


def _standardised(table: ArrayLike) -> Array:
    """Centred columns of unit spread, NaN where constant, so that the sums of a replicate lose no digits."""
    x_NQ = np.asarray(table, np.float64)
    if x_NQ.ndim != 2 or x_NQ.shape[0] < 2:
        raise UsageError(f"expected a table of at least 2 rows; got shape {x_NQ.shape}.")
    _finite(x_NQ, "the table")
    centred = x_NQ - x_NQ.mean(0)
    spread = np.sqrt((centred**2).mean(0))
    unit: Array = np.divide(
        centred, spread, out=np.full_like(centred, np.nan), where=spread > 1e-12 * np.abs(x_NQ).max(0)
    )
    return unit


def _vector(values: ArrayLike, what: str) -> Array:
    x = np.asarray(values, np.float64)
    if x.ndim != 1 or not len(x):
        raise UsageError(f"{what} must be a list of at least one number; got shape {x.shape}.")
    return _finite(x, what)


def _finite(values: ArrayLike, what: str) -> Array:
    x = np.asarray(values, np.float64)
    if not np.isfinite(x).all():
        raise NumericError(f"{what} must be finite; got {x[~np.isfinite(x)][0]} ({(~np.isfinite(x)).sum()} such).")
    return x


def _check_resampling(n: int, replicates: int, level: float) -> None:
    if n < 1 or replicates < 2:
        raise UsageError(f"a bootstrap needs n >= 1 and at least 2 replicates; got n={n}, replicates={replicates}.")
    _check_level(level)


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise UsageError(f"the level of an interval must lie between 0 and 1, such as 0.95; got {level}.")


Drawn = Mapping[str, Array]
"""For each capability how often each of its texts was drawn, ``[R, N]``."""


def resampled(
    statistic: Callable[[Drawn], Array],
    texts: Mapping[str, int],
    *,
    seed: int,
    replicates: int = 2000,
    level: float = 0.95,
) -> Interval:
    """Percentile bootstrap of a statistic of texts, drawn anew within each capability, so that their shares stay.

    ``texts`` are the numbers of texts; ``statistic`` gives one value a replicate, ``[R]``. Of one text a
    capability the estimate alone. NumericError where the statistic is NaN or infinite, UsageError for no texts.
    """
    if not texts or min(texts.values()) < 1 or replicates < 2:
        raise UsageError(f"a bootstrap needs texts and at least 2 replicates; got {dict(texts)} and {replicates}.")
    estimate = float(_all_finite(statistic({name: np.ones((1, n)) for name, n in texts.items()}))[0])
    total = sum(texts.values())
    if max(texts.values()) == 1:
        return Interval(estimate=estimate, n=total, level=level, how="one text a capability: no interval")
    generator = np.random.default_rng(seed)
    drawn = {
        name: generator.multinomial(n, np.full(n, 1 / n), size=replicates).astype(np.float64)
        for name, n in texts.items()
    }
    how = f"percentile bootstrap over {total:,} texts"
    how += f" within {len(texts)} capabilities" if len(texts) > 1 else ""
    return percentile_interval(estimate, _all_finite(statistic(drawn)), total, level, how)


def _all_finite(values: Array) -> Array:
    if not np.isfinite(values).all():
        raise NumericError("a statistic of resampled texts is NaN or infinite: there are too few texts, or no change.")
    return values
