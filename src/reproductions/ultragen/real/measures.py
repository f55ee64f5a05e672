"""The quantities that the claims on the given model are judged by; intervals are over prompts."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from armillary.methods.ultragen.analyse.position import PlacedVerdicts, position_bias
from armillary.methods.ultragen.sampling import best_of_curve
from armillary.numerics.intervals import Interval, bootstrap_mean, paired_difference
from reproductions.ultragen.real.given_model import Judged, RealResult, Witnessed

Array = NDArray[np.float64]

STRUCTURE = ("format", "structure")
"""Priorities that the claim on difficulty sets against content."""


def shares(
    answers: Sequence[Judged], *, swapped: bool = False, priorities: Sequence[str] = (), asked_for: bool = False
) -> Array:
    """Share met of each prompt's judged attributes (of these priorities; without those that forbid), NaN for none."""
    means = []
    for answer in answers:
        verdicts = answer.swapped if swapped else answer.satisfied
        kept = [
            verdict
            for verdict, priority, negative in zip(verdicts, answer.priorities, answer.negative, strict=True)
            if verdict is not None and (not priorities or priority in priorities) and not (asked_for and negative)
        ]
        means.append(float(np.mean(kept)) if kept else np.nan)
    return np.array(means)


def real_measures(result: RealResult, witness: Witnessed) -> dict[str, Interval]:
    """Every measure by name."""
    counts = sorted(map(int, result.by_count))
    few, most = counts[0], counts[-1]
    texts = f"{witness.texts:,} texts, {sum(witness.derived.values()):,} attributes of {len(witness.derived)} kinds"
    measured = {
        "witness/texts": Interval(estimate=witness.texts, n=witness.texts, how="counted"),
        "witness/failures": Interval(estimate=witness.failures, n=witness.texts, how=texts),
        "witness/kinds": Interval(estimate=len(witness.derived), n=witness.texts, how=texts),
    }
    for count in counts:
        answers = result.by_count[str(count)]
        measured[f"real/{count} attributes"] = _mean(shares(answers))
        measured[f"real/{count} attributes, without what forbids"] = _mean(shares(answers, asked_for=True))
        measured[f"real/{count} attributes, another prompt's answer"] = _mean(shares(answers, swapped=True))
        measured[f"real/{count} attributes, repeated 4-grams"] = _mean(np.array([a.repeated for a in answers]))
        measured[f"real/{count} attributes, overlap"] = _mean(np.array([a.overlap for a in answers]))
    first, last = result.by_count[str(few)], result.by_count[str(most)]
    measured["real/beyond another prompt's answer"] = _paired(shares(first), shares(first, swapped=True))
    measured["real/fall"] = _paired(shares(first), shares(last))
    measured["real/fall without what forbids"] = _paired(shares(first, asked_for=True), shares(last, asked_for=True))
    dense = [answer for count in counts[-2:] for answer in result.by_count[str(count)]]
    for priority in ("format", "structure", "position", "content", "style"):
        measured[f"real/{priority}, share met"] = _mean(shares(dense, priorities=[priority], asked_for=True))
    measured["real/content beyond structure"] = _by_prompt(result, counts[-2:])
    bias = position_bias([PlacedVerdicts(kinds=tuple(a.kinds), satisfied=tuple(a.satisfied)) for a in last])
    measured["real/slope over the place"] = bias.slope
    measured["real/range of fifths"] = bias.range
    measured["real/range of fifths by chance"] = Interval(estimate=bias.range_by_chance, n=bias.samples, how="dealt")
    for fifth, interval in enumerate(bias.fifths, 1):
        measured[f"real/fifth {fifth}"] = interval
    curve = best_of_curve(np.array(result.best))
    for best in curve:
        measured[f"real/best of {best.k}"] = best.csr
    return measured


def _by_prompt(result: RealResult, counts: Sequence[int]) -> Interval:
    """Content less format and structure, both without what forbids, of each prompt's mean over these counts."""
    differences = []
    for rows in zip(*(result.by_count[str(count)] for count in counts), strict=True):
        content = shares(rows, priorities=["content"], asked_for=True)
        structure = shares(rows, priorities=STRUCTURE, asked_for=True)
        differences.append(content - structure)
    each = np.array(differences)
    known = np.isfinite(each).any(1)
    return bootstrap_mean(np.nanmean(each[known], axis=1), seed=0, how=f"bootstrap over {int(known.sum())} prompts")


def _mean(values: Array) -> Interval:
    known = values[np.isfinite(values)]
    return bootstrap_mean(known, seed=0, how=f"bootstrap over {len(known):,} answers")


def _paired(first: Array, second: Array) -> Interval:
    known = np.isfinite(first) & np.isfinite(second)
    interval = paired_difference(first[known], second[known], seed=0)
    # Sums of fifths and tenths leave dust of rounding where the truth is 0, on which no verdict may rest.
    return replace(interval, low=round(interval.lower, 12), high=round(interval.upper, 12))
