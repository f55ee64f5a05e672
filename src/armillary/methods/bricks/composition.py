"""Do retrieved bricks serve better than a fixed one, and does a merged brick keep what its parts could?

Every brick scores every text once, in turn mounted alone; retrieved, oracle, fixed and random choices are then looked
up, so all arms see the very same losses.

Legend: N texts, B bricks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from armillary.errors import NumericError, UsageError
from armillary.methods.bricks.brick import Brick
from armillary.methods.bricks.merge import merge
from armillary.methods.bricks.mount import mounted
from armillary.methods.bricks.retrieval import Retrieval
from armillary.models.loaded import LoadedModel
from armillary.numerics.intervals import Interval, binomial, bootstrap, paired_difference
from armillary.scoring.nll import sequence_nll

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
