"""Inferred edges against true ones, unit by unit."""

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from armillary.numerics.intervals import Interval, binomial, bootstrap_weighted

Edges = Collection[tuple[int, int]]
"""Pairs of positions: support, step."""


@dataclass(kw_only=True)
class Score:
    """Counts over units (texts, files): edges of one unit stand or fall together, so units are what is resampled."""

    units: list[tuple[int, int, int, int, int]] = field(default_factory=list)
    """Of each unit: edges inferred, of these true, true edges, edges inferred to the right, of these true."""

    def add(self, inferred: Edges, true: Edges) -> None:
        """Count one unit."""
        right = {(u, v) for u, v in inferred if u > v}
        both, agreed = {*inferred}, {*true}
        self.units.append((len(both), len(both & agreed), len(agreed), len(right), len(right & agreed)))

    def precision(self, seed: int) -> Interval:
        """Share of the inferred edges that are true."""
        return self._ratio(1, 0, seed)

    def recall(self, seed: int) -> Interval:
        """Share of the true edges that are inferred."""
        return self._ratio(1, 2, seed)

    def right_precision(self, seed: int) -> Interval | None:
        """Share of the edges inferred to the right that are true; None where there are none."""
        return self._ratio(4, 3, seed) if any(unit[3] for unit in self.units) else None

    def edges(self) -> tuple[int, int]:
        """Edges inferred, and those of them to the right."""
        return sum(unit[0] for unit in self.units), sum(unit[3] for unit in self.units)

    def _ratio(self, part: int, whole: int, seed: int) -> Interval:
        counts = np.array([(unit[part], unit[whole]) for unit in self.units if unit[whole]], np.float64)
        hits, total = (int(value) for value in counts.sum(0))
        if hits in (0, total):
            # Units that are all alike have no spread to resample; as many units without an exception bound the rate.
            exact = binomial(len(counts) if hits else 0, len(counts))
            how = f"exact binomial over {len(counts):,} units, all alike"
            return Interval(estimate=exact.estimate, low=exact.low, high=exact.high, n=len(counts), how=how)

        def ratio(weights_RN: NDArray[np.float64]) -> NDArray[np.float64]:
            sums = weights_RN @ counts
            # A resample of units without an edge has no ratio; as good as none, so it counts as the whole's.
            ratios = np.full(len(sums), hits / total)
            np.divide(sums[:, 0], sums[:, 1], out=ratios, where=sums[:, 1] > 0)
            return ratios

        return bootstrap_weighted(ratio, len(counts), seed=seed, how=f"bootstrap over {len(counts):,} units")
