"""Routers: which experts of a partition a token needs, told from the FFN's input alone.

CENTROID and MLP follow MoEfication (Zhang and others, 2022, arXiv 2110.01786); RIDGE, one linear solve, is ours.
Legend: L layers, N tokens, D hidden size, E experts.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional

from armillary.errors import StorageError, UsageError
from armillary.methods.bricks.expert_scores import ScoreKind, score_mass
from armillary.methods.bricks.stored import array_digest
from armillary.runs.atomic import write_atomic

RouterKind = Literal["oracle", "centroid", "ridge", "mlp"]
_FORMAT = "armillary-router-1"


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
        found: Tensor = functional.normalize(x_ND, dim=1) @ first_ED.T
        return found.tanh() @ self.second_LEE[layer].to(x_ND).T if self.second_LEE is not None else found

    def mass(self, scores_NE: Tensor) -> Tensor:
        """Predicted mass of each expert, up to a factor, from predicted scores; UsageError for a centroid router.

        The MLP predicts scores as shares of the largest one through a sigmoid.
        """
        if self.kind == "centroid":
            raise UsageError("a centroid router only orders the experts, so it can't tell a share; give k.")
        return score_mass(scores_NE.sigmoid() if self.kind == "mlp" else scores_NE, self.score)

    def on(self, device: torch.device, dtype: torch.dtype) -> "Router":
        """The same router with its weights in the given place and type."""

        def moved(values: Tensor | None) -> Tensor | None:
            return None if values is None else values.to(device, dtype)

        return replace(
            self,
            first_LED=moved(self.first_LED),
            bias_LE=moved(self.bias_LE),
            second_LEE=moved(self.second_LEE),
        )

    @property
    def weights_per_layer(self) -> int:
        """Numbers that are read at each token in each layer; 0 for an oracle, whose cost is not counted."""
        return sum(values[0].numel() for values in self.tensors().values())

    @property
    def digest(self) -> str:
        """Names the kind and every number."""
        parts = [array_digest(values.float().cpu().numpy()) for values in self.tensors().values()]
        return "-".join([self.kind, self.score, *parts])

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data: what it is, not its weights."""
        return {"kind": self.kind, "score": self.score, "weights_per_layer": self.weights_per_layer}

    def save(self, path: Path | str) -> None:
        """One safetensors file, whole or not there."""
        tensors = {name: values.detach().float().cpu().contiguous() for name, values in self.tensors().items()}
        header = {"format": _FORMAT, "kind": self.kind, "score": self.score}
        write_atomic(Path(path), save(tensors, metadata=header))

    @classmethod
    def load(cls, path: Path | str) -> "Router":
        """The router of a file; StorageError where it can't be read or holds something else."""
        try:
            with safe_open(Path(path), framework="pt") as file:
                header = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no iterator)
        except (OSError, SafetensorError) as error:
            raise StorageError(f"{path} can't be read as safetensors: {error}.") from error
        if header.get("format") != _FORMAT:
            raise StorageError(f"{path} is no router of this format: its header says {header.get('format')!r}.")
        kind: Any = header.get("kind")
        score: Any = header.get("score")
        return cls(
            kind=kind,
            score=score,
            first_LED=tensors.get("first"),
            bias_LE=tensors.get("bias"),
            second_LEE=tensors.get("second"),
        )


def oracle(score: ScoreKind = "norm") -> Router:
    """The router that knows the scores themselves."""
    return Router(kind="oracle", score=score)
