"""What one model leaves for the other: of each scored position its log-probability, its likeliest tokens, the rest.

Two models are never in memory together, so the first keeps of each position what the second needs for the divergence
between the two: exact over the kept tokens, bounded over the rest.

Legend: N positions, K kept tokens, V vocabulary, R rows (texts or answers).
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, Self

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from armillary.runs.parts import Arrays

Way = Literal["greedy", "sampled"]
"""greedy: the likeliest token each time. sampled: drawn at temperature 1, by the same random numbers for base and
after, so that equal models give equal answers; by others for base a second time."""

WAYS: tuple[Way, ...] = ("greedy", "sampled")

TOP = 64
"""Tokens kept of each position: 512 bytes."""

LEAST = -100.0
"""Log-probability (nats) of a token that a model can't say, or says less often: a divergence stays a number."""

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]


@dataclass(frozen=True, eq=False)
class _Rows:
    """Arrays over positions, and where each row of them begins."""

    offsets: Integers
    """int64 ``[R + 1]``: row r has the positions from ``offsets[r]`` to ``offsets[r + 1]``."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def place(self, row: int) -> slice:
        """The positions of a row."""
        return slice(int(self.offsets[row]), int(self.offsets[row + 1]))

    def sums(self, values_N: Floats) -> NDArray[np.float64]:
        """Sum over each row's positions, float64; 0 for a row without any."""
        upto = np.concatenate([[0.0], np.cumsum(np.asarray(values_N, np.float64))])
        sums: NDArray[np.float64] = upto[self.offsets[1:]] - upto[self.offsets[:-1]]
        return sums

    @property
    def lengths(self) -> Integers:
        """Positions of each row."""
        lengths: Integers = np.diff(self.offsets)
        return lengths

    def arrays(self) -> Arrays:
        """By name, for ``Parts``."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def of(cls, arrays: Arrays) -> Self:
        """Inverse of ``arrays``."""
        return cls(**{field.name: arrays[field.name] for field in fields(cls)})

    @classmethod
    def joined(cls, blocks: Sequence[Self]) -> Self:
        """Rows of all blocks, one after the other."""
        starts = np.cumsum([0, *(block.offsets[-1] for block in blocks)])
        offsets = [block.offsets[1:] + start for block, start in zip(blocks, starts, strict=False)]
        others = [field.name for field in fields(cls) if field.name != "offsets"]
        columns = {name: np.concatenate([getattr(block, name) for block in blocks]) for name in others}
        return cls(offsets=np.concatenate([[0], *offsets]).astype(np.int64), **columns)


@dataclass(frozen=True, eq=False)
class Scored(_Rows):
    """What a model keeps of texts, or of answers of its own."""

    ids: Integers
    """int32 ``[N]``: the token at each scored position."""

    logprob: Floats
    """float32 ``[N]``: nats, of that token given what stands before it."""

    top_ids: Integers
    """int32 ``[N, K]``: the likeliest tokens, likeliest first."""

    top_logprob: Floats
    """float32 ``[N, K]``: their log-probabilities (nats)."""

    tail: Floats
    """float32 ``[N]``: log of the probability of all other tokens together; -inf where there is none."""

    @classmethod
    def empty(cls) -> Self:
        """No rows."""
        none, pairs = np.zeros(0, np.float32), np.zeros((0, TOP), np.float32)
        ids = np.zeros(0, np.int32)
        return cls(np.zeros(1, np.int64), ids, none, np.zeros((0, TOP), np.int32), pairs, none)


@dataclass(frozen=True, eq=False)
class Crossed(_Rows):
    """What a model says at positions where another one, the author, has kept its own distribution.

    Where the two have different vocabularies only ``logprob`` means something: its positions are then the tokens
    of this model, and the others hold NaN.
    """

    logprob: Floats
    """float32 ``[N]``: nats, this model's, of the token that stands there."""

    estimate: Floats
    """float32 ``[N]``: KL(author || this), nats: exact over the kept tokens, and of the others by the token that
    stands there. Without bias where that token was drawn from the author's distribution."""

    lower: Floats
    """float32 ``[N]``: the KL is at least this: all other tokens as one (log-sum inequality)."""

    upper: Floats
    """float32 ``[N]``: the KL is at most this: the author's other tokens placed, each below the last one kept, where
    this model expects them least."""

    agrees: Floats
    """float32 ``[N]``: 1 where both have the same likeliest token, else 0."""


def keep(logits_NV: Float[Tensor, "n v"], ids_N: Int[Tensor, " n"], top: int = TOP) -> Arrays:
    """The columns of ``Scored`` but for the offsets, from logits (float32; overwritten), masked where no token is."""
    logits_NV = logits_NV.sub_(logits_NV.amax(dim=-1, keepdim=True))
    own_N = logits_NV.gather(1, ids_N[:, None])[:, 0]
    top_NK = logits_NV.topk(min(top, logits_NV.shape[1]), dim=-1)
    weights_NV = logits_NV.exp_()
    total_N = weights_NV.sum(dim=-1).log()
    tail_N = weights_NV.scatter_(1, top_NK.indices, 0.0).sum(dim=-1).log() - total_N
    return {
        "ids": _array(ids_N, np.int32),
        "logprob": _array(own_N - total_N),
        "top_ids": _array(top_NK.indices, np.int32),
        "top_logprob": _array(top_NK.values - total_N[:, None]),
        "tail": _array(tail_N),
    }


