"""k-means with groups of equal size, by direction: the assignment is a linear assignment of rows to slots.

Legend: N rows, D dimensions, G groups.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from armillary.errors import NumericError, UsageError
from armillary.numerics.kmeans import kmeans

Array = NDArray[np.float64]

ITERATIONS = 6
START_ITERATIONS = 20


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
    found = kmeans(torch.from_numpy(live_ND), groups, seed=seed, max_iterations=START_ITERATIONS, cosine=True)
    centres: Array = found.centers.numpy()
    return centres
