"""Stages of the Bricks reproduction about added bricks: adapters for tasks, retrieved and merged.

Every brick scores every text once, mounted alone; retrieved, fixed and random choices are then looked up, so all ways
to choose see the very same losses. Legend: N texts, B bricks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from armillary.errors import NumericError, UsageError
from armillary.methods.bricks.brick import Brick
from armillary.methods.bricks.growth.partial_training import adapter_training, train_on_texts
from armillary.methods.bricks.library.mounting import mounted
from armillary.methods.bricks.library.retrieval import MidLayerEncoder, make_keys, retrieve
from armillary.methods.bricks.merging.adapters import merge
from armillary.methods.bricks.payloads import LowRank
from armillary.models.feed_forward import feed_forward
from armillary.models.loaded import LoadedModel
from armillary.numerics.intervals import Interval, bootstrap
from armillary.runs.parts import Arrays
from armillary.scoring import sequence_nll
from reproductions.bricks.scale import TASKS
from reproductions.bricks.setup import Context

Array = NDArray[np.float64]

RANK = 8
RATE = 5e-4
"""Chosen on calibration texts of the first draw: every text gains; at 2e-3 the adapters of mathematics forget."""

TRAIN_TEXTS = 48
RULES = {"average": "average", "sum": "task_arithmetic", "TIES": "ties_global", "DARE": "dare"}
"""Ways to merge; each sums or averages the changes with equal weights and our defaults."""


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

    retention: dict[str, dict[str, float | None]]
    """By way to merge and task, the share of the adapter's gain that is kept; None where it gains nothing for sure."""


def adapters(context: Context, offset: int) -> AdapterDraw:
    """Losses of each text under the base, each adapter, merges, a merge for another base, and a negated adapter."""
    loaded, seed = context.loaded, context.seed + offset
    bricks = {task: trained_adapter(context, task, offset) for task in TASKS}
    by_task = context.texts("test", context.scale.adapter_texts, offset)
    texts = [text for task in TASKS for text in by_task[task]]
    owners = [task for task in TASKS for _ in by_task[task]]

    def losses(*mounted_bricks: Brick) -> list[float]:
        return losses_under(loaded, mounted_bricks, texts, max_tokens=context.scale.tokens)

    base, alone = losses(), {task: losses(brick) for task, brick in bricks.items()}
    merged = {name: merge(list(bricks.values()), rule, seed=seed).brick for name, rule in RULES.items()}
    merged["foreign base"] = merge([reordered(loaded, brick, seed) for brick in bricks.values()], "average").brick
    arms = {name: losses(brick) for name, brick in merged.items()}
    return AdapterDraw(
        owners=owners,
        base=base,
        alone=alone,
        first=retrieved(context, bricks, texts, offset),
        merged=arms,
        negated=losses(merge([bricks[TASKS[0]]], "task_arithmetic", weights=[-1.0]).brick),
        retention={name: retention_by_task(owners, base, values, alone) for name, values in arms.items()},
    )


def losses_under(
    loaded: LoadedModel, bricks: Sequence[Brick], texts: Sequence[str], *, max_tokens: int = 128
) -> list[float]:
    """Nats per token of each text with these bricks mounted, or of the base where there are none."""
    with mounted(loaded, bricks):
        return list(sequence_nll(loaded, texts, max_tokens=max_tokens).per_token)


def trained_adapter(context: Context, task: str, offset: int) -> Brick:
    """An adapter on the FFNs of the last third of the layers: the gradient then ends two thirds of the way up."""
    loaded, scale, depth = context.loaded, context.scale, context.loaded.anatomy.num_layers

    def train() -> Arrays:
        paths = [path for layer in range(2 * depth // 3, depth) for path in feed_forward(loaded, layer).matrices]
        texts = context.texts("score", TRAIN_TEXTS, offset)[task]
        with adapter_training(loaded, paths, RANK, seed=context.seed + offset) as parts:
            train_on_texts(
                loaded, parts.parameters(), texts, steps=scale.adapter_steps, rate=RATE,
                max_tokens=scale.adapter_tokens, seed=context.seed + offset,
            )  # fmt: skip
            factors = parts.change().factors
        return {
            f"{path}|{side}": factor.numpy()
            for path, pair in factors.items()
            for side, factor in zip("AB", pair, strict=True)
        }

    kept = context.parts.arrays(f"adapter {task} {offset} at {RATE:g}", train)
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


def retrieved(context: Context, bricks: Mapping[str, Brick], texts: list[str], offset: int) -> list[str | None]:
    """For each text the task whose key is nearest, by the base's own states."""
    background = context.texts("calibrate", context.scale.calibration_texts, offset)
    everything = [text for rows in background.values() for text in rows]
    encoder = MidLayerEncoder(context.loaded, background=everything, max_tokens=context.scale.tokens)
    keys = [make_keys(encoder, background[task], name=encoder.name).values_KQ for task in bricks]
    owners = [task for task, values in zip(bricks, keys, strict=True) for _ in values]
    results = retrieve(encoder, texts, np.concatenate(keys), owners)
    return [result.chosen[0].brick if result.chosen else None for result in results]


def retention_by_task(
    owners: list[str], base: list[float], merged: list[float], alone: Mapping[str, list[float]]
) -> dict[str, float | None]:
    """Share of each adapter's gain on its own texts that a merged one keeps; None where there is no sure gain."""
    shares: dict[str, float | None] = {}
    for task, own in alone.items():
        rows = [row for row, owner in enumerate(owners) if owner == task]
        try:
            shares[task] = retention(*(np.array(losses)[rows] for losses in (base, merged, own))).estimate
        except NumericError:
            shares[task] = None
    return shares


def retention(base: ArrayLike, merged: ArrayLike, own: ArrayLike, *, seed: int = 0) -> Interval:
    """The share of a brick's gain that a merged one keeps: ``(base - merged) / (base - own)`` of mean losses.

    1 keeps all, 0 none, below 0 does harm; the losses are of the same texts, resampled together. NumericError where
    the brick's own gain is not above zero, or not in every resample: then there is nothing to keep, and the control
    failed.
    """
    base_N, merged_N, own_N = (np.asarray(values, dtype=np.float64) for values in (base, merged, own))
    if not base_N.shape == merged_N.shape == own_N.shape or base_N.ndim != 1 or not len(base_N):
        raise UsageError(f"retention needs three lists of one length; got {base_N.shape}, {merged_N.shape}.")

    def kept(rows: NDArray[np.int64]) -> Array:
        gain = (base_N[rows] - own_N[rows]).mean(-1)
        if (gain <= 0).any():
            raise NumericError(
                "the brick gains nothing on its own texts, or not surely, so no share of it can be kept."
            )
        return cast(Array, (base_N[rows] - merged_N[rows]).mean(-1) / gain)

    return bootstrap(kept, len(base_N), seed=seed, how=f"bootstrap over {len(base_N)} texts, ratio of means")
