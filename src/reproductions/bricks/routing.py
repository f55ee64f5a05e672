"""Stages of the Bricks reproduction about groups of neurons: partitions, routing, and what configuration saves."""

from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import get_args

import numpy as np
import torch

from armillary.methods.bricks.experts.config import Splitting
from armillary.methods.bricks.experts.cost import Arm, decode_times
from armillary.methods.bricks.experts.modularity import TOP, functional_experts
from armillary.methods.bricks.experts.quality import RoutingCurve, routing_curve
from armillary.methods.bricks.experts.routed_model import routed
from armillary.methods.bricks.experts.router import Router, oracle
from armillary.methods.bricks.losses import Losses, effect, text_losses
from armillary.methods.bricks.neurons.config import CAPABILITIES
from armillary.methods.bricks.neurons.sets import specialised
from armillary.methods.bricks.payloads import Thresholds
from armillary.methods.bricks.sparsity.calibration import calibrate
from armillary.methods.bricks.sparsity.config import CalibrationConfig
from armillary.methods.bricks.sparsity.gather import best_engine
from armillary.methods.bricks.sparsity.sparse_model import sparsified
from armillary.models.batches import encode
from armillary.numerics.intervals import Interval, across_seeds
from reproductions.bricks.claims import ALMOST_NOTHING, CLUSTERED, LEFT_OUT, configuration
from reproductions.bricks.fixed_sets import neuron_energy, sliced
from reproductions.bricks.setup import Context, scaled

SPLITTINGS: tuple[Splitting, ...] = get_args(Splitting)
BEYOND = 0.01
"""A partition has more functional experts than chance where at most this share of random ones has as many."""

QUARTER, HALF = 0.25, 0.5

OWN = "code"
"""Capability whose texts choose what is left out, and are decoded."""

PROMPT, WARM_UP = 48, 5
"""Tokens read before decoding is timed, and steps that are not counted: the first ones allocate memory."""


def experts(context: Context) -> dict[str, Interval]:
    """How many experts of each partition collect a capability, mean of capabilities, beside random partitions.

    A partition is one thing, however many capabilities are looked for in it: intervals are over draws of score texts,
    and the null's is the range of random partitions, each looked at with all draws.
    """
    scale, measures = context.scale, {}
    for kind in SPLITTINGS:
        split = context.partition(kind)
        numbers, null, cells = [], [], []
        for offset in range(scale.seeds):
            scores = context.scores(offset)
            best = {name: specialised(scores.of(name), TOP) for name in CAPABILITIES}
            drawn = list(functional_experts(split, best, partitions=scale.partitions, seed=context.seed).values())
            numbers.append(float(np.mean([cell.number for cell in drawn])))
            null.append(np.mean([cell.null_functional_P for cell in drawn], axis=0))
            cells += drawn
        measures[f"experts/functional experts, {kind}"] = across_seeds(
            numbers, within=(0, np.inf), how=f"one partition, {len(numbers)} draws of texts"
        )
        beyond = float(np.mean([cell.p_of_number <= BEYOND for cell in cells]))
        measures[f"experts/capabilities beyond chance, {kind}"] = Interval(
            estimate=beyond, n=len(CAPABILITIES), how=f"one partition, mean over {scale.seeds} draws of texts"
        )
        if kind == "random":
            by_partition_P = np.mean(null, axis=0)
            low, high = np.quantile(by_partition_P, [0.025, 0.975])
            measures["experts/functional experts, null"] = Interval(
                estimate=float(by_partition_P.mean()), low=float(low), high=float(high), n=len(by_partition_P),
                how=f"range of 95 % of {len(by_partition_P)} random partitions",
            )  # fmt: skip
    return measures


def routing(context: Context) -> dict[str, Interval]:
    """Losses with some experts a token: by fitted router, by oracle and by lot; and clusters against lots."""
    texts, split = context.texts("test", context.scale.routing_texts), context.partition("coactivation")
    shape = (context.loaded.anatomy.num_layers, split.experts, context.loaded.anatomy.hidden_size)
    generator = torch.Generator().manual_seed(context.seed)
    by_lot = Router(
        kind="ridge", score="norm", first_LED=torch.randn(shape, generator=generator), bias_LE=torch.zeros(shape[:2])
    )
    curves = {
        name: routing_curve(context.loaded, split, router, texts, shares=[QUARTER], **context.reading)
        for name, router in {"fitted router": context.router, "router by lot": by_lot, "oracle": oracle()}.items()
    }
    measures = {
        f"routing/loss at a quarter, {name}": scaled(curve.effect(curve.ks[0]).delta_nll, 1 / curve.before.per_token())
        for name, curve in curves.items()
    }
    fitted = curves["fitted router"]
    measures["routing/lot minus fitted router, a quarter"] = gain(curves["router by lot"], fitted)
    lots = [at_half(context, "random", offset, texts) for offset in range(context.scale.seeds)]
    for kind in CLUSTERED:
        clusters = at_half(context, kind, 0, texts)
        gains = [gain(row, clusters, seed=draw) for draw, row in enumerate(lots)]
        weakest = min(gains, key=lambda gain: gain.estimate)
        measures[f"routing/random minus {kind}, half, weakest draw"] = weakest
    least = min((row.effect(row.ks[0]).delta_nll for row in lots), key=lambda rise: rise.estimate)
    measures["routing/rise at half, random, least draw"] = least
    return measures


