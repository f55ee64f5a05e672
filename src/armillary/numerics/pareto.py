"""Whether importance weights can be trusted: the shape of their tail (Vehtari et al. 2024). Needs NumPy only.

Above 0.7 a mean under the weights is unreliable at any practical number of draws; at 1 the weights have no mean.
Legend: N draws, M exceedances over the threshold, G candidates on the profile of Zhang and Stephens.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from armillary.errors import NumericError, UsageError

Array = NDArray[np.float64]
UNRELIABLE = 0.7
"""k-hat above which importance-weighted means are not to be trusted (Vehtari et al. 2024)."""

LEAST_TAIL = 5
"""Exceedances that a fit needs, as in the reference implementation of PSIS."""

PRIOR_SHAPE, PRIOR_DRAWS = 0.5, 10
"""k-hat is drawn towards 0.5 with the weight of ten draws (Vehtari et al. 2024), which matters for short tails."""


def pareto_k(log_weights_N: ArrayLike, *, tail: float | None = None) -> float:
    """k-hat of a generalised Pareto distribution fitted to the largest weights, given as logarithms.

    ``tail`` is the share of the weights that is fitted; None is PSIS's ``min(20 %, 3 sqrt(N))`` of them. -infinity
    where no weight exceeds the threshold (constant weights: nothing can go wrong), +infinity where fewer than five
    do, or where they span too many orders of magnitude for float64: neither can be vouched for. Log weights may be
    -infinity (weight 0). UsageError for an empty or badly shaped list, NumericError for NaN or +infinity.
    """
    log_weights_N = np.asarray(log_weights_N, np.float64)
    if log_weights_N.ndim != 1 or not len(log_weights_N):
        raise UsageError(f"log weights must be a list of at least one number; got shape {log_weights_N.shape}.")
    if tail is not None and not 0 < tail < 1:
        raise UsageError(f"tail must be a share between 0 and 1; got {tail}.")
    if np.isnan(log_weights_N).any() or not log_weights_N.max() < math.inf:
        raise NumericError("log weights must not be NaN or +infinity.")
    if log_weights_N.max() == -math.inf:
        raise NumericError("every weight is 0.")
    n = len(log_weights_N)
    size = min(math.ceil(min(0.2 * n, 3 * math.sqrt(n)) if tail is None else tail * n), n - 1)
    weights_N = np.exp(np.sort(log_weights_N) - log_weights_N.max())
    if weights_N[0] == 1.0:
        return -math.inf
    exceedances = weights_N[n - size :] - weights_N[n - size - 1]
    # Ties with the threshold say nothing about the tail above it.
    exceedances_M = exceedances[exceedances > 0]
    if size and not len(exceedances_M):
        return -math.inf
    if len(exceedances_M) < LEAST_TAIL or exceedances_M[len(exceedances_M) // 4] < 1e-200:
        return math.inf
    shape = fit_generalised_pareto(exceedances_M)[0]
    m = len(exceedances_M)
    return (m * shape + PRIOR_DRAWS * PRIOR_SHAPE) / (m + PRIOR_DRAWS)


def fit_generalised_pareto(exceedances_M: ArrayLike) -> tuple[float, float]:
    """Shape k and scale of a generalised Pareto distribution with location 0 (Zhang and Stephens 2009).

    Positive k is a heavy tail. UsageError unless there are five or more values, all positive and finite.
    """
    x_M = np.sort(np.asarray(exceedances_M, np.float64))
    m = len(x_M)
    if x_M.ndim != 1 or m < LEAST_TAIL or not (x_M[0] > 0 and np.isfinite(x_M).all()):
        raise UsageError(f"a fit needs {LEAST_TAIL} or more positive, finite values; got {m} from {x_M[:1]}.")
    candidates = 30 + math.isqrt(m)
    spread_G = 1 - np.sqrt(candidates / (np.arange(1, candidates + 1) - 0.5))
    theta_G = 1 / x_M[-1] + spread_G / (3 * x_M[int(m / 4 + 0.5) - 1])
    shape_G = np.log1p(-theta_G[:, None] * x_M).mean(1)
    log_likelihood_G = m * (np.log(-theta_G / shape_G) - shape_G - 1)
    weights_G = np.exp(log_likelihood_G - log_likelihood_G.max())
    theta = float(theta_G @ weights_G / weights_G.sum())
    shape = float(np.log1p(-theta * x_M).mean())
    return shape, -shape / theta
