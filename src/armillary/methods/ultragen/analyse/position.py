"""Position bias: does it matter where in the prompt an attribute stands?

Each attribute of a prompt has a rank; ``u = (rank - 1) / (N - 1)`` runs from 0 (first) to 1 (last). Satisfaction by
fifths of ``u``, and the coefficient of ``u`` in a logistic regression with an effect for each kind of attribute:
without these effects an order that puts easy kinds first would look like a bias (protocol ours).

Legend: O verdicts, S samples, K kinds, R replicates of the bootstrap.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from armillary.errors import InsufficientSamplesError, UsageError
from armillary.numerics.intervals import Interval, bootstrap_weighted, percentile_interval

Array = NDArray[np.float64]

FIFTHS = 5
RIDGE = 1e-3
"""Penalty on each kind's effect, in observations: keeps a kind that a replicate always passes from infinity, and moves
the slope of 300 prompts by less than a thousandth of its standard error."""

STEPS = 30
"""Newton steps at most; four to eight reach rounding."""

BLOCK = 3_000_000
"""Numbers held at once for a block of replicates: 24 MB."""


@dataclass(frozen=True, kw_only=True)
class PlacedVerdicts:
    """One response's verdicts in the order in which its prompt listed the attributes."""

    kinds: tuple[str, ...]
    satisfied: tuple[bool | None, ...]
    """None where an attribute was not judged; it keeps its rank and counts nowhere."""

    def __post_init__(self) -> None:
        if len(self.kinds) != len(self.satisfied):
            raise UsageError(f"there are {len(self.kinds)} kinds but {len(self.satisfied)} verdicts.")


@dataclass(frozen=True, kw_only=True)
class PositionBias:
    """How satisfaction depends on the place in the prompt."""

    fifths: list[Interval]
    """Share satisfied in each fifth of the prompt, first to last."""

    range: Interval
    """Largest less smallest of the five. Noise alone makes it positive: compare ``range_by_chance``."""

    range_by_chance: float
    """The range that 95 % of prompts with their verdicts at random ranks stay below."""

    slope: Interval
    """Log-odds from first to last place with an effect for each kind; below 0 the early ones are favoured."""

    slope_without_kinds: Interval
    """The same without these effects: where the two differ, kinds stand at different places."""

    samples: int
    verdicts: int


