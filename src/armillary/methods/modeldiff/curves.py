"""Histograms of the prediction difference, by count or flat over the NLL window, with their bootstrap.

Legend: N samples, Z bins of the NLL, D bins of the difference, R replicates, C occupied cells, Q columns averaged.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from armillary.errors import InsufficientSamplesError
from armillary.methods.modeldiff.config import Bounds
from armillary.methods.modeldiff.core import Direction, Floats, Integers, Mask, replicate_sums, resampled
from armillary.numerics.intervals import Interval

MOST_HELD = 2**21
"""Samples of all replicates together that are kept between one figure and the next: 32 MB."""

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
    windows_R22: Floats | None = None
    """The windows of each replicate, the drawing model's and the other's, where a pilot chose them; None where they
    were given and are the same in all."""

    @property
    def how(self) -> str:
        """Where the intervals come from."""
        pilot = "" if self.windows_R22 is None else " and over the pilot that chose the windows"
        return f"percentile bootstrap over {len(self.direction.own_N):,} sequences{pilot}"

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
        """Scaled weights; 0 outside the window in every replicate."""
        inside, own_N = self.direction.inside_N, self.direction.own_N
        if self.windows_R22 is not None:
            inside = inside | ((own_N >= self.windows_R22[:, 0, 0].min()) & (own_N <= self.windows_R22[:, 0, 1].max()))
        return np.where(inside, np.exp(np.where(inside, self.direction.log_weight_N, 0) - self.log_scale), 0.0)

    @property
    def rows(self) -> int:
        """Bins of the NLL, equally wide: a narrower last one would weigh as much as the others in the profile."""
        low, high = self.direction.window
        return max(1, int(np.ceil((high - low) / Z_BIN)))

    @property
    def columns(self) -> int:
        """Bins of the difference."""
        return 2 * self.bins.half + 1

    @cached_property
    def cell_N(self) -> Integers:
        """Cell of each sample, ``(row * columns + column) * 2 + in overlap``; -1 outside the window."""
        return self._cells(self.direction.window, self.direction.other_window)

    @cached_property
    def _column_N(self) -> Integers:
        return self.bins.index(self.direction.difference_N)

    def _cells(self, window: Bounds, other_window: Bounds) -> Integers:
        """The same within other windows, which have as many rows."""
        own_N, other_N = self.direction.own_N, self.direction.other_N
        step_N = (own_N - window[0]) * (self.rows / (window[1] - window[0]))
        row_N = np.clip(step_N, 0, self.rows - 1).astype(np.int64)
        both_N = (other_N >= other_window[0]) & (other_N <= other_window[1])
        inside_N = (own_N >= window[0]) & (own_N <= window[1])
        return np.where(inside_N, (row_N * self.columns + self._column_N) * 2 + both_N, -1)

    def resampled_cells(self) -> Iterable[tuple[Floats, Integers]]:
        """How often each sample was drawn in each replicate ``[n]``, and its cell there ``[n]``."""
        return self._held if self.replicates * len(self.cell_N) <= MOST_HELD else self._resampled()

    @cached_property
    def _held(self) -> list[tuple[Floats, Integers]]:
        return list(self._resampled())

    def _resampled(self) -> Iterator[tuple[Floats, Integers]]:
        blocks = resampled(self.direction.unit_N, self.direction.stratum_N, self.replicates, self.seed)
        for replicate, counts_N in enumerate(counts_N for block_RN in blocks for counts_N in block_RN):
            moved = None if self.windows_R22 is None else self._cells(*self.windows_R22[replicate])
            yield counts_N, self.cell_N if moved is None else moved

    @cached_property
    def sums_C(self) -> tuple[Integers, Floats, Floats]:
        """Occupied cells ``[c]``, their sums ``[c]``, and the sums of every replicate ``[r, c]``."""
        _ = self.log_scale  # an empty window is reported before anything is computed
        # One place more than there are cells, so that -1 finds itself.
        compact_C = np.zeros(self.rows * self.columns * 2 + 1, dtype=np.int64)
        compact_C[self.cell_N] = 1
        if self.windows_R22 is not None:
            for windows_22 in self.windows_R22:
                compact_C[self._cells(*windows_22)] = 1
        cells_C = np.flatnonzero(compact_C[:-1])
        compact_C[:] = -1
        compact_C[cells_C] = np.arange(len(cells_C))
        return cells_C, *self.sums(lambda cell_N: compact_C[cell_N], len(cells_C))

    def sums(self, renamed: Callable[[Integers], Integers], cells: int) -> tuple[Floats, Floats]:
        """Sum of the weights in each cell ``[c]``, and of every replicate ``[r, c]``.

        ``renamed`` makes the cells of all samples from their cells in the table; -1 is left out.
        """
        ones = np.ones(len(self.cell_N))
        sums_1C = replicate_sums(self.weight_N, [(ones, renamed(self.cell_N))], cells)
        replicated = ((counts_N, renamed(cell_N)) for counts_N, cell_N in self.resampled_cells())
        return sums_1C[0], replicate_sums(self.weight_N, replicated, cells)

    def flat_weights(self, counts_N: Floats, cell_N: Integers, kept: Integers) -> Floats:
        """Shares of the kept samples under one replicate, every occupied NLL bin counting the same; they sum to 1."""
        row_K = cell_N[kept] // 2 // self.columns
        weight_K = counts_N[kept] * self.weight_N[kept]
        row_Z = np.bincount(row_K, weight_K, minlength=self.rows)
        occupied = max(1, int((row_Z > 0).sum()))
        shares: Floats = weight_K / np.where(row_Z > 0, row_Z, 1.0)[row_K] / occupied
        return shares

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
        low, high = self.direction.window
        flat = np.bincount(cells_C // 2, sums_C, minlength=self.rows * self.columns)
        table_ZD = flat.reshape(self.rows, self.columns)
        with np.errstate(invalid="ignore"):
            table_ZD = table_ZD / table_ZD.sum(axis=1, keepdims=True)
        return table_ZD, np.asarray(low + (high - low) / self.rows * np.arange(self.rows), dtype=np.float64)


# What is read off the histograms: logs of counts with intervals, disagreement beyond a threshold, the spread of D.


def interval_of(estimate: float, values_R: Floats, level: float, table: CountTable) -> Interval:
    """The percentile interval of replicates that are known; none where fewer than 20 are."""
    n, how = len(table.direction.own_N), table.how
    known = values_R[~np.isnan(values_R)]
    if not math.isfinite(estimate) or len(known) < 20:
        return Interval(estimate=estimate, n=n, level=level, how=how)
    # Not interpolated: between a count of 0, whose log is minus infinity, and another there is no middle.
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2], method="closest_observation")
    return Interval(estimate=estimate, low=float(low), high=float(high), n=n, level=level, how=how)


def ratio(
    numerator: tuple[float, Floats], denominator: tuple[float, Floats], level: float, table: CountTable
) -> Interval:
    """A quotient of two sums over the same replicates."""
    with np.errstate(divide="ignore", invalid="ignore"):
        values_R = numerator[1] / denominator[1]
    estimate = numerator[0] / denominator[0] if denominator[0] else math.nan
    return interval_of(estimate, values_R, level, table)


def log_count(sums: tuple[float, Floats], level: float, table: CountTable) -> Interval:
    """Natural log of a count, from scaled sums."""
    with np.errstate(divide="ignore"):
        values_R = np.log(sums[1]) + table.log_scale
    estimate = math.log(sums[0]) + table.log_scale if sums[0] > 0 else -math.inf
    return interval_of(estimate, values_R, level, table)


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
    by_name: dict[str, Interval] = {}
    for table in tables:
        direction = table.direction
        worse_N = direction.other_N - direction.own_N >= threshold
        alike_N = np.abs(direction.difference_N) < threshold

        def renamed(cell_N: Integers, worse_N: Mask = worse_N, alike_N: Mask = alike_N) -> Integers:
            """0 where the other finds the sequence worse, 1 where they agree and both find it plausible, else 2."""
            within_N = np.where(worse_N, 0, np.where(alike_N & (cell_N % 2 == 1), 1, 2))
            return np.where(cell_N >= 0, within_N, -1)

        sums_3, sums_R3 = table.sums(renamed, 3)
        private, total = (float(sums_3[0]), sums_R3[:, 0]), (float(sums_3.sum()), sums_R3.sum(axis=1))
        by_name[f"private_{direction.side}"] = log_count(private, level, table)
        by_name[f"share_{direction.side}"] = ratio(private, total, level, table)
        by_name[f"shared_{direction.side}"] = log_count((float(sums_3[1]), sums_R3[:, 1]), level, table)
    return Agreement(threshold=threshold, **by_name)


@dataclass(frozen=True, kw_only=True)
class Spread:
    """What tells two models apart over one model's plausible inputs, every bin of its NLL counting the same."""

    mean: Interval
    """Mean of the difference, nats per token, over the inputs to which the other model gives a probability."""

    deviation: Interval
    """Its standard deviation, nats per token: near 0 for a copy."""

    overlap: Interval
    """Share of these inputs that are plausible to the other model too."""

    correlation: Interval | None = None
    """Correlation of the two models' NLL, each less that of a third model; None without one."""

    impossible: Interval | None = None
    """Share of these inputs to which the other model gives probability 0; None where no sample is such."""

    @property
    def warning(self) -> str:
        """What the mean and the deviation leave out, as the end of a sentence; empty where they hold all."""
        if self.impossible is None:
            return ""
        share = self.impossible
        shown = f"{share.estimate:.0%} [{share.lower:.0%}, {share.upper:.0%}]"
        return f"; {shown} of the inputs have probability 0 under the other model and are left out of this"


