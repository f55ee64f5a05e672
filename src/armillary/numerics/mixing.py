"""Whether Markov chains have mixed, and how far apart their draws must be to count as independent. Needs NumPy only.

Legend: C chains, D draws of each (in order), S sweeps, R replicas of a ladder of temperatures.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from armillary.errors import NumericError, UsageError

Array = NDArray[np.float64]


def split_r_hat(values_CD: ArrayLike) -> float:
    """Split R-hat (Gelman et al. 2013) of one quantity: 1 where halves of chains agree, larger where they do not.

    Constant values give 1; halves that are constant but differ, infinity. UsageError for fewer than four draws a
    chain, NumericError for values that are not finite.
    """
    values_CD = _table(values_CD, least=4)
    half = values_CD.shape[1] // 2
    halves = np.concatenate([values_CD[:, :half], values_CD[:, -half:]])
    within = float(halves.var(axis=1, ddof=1).mean())
    between = float(halves.mean(axis=1).var(ddof=1))
    if within == 0.0:
        return 1.0 if between == 0.0 else math.inf
    return math.sqrt((half - 1) / half + between / within)


def statistical_inefficiency(values_CD: ArrayLike) -> float:
    """Number of successive draws that are worth one independent draw, at least 1: 1 + 2 sum of autocorrelations.

    Autocorrelations are pooled over the chains around their common mean and summed up to the first that is not
    positive (Chodera et al. 2007). Constant values give 1. UsageError for fewer than four draws a chain,
    NumericError for values that are not finite.
    """
    values_CD = _table(values_CD, least=4)
    draws = values_CD.shape[1]
    centred_CD = values_CD - values_CD.mean()
    spectrum = np.abs(np.fft.rfft(centred_CD, n=2 * draws, axis=1)) ** 2
    covariance_D = np.fft.irfft(spectrum.mean(axis=0), n=2 * draws)[:draws]
    if covariance_D[0] <= 1e-24 * draws * float(values_CD.mean()) ** 2:  # rounding of a constant
        return 1.0
    # The sum at lag t has draws - t terms, which is just the factor 1 - t / draws of Chodera's sum.
    correlation_D = covariance_D[1:] / covariance_D[0]
    not_positive = np.flatnonzero(correlation_D <= 0)
    end = int(not_positive[0]) if len(not_positive) else len(correlation_D)
    return 1.0 + 2.0 * float(correlation_D[:end].sum())


def round_trips(rung_SR: ArrayLike, rungs: int) -> NDArray[np.int64]:
    """How often each replica ``[R]`` went from the lowest rung to the highest and back to the lowest.

    ``rung[s, r]`` is where replica r stands after sweep s, 0 to ``rungs - 1``. UsageError for other values.
    """
    rung_SR = np.asarray(rung_SR)
    if rung_SR.ndim != 2 or rungs < 2 or not np.isin(rung_SR, np.arange(rungs)).all():
        raise UsageError(f"rungs must be a table [sweeps, replicas] of 0 to {rungs - 1}, with two rungs or more.")
    trips_R = np.zeros(rung_SR.shape[1], dtype=np.int64)
    left_bottom_R = np.zeros(rung_SR.shape[1], dtype=bool)
    reached_top_R = np.zeros(rung_SR.shape[1], dtype=bool)
    for rung_R in rung_SR:
        bottom_R = rung_R == 0
        trips_R += bottom_R & reached_top_R
        reached_top_R = (reached_top_R & ~bottom_R) | (left_bottom_R & (rung_R == rungs - 1))
        left_bottom_R |= bottom_R
    return trips_R


def _table(values_CD: ArrayLike, least: int) -> Array:
    table = np.asarray(values_CD, np.float64)
    if table.ndim != 2 or not len(table) or table.shape[1] < least:
        raise UsageError(f"expected a table [chains, draws] with {least} draws or more; got shape {table.shape}.")
    if not np.isfinite(table).all():
        raise NumericError(f"the draws must be finite; got {table[~np.isfinite(table)][0]}.")
    return table
