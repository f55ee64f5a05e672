"""The quantities that MDGD's claims are judged by, from what the stages gave.

Arms are compared at equal accuracy on the target (``levels``); intervals are over seeds.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from armillary.methods.mdgd import VisualRank
from armillary.numerics.intervals import Interval, across_seeds
from reproductions.mdgd.levels import LAST, Curve, matched, plateau
from reproductions.mdgd.scale import AFTERWARDS, ARMS, OLD_TASKS, SWEPT, TARGET
from reproductions.mdgd.small_models import ArmResult, Evaluation, SeedResult, Start

Array = NDArray[np.float64]

SIMPLE = ("lower_rate", "l2sp", "lwf", *AFTERWARDS)
"""Ways of forgetting less that need neither projection nor alignment."""

FLOOR = ("text_gradient", "off_images")
"""Ways of keeping the task's gradient off image states without measuring a drift."""

COMPARED = {
    "paper": ("fine_tuning", "align", "random_mask", "osf", "lora", *SIMPLE, *FLOOR),
    "signed": ("fine_tuning", "align", *SIMPLE, *FLOOR),
    "align": ("fine_tuning", *SIMPLE, *FLOOR),
    "text_gradient": ("fine_tuning",),
    "off_images": ("fine_tuning",),
    "full": ("fine_tuning", "random"),
    "conflict": ("fine_tuning", "random", "full"),
    "random": ("fine_tuning",),
    "masked": ("paper", "random_mask", "lora"),
}
"""Each arm with those that it is compared with."""

RETAINING = ("paper", "signed", "align", "text_gradient", "off_images")
"""Arms whose loss is held against fine-tuning's."""

SWEPT_PAIRS = (("full", "fine_tuning"), ("conflict", "fine_tuning"))
"""Those that are told at every rate."""

PERMUTATIONS = 500


def old(accuracies: Mapping[str, float]) -> float:
    """Mean accuracy over the old tasks."""
    return float(np.mean([accuracies[task] for task in OLD_TASKS]))


def curve(start: Mapping[str, float], evaluations: Sequence[Evaluation], *, old_reader: bool = False) -> Curve:
    """From the start on; with ``old_reader`` what the pre-trained reader answers from the new image states."""
    points = [(point.accuracies[TARGET], point.new_eyes if old_reader else point.accuracies) for point in evaluations]
    return [(target, old(kept)) for target, kept in [(start[TARGET], start), *points]]


def but_last(ranks: Sequence[VisualRank]) -> Sequence[VisualRank]:
    """The readings of all layers but the last, which no answer attends to; of a model of one layer that one."""
    return ranks[:-1] or ranks


def rank_change(ranks: Sequence[VisualRank], before: Sequence[VisualRank]) -> float:
    """Relative change of the effective rank (centred, over images), mean over all layers but the last."""
    pairs = zip(but_last(ranks), but_last(before), strict=True)
    return float(np.mean([new.dataset_centred / was.dataset_centred - 1 for new, was in pairs]))


def drift(ranks: Sequence[VisualRank]) -> float:
    """Relative drift of image states, mean over all layers but the last; NaN where it was not read."""
    return float(np.mean([np.nan if reading.drift is None else reading.drift for reading in but_last(ranks)]))


def judged_rate(pilot: Mapping[str, Sequence[float]]) -> str:
    """The rate at which plain fine-tuning learned the pilot's target best: the mean of its last evaluations."""
    return max(pilot, key=lambda rate: float(np.mean(pilot[rate][-LAST:])))


