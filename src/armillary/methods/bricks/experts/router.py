"""Routers: which experts of a partition a token needs, by the FFN's input alone.

CENTROID and MLP follow MoEfication (Zhang and others, 2022, arXiv 2110.01786); RIDGE, one linear solve, is ours.
Beside them how much each expert of a layer does at a token, which is what routers predict, and which experts to run.
Legend: L layers, N tokens, M neurons, D hidden size, E experts.
"""

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from armillary.errors import UsageError
from armillary.methods.bricks.experts.config import RouterKind
from armillary.methods.bricks.payloads import Partition
from armillary.models.feed_forward import FfnFunction, weight_OI
from armillary.runs.parts import array_digest

ScoreKind = Literal["norm", "energy", "magnitude"]
"""``norm``: size of what the expert writes, ``||sum a_i down_i||``.
``energy``: root of the sum of squared sizes of what its neurons write, ``sqrt(sum a_i^2 ||down_i||^2)``.
``magnitude``: MoEfication's sum of ``relu(a_i)``; in gated FFNs, where an activation can be negative, of ``|a_i|``."""


def expert_neurons(partition: Partition, layer: int) -> list[NDArray[np.int64]]:
    """The neurons of each expert of a layer, rising."""
    return [np.flatnonzero(partition.labels_LM[layer] == expert) for expert in range(partition.experts)]


class ExpertScorer:
    """The oracle scores of one layer, from activations of all its neurons."""

    def __init__(self, function: FfnFunction, partition: Partition, kind: ScoreKind) -> None:
        if kind not in get_args(ScoreKind):
            raise UsageError(f"the score of an expert is {', '.join(get_args(ScoreKind))}; got {kind!r}.")
        self.kind = kind
        write_DM = weight_OI(function.parts.write).detach().float()
        self._gated = function.up is not None
        self._neurons = [
            torch.from_numpy(chosen).to(write_DM.device) for chosen in expert_neurons(partition, function.parts.layer)
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
            return torch.stack([torch.linalg.vector_norm(y_ND, dim=1) for y_ND in written], dim=1)
        if self.kind == "energy":
            return (a.square() @ self._member_ME).sqrt()
        return (a.abs() if self._gated else a.relu()) @ self._member_ME


def score_mass(scores_NE: Tensor, kind: ScoreKind) -> Tensor:
    """What adds up over experts: squares of norms and energies, magnitudes as they are; predictions below 0 are 0."""
    positive = scores_NE.clamp_min(0)
    return positive if kind == "magnitude" else positive.square()


@dataclass(frozen=True, kw_only=True)
class ExpertChoice:
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


@dataclass(frozen=True, kw_only=True, eq=False)
class Router:
    """What a router has learnt, for all layers; the oracle learns nothing and looks at all neurons (analysis only)."""

    kind: RouterKind
    score: ScoreKind
    """The quantity by which experts are ranked, which the router predicts (a centroid only orders)."""

    first_LED: Tensor | None = None
    """Unit centroids, ridge weights or the first matrix of the MLP, float32."""

    bias_LE: Tensor | None = None
    """Intercepts of the ridge."""

    second_LEE: Tensor | None = None
    """The second matrix of the MLP, ``[out, in]``."""

    def __post_init__(self) -> None:
        if self.kind not in get_args(RouterKind) or self.score not in get_args(ScoreKind):
            raise UsageError(f"no router of kind {self.kind!r} with score {self.score!r}.")
        if (self.kind == "oracle") != (self.first_LED is None) or (self.kind == "mlp") != (
            self.second_LEE is not None
        ):
            raise UsageError(f"a router of kind {self.kind!r} has other weights than those given.")
        for name, values in self.tensors().items():
            if not bool(values.isfinite().all()):
                raise UsageError(f"the router's {name} holds numbers that are not finite.")

    def tensors(self) -> dict[str, Tensor]:
        """The weights by name."""
        named = {"first": self.first_LED, "bias": self.bias_LE, "second": self.second_LEE}
        return {name: values for name, values in named.items() if values is not None}

    def scores(self, layer: int, x_ND: Tensor) -> Tensor:
        """Predicted scores ``[n, e]``, higher first; in the type of ``x``. UsageError for an oracle."""
        if self.first_LED is None:
            raise UsageError("an oracle has no weights: its scores come from the activations of all neurons.")
        first_ED = self.first_LED[layer].to(x_ND)
        if self.kind == "ridge":
            return functional.linear(x_ND, first_ED, None if self.bias_LE is None else self.bias_LE[layer].to(x_ND))
        scores_NE: Tensor = functional.normalize(x_ND, dim=1) @ first_ED.T
        if self.second_LEE is None:
            return scores_NE
        return scores_NE.tanh() @ self.second_LEE[layer].to(x_ND).T

    def mass(self, scores_NE: Tensor) -> Tensor:
        """Predicted mass of each expert, up to a factor, from predicted scores; UsageError for a centroid router.

        The MLP predicts scores as shares of the largest one through a sigmoid.
        """
        if self.kind == "centroid":
            raise UsageError("a centroid router only orders the experts, so it can't tell a share; give k.")
        return score_mass(scores_NE.sigmoid() if self.kind == "mlp" else scores_NE, self.score)

    def on(self, device: torch.device, dtype: torch.dtype) -> "Router":
        """The same router with its weights in the given place and type."""
        weights = {name: getattr(self, name) for name in ("first_LED", "bias_LE", "second_LEE")}
        return replace(self, **{name: value.to(device, dtype) for name, value in weights.items() if value is not None})

    @property
    def weights_per_layer(self) -> int:
        """Numbers that are read at each token in each layer; 0 for an oracle, whose cost is not counted."""
        return sum(values[0].numel() for values in self.tensors().values())

    @property
    def digest(self) -> str:
        """Names the kind and every number."""
        parts = [array_digest(values.float().cpu().numpy()) for values in self.tensors().values()]
        return "-".join([self.kind, self.score, *parts])


def oracle(score: ScoreKind = "norm") -> Router:
    """The router that knows the scores themselves."""
    return Router(kind="oracle", score=score)
