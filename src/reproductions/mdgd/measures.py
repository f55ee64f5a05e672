"""The quantities that MDGD's claims are judged by, from what the stages found. Needs no torch.

Arms are compared at equal accuracy on the target: the old tasks' accuracy is read off each arm's curve where it first
reaches the level that both reach.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from armillary.numerics.intervals import Interval, across_seeds
from reproductions.mdgd.scale import AFTERWARDS, ARMS, OLD_TASKS, TARGET

Found = Mapping[str, Any]
Curve = list[tuple[float, float]]
"""(accuracy on the target, mean accuracy on the old tasks) at each evaluation."""

COMPARED = ("paper", "recommended")
BASELINES = ("fine_tuning", "lower_rate", "l2sp", "lwf", "lora", "osf", "align", *AFTERWARDS)


def old(accuracies: Mapping[str, float]) -> float:
    """Mean accuracy over the old tasks."""
    return float(np.mean([accuracies[task] for task in OLD_TASKS]))


def curve(seed: Found, name: str) -> Curve:
    """The evaluations of an arm in order; one point for an arm that comes afterwards."""
    if name in AFTERWARDS:
        points = [seed["fine_tuning"]["afterwards"][name]["accuracies"]]
    else:
        points = seed[name]["accuracies"]
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


def matched(seed: Found, first: str, second: str) -> tuple[float, float, float]:
    """Old accuracies of two arms at the highest level on the target that both reach, and that level."""
    one, other = curve(seed, first), curve(seed, second)
    level = min(max(target for target, _ in one), max(target for target, _ in other))
    return at_level(one, level), at_level(other, level), level


def rank_change(readings: Sequence[Mapping[str, Any]], before: Sequence[Mapping[str, Any]]) -> float:
    """Relative change of the effective rank (centred, over pictures), mean over all layers but the last."""
    pairs = list(zip(readings, before, strict=True))
    pairs = pairs[:-1] or pairs
    return float(np.mean([new["dataset_centred"] / was["dataset_centred"] - 1 for new, was in pairs]))


def drift(readings: Sequence[Mapping[str, Any]]) -> float:
    """Relative drift of image states, mean over all layers but the last."""
    used = list(readings)[:-1] or list(readings)
    return float(np.mean([reading["drift"] for reading in used]))


def last_ranks(seed: Found, name: str) -> Sequence[Mapping[str, Any]]:
    """The readings at the end of an arm."""
    if name in AFTERWARDS:
        readings: Sequence[Mapping[str, Any]] = seed["fine_tuning"]["afterwards"][name]["ranks"]
        return readings
    last: Sequence[Mapping[str, Any]] = seed[name]["ranks"][-1]
    return last


def measures(seeds: Sequence[Found], seconds: Mapping[str, Sequence[float]]) -> dict[str, Interval]:
    """Every measure by name; ``seeds`` holds a mapping from stage to what it found for each seed."""
    found = {
        "before/old tasks": across_seeds([old(seed["start"]["accuracies"]) for seed in seeds]),
        "before/above the majority answer": across_seeds(
            [old(seed["start"]["accuracies"]) - old(seed["start"]["majority"]) for seed in seeds]
        ),
        "fine-tuning/target at the end": across_seeds([curve(seed, "fine_tuning")[-1][0] for seed in seeds]),
        "fine-tuning/old tasks lost": across_seeds([_lost(seed, "fine_tuning") for seed in seeds]),
        "fine-tuning/change of rank": across_seeds([_rank(seed, "fine_tuning") for seed in seeds]),
        "fine-tuning/drift": across_seeds([drift(last_ranks(seed, "fine_tuning")) for seed in seeds]),
        "ranks/correlation with accuracy kept": across_seeds([_spearman(seed, _rank) for seed in seeds]),
        "drift/correlation with accuracy lost": across_seeds([-_spearman(seed, _drift) for seed in seeds]),
    }
    for name in COMPARED:
        found |= _against(seeds, name)
    found |= _masks(seeds)
    for first, second in (("full", "random"), ("conflict", "random")):
        found[f"{first}/kept beyond {second}"] = _difference(seeds, first, second)
    for kind in ("copy", "cached"):
        ratios = [ours / plain for ours, plain in zip(seconds[kind], seconds["plain"], strict=True)]
        found[f"cost/{kind} over plain"] = across_seeds(ratios, how=f"t interval over {len(ratios)} paired timings")
    return found


def _against(seeds: Sequence[Found], name: str) -> dict[str, Interval]:
    found = {
        f"{name}/old tasks lost at equal target": across_seeds(
            [_start(seed) - matched(seed, name, "fine_tuning")[0] for seed in seeds]
        ),
        f"{name}/lost beyond a third of fine-tuning's": across_seeds([_beyond_a_third(seed, name) for seed in seeds]),
        f"{name}/rank kept beyond fine-tuning's": across_seeds(
            [_rank(seed, name) - _rank(seed, "fine_tuning") for seed in seeds]
        ),
        f"{name}/target reached": across_seeds([max(point[0] for point in curve(seed, name)) for seed in seeds]),
    }
    for baseline in BASELINES:
        found[f"{name}/kept beyond {baseline}"] = _difference(seeds, name, baseline)
    return found


def _masks(seeds: Sequence[Found]) -> dict[str, Interval]:
    found = {
        f"masked/kept beyond {baseline}": _difference(seeds, "masked", baseline)
        for baseline in ("paper", "random_mask")
    }
    found["masked/kept beyond lora"] = _difference(seeds, "masked", "lora")
    found["masked/target beyond paper"] = across_seeds(
        [max(p[0] for p in curve(seed, "masked")) - max(p[0] for p in curve(seed, "paper")) for seed in seeds]
    )
    return found


def _difference(seeds: Sequence[Found], first: str, second: str) -> Interval:
    pairs = [matched(seed, first, second) for seed in seeds]
    return across_seeds([one - other for one, other, _ in pairs])


def _start(seed: Found) -> float:
    return old(seed["start"]["accuracies"])


def _lost(seed: Found, name: str) -> float:
    return _start(seed) - curve(seed, name)[-1][1]


def _beyond_a_third(seed: Found, name: str) -> float:
    ours, plain, _ = matched(seed, name, "fine_tuning")
    return (_start(seed) - ours) - (_start(seed) - plain) / 3


def _rank(seed: Found, name: str) -> float:
    return rank_change(last_ranks(seed, name), seed["start"]["ranks"])


def _drift(seed: Found, name: str) -> float:
    return drift(last_ranks(seed, name))


def _spearman(seed: Found, of: Any) -> float:
    """Over arms of one seed, at their ends: with the accuracy that the old tasks have kept."""
    from scipy.stats import spearmanr

    names = [*ARMS, *AFTERWARDS]
    value = spearmanr([of(seed, name) for name in names], [-_lost(seed, name) for name in names]).statistic
    return 0.0 if np.isnan(value) else float(value)