def compare(logits_NV: Float[Tensor, "n v"], author: Scored, place: Integers) -> Arrays:
    """The columns of ``Crossed`` but for the offsets: the logits (float32; overwritten) are those at the author's
    positions ``place`` ``[n]``."""
    device, size = logits_NV.device, logits_NV.shape[1]
    best_N = logits_NV.argmax(dim=-1)
    logits_NV = logits_NV.sub_(logits_NV.logsumexp(dim=-1, keepdim=True)).clamp_(min=LEAST)
    ids_N = torch.from_numpy(np.asarray(author.ids[place], np.int64)).to(device)
    top_NK = torch.from_numpy(np.asarray(author.top_ids[place], np.int64)).to(device)
    p_NK = torch.from_numpy(np.asarray(author.top_logprob[place], np.float64)).to(device)
    tail_N = torch.from_numpy(np.asarray(author.tail[place], np.float64)).to(device)
    own_N = torch.from_numpy(np.asarray(author.logprob[place], np.float64)).to(device)

    # Tokens that this model has no row for.
    lacking_NK, lacking_N = top_NK >= size, ids_N >= size
    q_NK = logits_NV.gather(1, top_NK.masked_fill(lacking_NK, 0)).masked_fill(lacking_NK, LEAST).double()
    q_N = logits_NV.gather(1, ids_N.masked_fill(lacking_N, 0)[:, None])[:, 0].masked_fill(lacking_N, LEAST).double()

    head_N = (p_NK.exp() * (p_NK - q_NK)).sum(dim=-1)
    in_tail_N = (top_NK != ids_N[:, None]).all(dim=-1)
    estimate_N = head_N + torch.where(in_tail_N, own_N - q_N, 0.0)

    # What the author has kept is out of the tail from here on: above every other log-probability.
    kept_NK = torch.where(lacking_NK, top_NK[:, :1].clamp_max(size - 1), top_NK)
    logits_NV.scatter_(1, kept_NK, torch.inf)
    mass_N = tail_N.exp()
    share_N = logits_NV.masked_fill(logits_NV == torch.inf, -torch.inf).exp().sum(dim=-1).double()
    share_N = share_N.clamp_min(float(np.exp(LEAST))).log()
    tailless_N = mass_N == 0
    lower_N = head_N + torch.where(tailless_N, 0.0, mass_N * (tail_N - share_N))
    upper_N = head_N + torch.where(tailless_N, 0.0, _worst_tail(logits_NV, mass_N, p_NK[:, -1]))
    return {
        "logprob": _array(q_N),
        "estimate": _array(estimate_N),
        "lower": _array(lower_N),
        # Rounding must not put the upper bound below the lower one.
        "upper": _array(torch.maximum(lower_N, upper_N)),
        "agrees": _array((best_N == top_NK[:, 0]).float()),
    }


def _worst_tail(q_NV: Tensor, mass_N: Tensor, last_N: Tensor) -> Tensor:
    """The largest ``sum p log(p / q)`` over tails of the given mass in which no token is above ``exp(last)``.

    A convex function of p is largest at a corner of what is allowed: the limit on as many tokens as it fills, the
    rest on one more, the least likely ones of q first. ``q`` has log-probabilities, +inf where a token is kept.
    """
    limit_N = last_N.exp()
    # Not more than there are: of a flat tail the last kept token may round below the average of the others.
    full_N = (mass_N / limit_N).floor().clamp_max(q_NV.shape[1] - 1).long()
    worst_N = torch.zeros_like(mass_N)
    # Rows that need about as many of the least likely tokens are sorted together.
    widths_N = 2 ** torch.ceil(torch.log2(full_N.double() + 1)).long()
    for width in widths_N.unique().tolist():
        rows = (widths_N == width).nonzero()[:, 0]
        least_RK = q_NV[rows].topk(min(width, q_NV.shape[1]), dim=-1, largest=False).values.double()
        least_RK = least_RK.masked_fill(least_RK == torch.inf, 0.0)
        upto_RK = torch.nn.functional.pad(least_RK.cumsum(dim=-1), (1, 0))
        full, limit, mass = full_N[rows][:, None], limit_N[rows], mass_N[rows]
        rest = (mass - full[:, 0] * limit).clamp_min(0.0)
        filled = full[:, 0] * limit * last_N[rows] - limit * upto_RK.gather(1, full)[:, 0]
        next_q = least_RK.gather(1, full.clamp_max(least_RK.shape[1] - 1))[:, 0]
        worst_N[rows] = filled + torch.where(rest > 0, rest * (rest.clamp_min(1e-300).log() - next_q), 0.0)
    return worst_N


def _array(values: Tensor, dtype: Any = np.float32) -> NDArray[Any]:
    array: NDArray[Any] = values.cpu().numpy().astype(dtype)
    return array
