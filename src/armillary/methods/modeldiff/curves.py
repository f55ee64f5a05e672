"""Histograms of the prediction difference, by count or flat over the NLL window, with their bootstrap.

Legend: N samples, Z bins of the NLL, D bins of the difference, R replicates, C occupied cells.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from armillary.errors import InsufficientSamplesError
from armillary.methods.modeldiff.direction import Direction
from armillary.methods.modeldiff.estimate import Integers, log_sum, replicate_sums, resampled
from armillary.methods.modeldiff.protocols import Floats

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
        finite = [np.abs(found[np.isfinite(found)]) for found in differences]
        far = max((float(found.max()) for found in finite if len(found)), default=0.0)
        return cls(width=width, half=int(min(most, np.ceil(far / width))))


@dataclass(frozen=True)
class Table:
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
        place_N = (self.direction.own_N - self.direction.window[0]) / self.row_width
        row_N = np.clip(place_N, 0, self.rows - 1).astype(np.int64)
        cell_N = (row_N * self.columns + self.bins.index(self.direction.difference_N)) * 2 + self.direction.overlap_N
        return np.where(self.direction.inside_N, cell_N, -1)

    @cached_property
    def sums_C(self) -> tuple[Integers, Floats, Floats]:
        """Occupied cells ``[c]``, their sums ``[c]``, and the sums of every replicate ``[r, c]``."""
        _ = self.log_scale  # an empty window is told before anything is computed
        cells_C, place = np.unique(self.cell_N[self.cell_N >= 0], return_inverse=True)
        compact_N = np.full(len(self.cell_N), -1)
        compact_N[self.cell_N >= 0] = place
        sums_C: Floats = np.bincount(place, self.weight_N[self.cell_N >= 0], minlength=len(cells_C)).astype(np.float64)
        counts = resampled(self.direction.unit_N, self.direction.stratum_N, self.replicates, self.seed)
        return cells_C, sums_C, replicate_sums(self.weight_N, compact_N, len(cells_C), counts)

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

    def profile_effective(self) -> float:
        """Effective samples behind the profile: the mean over NLL bins of ratios with each bin's own ESS."""
        rows_N = np.where(self.cell_N >= 0, self.cell_N // 2 // self.columns, -1)
        sizes = []
        for row in np.unique(rows_N[rows_N >= 0]):
            kept = self.direction.log_weight_N[rows_N == row]
            sizes.append(np.exp(2 * log_sum(kept) - log_sum(2 * kept)))
        return len(sizes) ** 2 / float(np.sum(1 / np.array(sizes))) if sizes else 0.0
