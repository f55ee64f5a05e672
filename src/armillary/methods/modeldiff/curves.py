"""Histograms of the prediction difference, by count or flat over the NLL window, with their bootstrap.

Legend: N samples, Z bins of the NLL, D bins of the difference, R replicates, C occupied cells, Q columns averaged.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from armillary.errors import InsufficientSamplesError
from armillary.methods.modeldiff.core import Direction, Floats, Integers, replicate_sums, resampled
from armillary.numerics.intervals import Interval

Z_BIN = 1.0
"""Greatest width of a bin of the NLL, nats; all bins of a window are equally wide."""


@dataclass(frozen=True)
class Bins:
    """Bins of the difference, centred on 0, so that A against B is the mirror of B against A to the bit."""

    width: float
    """Nats, summed over the sequence."""

    half: int
    """Bins on each side of the middle one; what lies further out counts in the outermost."""

    @property
    def centres_D(self) -> Floats:
        """The difference (nats) in the middle of each bin."""
        centres: Floats = self.width * np.arange(-self.half, self.half + 1, dtype=np.float64)
        return centres

    def index(self, difference_N: Floats) -> Integers:
        """The bin of each difference."""
        far = (self.half + 1) * self.width
        steps_N = np.rint(np.clip(difference_N, -far, far) / self.width)
        return np.clip(steps_N, -self.half, self.half).astype(np.int64) + self.half

    @classmethod
    def spanning(cls, width: float, differences: list[Floats], most: int = 150) -> "Bins":
        """Bins as far out as the finite differences go, ``most`` to each side."""
        finite = [np.abs(gaps[np.isfinite(gaps)]) for gaps in differences]
        far = max((float(gaps.max()) for gaps in finite if len(gaps)), default=0.0)
        return cls(width=width, half=int(min(most, np.ceil(far / width))))


@dataclass(frozen=True)
class CountTable:
    """Weights of one direction by NLL and difference, with replicates: every curve is a sum over it.

    Sums are linear and scaled by ``exp(-log_scale)``, since the counts themselves overflow.
    """

    direction: Direction
    bins: Bins
    replicates: int
    seed: int

    @cached_property
    def log_scale(self) -> float:
        """Log of the unit of the sums: the largest weight inside the window."""
        inside = self.direction.log_weight_N[self.direction.inside_N]
        if not len(inside):
            raise InsufficientSamplesError(
                f"None of {len(self.direction.own_N):,} samples of model {self.direction.side.upper()} fell in its "
                f"window of {self.direction.window[0]:.1f} to {self.direction.window[1]:.1f} nats; their NLL has "
                f"quantiles {', '.join(f'{q:.1f}' for q in np.quantile(self.direction.own_N, [0.05, 0.5, 0.95]))} "
                "(5 %, 50 %, 95 %)."
            )
        return float(inside.max())

    @cached_property
    def weight_N(self) -> Floats:
        """Scaled weights; 0 outside the window."""
        inside = self.direction.inside_N
        return np.where(inside, np.exp(np.where(inside, self.direction.log_weight_N, 0) - self.log_scale), 0.0)

    @property
    def rows(self) -> int:
        """Bins of the NLL."""
        low, high = self.direction.window
        return max(1, int(np.ceil((high - low) / Z_BIN)))

    @property
    def row_width(self) -> float:
        """Nats of a bin of the NLL. A narrower last bin would weigh as much as the others in the profile."""
        low, high = self.direction.window
        return (high - low) / self.rows

    @property
    def columns(self) -> int:
        """Bins of the difference."""
        return 2 * self.bins.half + 1

    @cached_property
    def cell_N(self) -> Integers:
        """Cell of each sample, ``(row * columns + column) * 2 + in overlap``; -1 outside the window."""
        step_N = (self.direction.own_N - self.direction.window[0]) / self.row_width
        row_N = np.clip(step_N, 0, self.rows - 1).astype(np.int64)
        cell_N = (row_N * self.columns + self.bins.index(self.direction.difference_N)) * 2 + self.direction.overlap_N
        return np.where(self.direction.inside_N, cell_N, -1)

    @cached_property
    def sums_C(self) -> tuple[Integers, Floats, Floats]:
        """Occupied cells ``[c]``, their sums ``[c]``, and the sums of every replicate ``[r, c]``."""
        _ = self.log_scale  # an empty window is reported before anything is computed
        cells_C, index = np.unique(self.cell_N[self.cell_N >= 0], return_inverse=True)
        compact_N = np.full(len(self.cell_N), -1)
        compact_N[self.cell_N >= 0] = index
        return cells_C, *self.sums(compact_N, len(cells_C))

    def sums(self, cell_N: Integers, cells: int) -> tuple[Floats, Floats]:
        """Sum of the weights in each cell ``[c]``, and of every replicate ``[r, c]``; a cell of -1 is left out."""
        kept_N = cell_N >= 0
        sums_C: Floats = np.bincount(cell_N[kept_N], self.weight_N[kept_N], minlength=cells).astype(np.float64)
        counts = resampled(self.direction.unit_N, self.direction.stratum_N, self.replicates, self.seed)
        return sums_C, replicate_sums(self.weight_N, cell_N, cells, counts)

    def count(self) -> tuple[Floats, Floats]:
        """Scaled number of plausible sequences by difference: ``[d]`` and replicates ``[r, d]``."""
        cells_C, sums_C, sums_RC = self.sums_C
        spread_CD = np.eye(self.columns)[cells_C // 2 % self.columns]
        return sums_C @ spread_CD, sums_RC @ spread_CD

    def profile(self) -> tuple[Floats, Floats]:
        """Share by difference, every occupied NLL bin counting the same: ``[d]`` and replicates ``[r, d]``."""
        cells_C, sums_C, sums_RC = self.sums_C
        rows_C, columns_C = cells_C // 2 // self.columns, cells_C // 2 % self.columns
        spread_CZ, spread_CD = np.eye(self.rows)[rows_C], np.eye(self.columns)[columns_C]

        def flat(sums_RC: Floats) -> Floats:
            row_RZ = sums_RC @ spread_CZ
            share_RC = sums_RC / np.where(row_RZ > 0, row_RZ, 1.0)[:, rows_C]
            shares: Floats = share_RC @ spread_CD / (row_RZ > 0).sum(axis=1, keepdims=True)
            return shares

        return flat(sums_C[None])[0], flat(sums_RC)

    def total(self) -> tuple[float, Floats]:
        """Scaled number of plausible sequences, and its replicates ``[r]``."""
        _, sums_C, sums_RC = self.sums_C
        return float(sums_C.sum()), sums_RC.sum(axis=1)

    def overlap(self) -> tuple[float, Floats]:
        """Scaled number of sequences that both models find plausible, and its replicates ``[r]``."""
        cells_C, sums_C, sums_RC = self.sums_C
        both_C = cells_C % 2 == 1
        return float(sums_C[both_C].sum()), sums_RC[:, both_C].sum(axis=1)

    def conditional(self) -> tuple[Floats, Floats]:
        """``p(D | z)`` as ``[z, d]`` (rows sum to 1, NaN where no sample fell), and the lower edge of each NLL bin."""
        cells_C, sums_C, _ = self.sums_C
        flat = np.bincount(cells_C // 2, sums_C, minlength=self.rows * self.columns)
        table_ZD = flat.reshape(self.rows, self.columns)
        with np.errstate(invalid="ignore"):
            table_ZD = table_ZD / table_ZD.sum(axis=1, keepdims=True)
        return table_ZD, np.asarray(self.direction.window[0] + self.row_width * np.arange(self.rows), dtype=np.float64)


# What is read off the histograms: logs of counts with intervals, disagreement beyond a threshold, the spread of D.


def interval_of(estimate: float, values_R: Floats, level: float, n: int) -> Interval:
    """The percentile interval of replicates that are known; none where fewer than 20 are."""
    how = f"percentile bootstrap over {n:,} sequences"
    known = values_R[~np.isnan(values_R)]
    if not math.isfinite(estimate) or len(known) < 20:
        return Interval(estimate=estimate, n=n, level=level, how=how)
    # Not interpolated: between a count of 0, whose log is minus infinity, and another there is no middle.
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2], method="closest_observation")
    return Interval(estimate=estimate, low=float(low), high=float(high), n=n, level=level, how=how)


def ratio(numerator: tuple[float, Floats], denominator: tuple[float, Floats], level: float, n: int) -> Interval:
    """A quotient of two sums over the same replicates."""
    with np.errstate(divide="ignore", invalid="ignore"):
        values_R = numerator[1] / denominator[1]
    estimate = numerator[0] / denominator[0] if denominator[0] else math.nan
    return interval_of(estimate, values_R, level, n)


def log_count(sums: tuple[float, Floats], log_scale: float, level: float, n: int) -> Interval:
    """Natural log of a count, from scaled sums."""
    with np.errstate(divide="ignore"):
        values_R = np.log(sums[1]) + log_scale
    estimate = math.log(sums[0]) + log_scale if sums[0] > 0 else -math.inf
    return interval_of(estimate, values_R, level, n)


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How many inputs the models see alike, and how many apart, at one threshold on the difference."""

    threshold: float
    """Nats, summed over the sequence."""

    private_a: Interval
    """Log of the number of A's plausible inputs that B finds worse by the threshold or more (D <= -threshold)."""

    private_b: Interval
    """The mirror: B's plausible inputs with D >= threshold."""

    share_a: Interval
    """The first as a share of A's plausible inputs."""

    share_b: Interval
    """The second as a share of B's."""

    shared_a: Interval
    """Log of the number of inputs plausible to both with |D| below the threshold, from A's samples."""

    shared_b: Interval
    """The same number from B's samples: the two should agree."""


