"""Many facts changed together over several layers: MEMIT, with the null-space projection of AlphaEdit as an option.

With keys K and residuals R the change of a layer is ``R K^T (lambda C + K K^T)^-1``, written here as
``R (lambda I + K^T C^-1 K)^-1 K^T C^-1``: equal, one small system of as many rows as facts, and exact at lambda = 0.
Legend: M neurons, D hidden size, N facts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from armillary.errors import ModelError, NumericError, UsageError
from armillary.methods.bricks.editing.answers import FactRow, fact_rows
from armillary.methods.bricks.editing.facts import Fact
from armillary.methods.bricks.editing.key_value import (
    KeyCovariance,
    SubjectReading,
    ValueSettings,
    added_at,
    find_value,
    read_subject,
)
from armillary.methods.bricks.editing.rome import refuse_unknown
from armillary.methods.bricks.low_rank import applied
from armillary.methods.bricks.payloads import LowRank
from armillary.models import LoadedModel
from armillary.models.feed_forward import feed_forward
from armillary.records.plain import plain

WEIGHT = 15_000.0
"""lambda of MEMIT, for models of some 15,000 neurons a layer: how much general keys count against the edited ones.

A typical key has ``k^T C^-1 k`` of about the number of neurons, so a change keeps about ``m / (m + weight)`` of its
strength: smaller models want a smaller weight."""


def many_keys(
    keys_MN: Float[Tensor, "m n"], second_moment_MM: Float[Tensor, "m m"], weight: float | int = WEIGHT
) -> Float[Tensor, "n m"]:
    """``K^T (weight C + K K^T)^-1`` in float64; a change is residuals times it. At weight 0 the limit, exact on keys.

    NumericError when C is not positive definite, or at weight 0 when the keys depend on one another.
    """
    factor, bad = torch.linalg.cholesky_ex(second_moment_MM.double())
    if int(bad):
        raise NumericError("the covariance of keys is not positive definite; give more text or a ridge above 0.")
    return _solved(keys_MN.double(), torch.cholesky_solve(keys_MN.double(), factor), weight)


def many_keys_apart(
    keys_MN: Float[Tensor, "m n"], free_MM: Float[Tensor, "m m"], weight: float | int = WEIGHT
) -> Float[Tensor, "n m"]:
    """The same inside the space that general keys leave free: ``(weight I + K^T P K)^-1 K^T P``, float64.

    Its product with any vector that P removes is zero: what lies in the protected directions is not moved at all.
    """
    keys64_MN = keys_MN.double()
    return _solved(keys64_MN, free_MM.double() @ keys64_MN, weight)


def free_space(second_moment_MM: Float[Tensor, "m m"], protected: float = 0.99) -> Float[Tensor, "m m"]:
    """The projection P onto the directions that hold the last ``1 - protected`` of the energy of general keys.

    UsageError unless ``protected`` lies between 0 and 1; NumericError where no direction is that free.
    """
    if not 0 < protected < 1:
        raise UsageError(f"the protected share of energy must lie between 0 and 1; got {protected}.")
    values_M, vectors_MM = torch.linalg.eigh(second_moment_MM.double())
    held_M = values_M.clamp_min(0).cumsum(0) / values_M.clamp_min(0).sum()
    free_MK = vectors_MM[:, held_M <= 1 - protected]
    if not free_MK.shape[1]:
        raise NumericError(f"general keys leave no direction free at a protected share of {protected}; lower it.")
    projection_MM: Tensor = free_MK @ free_MK.T
    return projection_MM


def _solved(keys_MN: Tensor, turned_MN: Tensor, weight: float) -> Tensor:
    if not 0 <= weight < float("inf"):
        raise UsageError(f"the weight of general keys must be a finite number of at least 0; got {weight}.")
    gram_NN = keys_MN.T @ turned_MN
    system_NN = gram_NN + weight * torch.eye(len(gram_NN), dtype=torch.float64)
    if float(torch.linalg.cond(system_NN)) > 1e12:
        raise NumericError("the keys depend on one another; give each subject once, or a weight above 0.")
    solved_NM: Tensor = torch.linalg.solve(system_NN, turned_MN.T)
    return solved_NM


@dataclass(frozen=True, kw_only=True, eq=False)
class BatchEdit:
    """One change for many facts."""

    facts: tuple[Fact, ...]
    layers: tuple[int, ...]
    payload: LowRank
    """Rank ``len(facts)`` on the write matrix of each layer."""

    reached: tuple[float, ...]
    """Per fact, how much of the wanted change the last layer shows at the subject: 1 - |Z - H| / |Z - H before|."""

    losses: tuple[tuple[float, ...], ...]
    """Of each fact's search for its value."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data, without the tensors."""
        return {
            "facts": plain(self.facts),
            "layers": list(self.layers),
            "paths": list(self.payload.factors),
            "reached": list(self.reached),
            "losses": [list(losses) for losses in self.losses],
        }


