"""Which layer to edit: tried on facts that are not those to be edited (the layer where a fact is found is not it)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from armillary.errors import NumericError, UsageError
from armillary.methods.bricks.edit import edit_fact
from armillary.methods.bricks.edit_keys import RIDGE, KeyCovariance
from armillary.methods.bricks.edit_metrics import EditScores, FactOutcome, edit_outcome, score_edits
from armillary.methods.bricks.edit_value import ValueSettings
from armillary.methods.bricks.fact_rows import PREFIXES
from armillary.methods.bricks.facts import Fact
from armillary.models import LoadedModel


@dataclass(frozen=True, kw_only=True)
class LayerSweep:
    """Scores of each layer over the same facts."""

    scores: Mapping[int, EditScores]
    """Only layers at which every fact could be edited."""

    refused: Mapping[int, str]
    """Layer to the reason why a fact could not be edited there."""

    best: int
    """Highest harmonic score (efficacy where there is none); the lower layer on a tie."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        scores = {str(layer): one.to_dict() for layer, one in self.scores.items()}
        return {"scores": scores, "refused": {str(k): v for k, v in self.refused.items()}, "best": self.best}


def choose_layer(
    loaded: LoadedModel,
    trial: Sequence[Fact],
    layers: Sequence[int],
    covariances: Mapping[int, KeyCovariance] | None,
    *,
    meant_for: Sequence[Fact] = (),
    prefixes: Sequence[str] = PREFIXES,
    settings: ValueSettings | None = None,
    ridge: float | int = RIDGE,
    require_known: bool = True,
    seed: int = 0,
) -> LayerSweep:
    """Edit every trial fact alone at every layer and compare.

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
                    ridge=ridge,
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
