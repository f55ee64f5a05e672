"""Weights that turn draws from several densities into sums over the whole space. Needs NumPy only.

A draw x is worth one over the density it came from. With densities known exactly that is the balance heuristic
(Veach and Guibas 1995); with densities known up to a constant, q_k = exp(-u_k) / Z_k, the constants are found first:
MBAR (Shirts and Chodera 2008). All weights are logarithms.

Legend: K states (proposals, temperatures), S those with draws, N draws, ``u`` reduced energies (-ln q_k up to
a constant), ``f`` free energies -ln Z_k.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from armillary.errors import NumericError, UsageError

Array = NDArray[np.float64]
LEAST_OVERLAP = 0.01
"""Below this cosine between the weights of two groups of states their constants can't be tied together."""

SELF_CONSISTENT_STEPS = 10
"""Plain iterations before Newton steps are tried: they are safe far away, Newton is fast close by."""


@dataclass(frozen=True, kw_only=True)
class Mbar:
    """Free energies of K states and the weight of every draw."""

    free_energies_K: Array
    """-ln Z of each state (nats), 0 for the anchor."""

    standard_errors_K: Array
    """Of ``free_energies_K``, 0 for the anchor: asymptotic, for independent draws (Shirts and Chodera 2008, eq. 8).
    Too small where states hardly overlap."""

    log_weights_N: Array
    """``-ln sum_j N_j exp(f_j - u_j)``: the sum of weight times g estimates the sum of g over the space, in units of
    the anchor's Z; no further division by N."""

    overlap_KK: Array
    """Chance that a draw of one state (row) is taken for one of another (column); rows sum to 1."""

    iterations: int
    converged: bool
    problem: str | None
    """Why the numbers can't be used, a sentence; None where they can."""


def balance_log_weights(log_q_KN: ArrayLike, counts_K: ArrayLike) -> Array:
    """Log weight ``[N]`` of draws of which ``counts[k]`` come from density k, whose exact log-density is ``log_q[k]``.

    ``-ln sum_k (N_k / N) q_k``: the mean over the draws of weight times g estimates the sum of g without bias. Log
    densities may be -infinity. UsageError for shapes that differ; NumericError for NaN, +infinity, or a draw that no
    density allows.
    """
    u_KN, counts_K = _checked(-np.asarray(log_q_KN, np.float64), counts_K)
    drawn = counts_K > 0
    return -_log_mixture(u_KN[drawn], np.log(counts_K[drawn]) - math.log(u_KN.shape[1]))


def mbar(
    reduced_KN: ArrayLike,
    counts_K: ArrayLike,
    *,
    anchor: int = 0,
    tolerance: float = 1e-10,
    max_iterations: int = 1000,
    strict: bool = True,
) -> Mbar:
    """Free energies and log weights from the reduced energies of all N draws in all K states (float64).

    ``counts[k]`` draws come from state k, in any order; a state may have none. Energies may be +infinity. Converged
    when every state's weights sum to 1 within ``tolerance``. NumericError when they do not in ``max_iterations``, or
    when states do not overlap (naming two); with ``strict=False`` the result says so in ``problem`` instead.
    UsageError for shapes or counts that do not fit.
    """
    u_KN, counts_K = _checked(reduced_KN, counts_K)
    f_K, log_mixture_N, iterations, converged = _solve(u_KN, counts_K, anchor, tolerance, max_iterations)
    weights_KN = np.exp(f_K[:, None] - u_KN - log_mixture_N)
    gram_KK = weights_KN @ weights_KN.T
    problem = _problem(gram_KK, counts_K, iterations, converged)
    if problem and strict:
        raise NumericError(problem)
    return Mbar(
        free_energies_K=f_K,
        standard_errors_K=_standard_errors(gram_KK, counts_K, anchor),
        log_weights_N=-log_mixture_N,
        overlap_KK=gram_KK * counts_K,
        iterations=iterations,
        converged=converged,
        problem=problem,
    )


def _solve(
    u_KN: Array, counts_K: Array, anchor: int, tolerance: float, max_iterations: int
) -> tuple[Array, Array, int, bool]:
    """Free energies, log of the mixture ``sum_j N_j exp(f_j - u_j)`` of each draw, iterations, and whether they met.

    From the eleventh step on, whichever of the self-consistent and the Newton step leaves the smaller error is taken
    (Shirts and Chodera's adaptive scheme).
    """
    if not -len(u_KN) <= anchor < len(u_KN):
        raise UsageError(f"the anchor must be one of the {len(u_KN)} states; got {anchor}.")
    unreached = ~np.isfinite(u_KN).any(1)
    if unreached.any():
        raise NumericError(f"state {int(np.flatnonzero(unreached)[0])} gives every draw a probability of 0.")
    # Energies far from 0 would cost digits of the differences that matter.
    lowest_K = u_KN.min(1)
    u_KN = u_KN - lowest_K[:, None]
    drawn = counts_K > 0
    u_SN, counts_S = u_KN[drawn], counts_K[drawn]
    log_counts_S, f_S = np.log(counts_S), np.zeros(len(u_SN))
    log_sums_S, shares_SN = _shares(f_S, u_SN, log_counts_S)
    iterations = 0
    while np.abs(log_sums_S).max() > tolerance and iterations < max_iterations:
        iterations += 1
        steps = [f_S - log_sums_S]
        if iterations > SELF_CONSISTENT_STEPS:
            steps.append(f_S + _newton_step(shares_SN, counts_S))
        tried = [(*_shares(f, u_SN, log_counts_S), f) for f in steps]
        log_sums_S, shares_SN, f_S = min(tried, key=lambda trial: float(np.abs(trial[0]).max()))
    log_mixture_N = _log_mixture(u_SN, log_counts_S + f_S)
    f_K = lowest_K - _log_sum_exp(-u_KN - log_mixture_N, axis=1)
    # Shifting all f by one number leaves the draws' shares alone, so the anchor may be set at the end.
    return f_K - f_K[anchor], log_mixture_N - f_K[anchor], iterations, bool(np.abs(log_sums_S).max() <= tolerance)


