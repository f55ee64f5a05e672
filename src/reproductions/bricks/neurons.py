"""Stages of the Bricks reproduction about single neurons: sparsity, scores and masking, each beside a drawn null.

Legend: L layers, M neurons of an FFN, T tokens.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from armillary.methods.bricks.growth.grown import untrained_copy
from armillary.methods.bricks.losses import effect, text_losses
from armillary.methods.bricks.neurons.config import CAPABILITIES, ProfileConfig
from armillary.methods.bricks.neurons.profiling import INDICATORS, Profile, profile
from armillary.methods.bricks.neurons.scores import FunctionalScores, functional_scores
from armillary.methods.bricks.neurons.sets import overlap, specialised
from armillary.methods.bricks.neurons.sparsity import ablation_curve, indicator_gain, lot_ablated
from armillary.methods.bricks.payloads import Index
from armillary.numerics.intervals import Interval
from reproductions.bricks.scale import ACTIVATION_LEVEL
from reproductions.bricks.setup import Context, scaled

WEAK = 0.2
"""A neuron takes little part in a token where its indicator is below this share of the token's largest (the paper)."""

HIGH_SCORE = 0.8
"""The score that the paper's code, mathematics and translation neurons exceed."""


@dataclass(frozen=True, kw_only=True)
class NeuronDraw:
    """Sparsity and scores in one draw of texts."""

    numbers: dict[str, float]
    """By the measure that is their mean over draws."""

    permuted: dict[str, list[float]]
    """The same numbers under each permutation of the labels, by the measure whose null they are."""

    weak: list[float]
    """Share of neurons that take little part, layer by layer."""

    best: dict[str, list[float]]
    """Score of each layer's best neuron, by capability."""

    overlaps: dict[str, float]
    """Neurons in common of the sets of two capabilities, "code and german"."""


def neurons(context: Context, offset: int) -> NeuronDraw:
    """Sparsity, scores and overlap of the specialised sets; the last two under permuted labels as well."""
    seen, scores = context.profile(offset), context.scores(offset)
    null_L = context.null(offset).quantile()
    sets, others = context.sets(offset), context.sets(offset + 1)
    overlaps = common(sets, seen.width)
    same = [overlap(sets[name], others[name], width=seen.width).share.estimate for name in CAPABILITIES]
    numbers = {
        "sparsity/share below 0.2": seen.share_below(WEAK, replicates=2).estimate,
        "sparsity/share below 0.2, activation": seen.share_below(WEAK, "activation", replicates=2).estimate,
        "overlap/mean of pairs": float(np.mean(list(overlaps.values()))),
        "overlap/one capability, other texts": float(np.mean(same)),
        **over_capabilities(scores),
    }
    for name in CAPABILITIES:
        best_L = scores.best(name)
        numbers[f"scores/best, {name}"] = float(best_L.mean())
        numbers[f"scores/layers above 0.8, {name}"] = float((best_L > HIGH_SCORE).mean())
        numbers[f"scores/layers above the null, {name}"] = float((best_L > null_L).mean())
    permuted: dict[str, list[float]] = {}
    generator = np.random.default_rng(context.seed + offset)
    for _ in range(context.scale.shuffles):
        shuffled = functional_scores(seen.relabelled(generator.permutation(seen.labels_N)))
        pairs = common({name: specialised(shuffled.of(name)) for name in CAPABILITIES}, seen.width)
        best_FL = np.array([shuffled.best(name) for name in CAPABILITIES])
        drawn = {
            "overlap/mean of pairs": float(np.mean(list(pairs.values()))),
            "scores/layers above the null": float((best_FL > null_L).mean()),
            "scores/layers above 0.8": float((best_FL > HIGH_SCORE).mean()),
            **over_capabilities(shuffled),
        }
        for name, value in drawn.items():
            permuted.setdefault(name, []).append(value)
    return NeuronDraw(
        numbers=numbers,
        permuted=permuted,
        weak=weak_by_layer(seen),
        best={name: scores.best(name).tolist() for name in CAPABILITIES},
        overlaps=overlaps,
    )


def common(sets: dict[str, Index], width: int) -> dict[str, float]:
    """Share of neurons that the sets of two capabilities have in common, for each pair."""
    return {
        f"{first} and {second}": overlap(sets[first], sets[second], width=width).share.estimate
        for first, second in combinations(CAPABILITIES, 2)
    }


def over_capabilities(scores: FunctionalScores) -> dict[str, float]:
    """How far the scores of a layer fall from its best neuron, and where their mean lies; over layers and
    capabilities."""
    falls = [(scores.best(name) - scores.at_share(name)).mean() for name in CAPABILITIES]
    means = [scores.of(name).mean() / scores.chance(name) for name in CAPABILITIES]
    return {
        "scores/best minus top 5 per mille": float(np.mean(falls)),
        "scores/mean over chance": float(np.mean(means)),
    }


def weak_by_layer(seen: Profile) -> list[float]:
    """Share of neurons below 0.2 of the token's largest output magnitude, layer by layer."""
    return [seen.share_below(WEAK, layer=layer, replicates=2).estimate for layer in range(seen.layers)]


@dataclass(frozen=True, kw_only=True)
class Untrained:
    """The sparsity of networks of the model's shape with random weights."""

    weak: list[list[float]]
    """Share of neurons that take little part, by network and layer."""

    excess: Interval
    """Loss of the first of them less that of the model, nats per token."""


def untrained(context: Context) -> Untrained:
    """The same measure of sparsity on networks that have learned nothing, over the same kind of texts."""
    scale, loaded = context.scale, context.loaded
    texts = context.texts("calibrate", scale.untrained_texts)
    config = ProfileConfig(max_tokens=scale.tokens)
    before = text_losses(loaded, texts, max_tokens=scale.tokens)
    after = text_losses(untrained_copy(loaded, seed=context.seed), texts, max_tokens=scale.tokens)
    drawn = (untrained_copy(loaded, seed=context.seed + number) for number in range(scale.untrained))
    return Untrained(
        weak=[weak_by_layer(profile(network, texts, config)) for network in drawn],
        excess=effect(before, after).delta_nll,
    )


def masks(context: Context) -> dict[str, Interval]:
    """Relative rise of the loss with the weakest neurons left out, by both indicators, and with as many by lot."""
    texts = context.texts("test", context.scale.mask_texts)
    levels = {"activation": (ACTIVATION_LEVEL,), "magnitude": context.scale.mask_levels}
    curves = {
        name: ablation_curve(context.loaded, texts, shares=levels[name], indicator=name, **context.reading)
        for name in INDICATORS
    }
    before = curves["activation"].before
    measures = {
        f"masking/loss at {round(100 * level)} % by {name}": scaled(
            curve.effect(level).delta_nll, 1 / before.per_token()
        )
        for name, curve in curves.items()
        for level in levels[name]
    }
    with lot_ablated(context.loaded, ACTIVATION_LEVEL, seed=context.seed):
        by_lot = text_losses(
            context.loaded, texts, name=f"by lot {ACTIVATION_LEVEL} {context.seed}", **context.reading
        )
    measures["masking/loss at 70 % by lot"] = scaled(effect(before, by_lot).delta_nll, 1 / before.per_token())
    measures["masking/activation minus magnitude, 70 %"] = indicator_gain(
        curves["activation"], curves["magnitude"], ACTIVATION_LEVEL
    )
    return measures
