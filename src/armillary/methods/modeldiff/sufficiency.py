"""Whether a comparison rests on enough samples to be told, by count or flat over the NLL window. Legend: N samples."""

import math
from dataclasses import dataclass

import numpy as np

from armillary.methods.modeldiff.config import Weighting
from armillary.methods.modeldiff.curves import Table
from armillary.methods.modeldiff.direction import Side
from armillary.methods.modeldiff.estimate import ENOUGH, Reliability, reliability
from armillary.methods.modeldiff.result import Comparison


@dataclass(frozen=True, kw_only=True)
class ProfileReliability(Reliability):
    """On how many samples a figure rests that is flat over the NLL window.

    No sample can outweigh its bin of the NLL, so that the tail of the weights is no question here, and a sample that
    is alone in a bin of a dozen is counted by the effective size already.
    """

    @property
    def enough(self) -> bool:
        """Whether the figure may be shown as reliable."""
        return self.effective >= ENOUGH


def profile_reliability(table: Table) -> ProfileReliability:
    """On how many samples the profile rests: every bin of the NLL holds the same share of the weight."""
    direction, inside_N = table.direction, table.cell_N >= 0
    row_N = np.where(inside_N, table.cell_N // 2 // table.columns, 0)
    sums_Z = np.bincount(row_N, np.where(inside_N, table.weight_N, 0.0), minlength=table.rows)
    with np.errstate(divide="ignore", invalid="ignore"):
        share_N = np.where(inside_N, np.log(table.weight_N / sums_Z[row_N]), -np.inf)
    found = reliability(share_N, inside_N)
    return ProfileReliability(
        drawn=len(direction.own_N),
        inside=found.inside,
        effective=found.effective,
        largest=found.largest,
        pareto_k=-math.inf,
    )


def reliability_by(comparison: Comparison, weighting: Weighting) -> dict[Side, Reliability]:
    """On how many samples each direction rests under a weighting."""
    if weighting == "count":
        return comparison.reliability
    first, second = comparison.tables
    return {"a": profile_reliability(first), "b": profile_reliability(second)}


def enough(comparison: Comparison, weighting: Weighting) -> bool:
    """Whether both directions may be shown under a weighting."""
    return all(one.enough for one in reliability_by(comparison, weighting).values())


def shortage(comparison: Comparison) -> str | None:
    """What stands in place of a result where the samples do not carry the chosen weighting; None where they do."""
    thin = [one for one in reliability_by(comparison, comparison.config.weighting).values() if not one.enough]
    if not thin:
        return None
    wanted = [one.wanted for one in thin]
    known = [number for number in wanted if number is not None]
    if len(known) < len(wanted):
        return "not enough samples, and the weights have so heavy a tail that more may not help"
    return f"not enough samples: {max(known):,} would do"