def position_bias(reports: Sequence[PlacedVerdicts], *, seed: int = 0, replicates: int = 500) -> PositionBias:
    """The bias over these responses; intervals are percentile bootstraps over responses.

    Responses of one attribute have no place and are left out. InsufficientSamplesError where fewer than two responses,
    or verdicts all alike, are left; UsageError for fewer than 2 replicates.
    """
    if replicates < 2:
        raise UsageError(f"a bootstrap needs at least 2 replicates, got {replicates}.")
    rows = [
        (rank / (len(report.kinds) - 1), kind, passed, sample)
        for sample, report in enumerate(reports)
        for rank, (kind, passed) in enumerate(zip(report.kinds, report.satisfied, strict=True))
        if len(report.kinds) > 1 and passed is not None
    ]
    places_O = np.array([row[0] for row in rows], np.float64)
    passed_O = np.array([row[2] for row in rows], np.float64)
    names, kinds_O = np.unique([row[1] for row in rows], return_inverse=True)
    owners, owners_O = np.unique([row[3] for row in rows], return_inverse=True)
    if len(owners) < 2 or len(set(passed_O.tolist())) < 2:
        raise InsufficientSamplesError(
            f"position bias needs two responses of two attributes or more and verdicts of both kinds; got "
            f"{len(owners)} with {len(rows)} verdicts."
        )
    fifths_O = np.minimum((places_O * FIFTHS).astype(np.int64), FIFTHS - 1)
    counted = _sums(owners_O, fifths_O, np.ones_like(passed_O), len(owners))
    satisfied = _sums(owners_O, fifths_O, passed_O, len(owners))
    present = np.flatnonzero(counted.sum(0) > 0)

    def shares(counts_RS: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            return (counts_RS @ satisfied)[:, present] / (counts_RS @ counted)[:, present]

    def spread(counts_RS: Array) -> Array:
        ranges: Array = np.ptp(np.nan_to_num(shares(counts_RS), nan=float(passed_O.mean())), axis=1)
        return ranges

    def share(column: int) -> Callable[[Array], Array]:
        return lambda counts_RS: np.nan_to_num(shares(counts_RS)[:, column], nan=float(passed_O.mean()))

    def interval(statistic: Callable[[Array], Array]) -> Interval:
        how = f"bootstrap over {len(owners):,} responses"
        return bootstrap_weighted(statistic, len(owners), seed=seed, replicates=replicates, how=how)

    one_kind_O = np.zeros_like(kinds_O)
    return PositionBias(
        fifths=[interval(share(column)) for column in range(len(present))],
        range=interval(spread),
        range_by_chance=_range_by_chance(fifths_O, passed_O, owners_O, seed, replicates),
        slope=_slope(places_O, passed_O, kinds_O, owners_O, len(names), seed, replicates),
        slope_without_kinds=_slope(places_O, passed_O, one_kind_O, owners_O, 1, seed, replicates),
        samples=len(owners),
        verdicts=len(rows),
    )


def _sums(owners_O: NDArray[np.int64], fifths_O: NDArray[np.int64], values_O: Array, samples: int) -> Array:
    """Sums of the values for each sample and fifth, ``[S, 5]``."""
    flat = np.bincount(owners_O * FIFTHS + fifths_O, weights=values_O, minlength=samples * FIFTHS)
    sums: Array = flat.reshape(samples, FIFTHS).astype(np.float64)
    return sums


def _range_by_chance(
    fifths_O: NDArray[np.int64], passed_O: Array, owners_O: NDArray[np.int64], seed: int, replicates: int
) -> float:
    """0.95 quantile of the range where each response's verdicts are dealt to its own ranks at random."""
    generator = np.random.default_rng(seed)
    counted = np.bincount(fifths_O, minlength=FIFTHS)
    present = counted > 0
    ranges = []
    for _ in range(replicates):
        # Verdicts of a response stay with it: sorted by owner, then at random.
        dealt_O = passed_O[np.lexsort((generator.random(len(passed_O)), owners_O))]
        satisfied = np.bincount(fifths_O, weights=dealt_O, minlength=FIFTHS)
        ranges.append(float(np.ptp(satisfied[present] / counted[present])))
    return float(np.quantile(ranges, 0.95))


# The regression: an intercept a kind and one slope, by Newton's method for all replicates at once.


def _slope(
    places_O: Array,
    passed_O: Array,
    kinds_O: NDArray[np.int64],
    owners_O: NDArray[np.int64],
    kinds: int,
    seed: int,
    replicates: int,
) -> Interval:
    """The slope with its bootstrap interval over responses. Kinds that always or never pass tell nothing of it."""
    rate_K = np.bincount(kinds_O, weights=passed_O, minlength=kinds) / np.bincount(kinds_O, minlength=kinds)
    told_O = ((rate_K > 0) & (rate_K < 1))[kinds_O]
    samples = int(owners_O.max()) + 1
    if not told_O.any():
        return Interval(estimate=0.0, n=samples, how="every kind always or never passes: no slope is defined")
    places_O, passed_O, owners_O = places_O[told_O], passed_O[told_O], owners_O[told_O]
    _, kinds_O = np.unique(kinds_O[told_O], return_inverse=True)
    estimate = float(logistic_slopes(places_O, passed_O, kinds_O, np.ones((1, len(places_O))))[0])
    generator = np.random.default_rng(seed)
    rows = max(1, BLOCK // len(places_O))
    slopes = []
    for start in range(0, replicates, rows):
        counts_RS = generator.multinomial(
            samples, np.full(samples, 1 / samples), size=min(rows, replicates - start)
        ).astype(np.float64)
        slopes.append(logistic_slopes(places_O, passed_O, kinds_O, counts_RS[:, owners_O]))
    how = f"bootstrap over {samples:,} responses"
    return percentile_interval(estimate, np.concatenate(slopes), samples, 0.95, how)


def logistic_slopes(places_O: Array, passed_O: Array, kinds_O: NDArray[np.int64], weights_RO: Array) -> Array:
    """Slope of ``logit P(passed) = effect[kind] + slope * place`` for each row of weights, ``[R]``.

    Newton's method on the weighted log-likelihood less ``RIDGE / 2`` times each effect squared. The Hessian is an
    arrow (kinds meet only in the slope), so each step is a division a kind and one for the slope.
    """
    kinds = int(kinds_O.max()) + 1
    of_kind_OK = np.zeros((len(kinds_O), kinds))
    of_kind_OK[np.arange(len(kinds_O)), kinds_O] = 1.0
    effects_RK, slopes_R = np.zeros((len(weights_RO), kinds)), np.zeros(len(weights_RO))
    for _ in range(STEPS):
        log_odds_RO = effects_RK[:, kinds_O] + slopes_R[:, None] * places_O
        chance_RO = 1 / (1 + np.exp(-np.clip(log_odds_RO, -30, 30)))
        residual_RO = weights_RO * (passed_O - chance_RO)
        curve_RO = weights_RO * chance_RO * (1 - chance_RO)
        gradient_RK = residual_RO @ of_kind_OK - RIDGE * effects_RK
        gradient_R = residual_RO @ places_O
        diagonal_RK = curve_RO @ of_kind_OK + RIDGE
        border_RK = (curve_RO * places_O) @ of_kind_OK
        corner_R = curve_RO @ places_O**2
        schur_R = corner_R - (border_RK**2 / diagonal_RK).sum(1) + 1e-9  # a replicate may hold a single place
        step_R = (gradient_R - (border_RK / diagonal_RK * gradient_RK).sum(1)) / schur_R
        step_RK = (gradient_RK - border_RK * step_R[:, None]) / diagonal_RK
        # Effects of a kind that a replicate always passes grow step by step: bounded, so that none overshoots.
        effects_RK += np.clip(step_RK, -3, 3)
        slopes_R += np.clip(step_R, -3, 3)
        if max(float(np.abs(step_RK).max()), float(np.abs(step_R).max())) < 1e-9:
            break
    return slopes_R
