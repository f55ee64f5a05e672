"""Tests by turning signs, which assume no shape of any distribution, and their correction for being many.

Legend: N things measured both ways, R random sign patterns.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from armillary.errors import UsageError
from armillary.numerics.intervals import Array, Interval, bootstrap_mean

PATTERNS = 20_000
"""Sign patterns drawn where not all can be counted: the least p is 1 in 20,000, enough for a page of 250 effects."""

COUNTED = 14
"""Differences up to which all 2 ** n sign patterns are counted."""


@dataclass(frozen=True, kw_only=True)
class PairedChange:
    """A mean difference of things measured both ways, with the chance of it where there is no change."""

    value: Interval
    p: float
    """Two-sided, of a mean that is no further from 0 than ``floor``."""

    floor: float
    """What |mean| stays below in 95 % of comparisons of one thing with itself; 0 where no such comparison was made."""


def paired_change(
    after: ArrayLike,
    base: ArrayLike,
    again: ArrayLike | None = None,
    *,
    seed: int,
    level: float = 0.95,
    least: float = 0.0,
) -> PairedChange:
    """The mean of ``after - base`` over the same things, against what ``again - base`` gives.

    ``again`` is the base measured a second time (other samples, other batches): its differences have no change in
    them, so the quantile of their mean under turned signs is the noise floor, which is ``least`` at least (rounding,
    where two readings may agree by luck). Raises as ``bootstrap_mean``.
    """
    difference_N = np.asarray(after, np.float64) - np.asarray(base, np.float64)
    null_N = np.zeros(0) if again is None else np.asarray(again, np.float64) - np.asarray(base, np.float64)
    floor = max(least, noise_floor(null_N, seed=seed))
    value = bootstrap_mean(
        difference_N, seed=seed, level=level, how=f"paired bootstrap over {len(difference_N):,} pairs"
    )
    return PairedChange(value=value, p=sign_flip_p(difference_N, beyond=floor, seed=seed), floor=floor)


def noise_floor(differences: ArrayLike, *, seed: int, level: float = 0.95) -> float:
    """The quantile of |mean| under random signs, or the mean itself where that is more; 0 for no differences."""
    difference_N = np.asarray(differences, np.float64)
    if not len(difference_N) or not difference_N.any():
        return 0.0
    return max(float(np.quantile(np.abs(_means(difference_N, seed)), level)), abs(float(difference_N.mean())))


def sign_flip_p(differences: ArrayLike, *, beyond: float = 0.0, seed: int) -> float:
    """Two-sided p of a mean difference whose true size is ``beyond`` at most; each sign is as likely as the other.

    Exact where all differences that are not 0 have one size (the sign test, McNemar's) or are few; else over
    ``PATTERNS`` patterns, the one seen among them, so that p is never 0. UsageError for a negative ``beyond``.
    """
    if beyond < 0:
        raise UsageError(f"beyond must be 0 or more, got {beyond}.")
    difference_N = np.asarray(differences, np.float64)
    mean = float(difference_N.mean()) if len(difference_N) else 0.0
    if abs(mean) <= beyond or mean == 0:
        return 1.0
    if beyond > 0:
        # Shifted, equal sizes part, and p may fall below that of no change at all, which it must not.
        shifted_N = difference_N - np.sign(mean) * beyond
        return max(sign_flip_p(difference_N, seed=seed), sign_flip_p(shifted_N, seed=seed))
    turned_N = difference_N[difference_N != 0]
    if np.ptp(np.abs(turned_N)) == 0:
        from scipy.stats import binom

        fewer = int(min((turned_N > 0).sum(), (turned_N < 0).sum()))
        return float(min(1.0, 2 * binom.cdf(fewer, len(turned_N), 0.5)))
    seen = abs(mean)
    # Rounding of the sums must not make the pattern that was seen rarer than itself.
    extreme = np.abs(_means(difference_N, seed)) >= seen * (1 - 1e-9)
    if len(turned_N) <= COUNTED:
        return float(extreme.mean())
    return float((extreme.sum() + 1) / (len(extreme) + 1))


def _means(difference_N: Array, seed: int) -> Array:
    """Means under sign patterns: all of them where few differ from 0, else ``PATTERNS`` random ones."""
    turned_N = difference_N[difference_N != 0]
    count = len(turned_N)
    if count <= COUNTED:
        signs_RN = 1.0 - 2.0 * ((np.arange(2**count)[:, None] >> np.arange(count)) & 1)
        means: Array = signs_RN @ turned_N / len(difference_N)
        return means
    generator, blocks = np.random.default_rng(seed), []
    # Blocks bound the memory to 32 MB; their size depends on the number of things alone, so that a seed fixes p.
    rows = max(1, 4_000_000 // count)
    for start in range(0, PATTERNS, rows):
        signs_RN = generator.integers(2, size=(min(rows, PATTERNS - start), count)) * 2.0 - 1.0
        blocks.append(signs_RN @ turned_N / len(difference_N))
    return np.concatenate(blocks)


def holm(p_values: Sequence[float]) -> list[float]:
    """Each p corrected for all of them (Holm 1979): those at most ``level`` hold together at that level."""
    order = np.argsort(np.asarray(p_values, np.float64), kind="stable")
    corrected: NDArray[np.float64] = np.zeros(len(order))
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, float(p_values[index]) * (len(order) - rank)))
        corrected[index] = largest
    return [float(value) for value in corrected]
