"""Stages of the Bricks reproduction about single neurons: sparsity, scores, masking, ablation."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from armillary.methods.bricks.neurons.ablation import AblationTable, ablate
from armillary.methods.bricks.neurons.config import CAPABILITIES
from armillary.methods.bricks.neurons.scores import functional_scores
from armillary.methods.bricks.neurons.sets import magnitude_matched, overlap, random_like, resident, without
from armillary.methods.bricks.neurons.sparsity import ablation_curve, cett_curve, indicator_gain
from armillary.methods.bricks.payloads import Index
from armillary.numerics.intervals import Interval
from reproductions.bricks.scale import ACTIVATION_LEVEL, MAGNITUDE_LEVEL
from reproductions.bricks.setup import Context, scaled

WEAK = 0.2
"""A neuron takes little part in a token where its indicator is below this share of the token's largest (the paper)."""

HIGH_SCORE = 0.8
"""The score that the paper's code, mathematics and translation neurons exceed."""

RESIDENT = 0.5
"""A neuron that fires at this share of all tokens counts as resident: at 95 % there are next to none."""

CLEANED = 2
"""Sets of largest collateral from which resident neurons are taken out: each costs two more passes over all texts."""


@dataclass(frozen=True, kw_only=True)
class NeuronDraw:
    """Sparsity and scores in one draw of texts."""

    numbers: dict[str, float]
    """By the measure that is their mean over draws."""

    best: dict[str, list[float]]
    """Score of each layer's best neuron, by capability."""

    overlaps: dict[str, float]
    """Neurons in common of the sets of two capabilities, "code and german"."""

    stability: dict[str, float]
    """The same of two sets of one capability, chosen on two draws of texts."""


def neurons(context: Context, offset: int) -> NeuronDraw:
    """Sparsity, scores against permuted labels, and overlap of the specialised sets."""
    seen, scores, held_out = context.profile(offset), context.scores(offset), context.scores(offset + 1)
    order = np.random.default_rng(context.seed + offset).permutation(seen.labels_N)
    shuffled, relative = functional_scores(seen.relabelled(order)), functional_scores(seen, relative=True)
    null_L = context.null(offset).quantile()
    weak_L = [seen.share_below(WEAK, layer=layer, replicates=2).estimate for layer in range(seen.layers)]
    numbers = {
        "sparsity/share below 0.2": seen.share_below(WEAK).estimate,
        "sparsity/share below 0.2, least layer": min(weak_L),
        "sparsity/share below 0.2, activation": seen.share_below(WEAK, "activation").estimate,
    }
    for name in CAPABILITIES:
        best_L = scores.best(name)
        numbers[f"scores/best, {name}"] = float(best_L.mean())
        numbers[f"scores/best on other texts, {name}"] = float(scores.best_held_out(name, held_out).mean())
        numbers[f"scores/layers above 0.8, {name}"] = float((best_L > HIGH_SCORE).mean())
        numbers[f"scores/layers above the null, {name}"] = float((best_L > null_L).mean())
    over_capabilities = {
        "layers above the null, shuffled": [(shuffled.best(name) > null_L).mean() for name in CAPABILITIES],
        "best minus top 5 per mille": [(scores.best(name) - scores.at_share(name)).mean() for name in CAPABILITIES],
        "mean over chance": [scores.of(name).mean() / scores.chance(name) for name in CAPABILITIES],
        "mean over chance, relative": [relative.of(name).mean() / scores.chance(name) for name in CAPABILITIES],
    }
    numbers |= {f"scores/{name}": float(np.mean(values)) for name, values in over_capabilities.items()}
    sets, others = context.sets(offset), context.sets(offset + 1)

    def common(first: Index, second: Index) -> float:
        return overlap(first, second, width=seen.width).share.estimate

    return NeuronDraw(
        numbers=numbers,
        best={name: scores.best(name).tolist() for name in CAPABILITIES},
        overlaps={
            f"{first} and {second}": common(sets[first], sets[second])
            for first, second in combinations(CAPABILITIES, 2)
        },
        stability={name: common(sets[name], others[name]) for name in CAPABILITIES},
    )


@dataclass(frozen=True, kw_only=True)
class Masking:
    """What leaving out the weakest neurons of each token costs."""

    measures: dict[str, Interval]
    levels: list[float]
    rises: dict[str, list[Interval]]
    """Rise of the loss at each level, by indicator, nats per token."""