def agreement(tables: tuple[CountTable, CountTable], threshold: float, level: float) -> Agreement:
    """Disagreement and agreement at ``threshold`` nats, by count, from both directions."""
    by_side = []
    for table in tables:
        direction = table.direction
        worse_N = direction.other_N - direction.own_N >= threshold
        alike_N = (np.abs(direction.difference_N) < threshold) & direction.overlap_N
        # 0 where the other model finds the sequence worse, 1 where they agree and both find it plausible, else 2.
        cell_N = np.where(direction.inside_N, np.where(worse_N, 0, np.where(alike_N, 1, 2)), -1)
        sums_3, sums_R3 = table.sums(cell_N, 3)
        n = len(cell_N)
        private, total = (float(sums_3[0]), sums_R3[:, 0]), (float(sums_3.sum()), sums_R3.sum(axis=1))
        by_side.append(
            (
                log_count(private, table.log_scale, level, n),
                ratio(private, total, level, n),
                log_count((float(sums_3[1]), sums_R3[:, 1]), table.log_scale, level, n),
            )
        )
    (private_a, share_a, shared_a), (private_b, share_b, shared_b) = by_side
    return Agreement(
        threshold=threshold,
        private_a=private_a,
        private_b=private_b,
        share_a=share_a,
        share_b=share_b,
        shared_a=shared_a,
        shared_b=shared_b,
    )


