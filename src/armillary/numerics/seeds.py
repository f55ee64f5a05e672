"""Intervals of what several seeds gave, each with a bootstrap of its own over the same things."""

from collections.abc import Sequence

import numpy as np

from armillary.numerics.intervals import Array, Interval, bootstrap_mean


def widest(values: Sequence[Array], *, level: float = 0.95, of: str = "prompts") -> Interval:
    """The mean over seeds; its ends are the furthest of the seeds' own bootstraps over prompts, NaN left out."""
    intervals = [bootstrap_mean(v[np.isfinite(v)], seed=0, level=level) for v in values]
    n = sum(interval.n for interval in intervals)
    return Interval(
        estimate=float(np.mean([interval.estimate for interval in intervals])),
        low=min(interval.lower for interval in intervals),
        high=max(interval.upper for interval in intervals),
        n=n,
        level=level,
        how=f"the furthest ends of {len(intervals)} seeds' bootstraps, {n:,} {of} in all",
    )


def nested(values: Sequence[Array], *, level: float = 0.95, replicates: int = 4000, of: str = "prompts") -> Interval:
    """The mean over seeds and the same things; seeds are drawn anew first, then things, alike for every seed.

    Narrower than ``widest``: for equality within a bound, which the furthest ends of three seeds hardly ever show.
    """
    table_SN = np.stack(values)
    seeds, n = table_SN.shape
    generator = np.random.default_rng(0)
    seed_RS = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=replicates) / seeds
    thing_RN = generator.multinomial(n, np.full(n, 1 / n), size=replicates) / n
    means_R = np.einsum("rs,sn,rn->r", seed_RS, table_SN, thing_RN, optimize=True)
    low, high = np.quantile(means_R, [(1 - level) / 2, (1 + level) / 2])
    how = f"bootstrap over {seeds} seeds and {n:,} {of}"
    return Interval(estimate=float(table_SN.mean()), low=float(low), high=float(high), n=n, level=level, how=how)
