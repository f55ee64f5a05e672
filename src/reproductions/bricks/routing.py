"""Stages of the Bricks reproduction about groups of neurons: partitions, routing, and what configuration saves."""

from contextlib import nullcontext
from typing import Any, get_args

import numpy as np

from armillary.methods.bricks.experts.cost import Arm, DecodeCost, decode_cost, decode_times, static_cost
from armillary.methods.bricks.experts.partitioning import TOP, functional_experts
from armillary.methods.bricks.experts.quality import SHARES, router_recall, routing_curve, routing_gain
from armillary.methods.bricks.experts.routed_model import routed, sliced
from armillary.methods.bricks.experts.router import oracle
from armillary.methods.bricks.experts.router_fit import ridge_router
from armillary.methods.bricks.losses import effect, text_losses
from armillary.methods.bricks.neurons.config import CAPABILITIES
from armillary.methods.bricks.neurons.sets import specialised
from armillary.methods.bricks.neurons.sparsity import keep_like, neuron_energy
from armillary.methods.bricks.payloads import Index
from armillary.models.batches import encode
from reproductions.bricks.setup import Laboratory, Splitting

Payload = dict[str, Any]

CLUSTERED: tuple[Splitting, ...] = ("weights", "coactivation")
HALF = 0.5
FIXED = (0.5, 0.75, 0.9)
"""Shares of the neurons in the fixed sets whose time and loss are measured."""

ROUTED = 0.75
"""Share of the experts at which a routed model is timed."""

OWN = "code"
"""Capability whose texts choose the fixed sets and are decoded."""

PROMPT, WARM_UP = 48, 5


def experts(lab: Laboratory) -> Payload:
    """How many experts of each partition are functional, for each draw of texts, against random partitions."""
    found: Payload = {}
    for kind in get_args(Splitting):
        split, rows = lab.partition(kind), []
        for offset in range(lab.scale.seeds):
            scores = lab.scores(offset)
            best = {name: specialised(scores.of(name), TOP) for name in CAPABILITIES}
            judged = functional_experts(split, best, partitions=lab.scale.partitions, seed=lab.seed + offset)
            rows.append({name: one.to_dict() for name, one in judged.items()})
        found[kind] = rows
    return found


def routing(lab: Laboratory) -> Payload:
    """Losses with some experts a token: oracle and fitted router, three partitions, and clusters against lots."""
    asked = lab.texts("test", lab.scale.routing_texts)
    found: Payload = {"curves": {}, "recall": {}}
    for kind in get_args(Splitting):
        split = lab.partition(kind)
        fitted = ridge_router(lab.loaded, split, lab.mixed, max_tokens=lab.scale.tokens)
        for name, router in (("oracle", oracle()), ("ridge", fitted)):
            curve = routing_curve(lab.loaded, split, router, asked, **lab.reading)
            found["curves"][f"{kind}, {name}"] = {**curve.to_dict(), "base": curve.before.per_token()}
        quarter = max(1, round(SHARES[0] * split.experts))
        held_out = [texts[0] for texts in asked.values()]
        recall = router_recall(lab.loaded, split, fitted, held_out, quarter, max_tokens=lab.scale.tokens)
        found["recall"][kind] = recall.to_dict()
    found["gains"] = {
        kind: [_gain(lab, kind, offset, asked) for offset in range(lab.scale.seeds)] for kind in CLUSTERED
    }
    return found


def _gain(lab: Laboratory, kind: Splitting, offset: int, asked: dict[str, list[str]]) -> Payload:
    """Nats that clusters save over experts by lot with half of the experts, both by their oracle."""
    lots, clusters = (
        routing_curve(lab.loaded, split, oracle(), asked, shares=[HALF], **lab.reading)
        for split in (lab.partition("random", offset), lab.partition(kind))
    )
    return routing_gain(lots, clusters, lots.ks[0], seed=offset).to_dict()


def saving(lab: Laboratory) -> Payload:
    """Time of a decoded token, loss and bytes with part of the FFNs, on texts of one capability."""
    scale, loaded = lab.scale, lab.loaded
    arms, costs = _arms(lab)
    own = {OWN: lab.texts("test", 4 * scale.routing_texts)[OWN]}
    losses = {}
    for name, arm in arms.items():
        with arm():
            losses[name] = text_losses(loaded, own, max_tokens=scale.tokens)
    text = "\n".join(own[OWN])
    ids = encode(loaded, [text], max_tokens=PROMPT + WARM_UP + scale.decode_steps)[0]
    times = decode_times(loaded, ids, arms, steps=scale.decode_steps, warm_up=WARM_UP, rounds=scale.decode_rounds)
    return {
        "base": losses["dense"].per_token(),
        "arms": {
            name: {
                "loss": effect(losses["dense"], losses[name]).delta_nll.to_dict(),
                "time": times.ratio("dense", name, seed=lab.seed).to_dict(),
                "bytes": cost.to_dict(),
            }
            for name, cost in costs.items()
        },
        "times": times.to_dict(),
    }


def _arms(lab: Laboratory) -> tuple[dict[str, Arm], dict[str, DecodeCost]]:
    loaded, width = lab.loaded, lab.loaded.anatomy.intermediate_size
    energy_LM = neuron_energy(loaded, lab.calibration[OWN], max_tokens=lab.scale.tokens)
    arms: dict[str, Arm] = {"dense": nullcontext}
    costs = {}
    for share in FIXED:
        sizes = Index(dict.fromkeys(range(loaded.anatomy.num_layers), np.arange(max(1, round(share * width)))))
        keep = keep_like(energy_LM, sizes)
        name = f"fixed {share:.0%} of the neurons"
        arms[name], costs[name] = _slicing(lab, keep), static_cost(loaded, keep)
    split = lab.partition("coactivation")
    router = ridge_router(loaded, split, lab.mixed, max_tokens=lab.scale.tokens)
    k = max(1, round(ROUTED * split.experts))
    name = f"routed, {ROUTED:.0%} of the experts"
    arms[name] = lambda: routed(loaded, split, router, k=k)
    costs[name] = decode_cost(loaded, k / split.experts, router)
    return arms, costs


def _slicing(lab: Laboratory, keep: Index) -> Arm:
    return lambda: sliced(lab.loaded, keep)
