"""Stages of the Bricks reproduction about added bricks: adapters for tasks, retrieved and merged.

Every brick scores every text once, mounted alone; retrieved, fixed and random choices are then looked up, so all ways
to choose see the very same losses. Legend: N texts, B bricks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from armillary.methods.bricks.brick import Brick
from armillary.methods.bricks.growth.partial_training import adapter_training, train_on_texts
from armillary.methods.bricks.library.mounting import mounted
from armillary.methods.bricks.library.retrieval import make_keys, retrieve
from armillary.methods.bricks.merging.adapters import merge
from armillary.methods.bricks.payloads import LowRank
from armillary.models.feed_forward import feed_forward
from armillary.models.loaded import LoadedModel
from armillary.runs.parts import Arrays, part_name
from armillary.scoring import sequence_nll
from reproductions.bricks.scale import RATES, TASKS
from reproductions.bricks.setup import Context

RANK = 8
TRAIN_TEXTS = 40
PILOT = "german"
"""The task whose adapters tell the rate for all."""


@dataclass(frozen=True, kw_only=True)
class AdapterDraw:
    """One draw of texts and of trainings. Losses are nats per token of each text, in the order of ``owners``."""

    owners: list[str]
    """The task that each text is of."""

    base: list[float]
    alone: dict[str, list[float]]
    """Under the adapter of each task."""

    first: list[str | None]
    """The task whose key is nearest to each text; None where none is near enough."""

    merged: dict[str, list[float]]
    negated: list[float]
    """With the adapter of the first task subtracted."""

    learned: dict[str, list[float]]
    """Fall of the loss by each task's adapter on texts of the task that judge nothing."""


def adapter_pilot(context: Context) -> dict[str, float]:
    """By rate, how far an adapter trained with it lowers the loss on other texts of its task, mean over texts."""
    texts = context.texts("calibrate", TRAIN_TEXTS)[PILOT]
    adapters_at = {rate: trained_adapter(context, PILOT, texts, rate, offset=0) for rate in RATES}
    return {
        f"{rate:g}": float(np.mean(learned_by(context, PILOT, brick, draw=0))) for rate, brick in adapters_at.items()
    }


def best_rate(pilot: Mapping[str, float]) -> float:
    """The rate that lowered the loss most."""
    return float(max(pilot, key=pilot.__getitem__))


def learned_by(context: Context, task: str, brick: Brick, *, draw: int) -> list[float]:
    """Fall of the loss on texts that neither trained an adapter nor judge one, other ones in each draw."""
    limit = context.scale.pilot_texts
    texts = context.texts("calibrate", limit, -(-TRAIN_TEXTS // limit) + draw)[task]
    losses = [losses_under(context.loaded, bricks, texts, max_tokens=context.scale.tokens) for bricks in ([], [brick])]
    return [before - after for before, after in zip(*losses, strict=True)]


def adapters(context: Context, rate: float, offset: int) -> AdapterDraw:
    """Losses of each text under the base, each adapter, a merge, a merge for another base, and a negated adapter."""
    loaded, seed = context.loaded, context.seed + offset
    train_texts = context.texts("score", TRAIN_TEXTS, offset)
    bricks = {task: trained_adapter(context, task, train_texts[task], rate, offset) for task in TASKS}
    foreign = {task: reordered(loaded, brick, seed) for task, brick in bricks.items()}
    by_task = context.texts("test", context.scale.adapter_texts, offset)
    texts = [text for task in TASKS for text in by_task[task]]
    owners = [task for task in TASKS for _ in by_task[task]]

    def losses(*mounted_bricks: Brick) -> list[float]:
        return losses_under(loaded, mounted_bricks, texts, max_tokens=context.scale.tokens)

    merged = {
        name: merge(list(parts.values()), "average").brick
        for name, parts in {"average": bricks, "foreign base": foreign}.items()
    }
    return AdapterDraw(
        owners=owners,
        base=losses(),
        alone={task: losses(brick) for task, brick in bricks.items()},
        first=retrieved(context, bricks, texts),
        merged={name: losses(brick) for name, brick in merged.items()},
        negated=losses(merge([bricks[TASKS[0]]], "task_arithmetic", weights=[-1.0]).brick),
        learned={task: learned_by(context, task, brick, draw=1 + offset) for task, brick in bricks.items()},
    )


def losses_under(
    loaded: LoadedModel, bricks: Sequence[Brick], texts: Sequence[str], *, max_tokens: int = 128
) -> list[float]:
    """Nats per token of each text with these bricks mounted, or of the base where there are none."""
    with mounted(loaded, bricks):
        return list(sequence_nll(loaded, texts, max_tokens=max_tokens).per_token)


def trained_adapter(context: Context, task: str, texts: Sequence[str], rate: float, offset: int) -> Brick:
    """An adapter on the FFNs of the last third of the layers: the gradient then ends two thirds of the way up."""
    loaded, scale, depth = context.loaded, context.scale, context.loaded.anatomy.num_layers

    def train() -> Arrays:
        paths = [path for layer in range(2 * depth // 3, depth) for path in feed_forward(loaded, layer).matrices]
        with adapter_training(loaded, paths, RANK, seed=context.seed + offset) as parts:
            train_on_texts(
                loaded, parts.parameters(), texts, steps=scale.adapter_steps, rate=rate,
                max_tokens=scale.adapter_tokens, seed=context.seed + offset,
            )  # fmt: skip
            factors = parts.change().factors
        return {
            f"{path}|{side}": factor.numpy()
            for path, pair in factors.items()
            for side, factor in zip("AB", pair, strict=True)
        }

    kept = context.parts.arrays(part_name("adapter", task, offset, rate, scale.adapter_steps, list(texts)), train)
    factors = {
        name.removesuffix("|A"): (torch.from_numpy(kept[name]), torch.from_numpy(kept[name[:-1] + "B"]))
        for name in kept
        if name.endswith("|A")
    }
    return Brick.of(loaded, LowRank(factors), name=task)


def reordered(loaded: LoadedModel, brick: Brick, seed: int) -> Brick:
    """The brick as it would be had the base its neurons in another order: a base of the same function, other weights.

    A change of what reads neurons is reordered in its outputs, a change of what writes in its inputs.
    """
    assert isinstance(brick.payload, LowRank)
    generator = np.random.default_rng(seed)
    factors = dict(brick.payload.factors)
    for layer in range(loaded.anatomy.num_layers):
        block = feed_forward(loaded, layer)
        order_M = torch.from_numpy(generator.permutation(block.width))
        for path, matrix in block.matrices.items():
            if path in factors:
                a_RI, b_OR = factors[path]
                factors[path] = (a_RI[:, order_M], b_OR) if matrix is block.write else (a_RI, b_OR[order_M])
    return Brick.of(loaded, LowRank(factors), name=f"{brick.name} of another base")


def retrieved(context: Context, bricks: Mapping[str, Brick], texts: list[str]) -> list[str | None]:
    """For each text the task whose key is nearest, by the base's own states."""
    encoder = context.encoder
    keys = [make_keys(encoder, context.calibration[task], name=encoder.name).values_KQ for task in bricks]
    owners = [task for task, values in zip(bricks, keys, strict=True) for _ in values]
    results = retrieve(encoder, texts, np.concatenate(keys), owners)
    return [result.chosen[0].brick if result.chosen else None for result in results]
