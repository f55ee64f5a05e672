"""From the results of the Bricks stages to the named measures that the claims read. Needs no model.

What a stage measures once has its names there; here is what is taken over draws of texts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from armillary.methods.bricks.growth.grown import Preservation
from armillary.methods.bricks.neurons.config import CAPABILITIES
from armillary.numerics.intervals import (
    Array,
    Interval,
    across_seeds,
    binomial,
    bootstrap,
    paired_difference,
    range_over_seeds,
)
from reproductions.bricks.adapters import AdapterDraw
from reproductions.bricks.claims import HIGH, LOWER
from reproductions.bricks.editing import NEW, Edits, GrowthDraw
from reproductions.bricks.knockouts import Knockouts
from reproductions.bricks.neurons import NeuronDraw, Untrained
from reproductions.bricks.scale import OTHERS, TASKS

Measures = dict[str, Interval]


@dataclass(frozen=True, kw_only=True)
class BricksStages:
    """What all stages measured; lists are over draws of texts."""

    neurons: list[NeuronDraw]
    untrained: Untrained
    knockouts: Knockouts
    adapter_pilot: dict[str, float]
    adapters: list[AdapterDraw]
    growth_pilot: dict[str, float]
    growth: list[GrowthDraw]
    masks: Measures
    experts: Measures
    routing: Measures
    saving: Measures
    edits: Edits
    preserved: dict[str, Preservation]


def measures(results: BricksStages) -> Measures:
    """Every measure by name; what could not be measured is absent."""
    return {
        **neuron_measures(results.neurons),
        **untrained_measures(results.untrained, results.neurons),
        **results.masks,
        **results.knockouts.measures,
        **results.experts,
        **results.routing,
        **retrieval_measures(results.adapters),
        **merging_measures(results.adapters),
        **results.edits.measures,
        **growth_measures(results.preserved, results.growth),
        **results.saving,
    }


def neuron_measures(draws: Sequence[NeuronDraw]) -> Measures:
    """Scores and overlap of sets, beside their values under permuted labels."""
    how = f"t interval over {len(draws)} draws of texts"
    shares = ("sparsity/share", "scores/layers", "scores/best,", "overlap/")

    def over_draws(name: str, values: list[float]) -> Interval:
        if name.startswith(shares):
            return across_seeds(values, how=how, within=(0, 1))
        return across_seeds(values, how=how)

    named = {name: over_draws(name, [draw.numbers[name] for draw in draws]) for name in draws[0].numbers}
    above = [named[f"scores/layers above the null, {name}"] for name in CAPABILITIES]
    named["scores/layers above the null, least capability"] = min(above, key=lambda share: share.estimate)
    high = [[draw.numbers[f"scores/layers above 0.8, {name}"] for name in HIGH] for draw in draws]
    lower = [[draw.numbers[f"scores/layers above 0.8, {name}"] for name in LOWER] for draw in draws]
    named["scores/layers above 0.8, least of the three minus most of the others"] = across_seeds(
        [min(three) - max(others) for three, others in zip(high, lower, strict=True)], how=how
    )
    for name in draws[0].permuted:
        values = [value for draw in draws for value in draw.permuted[name]]
        low, high_end = np.quantile(values, [0.025, 0.975])
        named[f"{name}, permuted labels"] = Interval(
            estimate=float(np.mean(values)), low=float(low), high=float(high_end), n=len(values),
            how=f"range of 95 % of {len(values)} permutations",
        )  # fmt: skip
    mean, null = named["scores/mean over chance"], named["scores/mean over chance, permuted labels"]
    named["scores/mean over chance, less permuted labels"] = replace(
        mean, estimate=mean.estimate - null.estimate, low=mean.lower - null.estimate, high=mean.upper - null.estimate
    )
    overlaps = {pair: float(np.mean([draw.overlaps[pair] for draw in draws])) for pair in draws[0].overlaps}
    return named | {f"overlap/{pair}": Interval(estimate=value, n=len(draws)) for pair, value in overlaps.items()}


def untrained_measures(null: Untrained, draws: Sequence[NeuronDraw]) -> Measures:
    """Sparsity of networks with random weights, and in how many layers the model is sparser."""
    weak_KL, trained_L = np.array(null.weak), np.mean([draw.weak for draw in draws], axis=0)
    sparser = trained_L > weak_KL.max(axis=0)
    return {
        "sparsity/share below 0.2, least layer": Interval(
            estimate=float(trained_L.min()), n=len(draws), how=f"layer {int(trained_L.argmin())}, mean over draws"
        ),
        "sparsity/share below 0.2, random weights": range_over_seeds(weak_KL.mean(axis=1)),
        "sparsity/layers sparser than random weights": Interval(
            estimate=float(sparser.mean()), n=len(sparser), how=f"{int(sparser.sum())} of {len(sparser)} layers"
        ),
        "sparsity/loss, random weights minus trained": null.excess,
    }


def retrieval_measures(draws: Sequence[AdapterDraw]) -> Measures:
    """Losses with the retrieved adapter less those of other ways to choose one."""
    owners = [owner for draw in draws for owner in draw.owners]
    first = [task for draw in draws for task in draw.first]
    base = [value for draw in draws for value in draw.base]
    alone = {task: [value for draw in draws for value in draw.alone[task]] for task in TASKS}
    # A text for which nothing is retrieved is served by the base.
    retrieved = [base[row] if task is None else alone[task][row] for row, task in enumerate(first)]
    oracle = [alone[owner][row] for row, owner in enumerate(owners)]
    # The best on the very texts that judge: what retrieval is compared with is at its best.
    fixed = min(alone.values(), key=lambda values: float(np.mean(values)))
    pairs: dict[str, tuple[Sequence[float], Sequence[float]]] = {
        "retrieved minus best fixed": (retrieved, fixed),
        "retrieved minus oracle": (retrieved, oracle),
        "retrieved minus one by lot": (retrieved, np.mean(list(alone.values()), axis=0).tolist()),
        "oracle minus base": (oracle, base),
        "oracle minus best fixed": (oracle, fixed),
    }
    how = f"paired bootstrap over {len(base)} texts"
    right = sum(task == owner for task, owner in zip(first, owners, strict=True))
    return {
        **{f"retrieval/{name}": paired_difference(a, b, seed=0, how=how) for name, (a, b) in pairs.items()},
        "retrieval/own brick first": binomial(right, len(owners), how="texts"),
    }


def merging_measures(draws: Sequence[AdapterDraw]) -> Measures:
    """What merged adapters keep, and what a subtracted one takes, over the adapters that learned.

    Whether one learned is told by texts that judge nothing. Kept is the sum of the merge's gains over that of the
    adapters' own, each on its own texts: a ratio of two sums, since that of one adapter may divide by little.
    """
    learned = [
        (draw, task)
        for draw in draws
        for task, falls in draw.learned.items()
        if paired_difference(falls, [0.0] * len(falls), seed=0).lower > 0
    ]
    count = sum(len(draw.learned) for draw in draws)
    named: Measures = {
        "merging/adapters with a sure gain": Interval(
            estimate=len(learned) / count, n=count, how=f"{len(learned)} of {count}, on other texts than judge"
        )
    }
    if len(learned) > 1:
        own_A = np.array([gain(draw, draw.alone[task], task) for draw, task in learned])
        for rule in draws[0].merged:
            kept_A = np.array([gain(draw, draw.merged[rule], task) for draw, task in learned])
            named[f"merging/retention, {rule}"] = ratio_of_sums(kept_A, own_A)
    first = TASKS[0]
    rises = [specific_rise(draw, draw.negated, first) for draw in draws]
    named["merging/negation, own minus others"] = across_seeds(rises, how=f"t interval over {len(rises)} adapters")
    gains = [gain(draw, draw.alone[first], first) for draw in draws]
    named["merging/gain of the subtracted adapter"] = across_seeds(gains, how=f"t interval over {len(gains)} adapters")
    return named


def gain(draw: AdapterDraw, losses: Sequence[float], task: str) -> float:
    """Mean fall of the loss on the task's texts, nats per token."""
    return float(np.mean([b - a for own, b, a in zip(draw.owners, draw.base, losses, strict=True) if own == task]))


