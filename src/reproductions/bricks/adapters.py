"""Stages of the Bricks reproduction about added bricks: adapters for tasks, retrieved and merged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from armillary.errors import NumericError, UsageError
from armillary.methods.bricks.brick import Brick
from armillary.methods.bricks.growth.partial_training import adapter_training, train_on_texts
from armillary.methods.bricks.library.mounting import mounted
from armillary.methods.bricks.library.retrieval import MidLayerEncoder, Retrieval, make_keys, retrieve
from armillary.methods.bricks.merging.adapters import merge
from armillary.methods.bricks.payloads import LowRank
from armillary.models.feed_forward import feed_forward
from armillary.models.loaded import LoadedModel
from armillary.numerics.intervals import Interval, binomial, bootstrap, paired_difference
from armillary.scoring import sequence_nll
from reproductions.bricks.scale import TASKS
from reproductions.bricks.setup import Laboratory

# Do retrieved bricks serve better than a fixed one, and does a merged brick keep what its parts could?
#
# Every brick scores every text once, in turn mounted alone; retrieved, oracle, fixed and random choices are then
# looked up, so all arms see the very same losses.
#
# Legend: N texts, B bricks.

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class BrickLosses:
    """Nats per token of each text under the base and under each brick alone."""

    bricks: tuple[str, ...]
    """Ids."""

    base_N: Array
    alone_NB: Array
    average_N: Array | None
    """Under the average of all bricks; None where they have none."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {
            "bricks": list(self.bricks),
            "base": self.base_N.tolist(),
            "alone": self.alone_NB.tolist(),
            "average": None if self.average_N is None else self.average_N.tolist(),
        }


@dataclass(frozen=True, kw_only=True)
class RetrievalGain:
    """Mean nats per token of each way to choose, and the differences that decide; below 0 the first is better."""

    means: Mapping[str, Interval]
    """"base", "retrieved", "oracle", "average", "random" and each brick's id as the one fixed choice."""

    best_fixed: str
    """The id of the brick that is best over all texts. It is chosen on these very texts, which favours it."""

    retrieved_minus_fixed: Interval
    retrieved_minus_oracle: Interval
    retrieved_minus_base: Interval
    right: Interval
    """Share of texts whose own brick was retrieved first."""

    none: Interval
    """Share of texts for which nothing was retrieved, which the base served."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {
            "means": {name: one.to_dict() for name, one in self.means.items()},
            "best_fixed": self.best_fixed,
            **{
                name: getattr(self, name).to_dict()
                for name in (
                    "retrieved_minus_fixed",
                    "retrieved_minus_oracle",
                    "retrieved_minus_base",
                    "right",
                    "none",
                )
            },
        }


def brick_losses(
    loaded: LoadedModel, bricks: Sequence[Brick], texts: Sequence[str], *, average: bool = True, max_tokens: int = 128
) -> BrickLosses:
    """The losses of all texts under every brick: one pass over the texts a brick, one for the base.

    ``average`` adds the average of all bricks, which have to be low-rank then. UsageError for no bricks or texts.
    """
    if not bricks or not texts:
        raise UsageError(f"there must be bricks and texts; got {len(bricks)} and {len(texts)}.")

    def scored(*chosen: Brick) -> Array:
        with mounted(loaded, chosen):
            return np.array(sequence_nll(loaded, texts, max_tokens=max_tokens).per_token)

    return BrickLosses(
        bricks=tuple(brick.id for brick in bricks),
        base_N=scored(),
        alone_NB=np.stack([scored(brick) for brick in bricks], axis=1),
        average_N=scored(merge(bricks).brick) if average else None,
    )


def retrieval_gain(
    losses: BrickLosses, own: Sequence[str], retrieved: Sequence[Retrieval], *, seed: int = 0
) -> RetrievalGain:
    """Retrieved bricks (the first choice, or the base where there is none) against every other way to choose.

    ``own`` is the id of the brick that each text belongs to: the oracle's choice. Random is the mean over the bricks.
    UsageError for lists of other lengths or unknown ids.
    """
    n = len(losses.base_N)
    if len(own) != n or len(retrieved) != n or not set(own) <= set(losses.bricks):
        raise UsageError(
            f"each of the {n} texts needs its own brick and a retrieval; got {len(own)}, {len(retrieved)}."
        )
    place = {brick: index for index, brick in enumerate(losses.bricks)}
    rows = np.arange(n)
    firsts = [one.chosen[0].brick if one.chosen else None for one in retrieved]
    retrieved_N = np.array(
        [losses.base_N[row] if one is None else losses.alone_NB[row, place[one]] for row, one in enumerate(firsts)]
    )
    arms: dict[str, Array] = {
        "base": losses.base_N,
        "retrieved": retrieved_N,
        "oracle": losses.alone_NB[rows, [place[one] for one in own]],
        "random": losses.alone_NB.mean(1),
    }
    if losses.average_N is not None:
        arms["average"] = losses.average_N
    arms |= {brick: losses.alone_NB[:, index] for brick, index in place.items()}
    best = losses.bricks[int(losses.alone_NB.mean(0).argmin())]

    def against(other: str) -> Interval:
        return paired_difference(retrieved_N, arms[other], seed=seed, how=f"paired bootstrap over {n} texts")

    return RetrievalGain(
        means={name: _mean(values, seed) for name, values in arms.items()},
        best_fixed=best,
        retrieved_minus_fixed=against(best),
        retrieved_minus_oracle=against("oracle"),
        retrieved_minus_base=against("base"),
        right=binomial(sum(one == mine for one, mine in zip(firsts, own, strict=True)), n),
        none=binomial(sum(one is None for one in firsts), n),
    )


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


def _mean(values_N: Array, seed: int) -> Interval:
    return bootstrap(
        lambda rows: values_N[rows].mean(-1), len(values_N), seed=seed, how=f"bootstrap over {len(values_N)} texts"
    )


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
