"""Arms compared at equal accuracy on the target: where two curves over training reach a level fixed beforehand.

The level is nine tenths of the lower of the two plateaus. Read at the highest level that both reach, the arm with the
lower plateau would be read at the noisy maximum of its curve, late in its training, and the other early: of two arms
that forget alike, a step, with plateaus of .64 and .59, the first seemed to keep 7 points more (simulated: 11 moments,
480 questions a task), here 2: as much as it does forget less by the moment at which it has learned as much. Where what
is forgotten hangs on what is learned the bias is 0.1 points. One comparison has a standard error of 2 points.
"""

import numpy as np

Curve = list[tuple[float, float]]
"""(accuracy on the target, accuracy kept on the old tasks), from before training to its end."""

LAST = 3
"""Evaluations at the end of a curve whose mean is its plateau: one alone is as noisy as its questions are few."""

SHARE = 0.9
"""Of the lower plateau: below the noise around it, and late enough that most has been learned."""


def plateau(curve: Curve) -> float:
    """Mean accuracy on the target over the last evaluations."""
    return float(np.mean([target for target, _ in curve[-LAST:]]))


def at_level(curve: Curve, level: float) -> float:
    """What is kept of the old tasks where the curve first reaches the level, linear between evaluations; or NaN."""
    for index, (target, kept) in enumerate(curve):
        if target >= level:
            if index == 0 or target == level:
                return kept
            before, kept_before = curve[index - 1]
            return kept_before + (kept - kept_before) * (level - before) / (target - before)
    return float("nan")


def matched(first: Curve, second: Curve) -> tuple[float, float, float]:
    """What two arms keep of the old tasks at nine tenths of the lower plateau, and that level."""
    level = SHARE * min(plateau(first), plateau(second))
    return at_level(first, level), at_level(second, level), level
