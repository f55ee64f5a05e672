"""Which of two models agrees better with people about the inputs that only one of them prefers.

Of the plausible inputs of A that A prefers by ``lambda`` nats or more (``D = z_A - z_B <= -lambda``), the precision is
the share that people find good, and the good inputs are their number in multiples of the overlap of both models'
inputs; for B's inputs with ``D >= lambda`` the mirror. That people rate such inputs is the paper's (arXiv 2412.12177);
the two formulas and the verdict are ours, in the manner of OmniInput's precision (arXiv 2312.03291).

Legend: N samples, R replicates (row 0 of a table of sums is the estimate itself), B bins of the difference, C sums.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from armillary.errors import UsageError
from armillary.methods.modeldiff.core import Direction, Floats, Integers, Mask, Side, effective_size, resampled
from armillary.numerics.intervals import Interval


@dataclass(frozen=True, kw_only=True)
class RatedDirection:
    """Samples of one model with what people said of some of them."""

    side: Side
    difference_N: Floats
    """``D = z_A - z_B`` (nats, summed), the same sign for both sides; may be infinite."""

    log_weight_N: Floats
    """Log of the number of sequences that a sample stands for; minus infinity outside the model's window."""

    rating_N: Floats
    """0 to 1; NaN where nobody rated."""

    overlap_N: Mask | None = None
    """Which samples both models find plausible."""

    unit_N: Integers | None = None
    """What is resampled as one, such as a chain; each sample by default."""

    stratum_N: Integers | None = None
    """Rungs whose numbers of samples were fixed; one by default."""

    def __post_init__(self) -> None:
        n = len(self.difference_N)
        for name in ("log_weight_N", "rating_N", "overlap_N", "unit_N", "stratum_N"):
            column = getattr(self, name)
            if column is not None and len(column) != n:
                raise UsageError(f"{name} has {len(column)} values for {n} samples.")
        if n == 0:
            raise UsageError(f"model {self.side.upper()} has no samples.")
        if np.isnan(self.difference_N).any() or not (self.log_weight_N < np.inf).all():
            raise UsageError("differences must not be NaN, and log weights must be finite or minus infinity.")
        rated_N = self.rating_N[~np.isnan(self.rating_N)]
        if ((rated_N < 0) | (rated_N > 1)).any():
            raise UsageError(f"ratings must lie between 0 and 1, or be NaN; got {rated_N.min()} to {rated_N.max()}.")

    @classmethod
    def of(cls, direction: Direction, rating_N: Floats) -> "RatedDirection":
        """The samples of one direction of a comparison with their ratings."""
        return cls(
            side=direction.side,
            difference_N=direction.difference_N,
            log_weight_N=np.where(direction.inside_N, direction.log_weight_N, -np.inf),
            rating_N=rating_N,
            overlap_N=direction.overlap_N,
            unit_N=direction.unit_N,
            stratum_N=direction.stratum_N,
        )


@dataclass(frozen=True, kw_only=True)
class PrivateInputs:
    """The inputs of one model that it prefers by the threshold or more, in the eyes of people."""

    precision: Interval | None
    """Mean rating by count; None where nothing rated lies beyond the threshold."""

    good: Interval | None
    """Good inputs as multiples of the overlap, a lower bound where ``covered`` is below 1; None where the overlap is
    empty or not known, or nothing rated lies beyond the threshold."""

    beyond: int
    """Samples beyond the threshold, inside the window."""

    rated: int
    """Those of them with a rating."""

    effective: float
    """As many equally weighted rated samples would tell as much."""

    covered: float
    """Share of the inputs beyond the threshold that lies in bins of the difference with a rating."""