def spread(table: CountTable, level: float, reference_N: Floats | None = None) -> Spread:
    """Mean, spread, overlap and, with a third model's NLL of each sample, correlation; flat over the window."""
    direction = table.direction
    length = direction.ids_NL.shape[1]
    finite_N = np.isfinite(direction.difference_N)
    difference_N = np.where(finite_N, direction.difference_N, 0.0) / length
    columns = [np.ones(len(finite_N)), difference_N, difference_N**2]
    if reference_N is not None:
        both = ((nll_N - reference_N) / length for nll_N in (direction.own_N, direction.other_N))
        own, other = (np.where(finite_N, values_N, 0.0) for values_N in both)
        columns += [own, other, own * own, other * other, own * other]
    values_NQ = np.stack(columns, axis=1)

    def means(resamples: Iterable[tuple[Floats, Integers]]) -> Floats:
        """Share outside the overlap, impossible, then the columns over what is possible: ``[r, 2 + q]``."""
        rows_RQ = []
        for counts_N, cell_N in resamples:
            inside = np.flatnonzero(cell_N >= 0)
            possible = inside[finite_N[inside]]
            shares = table.flat_weights(counts_N, cell_N, inside)
            of_inside = [shares @ (cell_N[inside] % 2 == 0), shares @ ~finite_N[inside]]
            rows_RQ.append([*of_inside, *table.flat_weights(counts_N, cell_N, possible) @ values_NQ[possible]])
        return np.array(rows_RQ)

    estimate_1Q = means([(np.ones(len(finite_N)), table.cell_N)])
    means_RQ = means(table.resampled_cells())

    def interval(readout: Callable[[Floats], Floats]) -> Interval:
        return interval_of(float(readout(estimate_1Q)[0]), readout(means_RQ), level, table)

    return Spread(
        mean=interval(lambda q: q[:, 3]),
        deviation=interval(lambda q: np.sqrt(np.maximum(q[:, 4] - q[:, 3] ** 2, 0))),
        # So that nothing outside makes it 1 to the bit.
        overlap=interval(lambda q: 1 - q[:, 0]),
        correlation=None if reference_N is None else interval(lambda q: _correlation(q[:, 5:])),
        impossible=interval(lambda q: q[:, 1]) if estimate_1Q[0, 1] > 0 else None,
    )


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