def measures(
    seeds: Sequence[SeedResult], pilot: Mapping[str, Sequence[float]], seconds: Mapping[str, Sequence[float]]
) -> dict[str, Interval]:
    """Every measure by name; all intervals are over seeds."""

    def over_seeds(value: Callable[[SeedResult], float], within: tuple[float, float] | None = None) -> Interval:
        return across_seeds([value(seed) for seed in seeds], within=within)

    measured = {
        "rate/judged": Interval(estimate=float(judged_rate(pilot)), how="chosen on the pilot seed"),
        "before/old tasks": over_seeds(lambda seed: old(seed.start.accuracies), (0, 1)),
        "before/above the majority answer": over_seeds(
            lambda seed: old(seed.start.accuracies) - old(seed.start.majority), (-1, 1)
        ),
        "fine_tuning/visual beyond answer forgetting": over_seeds(
            lambda seed: _end(seed, "fine_tuning", old_eyes=True) - _end(seed, "fine_tuning", new_eyes=True)
        ),
        "fine_tuning/lost at the level": over_seeds(lambda seed: _lost(seed, "fine_tuning", "fine_tuning")),
        **_correlations(seeds),
    }
    for rate, targets in pilot.items():
        measured[f"pilot at {rate}/target"] = Interval(estimate=float(np.mean(targets[-LAST:])), how="one pilot seed")
    for name in (*ARMS, *AFTERWARDS):
        measured |= {f"{name}/{what}": over_seeds(value, within) for what, (value, within) in _of_arm(name).items()}
    for first, others in COMPARED.items():
        measured |= {
            f"{first}/kept beyond {second}": across_seeds([kept_beyond(seed, first, second) for seed in seeds])
            for second in others
        }
    for name in RETAINING:
        lost = [(_lost(seed, name, "fine_tuning"), _lost(seed, "fine_tuning", name)) for seed in seeds]
        measured |= {
            f"{name}/lost at the level": across_seeds([ours for ours, _ in lost]),
            f"{name}/lost beyond a third of fine_tuning's": across_seeds([ours - plain / 3 for ours, plain in lost]),
            f"{name}/sight kept beyond fine_tuning": across_seeds(
                [kept_beyond(seed, name, "fine_tuning", old_reader=True) for seed in seeds]
            ),
            f"{name}/rank kept beyond fine_tuning": across_seeds(
                [_rank(seed, name) - _rank(seed, "fine_tuning") for seed in seeds]
            ),
        }
    measured["masked/target beyond paper"] = over_seeds(lambda seed: _target(seed, "masked") - _target(seed, "paper"))
    measured |= _at_every_rate(seeds)
    for kind in ("copy", "cached", "text_gradient"):
        ratios = [ours / plain for ours, plain in zip(seconds[kind], seconds["plain"], strict=True)]
        measured[f"cost/{kind} over plain"] = across_seeds(ratios, how=f"t interval over {len(ratios)} paired timings")
    return measured


def _of_arm(name: str) -> dict[str, tuple[Callable[[SeedResult], float], tuple[float, float] | None]]:
    """What is told of every arm, at its end, with the range that it can have."""
    share, difference = (0.0, 1.0), (-1.0, 1.0)
    of_arm: dict[str, tuple[Callable[[SeedResult], float], tuple[float, float] | None]] = {
        "target": (lambda seed: _target(seed, name), share),
        "target above the majority answer": (
            lambda seed: _target(seed, name) - seed.start.majority[TARGET],
            difference,
        ),
        "old tasks lost": (lambda seed: old(seed.start.accuracies) - _curve(seed, name)[-1][1], difference),
    }
    if name in ARMS:
        of_arm |= {
            "visual forgetting": (lambda seed: -_end(seed, name, new_eyes=True), difference),
            "answer forgetting": (lambda seed: -_end(seed, name, old_eyes=True), difference),
            "read-outs lost": (lambda seed: _read_out(seed.start) - _read_out(seed.arms[name]), difference),
            "cosine": (lambda seed: float(np.mean(_cosines(seed.arms[name]))), difference),
            "cosine negative": (lambda seed: float(np.mean(np.less(_cosines(seed.arms[name]), 0))), share),
            "drift": (lambda seed: drift(seed.arms[name].ranks), None),
            "change of rank": (lambda seed: _rank(seed, name), None),
        }
    return of_arm


