"""The quantities that the claims on order are judged by, over seeds of one world.

All seeds and orders are asked the same held-out problems. A difference between two orders is paired by problem, each
seed with a bootstrap of its own; the furthest ends of all seeds are shown, so that what excludes 0 does so in each.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import torch

from armillary.numerics.correlation import spearman
from armillary.numerics.intervals import Array, Interval, range_over_seeds
from armillary.numerics.permutation import holm, sign_flip_p
from armillary.numerics.seeds import nested, widest
from reproductions.ordering.arms import ArmResult, WorldResult
from reproductions.ordering.scale import (
    ANSWERS_FIRST,
    DOSES,
    HIGH,
    LADDER,
    LONGER,
    NULL,
    REARRANGED,
    SAME_TOKENS,
    SAMPLES,
    SEQ,
    SEQ_ADDRESSED,
    SHUFFLED,
    STATELESS,
)

PROBLEMS = "problems"


def solved(arm: ArmResult, reading: int = -1, *, strict: bool = False) -> Array:
    """1 or 0 a problem at a reading."""
    at = arm.solved[reading]
    return np.array([mark == "1" for mark in (at.strict if strict else at.lenient)], np.float64)


def rate(arms: Sequence[ArmResult], reading: int = -1) -> float:
    """Success, mean over seeds."""
    return float(np.mean([solved(arm, reading).mean() for arm in arms]))


def judged_reading(result: WorldResult) -> int:
    """The last reading at which "seq" solves ``HIGH`` or less, mean over seeds; the first where there is none.

    Chosen by "seq" alone: beyond it the comparison has no power.
    """
    arms = result.arms[SEQ]
    below = [number for number in range(len(arms[0].solved)) if rate(arms, number) <= HIGH]
    return below[-1] if below else 0


def beyond(result: WorldResult, order: str, other: str, reading: int) -> list[Array]:
    """By problem, what one order solves and the other does not, a seed each."""
    pairs = zip(result.arms[order], result.arms[other], strict=True)
    return [solved(a, reading) - solved(b, reading) for a, b in pairs]


def common(result: WorldResult) -> dict[str, Interval]:
    """What both worlds measure: success of every order, its draws, its violations, the controls."""
    reading = judged_reading(result)
    measured = {
        "oracle/success": range_over_seeds(result.oracle),
        "constant/success": Interval(estimate=result.constant, n=len(result.sizes), how="one text for all problems"),
        "judged at step": Interval(estimate=float(result.arms[SEQ][0].solved[reading].step), how="by the rule"),
    }
    for order, arms in result.arms.items():
        measured[f"{order}/success"] = range_over_seeds([solved(arm, reading).mean() for arm in arms])
        measured[f"{order}/success at the end"] = range_over_seeds([solved(arm).mean() for arm in arms])
        measured[f"{order}/strict success at the end"] = range_over_seeds(
            [solved(arm, strict=True).mean() for arm in arms]
        )
        drawn = [np.array(arm.drawn) for arm in arms]
        measured[f"{order}/a draw"] = range_over_seeds([right.mean() / SAMPLES for right in drawn])
        measured[f"{order}/one of {SAMPLES} draws"] = range_over_seeds([(right > 0).mean() for right in drawn])
        violations = [arm.vf for arm in arms if arm.vf is not None]
        if violations and order != NULL:
            measured[f"{order}/vf"] = range_over_seeds(violations)
    return measured


def compared(result: WorldResult, order: str, others: Sequence[str]) -> dict[str, Interval]:
    """What ``order`` solves beyond each other, at a level corrected for their number (Bonferroni)."""
    level = 1 - 0.05 / len(others)
    reading = judged_reading(result)
    return {
        f"{order} beyond {other}": widest(beyond(result, order, other, reading), level=level, of=PROBLEMS)
        for other in others
    }


def p_values(result: WorldResult, order: str, others: Sequence[str]) -> dict[str, float]:
    """Of no difference, by turning signs of each problem's mean over seeds (McNemar's where there is one seed); Holm
    corrected."""
    reading = judged_reading(result)
    raw = [sign_flip_p(np.mean(beyond(result, order, other, reading), axis=0), seed=0) for other in others]
    return dict(zip(others, holm(raw), strict=True))


def worst(result: WorldResult, orders: Sequence[str]) -> str:
    """The order that solves least, mean over seeds."""
    reading = judged_reading(result)
    return min(orders, key=lambda order: rate(result.arms[order], reading))


def surplus(result: WorldResult, order: str, behind: str, part: str, rest: Sequence[str]) -> dict[str, Interval]:
    """Nats a token that a part costs more than under the sequential order, and beyond what the rest costs more."""
    pairs = list(zip(result.arms[order], result.arms[behind], strict=True))

    def more(a: ArmResult, b: ArmResult, name: str) -> Array:
        difference: Array = np.array(a.nats[name]) - np.array(b.nats[name])
        return difference

    own = [more(a, b, part) for a, b in pairs]
    others = [np.mean([more(a, b, name) for name in rest], axis=0) for a, b in pairs]
    gaps = [x - y for x, y in zip(own, others, strict=True)]
    return {
        f"{order}/surplus of {part}": widest(own, of=PROBLEMS),
        f"{order}/surplus of the rest": widest(others, of=PROBLEMS),
        f"{order}/surplus of {part} beyond the rest": widest(gaps, of=PROBLEMS),
    }


def shrinking(result: WorldResult, order: str, other: str) -> dict[str, Interval]:
    """The gap at the reading at which it is widest (mean over seeds) less the gap at the end, and that itself."""
    readings = len(result.arms[order][0].solved)
    gaps = [beyond(result, order, other, number) for number in range(readings)]
    peak = int(np.argmax([np.mean(gap) for gap in gaps]))
    falls = [a - b for a, b in zip(gaps[peak], gaps[-1], strict=True)]
    return {
        "gap/widest": widest(gaps[peak], of=PROBLEMS),
        "gap/at the end": widest(gaps[-1], of=PROBLEMS),
        "gap/shrunk by": widest(falls, of=PROBLEMS),
    }


def logic_measures(result: WorldResult) -> dict[str, Interval]:
    """Every measure of the proofs by name."""
    measured = common(result) | compared(result, SEQ, REARRANGED)
    lowest = worst(result, REARRANGED)
    null = solved(result.arms[NULL][0]).mean()
    measured["seq beyond twice the null"] = range_over_seeds(
        [solved(arm).mean() - 2 * null for arm in result.arms[SEQ]]
    )
    measured["seq beyond the worst order"] = measured[f"seq beyond {lowest}"]
    reading = judged_reading(result)
    for other in ("bfs", "random"):
        measured[f"seq@ beyond {other}"] = nested(beyond(result, SEQ_ADDRESSED, other, reading), of=PROBLEMS)
    measured |= compared(result, STATELESS, ("action_first", "actions_then_states"))
    measured |= compared(result, SEQ, (STATELESS,))
    levels = [np.mean([arm.vf or 0.0 for arm in result.arms[dose]]) for dose in DOSES]
    by_seed = [
        spearman(
            torch.tensor(levels), torch.tensor([solved(result.arms[dose][seed], reading).mean() for dose in DOSES])
        )
        for seed in range(len(result.arms[SEQ]))
    ]
    if np.isfinite(by_seed).all():  # undefined where all levels prove as much
        # Rounded: -0.9 is -0.8999... in floating point, and the rule names -0.9.
        measured["dose/spearman"] = range_over_seeds([round(value, 6) for value in by_seed])
    measured["dose/lost from the least to the most"] = widest(
        beyond(result, DOSES[0], DOSES[-1], reading), of=PROBLEMS
    )
    for order in ("action_first", "actions_then_states"):
        measured |= surplus(result, order, SEQ, "action", ("state",))
    measured |= surplus(result, "logical", SEQ, "action", ("state",))
    by_search = [np.array(arm.more["searched"]) for arm in result.arms[SEQ]]
    pairs = zip(by_search, result.arms[SEQ], strict=True)
    measured["seq/success at the end with true states"] = range_over_seeds([proved.mean() for proved in by_search])
    measured["seq/gained by true states"] = widest([proved - solved(arm) for proved, arm in pairs], of=PROBLEMS)
    return measured | shrinking(result, SEQ, lowest)


def multiplication_measures(result: WorldResult, longer: Mapping[str, Sequence[ArmResult]]) -> dict[str, Interval]:
    """Every measure of the multiplications by name."""
    measured = common(result)
    reading = judged_reading(result)
    for better, poorer in pairwise(LADDER):
        measured[f"{better} beyond {poorer}"] = widest(beyond(result, better, poorer, reading), of=PROBLEMS)
    measured |= compared(result, SEQ, [order for order in SAME_TOKENS if order != "msb"])
    measured["seq beyond parts_then_sums, over seeds and problems"] = nested(
        beyond(result, SEQ, "parts_then_sums", reading), of=PROBLEMS
    )
    measured |= compared(result, SEQ_ADDRESSED, (SHUFFLED,))
    measured |= surplus(result, "sumfirst", SEQ, "sum", ("product",))
    for order in (SEQ, *ANSWERS_FIRST):
        measured |= _post_hoc(order, result.arms[order])
    for order, arms in result.arms.items():
        steps = [
            next((at.step for at in arm.solved if at.lenient.count("1") >= 0.9 * len(at.lenient)), None)
            for arm in arms
        ]
        if all(step is not None for step in steps):
            measured[f"{order}/steps to 90 %"] = range_over_seeds([float(step or 0) for step in steps])
    further = WorldResult(
        sizes=result.sizes, arms={order: list(arms) for order, arms in longer.items()}, oracle=[], constant=0.0
    )
    measured |= shrinking(further, *LONGER)
    for order, further_arms in longer.items():
        measured[f"{order}/success after longer training"] = range_over_seeds(
            [solved(arm).mean() for arm in further_arms]
        )
    return measured


def _post_hoc(order: str, arms: Sequence[ArmResult]) -> dict[str, Interval]:
    """The index, of products that agree with either; and how many do."""
    counts = [{name: values[0] for name, values in arm.more.items()} for arm in arms]
    wrong, right = ([count[f"agrees with {what}"] for count in counts] for what in ("conclusion", "truth"))
    cases = [sum(count.values()) for count in counts]
    either = [a + b for a, b in zip(wrong, right, strict=True)]
    index = [a / n if n else float("nan") for a, n in zip(wrong, either, strict=True)]
    measured = {
        f"{order}/agrees with either": range_over_seeds([a / max(1, n) for a, n in zip(either, cases, strict=True)])
    }
    if np.isfinite(index).all():
        measured[f"{order}/post hoc"] = range_over_seeds(index)
    return measured
