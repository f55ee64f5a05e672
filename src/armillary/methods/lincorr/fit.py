"""A fitted map between two prompts together with the words, prompts and model it belongs to."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from armillary.errors import UsageError
from armillary.methods.lincorr.config import Space
from armillary.methods.lincorr.precision import Weights
from armillary.methods.lincorr.words import WordTable
from armillary.numerics import LinearFit


@dataclass(frozen=True, kw_only=True)
class RelationFit:
    """``y_t(X) ~ y_s(X) @ weight + intercept`` for one pair of prompts of one model."""

    relation: str
    source_template: str
    target_template: str
    source: WordTable
    target: WordTable
    gold: tuple[frozenset[int], ...]
    """For each source column the target columns that are right in the world."""

    linear: LinearFit
    standardized_ST: Float[Tensor, "s t"]
    """Weights in units of the usual spread of source and target logits."""

    space: Space
    chat_template: bool
    model: str
    """Fingerprint of the model it was fitted on."""

    @property
    def weight_ST(self) -> Float[Tensor, "s t"]:
        """Rows are source tokens, columns target tokens; float64."""
        return self.linear.weight

    def weights(self, kind: Weights = "raw") -> Float[Tensor, "s t"]:
        """Raw or standardized weights."""
        if kind not in ("raw", "standardized"):
            raise UsageError(f"weights must be 'raw' or 'standardized'; got {kind!r}.")
        return self.weight_ST if kind == "raw" else self.standardized_ST

    def predict(self, source_NS: Float[Tensor, "n s"]) -> Float[Tensor, "n t"]:
        """Target logits predicted from source logits, float64."""
        return self.linear.predict(source_NS)

    def influence(self, source: str, target: str, *, weights: Weights = "raw") -> float:
        """Weight of a source word on a target word; UsageError for a word that is not in its domain."""
        return float(self.weights(weights)[self.source.column(source), self.target.column(target)])

    def influenced(self, source: str, n: int = 5, *, weights: Weights = "raw") -> list[tuple[str, float]]:
        """The ``n`` target words on which a source word has the largest weights."""
        return _largest(self.weights(weights)[self.source.column(source)], self.target.labels, n)

    def influencing(self, target: str, n: int = 5, *, weights: Weights = "raw") -> list[tuple[str, float]]:
        """The ``n`` source words with the largest weights on a target word."""
        return _largest(self.weights(weights)[:, self.target.column(target)], self.source.labels, n)


def _largest(weights: Tensor, labels: tuple[str, ...], n: int) -> list[tuple[str, float]]:
    top = torch.topk(weights, min(n, len(labels)))
    return [(labels[int(j)], float(w)) for w, j in zip(top.values, top.indices, strict=True)]
