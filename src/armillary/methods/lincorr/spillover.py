"""Many edits together: does a taught fact carry over, where, and does the map foretell it."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from armillary.errors import UsageError
from armillary.methods.lincorr.edit import Edit
from armillary.numerics import Interval, binomial, bootstrap, bootstrap_mean, paired_difference

Array = NDArray[np.float64]
PENALTY = 1.0
"""On the squared logistic slope (of a regressor of unit spread): keeps it finite where the outcome is separable."""


@dataclass(frozen=True, kw_only=True)
class SpilloverResult:
    """What the edits that took give together; an edit is the unit that is resampled."""

    edits: int
    """Edits that took: counted below."""

    failed: int
    """Edits that did not reach the threshold."""

    untouched: int
    """Words that the model said already, so that nothing was trained."""

    chance: float
    """Share of the target words that is right, mean over edits."""

    success: Interval
    """Share of subjects that give a right target after the edit, bootstrap over edits."""

    success_majority: Interval
    """Share of edits in which more than half of the subjects do, exact binomial."""

    success_before: Interval
    gain: Interval
    """``success - success_before``, paired."""

    success_by_rise: Interval
    """Share of subjects whose most raised target is right."""

    agreement: Interval
    """Spearman of predicted and measured change over targets, mean over edits."""

    agreement_permuted: Interval
    agreement_uniform: Interval
    over_permuted: Interval
    """``agreement - agreement_permuted``, paired."""

    over_uniform: Interval
    """``agreement - agreement_uniform``, paired: what knowing *which* source word was pushed adds."""

    slope: Interval | None
    """Logistic slope of success on the standardised W_ref, per standard deviation over edits; None when all edits end
    alike."""

    wrong: int
    """Edits whose most frequent outcome is a wrong target."""

    wrong_above_reference: Interval | None
    """Of these, the share in which the weight of the wrong targets exceeds W_ref: foretold by the map."""

    wrong_rank: Interval | None
    """Of these, the mean rank of the wrong target among the row's weights: 0.5 by chance, 1 for the largest."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: v.to_dict() if isinstance(v, Interval) else v for name, v in values.items()}


def combine_edits(edits: Sequence[Edit], targets: int, *, level: float = 0.95, seed: int = 0) -> SpilloverResult:
    """Aggregate edits of one relation with ``targets`` target tokens; UsageError when fewer than two of them took."""
    untouched = [edit for edit in edits if edit.steps == 0]
    failed = [edit for edit in edits if edit.steps and edit.failed]
    took = [edit for edit in edits if edit.steps and not edit.failed]
    if len(took) < 2:
        raise UsageError(
            f"only {len(took)} of {len(edits)} edits took ({len(failed)} failed, {len(untouched)} were known "
            "already); use a larger learning rate or more steps."
        )
    how = f"bootstrap over {len(took)} edits"

    def column(name: str) -> Array:
        return np.array([getattr(edit, name) for edit in took], dtype=np.float64)

    def mean(name: str) -> Interval:
        return bootstrap_mean(_known(column(name)), seed=seed, level=level, how=how)

    def difference(a: str, b: str) -> Interval:
        both = column(a), column(b)
        kept = np.isfinite(both[0]) & np.isfinite(both[1])
        return paired_difference(both[0][kept], both[1][kept], seed=seed, level=level, how=f"paired {how}")

    success = column("success")
    majority = int((success > 0.5).sum())
    wrong = [edit for edit in took if edit.success < 0.5]
    above = sum(edit.weight_generalised > edit.weight_reference for edit in wrong)
    wrong_how = f"bootstrap over {len(wrong)} edits that ended wrong"
    ranks = [edit.generalised_rank for edit in wrong]
    return SpilloverResult(
        edits=len(took),
        failed=len(failed),
        untouched=len(untouched),
        chance=float(np.mean([len(edit.gold) / targets for edit in took])),
        success=mean("success"),
        success_majority=binomial(majority, len(took), level=level),
        success_before=mean("success_before"),
        gain=difference("success", "success_before"),
        success_by_rise=mean("success_by_rise"),
        agreement=mean("agreement"),
        agreement_permuted=mean("agreement_permuted"),
        agreement_uniform=mean("agreement_uniform"),
        over_permuted=difference("agreement", "agreement_permuted"),
        over_uniform=difference("agreement", "agreement_uniform"),
        slope=logistic_slope(column("standardized_reference"), success, level=level, seed=seed),
        wrong=len(wrong),
        wrong_above_reference=binomial(above, len(wrong), level=level) if wrong else None,
        wrong_rank=bootstrap_mean(ranks, seed=seed, level=level, how=wrong_how) if wrong else None,
    )


def logistic_slope(x_N: Array, share_N: Array, *, level: float = 0.95, seed: int = 0) -> Interval | None:
    """Slope of ``logit P(success)`` on ``x`` in its standard deviations, bootstrap over rows.

    None when ``x`` or the outcome is the same everywhere. Outcomes may be shares; the slope is lightly penalised.
    """
    if np.ptp(x_N) == 0 or np.ptp(share_N) == 0:
        return None
    unit = (x_N - x_N.mean()) / x_N.std()
    how = f"penalised logistic regression, bootstrap over {len(x_N)} edits"
    return bootstrap(lambda rows: _slopes(unit[rows], share_N[rows]), len(x_N), seed=seed, level=level, how=how)


def _slopes(x_RN: Array, y_RN: Array) -> Array:
    """Newton's method for slope and intercept of every replicate; a faint penalty keeps the intercept finite."""
    slope, intercept = np.zeros(len(x_RN)), np.zeros(len(x_RN))
    for _ in range(30):
        p = 1 / (1 + np.exp(-np.clip(slope[:, None] * x_RN + intercept[:, None], -30, 30)))
        w = p * (1 - p)
        gradient = ((y_RN - p) * x_RN).sum(1) - PENALTY * slope, (y_RN - p).sum(1) - 1e-3 * intercept
        a, b, c = (w * x_RN**2).sum(1) + PENALTY, (w * x_RN).sum(1), w.sum(1) + 1e-3
        determinant = a * c - b**2
        slope = slope + np.clip((c * gradient[0] - b * gradient[1]) / determinant, -2, 2)
        intercept = intercept + np.clip((a * gradient[1] - b * gradient[0]) / determinant, -2, 2)
    return slope


def _known(values: Array) -> Array:
    return values[np.isfinite(values)]