def specific_rise(draw: AdapterDraw, losses: Sequence[float], task: str) -> float:
    """Mean rise of the loss on the task's texts less that on all others."""
    return float(np.mean([gain(draw, losses, other) for other in TASKS if other != task])) - gain(draw, losses, task)


def ratio_of_sums(kept_A: Array, own_A: Array) -> Interval:
    """Sum of what is kept over the sum of what there was, adapters resampled."""
    how = f"bootstrap over {len(own_A)} adapters, ratio of sums"
    return bootstrap(lambda rows: kept_A[rows].sum(-1) / own_A[rows].sum(-1), len(own_A), seed=0, how=how)


def growth_measures(preserved: Mapping[str, Preservation], draws: Sequence[GrowthDraw]) -> Measures:
    """What growing changes at the start, and what training then gains and loses."""
    largest = max(max(way.prefill, way.decode) for way in preserved.values())
    rounding = max(way.rounding for way in preserved.values())
    named = {
        "growth/largest logit difference": Interval(
            estimate=largest, n=len(preserved), how="largest of the ways to grow, at once and with a cache"
        ),
        "growth/logit difference over the model's own rounding": Interval(
            estimate=largest / rounding if rounding else float(largest > 0),
            n=len(preserved),
            how=f"{largest:.2g} over {rounding:.2g}, the base at once against the base token by token",
        ),
    }
    for name, capabilities in {"new": (NEW,), "old": OTHERS}.items():
        changes = [np.mean([draw[capability] for capability in capabilities]) for draw in draws]
        how = f"t interval over {len(changes)} trainings"
        named[f"growth/{name}, new neurons"] = across_seeds(changes, how=how)
    return named