def at_half(context: Context, kind: Splitting, offset: int, texts: dict[str, list[str]]) -> RoutingCurve:
    """Losses with half of the experts of a partition, chosen by its oracle."""
    split = context.partition(kind, offset)
    return routing_curve(context.loaded, split, oracle(), texts, shares=[HALF], **context.reading)


def gain(worse: RoutingCurve, better: RoutingCurve, *, seed: int = 0) -> Interval:
    """Loss of one curve less the other's at their first number of experts, nats per token, paired by text."""
    k = worse.ks[0]
    return effect(better.at(k), worse.at(k), seed=seed).delta_nll


def saving(context: Context) -> dict[str, Interval]:
    """Loss and time of a decoded token with part of the model, on texts of one capability.

    Of the configurations the one is judged that loses least on texts to which none was fitted; its time is taken only
    where it keeps the quality on the texts that judge. The others' losses stand beside it, and the times of those that
    keep the quality. Each is timed beside the same code with nothing left out, which tells what the code gains by
    itself.
    """
    scale, loaded, arms = context.scale, context.loaded, parts_of_model(context)
    # A choice by the texts of the fit went to what fits them too well: fixed neurons, on SmolLM2. The first draw of
    # the texts that judge was seen by then, so the second judges.
    draws = (
        context.texts("calibrate", scale.calibration_texts, 1),
        context.texts("test", 4 * scale.routing_texts, 1),
    )
    pilot, texts = ({OWN: rows[OWN]} for rows in draws)

    def losses(name: str, rows: dict[str, list[str]]) -> Losses:
        with arms[name]():
            return text_losses(loaded, rows, max_tokens=scale.tokens)

    whole = {
        configuration(kind, share): configuration(kind, 0) for kind, shares in LEFT_OUT.items() for share in shares
    }
    best = min(whole, key=lambda name: losses(name, pilot).per_token())
    dense = losses("dense", texts)
    rises = {name: scaled(effect(dense, losses(name, texts)).delta_nll, 1 / dense.per_token()) for name in whole}
    measures = {"saving/loss of the best configuration": replace(rises[best], how=f"{best}; {rises[best].how}")}
    measures |= {f"saving/loss, {name}": rise for name, rise in rises.items()}
    kept = [name for name, rise in rises.items() if rise.upper <= ALMOST_NOTHING]
    if kept:
        tokens = PROMPT + WARM_UP + scale.decode_steps
        ids = encode(loaded, ["\n".join(texts[OWN])], max_tokens=tokens)[0]
        timed = dict.fromkeys(["dense", *kept, *(whole[name] for name in kept)])
        times = decode_times(
            loaded, ids, {name: arms[name] for name in timed},
            steps=scale.decode_steps, warm_up=WARM_UP, rounds=scale.decode_rounds,
        )  # fmt: skip

        def ratio(slower: str, faster: str) -> Interval:
            value = times.ratio(slower, faster, seed=context.seed)
            return replace(value, how=f"{slower} over {faster} ({engine_of(context, faster)}); {value.how}")

        measures |= {f"saving/time ratio, {name}": ratio("dense", name) for name in timed if name != "dense"}
        if best in kept:
            measures["saving/time ratio at equal quality"] = ratio("dense", best)
            measures["saving/time ratio to nothing left out"] = ratio(whole[best], best)
    return measures


def engine_of(context: Context, name: str) -> str:
    """What computes a configuration: inputs are left out by a kernel that not every machine has."""
    if not name.startswith("inputs"):
        return "torch"
    return f"kernel: {best_engine()}" if context.loaded.device.type == "cpu" else "masked, and read whole"


def parts_of_model(context: Context) -> dict[str, Arm]:
    """The dense model, and for each kind of part the model without shares of it, none among them; all fitted to the
    calibration texts."""
    loaded, texts = context.loaded, context.calibration[OWN]
    energy_LM = neuron_energy(loaded, texts, max_tokens=context.scale.tokens)
    split = context.partition("coactivation")
    calibration = calibrate(loaded, texts, CalibrationConfig(max_tokens=context.scale.tokens))

    def neurons(share: float) -> Arm:
        count = max(1, round((1 - share) * loaded.anatomy.intermediate_size))
        return partial(sliced, loaded, energy_LM, count)

    def experts(share: float) -> Arm:
        return partial(routed, loaded, split, context.router, k=max(1, round((1 - share) * split.experts)))

    arms: dict[str, Arm] = {"dense": nullcontext}
    for kind, make in {"fixed neurons": neurons, "experts": experts}.items():
        arms |= {configuration(kind, share): make(share) for share in (0, *LEFT_OUT[kind])}
    levels = calibration.greedy(*LEFT_OUT["inputs"])
    nothing = Thresholds(dict.fromkeys(levels[0].thresholds.least, 0.0))
    for share, thresholds in {0: nothing, **{level.share: level.thresholds for level in levels}}.items():
        arms[configuration("inputs", share)] = partial(sparsified, loaded, thresholds)
    return arms
