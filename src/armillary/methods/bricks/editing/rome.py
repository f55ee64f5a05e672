"""One fact changed in one FFN: the closed form of ROME and the brick that holds it.

With key k, wanted value v and C = E[k k^T] over general text, the W' nearest to W in the metric of C with W' k = v is
``W + (v - W k) u^T / (u . k)``, ``u = C^-1 k``: rank one, and a key k' is untouched where ``u . k' = 0``. What general
keys write moves by ``|v - W k|^2 / (u . k)`` in the mean square: ``u . k`` says how well the key stands apart.
Legend: M neurons, D hidden size.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from armillary.errors import NumericError, UsageError
from armillary.methods.bricks.editing.answers import PREFIXES, base_answers_right, fact_rows
from armillary.methods.bricks.editing.facts import Fact
from armillary.methods.bricks.editing.key_value import KeyCovariance, ValueSettings, find_value, read_subject
from armillary.methods.bricks.editing.metrics import EditScores, FactOutcome, edit_outcome, score_edits
from armillary.methods.bricks.payloads import LowRank
from armillary.models import LoadedModel
from armillary.models.feed_forward import feed_forward
from armillary.records.plain import plain

LEAST_SEPARATION = 1.0
"""Below it a general key is moved more than the edited one; a typical key has about as much as there are neurons."""


@dataclass(frozen=True, kw_only=True, eq=False)
class KeyDirection:
    """The row of a rank-one change; with a residual ``v - W k`` the new matrix is ``W + residual @ direction``."""

    direction_M: Tensor
    """``u / (u . k)``, float64: its product with the key is 1."""

    separation: float
    """``u . k``."""


def key_direction(key_M: Float[Tensor, " m"], second_moment_MM: Float[Tensor, "m m"] | None) -> KeyDirection:
    """The closed form in float64; ``None`` takes the identity for C.

    NumericError when C is not positive definite, the key is zero, or ``u . k`` is below ``LEAST_SEPARATION`` (with the
    identity it is ``|k|^2``, which has no such scale, and only zero is refused).
    """
    key64_M = key_M.double()
    if second_moment_MM is None:
        u_M = key64_M
    else:
        factor, bad = torch.linalg.cholesky_ex(second_moment_MM.double())
        if int(bad):
            raise NumericError("the covariance of keys is not positive definite; give more text or a ridge above 0.")
        u_M = torch.cholesky_solve(key64_M[:, None], factor)[:, 0]
    separation = float(u_M @ key64_M)
    least = 0.0 if second_moment_MM is None else LEAST_SEPARATION
    if not separation > 0 or separation < least or not separation < float("inf"):
        raise NumericError(
            f"the key can't be told from those of general text: u . k is {separation:.3g}, and more than {least:g} is "
            "needed; try another layer or another subject."
        )
    return KeyDirection(direction_M=u_M / separation, separation=separation)


@dataclass(frozen=True, kw_only=True, eq=False)
class FactEdit:
    """A fact, the change that writes it, and how it was found."""

    fact: Fact
    layer: int
    payload: LowRank
    """Rank one on the layer's write matrix."""

    separation: float
    """``u . k``; a general key moves by ``|residual|^2 / separation`` in the mean square."""

    relative_change: float
    """``|residual| / |v0|``."""

    losses: tuple[float, ...]
    """Of the search for the value."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data, without the tensors."""
        return {
            "fact": plain(self.fact),
            "layer": self.layer,
            "paths": list(self.payload.factors),
            "separation": self.separation,
            "relative_change": self.relative_change,
            "losses": list(self.losses),
        }


