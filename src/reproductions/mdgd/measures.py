"""The quantities that MDGD's claims are judged by, from what the stages gave.

Arms are compared at equal accuracy on the target: the old tasks' accuracy is read off each arm's curve where it first
reaches the level that both reach.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from armillary.methods.mdgd import VisualRank
from armillary.numerics.intervals import Interval, across_seeds
from reproductions.mdgd.scale import AFTERWARDS, ARMS, OLD_TASKS, TARGET
from reproductions.mdgd.small_models import SeedResult

Array = NDArray[np.float64]
Curve = list[tuple[float, float]]
"""(accuracy on the target, mean accuracy on the old tasks) at each evaluation."""

COMPARED = ("paper", "recommended")
BASELINES = ("fine_tuning", "lower_rate", "l2sp", "lwf", "lora", "osf", "align", *AFTERWARDS)


def old(accuracies: Mapping[str, float]) -> float:
    """Mean accuracy over the old tasks."""
    return float(np.mean([accuracies[task] for task in OLD_TASKS]))


def curve(seed: SeedResult, name: str) -> Curve:
    """The evaluations of an arm in order; one point for an arm that comes afterwards."""
    points = [seed.end(name).accuracies] if name in AFTERWARDS else seed.arms[name].accuracies
    return [(float(point[TARGET]), old(point)) for point in points]


def at_level(points: Curve, level: float) -> float:
    """Old accuracy where the curve first reaches the level on the target, between two evaluations linearly."""
    for index, (target, kept) in enumerate(points):
        if target >= level:
            if index == 0 or target == level:
                return kept
            before, kept_before = points[index - 1]
            return kept_before + (kept - kept_before) * (level - before) / (target - before)
    return float("nan")


def matched(seed: SeedResult, first: str, second: str) -> tuple[float, float, float]:
    """Old accuracies of two arms at the highest level on the target that both reach, and that level."""
    one, other = curve(seed, first), curve(seed, second)
    level = min(max(target for target, _ in one), max(target for target, _ in other))
    return at_level(one, level), at_level(other, level), level


def but_last(ranks: Sequence[VisualRank]) -> Sequence[VisualRank]:
    """The readings of all layers but the last, which no answer attends to; of a model of one layer that one."""
    return ranks[:-1] or ranks


def rank_change(ranks: Sequence[VisualRank], before: Sequence[VisualRank]) -> float:
    """Relative change of the effective rank (centred, over images), mean over all layers but the last."""
    pairs = zip(but_last(ranks), but_last(before), strict=True)
    return float(np.mean([new.dataset_centred / was.dataset_centred - 1 for new, was in pairs]))


def drift(ranks: Sequence[VisualRank]) -> float:
    """Relative drift of image states, mean over all layers but the last."""
    return float(np.mean([reading.drift or 0.0 for reading in but_last(ranks)]))


def measures(seeds: Sequence[SeedResult], seconds: Mapping[str, Sequence[float]]) -> dict[str, Interval]:
    """Every measure by name; all intervals are over seeds."""

    def over_seeds(value: Callable[[SeedResult], float]) -> Interval:
        return across_seeds([value(seed) for seed in seeds])

    def kept_beyond(first: str, second: str) -> Interval:
        pairs = [matched(seed, first, second) for seed in seeds]
        return across_seeds([one - other for one, other, _ in pairs])

    measured = {
        "before/old tasks": over_seeds(_start),
        "before/above the majority answer": over_seeds(lambda seed: _start(seed) - old(seed.start.majority)),
        "fine-tuning/target at the end": over_seeds(lambda seed: curve(seed, "fine_tuning")[-1][0]),
        "fine-tuning/old tasks lost": over_seeds(lambda seed: _lost(seed, "fine_tuning")),
        "fine-tuning/change of rank": over_seeds(lambda seed: _rank(seed, "fine_tuning")),
        "fine-tuning/drift": over_seeds(lambda seed: _drift(seed, "fine_tuning")),
        "ranks/correlation with accuracy kept": over_seeds(lambda seed: _spearman(seed, _rank)),
        "drift/correlation with accuracy lost": over_seeds(lambda seed: -_spearman(seed, _drift)),
    }
    for name in COMPARED:
        pairs = [matched(seed, name, "fine_tuning") for seed in seeds]
        lost = [
            (_start(seed) - ours, _start(seed) - plain) for seed, (ours, plain, _) in zip(seeds, pairs, strict=True)
        ]
        ranks = [_rank(seed, name) - _rank(seed, "fine_tuning") for seed in seeds]
        measured |= {
            f"{name}/old tasks lost at equal target": across_seeds([ours for ours, _ in lost]),
            f"{name}/lost beyond a third of fine-tuning's": across_seeds([ours - plain / 3 for ours, plain in lost]),
            f"{name}/rank kept beyond fine-tuning's": across_seeds(ranks),
            f"{name}/target reached": across_seeds([_reached(seed, name) for seed in seeds]),
        }
        measured |= {f"{name}/kept beyond {other}": kept_beyond(name, other) for other in BASELINES}
    masked = [("masked", other) for other in ("paper", "random_mask", "lora")]
    for first, second in (*masked, ("full", "random"), ("conflict", "random")):
        measured[f"{first}/kept beyond {second}"] = kept_beyond(first, second)
    measured["masked/target beyond paper"] = over_seeds(
        lambda seed: _reached(seed, "masked") - _reached(seed, "paper")
    )
    for kind in ("copy", "cached"):
        ratios = [ours / plain for ours, plain in zip(seconds[kind], seconds["plain"], strict=True)]
        measured[f"cost/{kind} over plain"] = across_seeds(ratios, how=f"t interval over {len(ratios)} paired timings")
    return measured


def _start(seed: SeedResult) -> float:
    return old(seed.start.accuracies)


def _lost(seed: SeedResult, name: str) -> float:
    return _start(seed) - curve(seed, name)[-1][1]


def _reached(seed: SeedResult, name: str) -> float:
    return max(target for target, _ in curve(seed, name))


def _rank(seed: SeedResult, name: str) -> float:
    return rank_change(seed.end(name).ranks, seed.start.ranks)


def _drift(seed: SeedResult, name: str) -> float:
    return drift(seed.end(name).ranks)


def _spearman(seed: SeedResult, of: Callable[[SeedResult, str], float]) -> float:
    """Over arms of one seed, at their ends: with the accuracy that the old tasks have kept."""
    names = [*ARMS, *AFTERWARDS]
    return _correlation([of(seed, name) for name in names], [-_lost(seed, name) for name in names])


def _correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's; 0 where one of the two is the same throughout."""
    from scipy.stats import spearmanr

    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(spearmanr(first, second).statistic)