def masks(context: Context) -> Masking:
    """Losses with the weakest neurons left out, by both indicators, and by a common error of every layer."""
    levels, texts = context.scale.mask_levels, context.texts("test", context.scale.mask_texts)
    by_activation = ablation_curve(context.loaded, texts, shares=levels, indicator="activation", **context.reading)
    by_magnitude = ablation_curve(context.loaded, texts, shares=levels, indicator="magnitude", **context.reading)
    truncated = cett_curve(context.loaded, context.mixed, texts, context.scale.cett_levels, **context.reading)
    curves = {"activation": by_activation, "magnitude": by_magnitude}
    relative = 1 / by_activation.before.per_token()
    measures = {
        "masking/loss at 70 % by activation": scaled(by_activation.effect(ACTIVATION_LEVEL).delta_nll, relative),
        "masking/loss at 80 % by magnitude": scaled(by_magnitude.effect(MAGNITUDE_LEVEL).delta_nll, relative),
        "masking/activation minus magnitude, 70 %": indicator_gain(by_activation, by_magnitude, ACTIVATION_LEVEL),
        "masking/knee by activation": by_activation.knee(),
        "masking/knee by magnitude": by_magnitude.knee(),
        "masking/sparsity at 1 % more perplexity (CETT)": truncated.knee(),
    }
    rises = {name: [curve.effect(level).delta_nll for level in levels] for name, curve in curves.items()}
    return Masking(measures=measures, levels=list(levels), rises=rises)


@dataclass(frozen=True, kw_only=True)
class CleanedSet:
    """A set less its resident neurons, and less as many others: shares of its effects that are left."""

    name: str
    neurons: int
    residents: int
    own: float
    collateral: float
    own_less_others: float
    collateral_less_others: float


@dataclass(frozen=True, kw_only=True)
class AblationDraw:
    """Sets of neurons switched off in one draw of texts and of random sets."""

    numbers: dict[str, float]
    """By the measure that is their mean over draws."""

    shown: dict[str, bool]
    """By capability, whether its set costs it surely more than all that it is compared with."""

    effects: dict[str, dict[str, float]]
    """Rise of the loss by set, then by capability, nats per token."""

    cleaned: list[CleanedSet]


def ablations(context: Context, offset: int) -> AblationDraw:
    """Each capability's neurons switched off, beside random and magnitude-matched sets and sets less residents."""
    texts = context.texts("test", context.scale.ablation_texts, offset)
    seen, sets, seed = context.profile(offset), context.sets(offset), context.seed + 100 * offset
    randoms = {
        f"random {number}": random_like(sets[CAPABILITIES[0]], seen.width, seed=seed + number)
        for number in range(context.scale.random_sets)
    }
    matched = {
        f"matched to {name}": magnitude_matched(chosen, seen.magnitude(name), seed=seed)
        for name, chosen in sets.items()
    }
    table = ablate(context.loaded, {**sets, **matched, **randoms}, texts, **context.reading)
    numbers: dict[str, float] = {}
    shown = {}
    for name in CAPABILITIES:
        # In nats: of percents of perplexity one large effect would outweigh all others.
        own = {
            "mean of others": table.own_against_others(name, name, measure="nats"),
            "random": table.own_against_controls(name, name, list(randoms), measure="nats"),
            "matched": table.own_against_controls(name, name, [f"matched to {name}"], measure="nats"),
        }
        numbers |= {f"knockout/{name}, own minus {control}": value.estimate for control, value in own.items()}
        shown[name] = all(value.lower > 0 for value in own.values())
    effects = {row: {name: table.effect(row, name).delta_nll.estimate for name in CAPABILITIES} for row in table.after}
    return AblationDraw(numbers=numbers, shown=shown, effects=effects, cleaned=cleaned(context, offset, texts, table))


def cleaned(context: Context, offset: int, texts: dict[str, list[str]], table: AblationTable) -> list[CleanedSet]:
    """The sets of largest collateral that have resident neurons, without them and without as many others."""
    sets = context.sets(offset)
    residents = resident(context.profile(offset).firing_share(), RESIDENT)
    less = {name: without(chosen, residents) for name, chosen in sets.items()}
    hit = [name for name in CAPABILITIES if less[name].size < sets[name].size]
    hit.sort(key=lambda name: -table.collateral(name, name, measure="nats", replicates=2).estimate)
    rows = []
    for name in hit[:CLEANED]:
        reduced = {"residents": less[name], "others": less_others(sets[name], less[name], context.seed)}
        reduced_table = ablate(context.loaded, {name: sets[name], **reduced}, texts, **context.reading)
        shares = [reduced_table.kept(name, row, name, measure="nats") for row in reduced]
        rows.append(
            CleanedSet(
                name=name,
                neurons=sets[name].size,
                residents=sets[name].size - less[name].size,
                own=shares[0][0].estimate,
                collateral=shares[0][1].estimate,
                own_less_others=shares[1][0].estimate,
                collateral_less_others=shares[1][1].estimate,
            )
        )
    return rows


def less_others(chosen: Index, cleaned: Index, seed: int) -> Index:
    """The set less as many of its other neurons in each layer as it has residents there."""
    generator = np.random.default_rng(seed)
    kept = {}
    for layer, whole in chosen.neurons.items():
        left = cleaned.neurons.get(layer, np.empty(0, np.int64))
        kept[layer] = np.setdiff1d(whole, generator.permutation(left)[: len(whole) - len(left)])
    return Index({layer: some for layer, some in kept.items() if len(some)})
