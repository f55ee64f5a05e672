"""Stages of the Bricks reproduction about added bricks: adapters for tasks, retrieved and merged."""

from typing import Any

import numpy as np
import torch

from armillary.errors import NumericError
from armillary.experiments.bricks_lab import Laboratory
from armillary.experiments.bricks_scale import TASKS
from armillary.methods.bricks.brick import Brick
from armillary.methods.bricks.composition import BrickLosses, brick_losses, retention
from armillary.methods.bricks.feed_forward import feed_forward
from armillary.methods.bricks.limited import adapter_training
from armillary.methods.bricks.merge import merge
from armillary.methods.bricks.mount import mounted
from armillary.methods.bricks.payloads import LowRank
from armillary.methods.bricks.retrieval import MidLayerEncoder, make_keys, retrieve
from armillary.methods.bricks.train_new import train_on_texts
from armillary.scoring import sequence_nll

Payload = dict[str, Any]

RANK = 8
RATE = 5e-4
"""Chosen on calibration texts of the first draw: every text gains; at 2e-3 the adapters of mathematics forget."""

TRAIN_TEXTS = 48
RULES: dict[str, dict[str, Any]] = {
    "average": {"method": "average"},
    "sum": {"method": "task_arithmetic"},
    "TIES": {"method": "ties_global"},
    "DARE": {"method": "dare"},
}
"""Ways to merge; each sums or averages the changes with equal weights and our defaults."""


def adapters(lab: Laboratory, offset: int) -> Payload:
    """Losses of each text under the base, each adapter, merges, a merge for another base, and a negated adapter."""
    bricks = {task: _trained(lab, task, offset) for task in TASKS}
    asked = lab.texts("test", lab.scale.adapter_texts, offset)
    texts = [text for task in TASKS for text in asked[task]]
    owners = [task for task in TASKS for _ in asked[task]]
    losses = brick_losses(lab.loaded, list(bricks.values()), texts, average=False, max_tokens=lab.scale.tokens)
    merged = {name: merge(list(bricks.values()), seed=lab.seed + offset, **rule) for name, rule in RULES.items()}
    foreign = [_reordered(lab, brick, offset) for brick in bricks.values()]
    arms = {name: _under(lab, one.brick, texts) for name, one in merged.items()}
    arms["foreign base"] = _under(lab, merge(foreign, **RULES["average"]).brick, texts)
    negated = merge([bricks[TASKS[0]]], "task_arithmetic", weights=[-1.0]).brick
    return {
        "owners": owners,
        "base": losses.base_N.tolist(),
        "alone": {task: losses.alone_NB[:, place].tolist() for place, task in enumerate(bricks)},
        "retrieved": _retrieved(lab, bricks, texts, offset),
        "merged": arms,
        "negated": _under(lab, negated, texts),
        "errors": {name: one.report.error for name, one in merged.items()},
        "retention": {name: _retention(losses, owners, values) for name, values in arms.items()},
    }


def _trained(lab: Laboratory, task: str, offset: int) -> Brick:
    """An adapter on the FFNs of the last third of the layers: the gradient then ends two thirds of the way up."""
    kept = lab.parts.arrays(f"adapter {task} {offset} at {RATE:g}", lambda: _training(lab, task, offset))
    factors = {
        name.removesuffix("|A"): (torch.from_numpy(kept[name]), torch.from_numpy(kept[name[:-1] + "B"]))
        for name in kept
        if name.endswith("|A")
    }
    return Brick.of(lab.loaded, LowRank(factors), name=task)


def _training(lab: Laboratory, task: str, offset: int) -> dict[str, Any]:
    depth = lab.loaded.anatomy.num_layers
    paths = [path for layer in range(2 * depth // 3, depth) for path in feed_forward(lab.loaded, layer).matrices]
    texts = lab.texts("score", TRAIN_TEXTS, offset)[task]
    with adapter_training(lab.loaded, paths, RANK, seed=lab.seed + offset) as parts:
        train_on_texts(
            lab.loaded,
            parts.parameters(),
            texts,
            steps=lab.scale.adapter_steps,
            rate=RATE,
            max_tokens=lab.scale.adapter_tokens,
            seed=lab.seed + offset,
        )
        factors = parts.change().factors
    return {
        f"{path}|{side}": one.numpy() for path, pair in factors.items() for side, one in zip("AB", pair, strict=True)
    }


def _under(lab: Laboratory, brick: Brick, texts: list[str]) -> list[float]:
    with mounted(lab.loaded, [brick]):
        return list(sequence_nll(lab.loaded, texts, max_tokens=lab.scale.tokens).per_token)


def _reordered(lab: Laboratory, brick: Brick, offset: int) -> Brick:
    """The brick as it would be had the base its neurons in another order: a base of the same function, other weights.

    A change of what reads neurons is reordered in its outputs, a change of what writes in its inputs.
    """
    assert isinstance(brick.payload, LowRank)
    generator = np.random.default_rng(lab.seed + offset)
    factors = dict(brick.payload.factors)
    for layer in range(lab.loaded.anatomy.num_layers):
        block = feed_forward(lab.loaded, layer)
        order_M = torch.from_numpy(generator.permutation(block.width))
        for path, matrix in block.matrices.items():
            if path in factors:
                a_RI, b_OR = factors[path]
                factors[path] = (a_RI[:, order_M], b_OR) if matrix is block.write else (a_RI, b_OR[order_M])
    return Brick.of(lab.loaded, LowRank(factors), name=f"{brick.name} of another base")


def _retrieved(lab: Laboratory, bricks: dict[str, Brick], texts: list[str], offset: int) -> Payload:
    """For each text the task whose key is nearest, by the base's own states."""
    background = lab.texts("calibrate", lab.scale.calibration_texts, offset)
    encoder = MidLayerEncoder(
        lab.loaded, background=[text for rows in background.values() for text in rows], max_tokens=lab.scale.tokens
    )
    keys = [make_keys(encoder, background[task], name=encoder.name).values_KQ for task in bricks]
    owners = [task for task, values in zip(bricks, keys, strict=True) for _ in values]
    found = retrieve(encoder, texts, np.concatenate(keys), owners)
    return {
        "first": [one.chosen[0].brick if one.chosen else None for one in found],
        "scores": [one.best_score for one in found],
    }


def _retention(losses: BrickLosses, owners: list[str], merged: list[float]) -> Payload:
    """Share of each brick's gain on its own texts that a merged one keeps; None where there is no sure gain."""
    found: Payload = {}
    for place, task in enumerate(TASKS):
        rows = [row for row, owner in enumerate(owners) if owner == task]
        try:
            kept = retention(losses.base_N[rows], np.array(merged)[rows], losses.alone_NB[rows, place])
            found[task] = kept.to_dict()
        except NumericError:
            found[task] = None
    return found