def _at_every_rate(seeds: Sequence[SeedResult]) -> dict[str, Interval]:
    """The arms of the sweep, by rate; the lowest and the highest under these names too: presets have others."""
    rates = list(seeds[0].swept)
    measured = {}
    for rate in rates:
        for first, second in SWEPT_PAIRS:
            kept = [
                matched(
                    *(curve(seed.start.accuracies, seed.swept[rate][name].evaluations) for name in (first, second))
                )
                for seed in seeds
            ]
            measured[f"{first} at {rate}/kept beyond {second}"] = across_seeds([a - b for a, b, _ in kept])
        for name in SWEPT:
            arms = [(seed.start, seed.swept[rate][name]) for seed in seeds]
            lost = [old(start.accuracies) - old(arm.evaluations[-1].accuracies) for start, arm in arms]
            measured |= {
                f"{name} at {rate}/target": across_seeds(
                    [plateau(curve(start.accuracies, arm.evaluations)) for start, arm in arms], within=(0, 1)
                ),
                f"{name} at {rate}/old tasks lost": across_seeds(lost),
                f"{name} at {rate}/cosine": across_seeds([float(np.mean(_cosines(arm))) for _, arm in arms]),
                f"{name} at {rate}/drift": across_seeds([arm.evaluations[-1].drift for _, arm in arms]),
            }
    return measured | {
        name.replace(f" at {rate}/", f" at the {words} rate/"): value
        for rate, words in ((rates[0], "lowest"), (rates[-1], "highest"))
        for name, value in measured.items()
        if f" at {rate}/" in name
    }


def kept_beyond(seed: SeedResult, first: str, second: str, *, old_reader: bool = False) -> float:
    """Accuracy on the old tasks by one arm minus that by another, at equal accuracy on the target."""
    ours, theirs, _ = matched(_curve(seed, first, old_reader=old_reader), _curve(seed, second, old_reader=old_reader))
    return ours - theirs


def _curve(seed: SeedResult, name: str, *, old_reader: bool = False) -> Curve:
    if name in AFTERWARDS:
        points = [seed.start.accuracies, *seed.arms["fine_tuning"].afterwards[name]]
        return [(accuracies[TARGET], old(accuracies)) for accuracies in points]
    return curve(seed.start.accuracies, seed.arms[name].evaluations, old_reader=old_reader)


def _target(seed: SeedResult, name: str) -> float:
    return plateau(_curve(seed, name))


def _lost(seed: SeedResult, name: str, beside: str) -> float:
    """Points of the old tasks that an arm has lost where it and the other have learned as much."""
    kept, _, _ = matched(_curve(seed, name), _curve(seed, beside))
    return old(seed.start.accuracies) - kept


def _end(seed: SeedResult, name: str, *, new_eyes: bool = False, old_eyes: bool = False) -> float:
    """Change of the old tasks' accuracy at an arm's end, or with eyes or reader of before."""
    point = seed.arms[name].evaluations[-1]
    accuracies = point.new_eyes if new_eyes else point.old_eyes if old_eyes else point.accuracies
    return old(accuracies) - old(seed.start.accuracies)


def _read_out(model: Start | ArmResult) -> float:
    return float(np.mean([np.mean(by_layer) for by_layer in model.read_outs.values()]))


def _cosines(arm: ArmResult) -> list[float]:
    return [point.cosine for point in arm.evaluations]


def _rank(seed: SeedResult, name: str) -> float:
    return rank_change(seed.arms[name].ranks, seed.start.ranks)


def _correlations(seeds: Sequence[SeedResult]) -> dict[str, Interval]:
    """Over the arms of a seed, at their ends; the null permutes the arms of each seed."""
    lost = [[-_end(seed, name) for name in ARMS] for seed in seeds]
    ranks = [[_rank(seed, name) for name in ARMS] for seed in seeds]
    drifts = [[drift(seed.arms[name].ranks) for name in ARMS] for seed in seeds]
    draw = np.random.default_rng(0)
    permuted = [
        np.mean([-_correlation(draw.permutation(x), y) for x, y in zip(ranks, lost, strict=True)])
        for _ in range(PERMUTATIONS)
    ]
    low, high = np.quantile(permuted, [0.025, 0.975])
    null = Interval(
        estimate=float(np.mean(permuted)),
        low=float(low),
        high=float(high),
        n=len(seeds),
        how=f"{PERMUTATIONS} permutations of the arms of each seed",
    )
    pairs = [(ranks, -1, "ranks/correlation with accuracy kept"), (drifts, 1, "drift/correlation with accuracy lost")]
    return {"ranks/correlation with arms permuted": null} | {
        name: across_seeds([sign * _correlation(x, y) for x, y in zip(values, lost, strict=True)], within=(-1, 1))
        for values, sign, name in pairs
    }


def _correlation(first: Sequence[float] | Array, second: Sequence[float] | Array) -> float:
    """Spearman's; 0 where one of the two is the same throughout."""
    from scipy.stats import spearmanr

    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(spearmanr(first, second).statistic)