def edit_facts(
    loaded: LoadedModel,
    facts: Sequence[Fact],
    layers: Sequence[int],
    covariances: Mapping[int, KeyCovariance],
    *,
    weight: float | int = WEIGHT,
    settings: ValueSettings | None = None,
    protected: float | None = None,
    require_known: bool = True,
) -> BatchEdit:
    """The brick that writes all facts at once, spread over ``layers``; the model itself is not changed.

    Values are searched at the last layer; then, layer by layer with the changes so far in place, keys and remaining
    residuals are read again and an equal part of the rest is written. ``protected`` (such as 0.99) writes only into
    directions outside that share of the energy of general keys. UsageError for no fact, a subject given twice, layers
    not rising, a missing covariance or a fact the model does not know; ModelError for several layers where an FFN's
    output does not enter the stream unchanged (Gemma normalises it first): give one layer there.
    """
    _check(loaded, facts, layers, covariances)
    if require_known:
        refuse_unknown(loaded, facts)
    rows = [fact_rows(loaded, fact) for fact in facts]
    last, single = layers[-1], len(layers) == 1
    values = [find_value(loaded, fact, last, settings=settings) for fact in facts]
    start_DN = _outputs(_read(loaded, rows, [last]), last, single)
    wanted_DN = start_DN + torch.stack([value.delta_D for value in values], dim=1)
    payload = LowRank({})
    for index, layer in enumerate(layers):
        with applied(loaded, payload):
            readings = _read(loaded, rows, [layer, last])
        residual_DN = (wanted_DN - _outputs(readings, last, single)) / (len(layers) - index)
        keys_MN = torch.stack([reading[layer].key_M for reading in readings], dim=1)
        second_moment_MM = covariances[layer].with_ridge()
        if protected is None:
            a_NM = many_keys(keys_MN, second_moment_MM, weight)
        else:
            size = float(second_moment_MM.diagonal().mean())  # the weight counts in units of a general key
            a_NM = many_keys_apart(keys_MN, free_space(second_moment_MM, protected), weight * size)
        factors = {feed_forward(loaded, layer).write_path: (a_NM.float(), residual_DN.float())}
        payload = LowRank({**payload.factors, **factors})
    with applied(loaded, payload):
        rest_DN = wanted_DN - _outputs(_read(loaded, rows, [last]), last, single)
    reached = 1 - rest_DN.norm(dim=0) / (wanted_DN - start_DN).norm(dim=0).clamp_min(1e-30)
    return BatchEdit(
        facts=tuple(facts),
        layers=tuple(layers),
        payload=payload,
        reached=tuple(reached.tolist()),
        losses=tuple(value.losses for value in values),
    )


def _read(loaded: LoadedModel, rows: list[list[FactRow]], layers: list[int]) -> list[dict[int, SubjectReading]]:
    return [read_subject(loaded, fact, layers) for fact in rows]


def _outputs(readings: list[dict[int, SubjectReading]], layer: int, single: bool) -> Tensor:
    """What the residual is taken of: the stream after the last layer, or with one layer the write itself."""
    at_last = [reading[layer] for reading in readings]
    return torch.stack([reading.write_D if single else reading.stream_D for reading in at_last], dim=1)


def _check(
    loaded: LoadedModel, facts: Sequence[Fact], layers: Sequence[int], covariances: Mapping[int, KeyCovariance]
) -> None:
    subjects = [fact.subject for fact in facts]
    twice = [subject for subject in subjects if subjects.count(subject) > 1]
    if not facts or twice:
        raise UsageError(f"give at least one fact and each subject once; got {twice[:1] or 'none'}.")
    if not layers or any(a >= b for a, b in pairwise(layers)):
        raise UsageError(f"layers must be given in rising order, at least one; got {list(layers)}.")
    for layer in layers:
        feed_forward(loaded, layer)
        if layer not in covariances:
            raise UsageError(
                f"no covariance of keys is given for layer {layer}; those given are {sorted(covariances)}."
            )
        if len(layers) > 1 and not _adds_to_stream(loaded, layer):
            raise ModelError(
                f"layer {layer} of {loaded.name} changes its FFN's output before it enters the stream, so an edit "
                "can't be spread over layers; give one layer."
            )


@torch.no_grad()
def _adds_to_stream(loaded: LoadedModel, layer: int) -> bool:
    """Measured: a vector added to the write's output comes out of the layer unchanged."""
    ids = [5, 7, 11, 13]  # any tokens do: what is asked is whether an addition passes through
    row = FactRow(ids=tuple(ids), subject=3, answer=4)
    before_D = read_subject(loaded, [row], [layer])[layer].stream_D
    pushed_D = torch.randn(len(before_D), generator=torch.Generator().manual_seed(0)).to(loaded.device)
    with added_at(feed_forward(loaded, layer).write, torch.tensor([3], device=loaded.device), pushed_D):
        after_D = read_subject(loaded, [row], [layer])[layer].stream_D
    # A stream of large numbers in bfloat16 rounds what is added to it.
    rounding = 4 * torch.finfo(loaded.dtype).eps * float(before_D.norm())
    pushed64_D = pushed_D.cpu().double()
    return float((after_D - before_D - pushed64_D).norm()) < 1e-2 * float(pushed64_D.norm()) + rounding
