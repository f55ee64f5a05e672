"""From the results of the Bricks stages to the named measures that the claims read. Needs no model.

What a stage measures once has its names there; here is what is taken over draws of texts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from armillary.methods.bricks.growth.grown import Preservation
from armillary.methods.bricks.neurons.config import CAPABILITIES
from armillary.numerics.intervals import Interval, across_seeds, binomial, bootstrap_mean, paired_difference
from reproductions.bricks.adapters import AdapterDraw
from reproductions.bricks.editing import NEW, Edits, GrowthDraw
from reproductions.bricks.neurons import AblationDraw, Masking, NeuronDraw
from reproductions.bricks.scale import OTHERS, TASKS

Measures = dict[str, Interval]


@dataclass(frozen=True, kw_only=True)
class BricksStages:
    """What all stages measured; lists are over draws of texts."""

    neurons: list[NeuronDraw]
    ablations: list[AblationDraw]
    adapters: list[AdapterDraw]
    growth: list[GrowthDraw]
    masks: Masking
    experts: Measures
    routing: Measures
    saving: Measures
    edits: Edits
    preserved: dict[str, Preservation]


def measures(results: BricksStages) -> Measures:
    """Every measure by name; what could not be measured is absent."""
    return {
        **neuron_measures(results.neurons),
        **results.masks.measures,
        **ablation_measures(results.ablations),
        **results.experts,
        **results.routing,
        **retrieval_measures(results.adapters),
        **merging_measures(results.adapters),
        **results.edits.measures,
        **growth_measures(results.preserved, results.growth),
        **results.saving,
    }


def over_draws(draws: Sequence[NeuronDraw] | Sequence[AblationDraw]) -> Measures:
    """The mean over draws of each number that they name."""
    how = f"t interval over {len(draws)} draws of texts"
    return {name: across_seeds([draw.numbers[name] for draw in draws], how=how) for name in draws[0].numbers}


def neuron_measures(draws: Sequence[NeuronDraw]) -> Measures:
    """Sparsity, scores beside permuted labels, overlap of sets."""
    named = over_draws(draws)
    above = [named[f"scores/layers above the null, {name}"] for name in CAPABILITIES]
    named["scores/layers above the null, least capability"] = min(above, key=lambda share: share.estimate)
    overlaps = {pair: float(np.mean([draw.overlaps[pair] for draw in draws])) for pair in draws[0].overlaps}
    same = [float(np.mean([draw.stability[name] for draw in draws])) for name in CAPABILITIES]
    named["overlap/mean of pairs"] = bootstrap_mean(
        list(overlaps.values()), seed=0, how=f"bootstrap over {len(overlaps)} pairs"
    )
    named["overlap/one capability, other texts"] = bootstrap_mean(
        same, seed=0, how=f"bootstrap over {len(same)} capabilities"
    )
    return named | {f"overlap/{pair}": Interval(estimate=value, n=len(draws)) for pair, value in overlaps.items()}


def ablation_measures(draws: Sequence[AblationDraw]) -> Measures:
    """What a capability's set costs it more than others, and what is the doing of resident neurons."""
    named = over_draws(draws)
    shown = sum(all(draw.shown[name] for draw in draws) for name in CAPABILITIES)
    named["knockout/capabilities hurt most, above random and matched"] = binomial(
        shown, len(CAPABILITIES), how=f"capabilities; every interval above 0 in each of {len(draws)} draws"
    )
    rows = [(name, draw.effects[name]) for draw in draws for name in CAPABILITIES]
    largest = [max(effects, key=effects.__getitem__) == name for name, effects in rows]
    named["knockout/own effect is the largest of its row"] = binomial(
        sum(largest), len(largest), how="rows of all draws"
    )
    cleaned = [row for draw in draws for row in draw.cleaned]
    if cleaned:
        kept = {
            "own effect kept": [row.own for row in cleaned],
            "collateral kept": [row.collateral for row in cleaned],
            "own effect kept without as many others": [row.own_less_others for row in cleaned],
            "collateral kept without as many others": [row.collateral_less_others for row in cleaned],
        }
        how = f"bootstrap over {len(cleaned)} sets"
        named |= {f"residents/{name}": bootstrap_mean(values, seed=0, how=how) for name, values in kept.items()}
    return named