def edit_fact(
    loaded: LoadedModel,
    fact: Fact,
    layer: int,
    covariance: KeyCovariance | None,
    *,
    prefixes: Sequence[str] = PREFIXES,
    settings: ValueSettings | None = None,
    require_known: bool = True,
) -> FactEdit:
    """The brick that makes ``target_new`` the answer, written at one layer; the model itself is not changed.

    The key is the mean over ``prefixes`` of the write matrix's input at the subject's last token. ``covariance=None``
    takes the identity. UsageError, before anything is computed, when the covariance is another layer's, and when
    greedy decoding of the model does not give ``target_true`` (unless ``require_known`` is False); NumericError for a
    key that can't be told from general text.
    """
    if covariance is not None and covariance.layer != layer:
        raise UsageError(f"the covariance is of layer {covariance.layer} and the edit of layer {layer}.")
    if require_known:
        refuse_unknown(loaded, [fact])
    metric_MM = None if covariance is None else covariance.with_ridge()
    key_M = read_subject(loaded, fact_rows(loaded, fact, prefixes), [layer])[layer].key_M
    key = key_direction(key_M, metric_MM)
    value = find_value(loaded, fact, layer, prefixes=prefixes, settings=settings)
    factors = (key.direction_M[None].float(), value.delta_D[:, None].float())
    return FactEdit(
        fact=fact,
        layer=layer,
        payload=LowRank({feed_forward(loaded, layer).write_path: factors}),
        separation=key.separation,
        relative_change=float(value.delta_D.norm()) / value.base_norm,
        losses=value.losses,
    )


def refuse_unknown(loaded: LoadedModel, facts: Sequence[Fact]) -> None:
    """UsageError naming the first fact that the model does not know: nothing could be seen to change."""
    for fact, right in zip(facts, base_answers_right(loaded, facts), strict=True):
        if not right:
            raise UsageError(
                f"{loaded.name} does not answer {fact.prompt.replace('{}', fact.subject)!r} with "
                f"{fact.target_true!r}, so an edit of it shows nothing; choose a fact it knows."
            )


@dataclass(frozen=True, kw_only=True)
class LayerSweep:
    """Scores of each layer over the same facts."""

    scores: Mapping[int, EditScores]
    """Only layers at which every fact could be edited."""

    refused: Mapping[int, str]
    """Layer to the reason why a fact could not be edited there."""

    best: int
    """Highest harmonic score (efficacy where there is none); the lower layer on a tie."""


def choose_layer(
    loaded: LoadedModel,
    trial: Sequence[Fact],
    layers: Sequence[int],
    covariances: Mapping[int, KeyCovariance] | None,
    *,
    meant_for: Sequence[Fact] = (),
    prefixes: Sequence[str] = PREFIXES,
    settings: ValueSettings | None = None,
    require_known: bool = True,
    seed: int = 0,
) -> LayerSweep:
    """The scores of every layer, at which every trial fact was edited alone, and the best of them.

    Trying is needed since the layer where a fact is found need not be the one where it is best written.
    ``covariances=None`` takes the identity. UsageError when a trial subject is among ``meant_for`` (the choice would
    have seen what it is judged on), for no fact or layer, or when no layer could be edited.
    """
    shared = {fact.subject for fact in trial} & {fact.subject for fact in meant_for}
    if shared or not trial or not layers:
        raise UsageError(
            "a sweep needs at least one layer and one fact, none of them a fact to be edited later; "
            f"got {len(layers)} layers, {len(trial)} facts and these in both: {sorted(shared)}."
        )
    scores: dict[int, EditScores] = {}
    refused: dict[int, str] = {}
    for layer in layers:
        try:
            outcomes: list[FactOutcome] = []
            for fact in trial:
                edit = edit_fact(
                    loaded,
                    fact,
                    layer,
                    None if covariances is None else covariances[layer],
                    prefixes=prefixes,
                    settings=settings,
                    require_known=require_known,
                )
                outcomes += edit_outcome(loaded, [fact], edit.payload)
            scores[layer] = score_edits(outcomes, seed=seed)
        except NumericError as error:
            refused[layer] = str(error)
    if not scores:
        raise UsageError(f"no layer could be edited; layer {layers[0]}: {refused[layers[0]]}")
    best = max(sorted(scores), key=lambda layer: (scores[layer].score or scores[layer].efficacy).estimate)
    return LayerSweep(scores=scores, refused=refused, best=best)