@dataclass(frozen=True, kw_only=True)
class Spread:
    """What tells two models apart over one model's plausible inputs, every bin of its NLL counting the same."""

    mean: Interval
    """Mean of the difference, nats per token."""

    deviation: Interval
    """Its standard deviation, nats per token: near 0 for a copy."""

    overlap: Interval
    """Share of these inputs that are plausible to the other model too."""

    correlation: Interval | None = None
    """Correlation of the two models' NLL, each less that of a third model; None without one."""


def spread(table: CountTable, level: float, reference_N: Floats | None = None) -> Spread:
    """Mean, spread, overlap and, with a third model's NLL of each sample, correlation; flat over the window."""
    direction = table.direction
    length = direction.ids_NL.shape[1]
    difference_N = direction.difference_N / length
    kept = np.flatnonzero((table.cell_N >= 0) & np.isfinite(difference_N))
    columns = [np.ones(len(kept)), difference_N[kept], difference_N[kept] ** 2]
    columns.append(direction.overlap_N[kept].astype(float))
    if reference_N is not None:
        own, other = ((nll_N - reference_N)[kept] / length for nll_N in (direction.own_N, direction.other_N))
        columns += [own, other, own * own, other * other, own * other]
    values_NQ = np.stack(columns, axis=1)
    estimate_Q = next(_profile_means(table, kept, values_NQ, iter([np.ones((1, len(direction.own_N)))])))[0]
    counts = resampled(direction.unit_N, direction.stratum_N, table.replicates, table.seed)
    means_RQ = np.concatenate(list(_profile_means(table, kept, values_NQ, counts)))

    def interval(readout: Callable[[Floats], Floats]) -> Interval:
        return interval_of(float(readout(estimate_Q[None])[0]), readout(means_RQ), level, len(direction.own_N))

    return Spread(
        mean=interval(lambda q: q[:, 1]),
        deviation=interval(lambda q: np.sqrt(np.maximum(q[:, 2] - q[:, 1] ** 2, 0))),
        overlap=interval(lambda q: q[:, 3]),
        correlation=None if reference_N is None else interval(lambda q: _correlation(q[:, 4:])),
    )


def _profile_means(table: CountTable, kept: Integers, values_NQ: Floats, counts: Iterator[Floats]) -> Iterator[Floats]:
    """Means of the columns under each replicate's weights ``[r, q]``, every occupied NLL bin counting the same."""
    rows_N = table.cell_N[kept] // 2 // table.columns
    members_NZ = np.eye(table.rows)[rows_N]
    for block_RN in counts:
        weight_RN = block_RN[:, kept] * table.weight_N[kept]
        row_RZ = weight_RN @ members_NZ
        share_RN = weight_RN / np.where(row_RZ > 0, row_RZ, 1.0)[:, rows_N]
        yield share_RN @ values_NQ / np.maximum((row_RZ > 0).sum(axis=1, keepdims=True), 1)


def _correlation(q: Floats) -> Floats:
    first, second, first2, second2, product = q.T
    spreads = np.maximum(first2 - first**2, 0) * np.maximum(second2 - second**2, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation: Floats = (product - first * second) / np.sqrt(spreads)
    return correlation


def identities(direction: Direction) -> dict[str, float]:
    """What must hold for samples at temperature 1: mean of ``exp(z_own - z_other)`` is 1, mean excess is minus a KL.

    The mean of the exponential rests on its tail: read it only where the divergence is a few nats.
    """
    if direction.log_q_KN is None or len(direction.log_q_KN) != 1:
        return {}
    gap_N = direction.own_N - direction.other_N
    finite = np.isfinite(gap_N)
    return {"mean_exponential": float(np.exp(gap_N[finite]).sum() / len(gap_N)), "divergence": float(-gap_N.mean())}
