"""k-means by scikit-learn, with a start that is cheap for a whole vocabulary; and k-means with groups of equal size.

Legend: N rows, D dimensions, K centers, G groups of equal size.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from armillary.errors import NumericError, UsageError

SEEDING_ROWS, SEEDING_ROWS_PER_CENTER = 3000, 6
"""k-means++ chooses among so many rows, or so many for each center if that is more: of 49,000 keys in 491 clusters it
then costs a third of the work, and the sum of squares is 1 % above that of a start from 20,000."""

THREADS = 2
"""Threads at most. scikit-learn adds up the sums of its threads in the order in which they arrive: two sums are the
same either way round, three are not, and a seed must give one clustering."""


@dataclass(frozen=True, kw_only=True)
class KMeans:
    """A finished clustering."""

    centers_KD: NDArray[np.floating[Any]]
    """In the dtype of the rows."""

    labels_N: NDArray[np.int64]
    """Nearest center of each row."""

    iterations: int
    converged: bool
    """Whether it stopped before the last iteration that it was allowed."""


def kmeans(x_ND: NDArray[np.floating[Any]], k: int, *, seed: int, max_iterations: int = 100) -> KMeans:
    """Lloyd's algorithm (``sklearn.cluster.KMeans``) from a greedy k-means++ start among a sample of the rows.

    It reads rows of float32 or float64 in place: shifted by their mean while it runs, and put back but for rounding.
    A cluster left empty restarts at a row far from its center, and the work ends when no label changes. Unit rows
    make it k-means by direction.
    UsageError for ``k`` below 1 or above the number of rows; NumericError for NaN, infinite or overflowing rows.
    """
    from sklearn.cluster import KMeans as Lloyd, kmeans_plusplus
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    if x_ND.ndim != 2 or x_ND.size == 0:
        raise UsageError(f"k-means needs a non-empty table of real numbers; got shape {x_ND.shape}.")
    if not 1 <= k <= len(x_ND):
        raise UsageError(f"k-means needs between 1 and {len(x_ND)} clusters for {len(x_ND)} rows; got k={k}.")
    if max_iterations < 1:
        raise UsageError(f"max_iterations must be at least 1; got {max_iterations}.")
    bad_N = np.flatnonzero(~np.isfinite(np.einsum("nd,nd->n", x_ND, x_ND)))
    if len(bad_N):
        raise NumericError(f"row {bad_N[0]} of the rows to cluster holds a NaN, infinite or overflowing value.")
    generator = np.random.default_rng(seed)
    among = min(len(x_ND), max(SEEDING_ROWS, SEEDING_ROWS_PER_CENTER * k))
    sample_N = generator.choice(len(x_ND), among, replace=False)
    with threadpool_limits(min(THREADS, torch.get_num_threads()), "openmp"), warnings.catch_warnings():
        # Of fewer different rows than centers; the sizes of the clusters tell it.
        warnings.simplefilter("ignore", ConvergenceWarning)
        start_KD, _ = kmeans_plusplus(x_ND[sample_N], k, random_state=seed)
        # Any tolerance above 0 is scaled by the variance, which NumPy takes from a copy of all rows.
        fitted = Lloyd(k, init=start_KD, n_init=1, max_iter=max_iterations, tol=0, copy_x=False).fit(x_ND)
    return KMeans(
        centers_KD=fitted.cluster_centers_,
        labels_N=fitted.labels_.astype(np.int64),
        iterations=fitted.n_iter_,
        converged=fitted.n_iter_ < max_iterations,
    )


# k-means with groups of equal size, by direction: the assignment is a linear assignment of rows to slots.

Array = NDArray[np.float64]

ITERATIONS = 6
"""Exact assignments, each of which takes far longer than a step of plain k-means: more cost time."""

START_ITERATIONS = 20
"""Of the plain k-means that gives the first centres, which need not have settled."""


def group_sizes(rows: int, groups: int) -> NDArray[np.int64]:
    """Sizes ``[G]`` that differ by one at most, the larger ones first; UsageError unless 1 <= groups <= rows."""
    if not 1 <= groups <= rows:
        raise UsageError(f"the number of groups must be 1 to {rows}, one for each row at most; got {groups}.")
    return rows // groups + (np.arange(groups) < rows % groups).astype(np.int64)


def balanced_kmeans(
    x_ND: NDArray[np.floating[Any]], groups: int, *, seed: int, iterations: int = ITERATIONS
) -> NDArray[np.int64]:
    """Group of each row, ``[N]``; sizes differ by one at most.

    Rows count by their direction alone; a row of zeros has none and goes where there is room. Centres start where
    ordinary k-means by cosine puts them, the sum of cosines to the centres is maximised exactly in every assignment,
    and the work ends after ``iterations`` or when no row moves. UsageError for a number of groups outside 1 to N,
    NumericError for rows that are not finite.
    """
    sizes_G = group_sizes(len(x_ND), groups)
    if iterations < 1:
        raise UsageError(f"balanced k-means needs at least 1 iteration; got {iterations}.")
    unit_ND = unit_rows(x_ND)
    centres_GD = _start(unit_ND, groups, seed)
    labels_N = np.full(len(unit_ND), -1)
    for _ in range(iterations):
        moved_N = best_assignment(unit_ND @ centres_GD.T, sizes_G)
        if (moved_N == labels_N).all():
            break
        labels_N = moved_N
        sums_GD = np.zeros_like(centres_GD)
        np.add.at(sums_GD, labels_N, unit_ND)
        centres_GD = unit_rows(sums_GD)
    return labels_N


def best_assignment(score_NG: Array, sizes_G: NDArray[np.int64]) -> NDArray[np.int64]:
    """Group of each row, ``[N]``, such that every group has its size and the sum of scores is as large as possible."""
    from scipy.optimize import linear_sum_assignment

    slots_N = np.repeat(np.arange(len(sizes_G)), sizes_G)
    rows_N, chosen_N = linear_sum_assignment(score_NG[:, slots_N], maximize=True)
    labels_N = np.empty(len(score_NG), np.int64)
    labels_N[rows_N] = slots_N[chosen_N]
    return labels_N


def unit_rows(x_ND: NDArray[np.floating[Any]]) -> Array:
    """The rows at unit length in float64, rows of zeros left as they are; NumericError for NaN or infinite values."""
    wide_ND = np.asarray(x_ND, np.float64)
    if not np.isfinite(wide_ND).all():
        bad = int(np.flatnonzero(~np.isfinite(wide_ND).all(axis=1))[0])
        raise NumericError(f"row {bad} of the rows to group holds a NaN or infinite value.")
    size_N1 = np.linalg.norm(wide_ND, axis=1, keepdims=True)
    unit: Array = np.divide(wide_ND, size_N1, out=np.zeros_like(wide_ND), where=size_N1 > 0)
    return unit


def _start(unit_ND: Array, groups: int, seed: int) -> Array:
    """Centres of ordinary k-means of the rows that have a direction."""
    live_ND = unit_ND[(unit_ND != 0).any(axis=1)]
    if len(live_ND) < groups:  # any rows will do: the sizes decide
        return unit_ND[np.random.default_rng(seed).permutation(len(unit_ND))[:groups]]
    start = kmeans(live_ND, groups, seed=seed, max_iterations=START_ITERATIONS)
    centres_GD = unit_rows(start.centers_KD)
    # Of a center twice, the second draws no row away from the first, and leaves its room to rows without a direction.
    centres_GD[np.bincount(start.labels_N, minlength=groups) == 0] = 0
    return centres_GD
