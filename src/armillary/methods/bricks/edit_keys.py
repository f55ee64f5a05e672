"""What an edit reads: the second moment of a layer's keys over general text, and the key of one subject.

A key is the input of a layer's FFN write matrix. Legend: N tokens, M neurons, D hidden size, P prefixes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from armillary.activations import run_texts, streaming
from armillary.errors import NumericError, UsageError
from armillary.methods.bricks.fact_rows import FactRow
from armillary.methods.bricks.feed_forward import feed_forward
from armillary.models import LoadedModel
from armillary.models.batches import pad, run_body

RIDGE = 1e-3
"""Added to the diagonal of C, in units of its mean; ours, for text that is short against the number of neurons."""


@dataclass(frozen=True, kw_only=True, eq=False)
class KeyCovariance:
    """``C = E[k k^T]`` of one layer, not centred."""

    layer: int
    second_moment_MM: Tensor
    """``[m, m]``, float64."""

    tokens: int

    def with_ridge(self, ridge: float | int = RIDGE) -> Tensor:
        """``C + ridge * mean(diag C) * I``. UsageError for a negative ridge; NumericError where C is zero."""
        if not 0 <= ridge < float("inf"):
            raise UsageError(f"ridge must be a finite number of at least 0; got {ridge}.")
        scale = float(self.second_moment_MM.diagonal().mean())
        if not scale > 0:
            raise NumericError(f"the neurons of layer {self.layer} were all zero over {self.tokens} tokens.")
        return self.second_moment_MM + ridge * scale * torch.eye(len(self.second_moment_MM), dtype=torch.float64)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data, without the matrix."""
        return {"layer": self.layer, "neurons": len(self.second_moment_MM), "tokens": self.tokens}


class _SecondMoments:
    """A reducer for some layers: sums of products in float64 on the host."""

    def __init__(self, layers: Sequence[int]) -> None:
        self.sums: dict[int, Tensor | None] = dict.fromkeys(layers)
        self.tokens = 0

    def update(self, layer: int, x_ND: Float[Tensor, "n d"]) -> None:
        """Add the products of some tokens."""
        if layer not in self.sums:
            return
        wide_ND = x_ND.cpu().double()
        held = self.sums[layer]
        self.sums[layer] = wide_ND.T @ wide_ND if held is None else held.addmm_(wide_ND.T, wide_ND)
        self.tokens += len(x_ND) if layer == next(iter(self.sums)) else 0


def key_covariances(
    loaded: LoadedModel,
    texts: Sequence[str],
    layers: Sequence[int],
    *,
    max_tokens: int = 256,
    tokens_per_batch: int = 2048,
    label: str | None = None,
) -> dict[int, KeyCovariance]:
    """Second moment of the keys of each layer over general text, one pass, sums in float64.

    Every token counts, the first of a text too: what an edit does to an attention sink is then limited like the rest.
    Texts are cut after ``max_tokens``. UsageError for no text, no layer or an unknown layer.
    """
    if not texts or not layers:
        raise UsageError("a covariance of keys needs at least one text and one layer.")
    for layer in layers:
        feed_forward(loaded, layer)
    reducer = _SecondMoments(layers)
    with streaming(loaded, "ffn", reducer):
        run_texts(loaded, texts, max_tokens=max_tokens, tokens_per_batch=tokens_per_batch, label=label)
    return {
        layer: KeyCovariance(layer=layer, second_moment_MM=total / reducer.tokens, tokens=reducer.tokens)
        for layer, total in reducer.sums.items()
        if total is not None
    }


@dataclass(frozen=True, kw_only=True, eq=False)
class SubjectReading:
    """What one layer held at the subject's last token, mean over the rows, float64 on the host."""

    key_M: Tensor
    """Input of the FFN write matrix."""

    write_D: Tensor
    """Output of the FFN write matrix, bias included, before any norm that follows."""

    stream_D: Tensor
    """Output of the whole layer."""


@torch.no_grad()
def read_subject(loaded: LoadedModel, rows: Sequence[FactRow], layers: Sequence[int]) -> dict[int, SubjectReading]:
    """Values at the subject's last token in each of some layers, one forward of all rows."""
    ids_BT, mask_BT = pad([row.ids for row in rows], device=loaded.device)
    at = torch.tensor([row.subject for row in rows], device=loaded.device)
    taken: dict[tuple[int, str], Tensor] = {}
    handles = []
    try:
        for layer in layers:
            write, whole = feed_forward(loaded, layer).write, loaded.anatomy.layers[layer]
            handles.append(write.register_forward_hook(_taker(taken, (layer, "write"), at)))
            handles.append(whole.register_forward_hook(_taker(taken, (layer, "stream"), at)))
        run_body(loaded, ids_BT, None if bool(mask_BT.all()) else mask_BT)
    finally:
        for handle in handles:
            handle.remove()
    return {
        layer: SubjectReading(
            key_M=taken[layer, "write input"],
            write_D=taken[layer, "write"],
            stream_D=taken[layer, "stream"],
        )
        for layer in layers
    }


def at_subject(x: Tensor, at_B: Tensor) -> Tensor:
    """``[b, d]``: the row at each place; models that flatten batch and tokens are undone."""
    x_BTD = x.reshape(len(at_B), -1, x.shape[-1])
    return x_BTD[torch.arange(len(at_B), device=x.device), at_B]


def _taker(taken: dict[tuple[int, str], Tensor], name: tuple[int, str], at_B: Tensor) -> Any:
    def take(_module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        value = output if isinstance(output, Tensor) else output[0]
        taken[name] = at_subject(value, at_B).cpu().double().mean(dim=0)
        if name[1] == "write":
            taken[name[0], "write input"] = at_subject(args[0], at_B).cpu().double().mean(dim=0)

    return take