def private_inputs(
    direction: RatedDirection,
    thresholds: Sequence[float],
    *,
    bin_width: float | None,
    replicates: int,
    seed: int,
    level: float,
) -> list[PrivateInputs]:
    """One model's inputs at each threshold (nats), with percentile bootstrap intervals over its samples.

    For the meaning of ``bin_width`` see ``agreement_with_people``.
    """
    finite = direction.log_weight_N[np.isfinite(direction.log_weight_N)]
    log_scale = float(finite.max()) if len(finite) else 0.0
    weight_N = np.exp(direction.log_weight_N - log_scale)
    preferred_N = -direction.difference_N if direction.side == "a" else direction.difference_N
    bin_N = np.zeros(len(preferred_N)) if bin_width is None else np.floor(preferred_N / bin_width)
    tails = [(preferred_N >= threshold) & (weight_N > 0) for threshold in thresholds]
    overlap_N = np.zeros(len(weight_N)) if direction.overlap_N is None else weight_N * direction.overlap_N
    parts = [*(_sums_by_bin(tail_N, bin_N, weight_N, direction.rating_N) for tail_N in tails), overlap_N[None]]
    sums_RC = _replicated(direction, parts, replicates, seed)
    overlap_R = None if direction.overlap_N is None else sums_RC[:, -1]
    ends = np.cumsum([part.shape[0] for part in parts])
    return [
        _one_threshold(direction, sums_RX, overlap_R, tail_N, level)
        for sums_RX, tail_N in zip(np.split(sums_RC, ends[:-1], axis=1), tails, strict=False)
    ]


def _sums_by_bin(tail_N: Mask, bin_N: Floats, weight_N: Floats, rating_N: Floats) -> Any:
    """What to multiply the samples by: for each bin of a tail all weight, rated weight, rated weight times rating."""
    from scipy.sparse import csr_array

    members = np.flatnonzero(tail_N)
    occupied, index = np.unique(bin_N[members], return_inverse=True)
    weights, ratings = weight_N[members], rating_N[members]
    rated = np.where(np.isnan(ratings), 0.0, weights)
    values = np.concatenate([weights, rated, rated * np.nan_to_num(ratings)])
    rows = np.concatenate([index, index + len(occupied), index + 2 * len(occupied)])
    return csr_array((values, (rows, np.tile(members, 3))), shape=(3 * len(occupied), len(tail_N)))


def _replicated(direction: RatedDirection, parts: Sequence[Any], replicates: int, seed: int) -> Floats:
    """The sums ``[1 + r, c]`` over the samples as drawn, then over each resampling of them."""
    from scipy.sparse import csr_array, vstack

    n = len(direction.log_weight_N)
    table_CN = vstack([csr_array(part) for part in parts], format="csr")
    unit_N = np.arange(n) if direction.unit_N is None else direction.unit_N
    stratum_N = np.zeros(n, np.int64) if direction.stratum_N is None else direction.stratum_N
    draws = resampled(unit_N, stratum_N, replicates, seed)
    sums = [(table_CN @ np.ascontiguousarray(counts_RN.T)).T for counts_RN in (np.ones((1, n)), *draws)]
    return np.concatenate(sums)


def _one_threshold(
    direction: RatedDirection, sums_RX: Floats, overlap_R: Floats | None, tail_N: Mask, level: float
) -> PrivateInputs:
    """Inputs beyond one threshold, from the sums ``_sums_by_bin`` gave for it, estimate first, then replicates."""
    all_RB, rated_RB, rating_RB = np.split(sums_RX, 3, axis=1)
    known_RB = rated_RB > 0
    mean_RB = np.divide(rating_RB, rated_RB, out=np.zeros_like(rating_RB), where=known_RB)
    good_R, known_R = (mean_RB * all_RB).sum(axis=1), np.where(known_RB, all_RB, 0).sum(axis=1)
    rated_N = tail_N & ~np.isnan(direction.rating_N)
    beyond, rated = int(tail_N.sum()), int(rated_N.sum())
    if known_R[0] == 0:
        return PrivateInputs(precision=None, good=None, beyond=beyond, rated=rated, effective=0.0, covered=0.0)
    precision_R = np.divide(good_R, known_R, out=np.full_like(good_R, np.nan), where=known_R > 0).clip(0, 1)
    low, high = (1 - level) / 2, (1 + level) / 2
    how = f"percentile bootstrap over {len(tail_N):,} samples; n counts those that are rated, beyond the threshold"
    precision = Interval(
        estimate=float(precision_R[0]),
        # A replicate with nothing rated here may have any precision: the worst counts for each end.
        low=float(np.quantile(np.nan_to_num(precision_R[1:], nan=0.0), low)),
        high=float(np.quantile(np.nan_to_num(precision_R[1:], nan=1.0), high)),
        n=rated,
        level=level,
        how=how,
    )
    good = None
    if overlap_R is not None and overlap_R[0] > 0:
        good = replace(precision, estimate=float(good_R[0] / overlap_R[0]), low=None, high=None)
        if (overlap_R > 0).all():
            ends = np.quantile(good_R[1:] / overlap_R[1:], [low, high])
            good = replace(good, low=float(ends[0]), high=float(ends[1]))
        else:
            thin = "no interval: some replicates hold no input that both models find plausible"
            good = replace(good, how=thin)
    return PrivateInputs(
        precision=precision,
        good=good,
        beyond=beyond,
        rated=rated,
        effective=effective_size(direction.log_weight_N[rated_N]),
        covered=float(known_R[0] / all_RB[0].sum()),
    )