def _shares(f_S: Array, u_SN: Array, log_counts_S: Array) -> tuple[Array, Array]:
    """Log of the sum of each state's weights, which should be 0, and each draw's shares among the states."""
    log_shares_SN = (log_counts_S + f_S)[:, None] - u_SN - _log_mixture(u_SN, log_counts_S + f_S)
    return _log_sum_exp(log_shares_SN, axis=1) - log_counts_S, np.exp(log_shares_SN)


def _newton_step(shares_SN: Array, counts_S: Array) -> Array:
    expected_S = shares_SN.sum(1)
    hessian_SS = np.diag(expected_S) - shares_SN @ shares_SN.T
    step_S = np.zeros(len(counts_S))
    # The first state stays: a shift of all changes nothing, so the whole matrix is singular.
    step_S[1:] = np.linalg.lstsq(hessian_SS[1:, 1:], (counts_S - expected_S)[1:], rcond=1e-13)[0]
    return step_S


def _problem(gram_KK: Array, counts_K: Array, iterations: int, converged: bool) -> str | None:
    """The widest gap that a chain of overlapping states would have to cross, or that the iteration never ended."""
    states = np.flatnonzero(counts_K)
    sizes = np.sqrt(np.diag(gram_KK))
    cosine_KK = gram_KK / np.outer(sizes, sizes)
    joined, rest = [int(states[0])], [int(state) for state in states[1:]]
    while rest:
        block = cosine_KK[np.ix_(joined, rest)]
        row, column = np.unravel_index(int(block.argmax()), block.shape)
        if not block[row, column] >= LEAST_OVERLAP:
            return (
                f"states {joined[row]} and {rest[column]} do not overlap (cosine of their weights "
                f"{block[row, column]:.2g}, at least {LEAST_OVERLAP} is needed): put a state between them."
            )
        joined.append(rest.pop(int(column)))
    return None if converged else f"the free energies did not converge in {iterations} iterations."


def _standard_errors(gram_KK: Array, counts_K: Array, anchor: int) -> Array:
    """Roots of the diagonal of ``W' (1 - W N W')^+ W`` relative to the anchor, through the K x K matrix W'W."""
    values, vectors = np.linalg.eigh(gram_KK)
    root_KK = vectors * np.sqrt(np.maximum(values, 0.0))
    inner = np.eye(len(values)) - root_KK.T @ (counts_K[:, None] * root_KK)
    covariance_KK = root_KK @ np.linalg.pinv(inner, rcond=1e-10, hermitian=True) @ root_KK.T
    own = np.diag(covariance_KK)
    errors_K: Array = np.sqrt(np.maximum(own - 2 * covariance_KK[anchor] + own[anchor], 0.0))
    return errors_K


def _log_mixture(u_SN: Array, log_factors_S: Array) -> Array:
    log_mixture_N = _log_sum_exp(log_factors_S[:, None] - u_SN, axis=0)
    impossible = ~np.isfinite(log_mixture_N)
    if impossible.any():
        raise NumericError(f"draw {int(np.flatnonzero(impossible)[0])} has probability 0 in every state with draws.")
    return log_mixture_N


def _log_sum_exp(x: Array, axis: int) -> Array:
    highest = x.max(axis=axis, keepdims=True)
    highest = np.where(np.isfinite(highest), highest, 0.0)
    with np.errstate(divide="ignore"):
        total: Array = np.log(np.exp(x - highest).sum(axis=axis)) + np.squeeze(highest, axis)
    return total


def _checked(u_KN: ArrayLike, counts_K: ArrayLike) -> tuple[Array, Array]:
    u_KN, counts_K = np.asarray(u_KN, np.float64), np.asarray(counts_K, np.float64)
    if u_KN.ndim != 2 or counts_K.shape != u_KN.shape[:1] or not u_KN.size:
        raise UsageError(f"energies [states, draws] and counts [states] do not fit: {u_KN.shape}, {counts_K.shape}.")
    if not (np.isfinite(counts_K).all() and (counts_K >= 0).all() and counts_K.any()):
        raise UsageError(f"counts must be 0 or more, and not all 0; got {counts_K.tolist()}.")
    if np.isnan(u_KN).any() or (u_KN == -math.inf).any():
        raise NumericError("an energy (or log-density) is NaN, or an infinitely likely draw; none may be.")
    if counts_K.sum() != u_KN.shape[1]:
        raise UsageError(f"the counts must sum to the {u_KN.shape[1]} draws; got {int(counts_K.sum())}.")
    return u_KN, counts_K
