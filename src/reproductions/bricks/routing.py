"""Stages of the Bricks reproduction about groups of neurons: partitions, routing, and what configuration saves."""

from contextlib import nullcontext
from functools import partial
from typing import get_args

import numpy as np

from armillary.methods.bricks.experts.config import Splitting
from armillary.methods.bricks.experts.cost import Arm, decode_times
from armillary.methods.bricks.experts.modularity import TOP, FunctionalExperts, functional_experts
from armillary.methods.bricks.experts.quality import SHARES, router_recall, routing_curve, routing_gain
from armillary.methods.bricks.experts.routed_model import routed, sliced
from armillary.methods.bricks.experts.router import oracle
from armillary.methods.bricks.experts.router_fit import ridge_router
from armillary.methods.bricks.losses import effect, text_losses
from armillary.methods.bricks.neurons.config import CAPABILITIES
from armillary.methods.bricks.neurons.energy import keep_like, neuron_energy
from armillary.methods.bricks.neurons.sets import specialised
from armillary.methods.bricks.payloads import Index
from armillary.models.batches import encode
from armillary.numerics.intervals import Interval, binomial, bootstrap_mean
from reproductions.bricks.claims import ALMOST_NOTHING, CLUSTERED
from reproductions.bricks.setup import Context, scaled

SPLITTINGS: tuple[Splitting, ...] = get_args(Splitting)
BEYOND = 0.01
"""A partition has more functional experts than chance where at most this share of random ones has as many."""

HALF = 0.5
FIXED = (0.5, 0.75, 0.9)
"""Shares of the neurons in the fixed sets whose time and loss are measured."""

ROUTED = 0.75
"""Share of the experts at which a routed model is timed."""

OWN = "code"
"""Capability whose texts choose the fixed sets and are decoded."""

PROMPT, WARM_UP = 48, 5
"""Tokens read before decoding is timed, and steps that are not counted: the first ones allocate memory."""


def experts(context: Context) -> dict[str, Interval]:
    """How often the experts of each partition collect a capability beyond chance, over draws and capabilities."""
    measures = {}
    for kind in SPLITTINGS:
        split = context.partition(kind)
        cells: list[FunctionalExperts] = []
        for offset in range(context.scale.seeds):
            scores, seed = context.scores(offset), context.seed + offset
            best = {name: specialised(scores.of(name), TOP) for name in CAPABILITIES}
            cells += functional_experts(split, best, partitions=context.scale.partitions, seed=seed).values()
        beyond = sum(cell.p_of_number <= BEYOND for cell in cells)
        measures[f"experts/cells beyond chance, {kind}"] = binomial(beyond, len(cells), how="capabilities and draws")
        if degrees := [cell.degree for cell in cells if cell.degree is not None]:
            measures[f"experts/count over expected, {kind}"] = bootstrap_mean(
                degrees, seed=0, how="capabilities and draws"
            )
    return measures


def routing(context: Context) -> dict[str, Interval]:
    """Losses with some experts a token: oracle and fitted router, three partitions, and clusters against lots."""
    texts = context.texts("test", context.scale.routing_texts)
    measures, recall, quarters = {}, {}, []
    for kind in SPLITTINGS:
        split = context.partition(kind)
        fitted = ridge_router(context.loaded, split, context.mixed, max_tokens=context.scale.tokens)
        for name, router in (("oracle", oracle()), ("ridge", fitted)):
            curve = routing_curve(context.loaded, split, router, texts, **context.reading)
            rises = [scaled(curve.effect(k).delta_nll, 1 / curve.before.per_token()) for k in curve.ks]
            for k, rise in zip(curve.ks, rises, strict=True):
                measures[f"routing/loss at {k / curve.experts:.0%}, {kind}, {name}"] = rise
            quarters += [rises[0]] if name == "ridge" else []
        quarter = max(1, round(SHARES[0] * split.experts))
        held_out = [rows[0] for rows in texts.values()]
        recall[f"routing/recall at a quarter, {kind}"] = router_recall(
            context.loaded, split, fitted, held_out, quarter, max_tokens=context.scale.tokens
        ).mean
    measures["routing/loss at a quarter, best fitted router"] = min(quarters, key=lambda rise: rise.estimate)
    for kind in CLUSTERED:
        gains = [saved_by_clusters(context, kind, offset, texts) for offset in range(context.scale.seeds)]
        weakest = min(gains, key=lambda gain: gain.estimate)
        measures[f"routing/random minus {kind}, half, weakest draw"] = weakest
    return measures | recall


def saved_by_clusters(context: Context, kind: Splitting, offset: int, texts: dict[str, list[str]]) -> Interval:
    """Nats that clusters save over experts by lot with half of the experts, both by their oracle."""
    lots, clusters = (
        routing_curve(context.loaded, split, oracle(), texts, shares=[HALF], **context.reading)
        for split in (context.partition("random", offset), context.partition(kind))
    )
    return routing_gain(lots, clusters, lots.ks[0], seed=offset)


def saving(context: Context) -> dict[str, Interval]:
    """Time of a decoded token and loss with part of the FFNs, on texts of one capability."""
    scale, loaded, arms = context.scale, context.loaded, parts_of_model(context)
    texts = {OWN: context.texts("test", 4 * scale.routing_texts)[OWN]}
    losses = {}
    for name, arm in arms.items():
        with arm():
            losses[name] = text_losses(loaded, texts, max_tokens=scale.tokens)
    tokens = PROMPT + WARM_UP + scale.decode_steps
    ids = encode(loaded, ["\n".join(texts[OWN])], max_tokens=tokens)[0]
    times = decode_times(loaded, ids, arms, steps=scale.decode_steps, warm_up=WARM_UP, rounds=scale.decode_rounds)
    dense, as_good = losses.pop("dense"), []
    measures: dict[str, Interval] = {}
    for name, after in losses.items():
        loss = scaled(effect(dense, after).delta_nll, 1 / dense.per_token())
        time = times.ratio("dense", name, seed=context.seed)
        measures |= {f"saving/loss, {name}": loss, f"saving/time ratio, {name}": time}
        as_good += [time] if loss.upper <= ALMOST_NOTHING else []
    none = Interval(estimate=1.0, how="no configuration is as good: the dense model itself")
    measures["saving/time ratio at equal quality"] = max(as_good, key=lambda time: time.estimate, default=none)
    return measures


def parts_of_model(context: Context) -> dict[str, Arm]:
    """The dense model, the model sliced to fixed sets of neurons, and the routed one."""
    loaded, anatomy = context.loaded, context.loaded.anatomy
    energy_LM = neuron_energy(loaded, context.calibration[OWN], max_tokens=context.scale.tokens)
    arms: dict[str, Arm] = {"dense": nullcontext}
    for share in FIXED:
        count = max(1, round(share * anatomy.intermediate_size))
        sizes = Index(dict.fromkeys(range(anatomy.num_layers), np.arange(count)))
        arms[f"fixed {share:.0%} of the neurons"] = partial(sliced, loaded, keep_like(energy_LM, sizes))
    split = context.partition("coactivation")
    router = ridge_router(loaded, split, context.mixed, max_tokens=context.scale.tokens)
    k = max(1, round(ROUTED * split.experts))
    arms[f"routed, {ROUTED:.0%} of the experts"] = partial(routed, loaded, split, router, k=k)
    return arms