RatingVerdict = Literal["A agrees better", "B agrees better", "undecided"]


@dataclass(frozen=True, kw_only=True)
class RatingAgreement:
    """Both models at one threshold."""

    threshold: float
    """Lambda, nats summed over the sequence."""

    a: PrivateInputs
    b: PrivateInputs
    verdict: RatingVerdict
    reason: str
    """What the verdict rests on, in words."""


def agreement_with_people(
    a: RatedDirection,
    b: RatedDirection,
    thresholds: Sequence[float],
    *,
    bin_width: float | None = None,
    seed: int = 0,
    replicates: int = 1000,
    level: float = 0.95,
) -> list[RatingAgreement]:
    """Precision and good inputs of both models at each threshold (lambda, nats), with percentile bootstrap intervals.

    A and B are resampled independently. A agrees better where its precision is higher and the two intervals do not
    overlap. ``bin_width`` (nats) is for ratings of samples that were chosen by their difference: the mean rating of a
    bin then stands for all of its samples, rated or not; None takes the rated samples beyond the threshold as a
    random part of them. In a replicate with nothing rated beyond the threshold the precision counts as 0 for the lower
    end and as 1 for the upper. UsageError for a negative threshold or sides in the wrong order.
    """
    if (a.side, b.side) != ("a", "b"):
        raise UsageError(f'the samples of A come first, then those of B; got sides "{a.side}" and "{b.side}".')
    for threshold in thresholds:
        if not 0 <= threshold < math.inf:
            raise UsageError(f"a threshold is a number of nats from 0 upwards, got {threshold}.")
    if replicates < 2 or not 0 < level < 1 or (bin_width is not None and not bin_width > 0):
        raise UsageError(
            "replicates must be 2 or more, level between 0 and 1 and bin_width above 0; "
            f"got {replicates}, {level} and {bin_width}."
        )
    seeds = [int(part) for part in np.random.SeedSequence(seed).generate_state(2)]
    of_a, of_b = (
        private_inputs(direction, thresholds, bin_width=bin_width, replicates=replicates, seed=own_seed, level=level)
        for direction, own_seed in zip((a, b), seeds, strict=True)
    )
    return [_judged(*row) for row in zip(thresholds, of_a, of_b, strict=True)]


def _judged(threshold: float, a: PrivateInputs, b: PrivateInputs) -> RatingAgreement:
    verdict: RatingVerdict = "undecided"
    if a.precision is None or b.precision is None:
        lacking = [
            f"of the inputs of {name} that it prefers by {threshold:g} nats or more, "
            + (f"none of {inputs.beyond:,} samples is rated" if inputs.beyond else "no sample lies there")
            for name, inputs in (("A", a), ("B", b))
            if inputs.precision is None
        ]
        reason = "; ".join(lacking)
    elif a.precision.lower > b.precision.upper:
        verdict, reason = "A agrees better", "A's precision is higher and the intervals do not overlap"
    elif b.precision.lower > a.precision.upper:
        verdict, reason = "B agrees better", "B's precision is higher and the intervals do not overlap"
    else:
        reason = "the intervals of the two precisions overlap"
    return RatingAgreement(threshold=threshold, a=a, b=b, verdict=verdict, reason=reason)