def retrieval_measures(draws: Sequence[AdapterDraw]) -> Measures:
    """Losses with the retrieved adapter less those of other ways to choose one."""
    owners = [owner for draw in draws for owner in draw.owners]
    first = [task for draw in draws for task in draw.first]
    base = [value for draw in draws for value in draw.base]
    alone = {task: [value for draw in draws for value in draw.alone[task]] for task in TASKS}
    # A text for which nothing is retrieved is served by the base.
    retrieved = [base[row] if task is None else alone[task][row] for row, task in enumerate(first)]
    oracle = [alone[owner][row] for row, owner in enumerate(owners)]
    pairs: dict[str, tuple[Sequence[float], Sequence[float]]] = {
        "retrieved minus best fixed": (retrieved, min(alone.values(), key=lambda values: float(np.mean(values)))),
        "retrieved minus oracle": (retrieved, oracle),
        "retrieved minus base": (retrieved, base),
        "retrieved minus average of all": (retrieved, [value for draw in draws for value in draw.merged["average"]]),
        "retrieved minus one by lot": (retrieved, np.mean(list(alone.values()), axis=0).tolist()),
        "oracle minus base": (oracle, base),
    }
    how = f"paired bootstrap over {len(base)} texts"
    right = sum(task == owner for task, owner in zip(first, owners, strict=True))
    return {
        **{f"retrieval/{name}": paired_difference(a, b, seed=0, how=how) for name, (a, b) in pairs.items()},
        "retrieval/own brick first": binomial(right, len(owners), how="texts"),
    }


def merging_measures(draws: Sequence[AdapterDraw]) -> Measures:
    """What merged adapters keep, and what a subtracted one takes."""
    named: Measures = {}
    for rule in draws[0].retention:
        shares = [draw.retention[rule][task] for draw in draws for task in TASKS]
        kept = [share for share in shares if share is not None]
        if len(kept) > 1:
            named[f"merging/retention, {rule}"] = bootstrap_mean(
                kept, seed=0, how=f"bootstrap over {len(kept)} adapters with a sure gain"
            )
    rises = [
        (owner == TASKS[0], after - before)
        for draw in draws
        for owner, before, after in zip(draw.owners, draw.base, draw.negated, strict=True)
    ]
    own, others = ([rise for is_own, rise in rises if is_own == wanted] for wanted in (True, False))
    named["merging/negation, own minus others"] = unpaired_difference(own, others)
    return named


def unpaired_difference(a: Sequence[float], b: Sequence[float]) -> Interval:
    """Difference of two means over different texts, each resampled."""
    generator = np.random.default_rng(0)
    first, second = np.array(a), np.array(b)
    drawn = [
        values[generator.integers(0, len(values), (2000, len(values)))].mean(axis=1) for values in (first, second)
    ]
    low, high = np.quantile(drawn[0] - drawn[1], [0.025, 0.975])
    return Interval(
        estimate=float(first.mean() - second.mean()),
        low=float(low),
        high=float(high),
        n=len(first) + len(second),
        how=f"bootstrap over {len(first)} and {len(second)} texts",
    )


def growth_measures(preserved: Mapping[str, Preservation], draws: Sequence[GrowthDraw]) -> Measures:
    """What growing changes at the start, and what training then gains and loses."""
    largest = max(max(way.prefill, way.decode) for way in preserved.values())
    named = {
        "growth/largest logit difference": Interval(
            estimate=largest, n=len(preserved), how="largest of the ways to grow, at once and with a cache"
        )
    }
    for arm in draws[0]:
        for name, capabilities in {"new": (NEW,), "old": OTHERS}.items():
            changes = [value for draw in draws for capability in capabilities for value in draw[arm][capability]]
            how = f"bootstrap over {len(changes)} texts of {len(draws)} draws"
            named[f"growth/{name}, {arm}"] = bootstrap_mean(changes, seed=0, how=how)
    return named
