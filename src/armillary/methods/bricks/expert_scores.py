"""How much each expert of a layer does at a token, and which experts to run.

Legend: N tokens, M neurons, D hidden size, E experts.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from armillary.errors import UsageError
from armillary.methods.bricks.feed_forward import weight_OI
from armillary.methods.bricks.ffn_function import FfnFunction
from armillary.methods.bricks.payloads import Index, Partition

ScoreKind = Literal["norm", "energy", "magnitude"]
"""``norm``: size of what the expert writes, ``||sum a_i down_i||``.
``energy``: root of the sum of squared sizes of what its neurons write, ``sqrt(sum a_i^2 ||down_i||^2)``.
``magnitude``: MoEfication's sum of ``relu(a_i)``; in gated FFNs, where an activation can be negative, of ``|a_i|``."""


def expert_neurons(partition: Partition, layer: int, always: Index | None = None) -> list[NDArray[np.int64]]:
    """The neurons of each expert of a layer, rising; those in ``always`` run anyway and belong to no expert.

    UsageError for a neuron of ``always`` that the partition lacks.
    """
    labels_M = partition.labels_LM[layer].copy()
    if always is not None:
        labels_M[always.mask(*partition.labels_LM.shape)[layer]] = -1
    return [np.flatnonzero(labels_M == expert) for expert in range(partition.experts)]


class ExpertScorer:
    """The oracle scores of one layer, from activations of all its neurons."""

    def __init__(
        self, function: FfnFunction, partition: Partition, kind: ScoreKind, always: Index | None = None
    ) -> None:
        if kind not in get_args(ScoreKind):
            raise UsageError(f"the score of an expert is {', '.join(get_args(ScoreKind))}; got {kind!r}.")
        self.kind = kind
        write_DM = weight_OI(function.parts.write).detach().float()
        self._gated = function.up is not None
        self._neurons = [
            torch.from_numpy(chosen).to(write_DM.device)
            for chosen in expert_neurons(partition, function.parts.layer, always)
        ]
        self._down = [write_DM[:, chosen] for chosen in self._neurons] if kind == "norm" else []
        self._member_ME = torch.zeros(write_DM.shape[1], len(self._neurons), device=write_DM.device)
        for expert, chosen in enumerate(self._neurons):
            self._member_ME[chosen, expert] = write_DM[:, chosen].square().sum(0) if kind == "energy" else 1.0

    def __call__(self, a_NM: Float[Tensor, "n m"]) -> Float[Tensor, "n e"]:
        """The score of each expert at each token, float32, 0 or more."""
        a = a_NM.float()
        if self.kind == "norm":
            written = [a[:, chosen] @ down_DS.T for chosen, down_DS in zip(self._neurons, self._down, strict=True)]
            return torch.stack([torch.linalg.vector_norm(one_ND, dim=1) for one_ND in written], dim=1)
        if self.kind == "energy":
            return (a.square() @ self._member_ME).sqrt()
        return (a.abs() if self._gated else a.relu()) @ self._member_ME


def score_mass(scores_NE: Tensor, kind: ScoreKind) -> Tensor:
    """What adds up over experts: squares of norms and energies, magnitudes as they are; predictions below 0 are 0."""
    positive = scores_NE.clamp_min(0)
    return positive if kind == "magnitude" else positive.square()


@dataclass(frozen=True, kw_only=True)
class Choice:
    """How many experts run at a token: ``k``, or the fewest that are predicted to hold ``share`` of the mass."""

    k: int | None = None
    share: float | None = None

    def __post_init__(self) -> None:
        if (self.k is None) == (self.share is None):
            raise UsageError(f"give either k or share; got k = {self.k} and share = {self.share}.")
        if self.share is not None and not 0 < self.share <= 1:
            raise UsageError(f"the share of predicted mass must lie above 0 and up to 1; got {self.share}.")

    def check(self, experts: int) -> None:
        """UsageError for a k outside 0 to the number of experts."""
        if self.k is not None and not 0 <= self.k <= experts:
            raise UsageError(f"k must be 0 to {experts}, the number of experts; got {self.k}.")

    def mask(self, scores_NE: Tensor, mass_NE: Tensor | None = None) -> Bool[Tensor, "n e"]:
        """True for the experts to run: those of highest score; with ``share`` at least one, by falling ``mass``."""
        if self.k is not None:
            chosen_NK = scores_NE.topk(self.k, dim=1).indices
            return torch.zeros_like(scores_NE, dtype=torch.bool).scatter_(1, chosen_NK, True)
        assert mass_NE is not None and self.share is not None
        ordered_NE, order_NE = mass_NE.double().sort(dim=1, descending=True)
        before_NE = ordered_NE.cumsum(1) - ordered_NE
        needed_NE = before_NE < self.share * ordered_NE.sum(1, keepdim=True)
        needed_NE[:, 0] = True
        return torch.zeros_like(needed_NE).scatter_(1, order_NE, needed_NE)

    def of_one(self, scores_1E: Tensor, mass_1E: Tensor | None = None) -> list[int]:
        """The same for a single token, as rising indices: fewer steps, which count when one token is decoded."""
        if self.k is not None:
            return sorted(scores_1E[0].topk(self.k, sorted=False).indices.tolist())
        chosen: list[int] = self.mask(scores_1E, mass_1E)[0].nonzero()[:, 0].tolist()
        return chosen
