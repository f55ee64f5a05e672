"""Which of two models agrees better with people about the inputs that only one of them prefers.

Of the plausible inputs of A that A prefers by ``lambda`` nats or more (``D = z_A - z_B <= -lambda``), the precision is
the share that people find good, and the good inputs are their number in multiples of the overlap of both models'
inputs; for B's inputs with ``D >= lambda`` the mirror. That people rate such inputs is the paper's (arXiv 2412.12177);
the two formulas and the verdict are ours, in the manner of OmniInput's precision (arXiv 2312.03291).
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from armillary.errors import UsageError
from armillary.methods.modeldiff.rated import PrivateInputs, RatedDirection, private_inputs

Verdict = Literal["A agrees better", "B agrees better", "undecided"]


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Both models at one threshold."""

    threshold: float
    """Lambda, nats summed over the sequence."""

    a: PrivateInputs
    b: PrivateInputs
    verdict: Verdict
    reason: str
    """The verdict's ground, in words."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data; the ends of an interval that is not known are None."""
        return asdict(self)


def agreement_with_people(
    a: RatedDirection,
    b: RatedDirection,
    thresholds: Sequence[float],
    *,
    bin_width: float | None = None,
    seed: int = 0,
    replicates: int = 1000,
    level: float = 0.95,
) -> list[Agreement]:
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
    options: dict[str, Any] = {"bin_width": bin_width, "replicates": replicates, "level": level}
    of_a = private_inputs(a, thresholds, seed=seeds[0], **options)
    of_b = private_inputs(b, thresholds, seed=seeds[1], **options)
    return [_judged(*row) for row in zip(thresholds, of_a, of_b, strict=True)]


def _judged(threshold: float, a: PrivateInputs, b: PrivateInputs) -> Agreement:
    verdict: Verdict = "undecided"
    empty = [_lacking(name, one, threshold) for name, one in (("A", a), ("B", b)) if one.precision is None]
    if a.precision is None or b.precision is None:
        reason = "; ".join(empty)
    elif a.precision.lower > b.precision.upper:
        verdict, reason = "A agrees better", "A's precision is higher and the intervals do not overlap"
    elif b.precision.lower > a.precision.upper:
        verdict, reason = "B agrees better", "B's precision is higher and the intervals do not overlap"
    else:
        reason = "the intervals of the two precisions overlap"
    return Agreement(threshold=threshold, a=a, b=b, verdict=verdict, reason=reason)


def _lacking(name: str, one: PrivateInputs, threshold: float) -> str:
    what = f"none of {one.found:,} samples is rated" if one.found else "no sample lies there"
    return f"of the inputs of {name} that it prefers by {threshold:g} nats or more, {what}"
