"""k-means by blocks of rows: 300,000 rows of 2,048 values fit where the rows themselves do.

Distances are matrix products ``[b, k]``; nothing of size ``[n, k]`` or ``[n, k, d]`` is ever held, and the rows are
read in place, never copied as a whole.
Legend: N rows, D dimensions, K centers, G groups of equal size, B rows of one block.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from numpy.typing import NDArray
from torch import Tensor

from armillary.errors import NumericError, UsageError

BLOCK_BYTES = 128 * 2**20
"""Memory of one block: its rows in working precision, their distances and their float64 copy."""

SEEDING_ROWS = 20_000
"""k-means++ chooses among so many rows, or ten per center if that is more; drawn without replacement."""


@dataclass(frozen=True, kw_only=True)
class KMeans:
    """A finished clustering."""

    centers: Float[Tensor, "k d"]
    """float32 (float64 for float64 rows); unit vectors when cosine."""

    labels: Int[Tensor, " n"]
    """Nearest center of each row, int64."""

    inertia: float
    """Sum of squared distances to the nearest center; with cosine, of the rows scaled to unit length."""

    iterations: int
    converged: bool
    cosine: bool = False


def kmeans(
    x_ND: Shaped[Tensor, "n d"],
    k: int,
    *,
    seed: int,
    max_iterations: int = 100,
    tolerance: float = 1e-4,
    cosine: bool = False,
    block_bytes: int = BLOCK_BYTES,
) -> KMeans:
    """Lloyd's algorithm from a greedy k-means++ start (Arthur, Vassilvitskii 2007); deterministic for a seed on CPU.

    Stops when no label changes, or when the centers moved by less than ``tolerance`` times the mean variance of a
    dimension (sum of squares, as in scikit-learn). A cluster left empty restarts at the row farthest from its center.
    UsageError for ``k`` below 1 or above the number of rows; NumericError for NaN, infinite or (cosine) zero rows.
    """
    rows = _Rows(x_ND, k, cosine=cosine, block_bytes=block_bytes)
    if not 1 <= k <= rows.n:
        raise UsageError(f"k-means needs between 1 and {rows.n} clusters for {rows.n} rows; got k={k}.")
    if max_iterations < 1:
        raise UsageError(f"max_iterations must be at least 1; got {max_iterations}.")
    generator = torch.Generator().manual_seed(seed)
    centers = _plus_plus(rows, k, generator)
    labels, distances = rows.assign(centers)
    iterations, converged = 0, False
    while iterations < max_iterations and not converged:
        iterations += 1
        moved = rows.means(labels, distances, centers)
        shift = float((moved - centers).square().sum())
        centers = moved
        new_labels, distances = rows.assign(centers)
        converged = bool((new_labels == labels).all()) or shift <= tolerance * rows.variance
        labels = new_labels
    return KMeans(
        centers=centers + rows.origin,
        labels=labels,
        inertia=rows.inertia(centers, labels),
        iterations=iterations,
        converged=converged,
        cosine=cosine,
    )


def block_rows(x_ND: Shaped[Tensor, "n d"], k: int, block_bytes: int) -> int:
    """Rows of a block: read, shifted and summed they take at most 16 bytes a value, and 8 a distance."""
    n, d = x_ND.shape
    return max(1, min(n, block_bytes // (16 * d + 8 * max(1, k))))


class _Rows:
    """The rows, read by blocks, relative to their mean (so that far-off data keeps its digits) or as unit vectors."""

    def __init__(self, x_ND: Tensor, k: int, *, cosine: bool, block_bytes: int) -> None:
        if x_ND.ndim != 2 or x_ND.numel() == 0 or x_ND.is_complex():
            raise UsageError(f"k-means needs a non-empty table of real numbers; got shape {tuple(x_ND.shape)}.")
        self.x_ND, self.cosine = x_ND, cosine
        self.n, dimensions = x_ND.shape
        self.dtype = torch.float64 if x_ND.dtype == torch.float64 else torch.float32
        self.size = block_rows(x_ND, k, block_bytes)
        self.origin = torch.zeros(dimensions, dtype=self.dtype, device=x_ND.device)
        mean, square = self._moments()
        self.variance = float((square - mean.square()).clamp_min(0).mean())
        if not cosine:
            self.origin = mean.to(self.dtype)

    def blocks(self) -> Iterator[tuple[slice, Tensor]]:
        """``(slice, rows [b, d])`` in working precision, shifted or scaled."""
        for start in range(0, self.n, self.size):
            block = slice(start, min(self.n, start + self.size))
            yield block, self._working(self.x_ND[block], start)

    def take(self, indices: Tensor) -> Tensor:
        """The rows with these indices."""
        return self._working(self.x_ND[indices.to(self.x_ND.device)], 0)

    def assign(self, centers_KD: Tensor) -> tuple[Tensor, Tensor]:
        """Nearest center of each row and the squared distance to it."""
        labels = torch.empty(self.n, dtype=torch.int64, device=self.x_ND.device)
        distances = torch.empty(self.n, dtype=self.dtype, device=self.x_ND.device)
        for where, block in self.blocks():
            distances[where], labels[where] = _squared_distances(block, _squares(block), centers_KD).min(1)
        return labels, distances

    def means(self, labels: Tensor, distances: Tensor, centers_KD: Tensor) -> Tensor:
        """The mean row of each cluster (unit length when cosine); empty clusters take the farthest rows."""
        k = len(centers_KD)
        labels = _reseed(labels, distances, k)
        sums = torch.zeros(k, self.x_ND.shape[1], dtype=torch.float64, device=self.x_ND.device)
        for where, block in self.blocks():
            sums.index_add_(0, labels[where], block.to(torch.float64))
        counts = torch.bincount(labels, minlength=k)[:, None]
        means = sums / counts.clamp_min(1)
        if self.cosine:
            means = means / means.norm(dim=1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
        return torch.where(counts > 0, means.to(self.dtype), centers_KD)

    def inertia(self, centers_KD: Tensor, labels: Tensor) -> float:
        """Sum of squared distances to the assigned centers, summed in float64 without cancellation."""
        return sum(
            float((block - centers_KD[labels[where]]).square().sum(dtype=torch.float64))
            for where, block in self.blocks()
        )

    def _moments(self) -> tuple[Tensor, Tensor]:
        total = torch.zeros_like(self.origin, dtype=torch.float64)
        square = torch.zeros_like(total)
        for where, block in self.blocks():
            total += block.sum(0, dtype=torch.float64)
            square += block.to(torch.float64).square().sum(0)
            if not bool(torch.isfinite(square).all()):
                bad = int((~torch.isfinite(block).all(1)).nonzero()[0]) + where.start
                raise NumericError(f"row {bad} of the rows to cluster holds a NaN or infinite value.")
        return total / self.n, square / self.n

    def _working(self, rows: Tensor, start: int) -> Tensor:
        rows = rows.to(self.dtype)
        if not self.cosine:
            return rows - self.origin
        size: Tensor = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
        if bool((size == 0).any()):
            zero = int((size[:, 0] == 0).nonzero()[0]) + start
            raise NumericError(f"row {zero} is zero, which has no direction; cosine k-means can't place it.")
        return rows / size


def _squares(rows: Tensor) -> Tensor:
    """``|x|^2`` of each row, without a copy of the rows."""
    size: Tensor = torch.linalg.vector_norm(rows, dim=1)
    return size.square_()


def _squared_distances(block_BD: Tensor, squares_B: Tensor, centers_KD: Tensor) -> Tensor:
    """``|x|^2 - 2 x·c + |c|^2`` as one matrix product ``[b, k]``; never below 0."""
    distances = torch.addmm(_squares(centers_KD)[None, :], block_BD, centers_KD.T, alpha=-2.0)
    return distances.add_(squares_B[:, None]).clamp_min_(0.0)


def _plus_plus(rows: _Rows, k: int, generator: torch.Generator) -> Tensor:
    """Greedy k-means++ on a sample of rows: of a few candidates drawn by squared distance, the one that helps most."""
    among = min(rows.n, max(SEEDING_ROWS, 10 * k))
    sample = rows.take(torch.randperm(rows.n, generator=generator)[:among])
    squares = _squares(sample)
    trials = 2 + int(math.log(k))
    centers = torch.empty(k, sample.shape[1], dtype=rows.dtype, device=sample.device)
    centers[0] = sample[int(torch.randint(among, (1,), generator=generator))]
    nearest = _squared_distances(sample, squares, centers[:1])[:, 0]
    for index in range(1, k):
        mass = nearest.to("cpu", torch.float64).cumsum(0)
        if float(mass[-1]) == 0.0:  # fewer distinct rows than centers: any rows will do
            centers[index:] = sample[index:k]
            break
        draws = torch.rand(trials, generator=generator, dtype=torch.float64) * mass[-1]
        candidates = sample[torch.searchsorted(mass, draws, right=True).clamp_max(among - 1).to(sample.device)]
        within = torch.minimum(_squared_distances(sample, squares, candidates), nearest[:, None])
        best = int(within.sum(0, dtype=torch.float64).argmin())
        centers[index], nearest = candidates[best], within[:, best]
    return centers


def _reseed(labels: Tensor, distances: Tensor, k: int) -> Tensor:
    """The labels, where each empty cluster has got the farthest row of a cluster that keeps another one."""
    counts = torch.bincount(labels, minlength=k)
    empty = (counts == 0).nonzero()[:, 0].tolist()
    if not empty:
        return labels
    labels = labels.clone()
    farthest = iter(distances.argsort(descending=True, stable=True).tolist())
    for cluster in empty:
        for row in farthest:
            if float(distances[row]) == 0.0:
                return labels  # every row lies on a center: fewer distinct rows than centers
            if int(counts[labels[row]]) > 1:
                counts[labels[row]] -= 1
                labels[row] = cluster
                break
    return labels


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
    start = kmeans(torch.from_numpy(live_ND), groups, seed=seed, max_iterations=START_ITERATIONS, cosine=True)
    centres: Array = start.centers.numpy()
    return centres
