"""What is read off a comparison: logs of counts with intervals, disagreement beyond a threshold, the spread of D.

Legend: N samples, Z bins of the NLL, R replicates.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from armillary.methods.modeldiff.curves import Table
from armillary.methods.modeldiff.direction import Direction
from armillary.methods.modeldiff.estimate import Integers, replicate_sums, resampled
from armillary.methods.modeldiff.protocols import Floats
from armillary.numerics.intervals import Interval


def interval_of(estimate: float, values_R: Floats, level: float, n: int, unit: str = "sequences") -> Interval:
    """The percentile interval of replicates that are known; none where fewer than 20 are."""
    how = f"percentile bootstrap over {n:,} {unit}"
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


def _apart(direction: Direction, threshold: float) -> Integers:
    """0 where the other model finds the sequence worse by the threshold, 1 within it and in the overlap, else 2."""
    worse_N = direction.other_N - direction.own_N >= threshold
    alike_N = (np.abs(direction.difference_N) < threshold) & direction.overlap_N
    cell_N = np.where(worse_N, 0, np.where(alike_N, 1, 2))
    return np.where(direction.inside_N, cell_N, -1)


def agreement(tables: tuple[Table, Table], threshold: float, level: float) -> Agreement:
    """Disagreement and agreement at ``threshold`` nats, by count, from both directions."""
    found = []
    for table in tables:
        held = table.direction
        cell_N = _apart(held, threshold)
        counts = resampled(held.unit_N, held.stratum_N, table.replicates, table.seed)
        sums_R3 = replicate_sums(table.weight_N, cell_N, 3, counts)
        sums_3 = np.bincount(cell_N[cell_N >= 0], table.weight_N[cell_N >= 0], minlength=3)
        n = len(cell_N)
        private, total = (float(sums_3[0]), sums_R3[:, 0]), (float(sums_3.sum()), sums_R3.sum(axis=1))
        found.append(
            (
                log_count(private, table.log_scale, level, n),
                ratio(private, total, level, n),
                log_count((float(sums_3[1]), sums_R3[:, 1]), table.log_scale, level, n),
            )
        )
    (private_a, share_a, shared_a), (private_b, share_b, shared_b) = found
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


def spread(table: Table, level: float, reference_N: Floats | None = None) -> Spread:
    """Mean, spread, overlap and, with a third model's NLL of each sample, correlation; flat over the window."""
    held = table.direction
    difference_N = held.difference_N / held.ids_NL.shape[1]
    kept = np.flatnonzero((table.cell_N >= 0) & np.isfinite(difference_N))
    columns = [np.ones(len(kept)), difference_N[kept], difference_N[kept] ** 2, held.overlap_N[kept].astype(float)]
    if reference_N is not None:
        own, other = ((nll - reference_N)[kept] / held.ids_NL.shape[1] for nll in (held.own_N, held.other_N))
        columns += [own, other, own * own, other * other, own * other]
    values_NQ = np.stack(columns, axis=1)
    estimate_Q = next(_profile_means(table, kept, values_NQ, iter([np.ones((1, len(held.own_N)))])))[0]
    counts = resampled(held.unit_N, held.stratum_N, table.replicates, table.seed)
    means_RQ = np.concatenate(list(_profile_means(table, kept, values_NQ, counts)))
    n = len(held.own_N)

    def told(readout: Callable[[Floats], Floats]) -> Interval:
        return interval_of(float(readout(estimate_Q[None])[0]), readout(means_RQ), level, n)

    return Spread(
        mean=told(lambda q: q[:, 1]),
        deviation=told(lambda q: np.sqrt(np.maximum(q[:, 2] - q[:, 1] ** 2, 0))),
        overlap=told(lambda q: q[:, 3]),
        correlation=None if reference_N is None else told(lambda q: _correlation(q[:, 4:])),
    )


def _profile_means(table: Table, kept: Integers, values_NQ: Floats, counts: Iterator[Floats]) -> Iterator[Floats]:
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
        found: Floats = (product - first * second) / np.sqrt(spreads)
    return found


def identities(direction: Direction) -> dict[str, float]:
    """What must hold for samples at temperature 1: mean of ``exp(z_own - z_other)`` is 1, mean excess is minus a KL.

    The mean of the exponential rests on its tail: read it only where the divergence is a few nats.
    """
    if direction.log_q_KN is None or len(direction.log_q_KN) != 1:
        return {}
    gap_N = direction.own_N - direction.other_N
    finite = np.isfinite(gap_N)
    return {"mean_exponential": float(np.exp(gap_N[finite]).sum() / len(gap_N)), "divergence": float(-gap_N.mean())}
