"""Stages of the Bricks reproduction about single neurons: sparsity, scores, masking, knock-outs.

Each returns plain data and is kept as a part of the run.
"""

from itertools import combinations
from typing import Any

import numpy as np

from armillary.methods.bricks.neurons.ablation import AblationTable, ablate, ablation_curve, indicator_gain
from armillary.methods.bricks.neurons.config import CAPABILITIES
from armillary.methods.bricks.neurons.scores import functional_scores
from armillary.methods.bricks.neurons.sets import magnitude_matched, overlap, random_like, resident, without
from armillary.methods.bricks.neurons.sparsity import cett_curve
from armillary.methods.bricks.payloads import Index
from reproductions.bricks.scale import ACTIVATION_LEVEL, MAGNITUDE_LEVEL
from reproductions.bricks.setup import Laboratory

Payload = dict[str, Any]

HIGH = 0.8
"""The score that the paper's code, mathematics and translation neurons exceed."""

RESIDENT = 0.5
"""A neuron that fires at this share of all tokens counts as resident: at 95 % there are next to none."""

CLEANED = 2
"""Sets of largest collateral from which resident neurons are taken out."""


def neurons(lab: Laboratory, offset: int) -> Payload:
    """Sparsity, scores against permuted labels, and overlap of the specialised sets, for one draw of texts."""
    seen, scores, null = lab.profile(offset), lab.scores(offset), lab.null(offset)
    held_out = lab.scores((offset + 1) % lab.scale.seeds)
    shuffled = functional_scores(seen.relabelled(np.random.default_rng(lab.seed + offset).permutation(seen.labels_N)))
    relative = functional_scores(seen, relative=True)
    quantile_L = null.quantile()
    return {
        "share below 0.2": seen.share_below(0.2).to_dict(),
        "share below 0.2 by layer": [
            seen.share_below(0.2, layer=layer, replicates=2).estimate for layer in range(seen.layers)
        ],
        "share below 0.2, activation": seen.share_below(0.2, "activation").to_dict(),
        "null": quantile_L.tolist(),
        "capabilities": {
            name: {
                "chance": scores.chance(name),
                "best": scores.best(name).tolist(),
                "top 5 per mille": scores.at_share(name).tolist(),
                "mean": float(scores.of(name).mean()),
                "mean, relative": float(relative.of(name).mean()),
                "best, held out": scores.best_held_out(name, held_out).tolist(),
                "best, shuffled": shuffled.best(name).tolist(),
                "suppressors": float((scores.suppressor_FLM[place].max(axis=1) > quantile_L).mean()),
            }
            for place, name in enumerate(CAPABILITIES)
        },
        "overlaps": _overlaps(lab.sets(offset), seen.width),
        "stability": {
            name: overlap(
                lab.sets(offset)[name], lab.sets((offset + 1) % lab.scale.seeds)[name], width=seen.width
            ).share.to_dict()
            for name in CAPABILITIES
        },
    }


def _overlaps(sets: dict[str, Index], width: int) -> dict[str, Payload]:
    return {
        f"{one} and {other}": overlap(sets[one], sets[other], width=width).to_dict()
        for one, other in combinations(CAPABILITIES, 2)
    }


def masks(lab: Laboratory) -> Payload:
    """What leaving out the weakest neurons costs, by both indicators, and by a common error of every layer."""
    scale, asked = lab.scale, lab.texts("test", lab.scale.mask_texts)
    by_activation = ablation_curve(lab.loaded, asked, shares=scale.mask_levels, indicator="activation", **lab.reading)
    by_magnitude = ablation_curve(lab.loaded, asked, shares=scale.mask_levels, indicator="magnitude", **lab.reading)
    truncated = cett_curve(lab.loaded, lab.mixed, asked, scale.cett_levels, **lab.reading)
    return {
        "base": by_activation.before.per_token(),
        "activation": by_activation.to_dict(),
        "magnitude": by_magnitude.to_dict(),
        "cett": truncated.to_dict(),
        "knee": {"activation": by_activation.knee().to_dict(), "magnitude": by_magnitude.knee().to_dict()},
        "cett knee": truncated.knee().to_dict(),
        "activation loss": by_activation.effect(ACTIVATION_LEVEL).delta_nll.to_dict(),
        "magnitude loss": by_magnitude.effect(MAGNITUDE_LEVEL).delta_nll.to_dict(),
        "gains": {
            f"{level:g}": indicator_gain(by_activation, by_magnitude, level).to_dict() for level in scale.mask_levels
        },
    }


def knockouts(lab: Laboratory, offset: int) -> Payload:
    """Each capability's neurons switched off, beside random and magnitude-matched sets and sets less residents."""
    asked = lab.texts("test", lab.scale.ablation_texts, offset)
    seen, sets, seed = lab.profile(offset), lab.sets(offset), lab.seed + 100 * offset
    one = next(iter(sets.values()))
    randoms = {
        f"random {number}": random_like(one, seen.width, seed=seed + number) for number in range(lab.scale.random_sets)
    }
    matched = {
        f"matched to {name}": magnitude_matched(chosen, seen.magnitude(name), seed=seed)
        for name, chosen in sets.items()
    }
    table = ablate(lab.loaded, {**sets, **matched, **randoms}, asked, **lab.reading)
    return {
        "effects": table.to_dict()["effects"],
        "capabilities": {name: _against(table, name, list(randoms)) for name in CAPABILITIES},
        "cleaned": _cleaned(lab, offset, asked, table),
    }


def _against(table: AblationTable, name: str, randoms: list[str]) -> Payload:
    """Differences in nats: percent of perplexity would let one large effect outweigh all others."""
    return {
        "others": table.own_against_others(name, name, measure="nats").to_dict(),
        "random": table.own_against_controls(name, name, randoms, measure="nats").to_dict(),
        "matched": table.own_against_controls(name, name, [f"matched to {name}"], measure="nats").to_dict(),
        "collateral": table.collateral(name, name, measure="nats").to_dict(),
    }


def _cleaned(lab: Laboratory, offset: int, asked: dict[str, list[str]], table: AblationTable) -> list[Payload]:
    """Own effect and collateral that are left without resident neurons, and without as many others."""
    seen, sets = lab.profile(offset), lab.sets(offset)
    residents = resident(seen.firing_share(), RESIDENT)
    less = {name: without(chosen, residents) for name, chosen in sets.items()}
    hit = [name for name in CAPABILITIES if less[name].size < sets[name].size]
    hit.sort(key=lambda name: -table.collateral(name, name, measure="nats", replicates=2).estimate)
    found = []
    for name in hit[:CLEANED]:
        rows = {name: sets[name], "less residents": less[name], "less others": _less(sets[name], less[name], lab.seed)}
        again = ablate(lab.loaded, rows, asked, **lab.reading)
        one: Payload = {"set": name, "neurons": sets[name].size, "residents": sets[name].size - less[name].size}
        for row in ("less residents", "less others"):
            own, collateral = again.kept(name, row, name, measure="nats")
            one[row] = {"own": own.to_dict(), "collateral": collateral.to_dict()}
        found.append(one)
    return found


def _less(chosen: Index, cleaned: Index, seed: int) -> Index:
    """The set less as many of its other neurons in each layer as it has residents there."""
    generator = np.random.default_rng(seed)
    kept = {}
    for layer, neurons in chosen.neurons.items():
        left = cleaned.neurons.get(layer, np.empty(0, np.int64))
        others = generator.permutation(left)[: len(neurons) - len(left)]
        kept[layer] = np.setdiff1d(neurons, others)
    return Index({layer: some for layer, some in kept.items() if len(some)})
