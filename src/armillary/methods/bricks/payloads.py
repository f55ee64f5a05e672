"""What a brick is made of (neurons, a split of every FFN, low-rank changes, or thresholds) and where it plugs into its
base.

Legend: L layers, M neurons of an FFN, R rank.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from armillary.errors import UsageError
from armillary.models.feed_forward import single_write
from armillary.models.loaded import LoadedModel


@dataclass(frozen=True)
class Index:
    """Neurons of the base model, by layer; no weights of its own."""

    neurons: Mapping[int, NDArray[np.int64]]
    """Layer to the sorted, distinct indices of its neurons (inputs of the FFN write matrix)."""

    def __post_init__(self) -> None:
        for layer, chosen in self.neurons.items():
            if layer < 0 or chosen.ndim != 1 or (len(chosen) and (chosen[0] < 0 or (np.diff(chosen) <= 0).any())):
                raise UsageError(f"neurons of layer {layer} must be distinct indices from 0 in rising order.")

    @property
    def size(self) -> int:
        """How many neurons."""
        return sum(len(chosen) for chosen in self.neurons.values())

    @classmethod
    def of_mask(cls, mask_LM: NDArray[Any]) -> "Index":
        """The neurons where the mask is true."""
        return cls({layer: np.flatnonzero(row) for layer, row in enumerate(mask_LM) if row.any()})

    def mask(self, layers: int, width: int) -> NDArray[np.bool_]:
        """True where a neuron belongs to the brick, ``[layers, width]``."""
        mask_LM = np.zeros((layers, width), dtype=bool)
        for layer, chosen in self.neurons.items():
            if layer >= layers or (len(chosen) and chosen[-1] >= width):
                raise UsageError(f"layer {layer} has a neuron outside {layers} layers of {width} neurons.")
            mask_LM[layer, chosen] = True
        return mask_LM


@dataclass(frozen=True)
class Partition:
    """A full split of every FFN into groups of neurons (experts)."""

    labels_LM: NDArray[np.int64]
    """Expert of each neuron, from 0; the sizes of the experts of a layer differ by one neuron at most."""

    experts: int

    def __post_init__(self) -> None:
        width = self.labels_LM.shape[1] if self.labels_LM.ndim == 2 else 0
        if not 1 <= self.experts <= width:
            raise UsageError(f"experts must be 1 to {width}, the neurons of a layer; got {self.experts}.")
        for layer, row in enumerate(self.labels_LM):
            sizes = np.bincount(row, minlength=self.experts) if row.min() >= 0 else np.zeros(1)
            if len(sizes) != self.experts or np.ptp(sizes) > 1:
                raise UsageError(f"the experts of layer {layer} must differ in size by one neuron at most.")


@dataclass(frozen=True)
class LowRank:
    """Changes of weight matrices as products: the matrix at ``path`` becomes ``W + B @ A``, scale included."""

    factors: Mapping[str, tuple[Tensor, Tensor]]
    """Module path to ``A [r, in]`` and ``B [out, r]``, float32."""

    def __post_init__(self) -> None:
        for path, (a_RI, b_OR) in self.factors.items():
            if a_RI.ndim != 2 or b_OR.ndim != 2 or a_RI.shape[0] != b_OR.shape[1]:
                raise UsageError(f"{path}: A must be [r, in] and B [out, r]; got {a_RI.shape} and {b_OR.shape}.")
            if not bool(a_RI.isfinite().all() and b_OR.isfinite().all()):
                raise UsageError(f"{path} holds numbers that are not finite.")

    def delta(self, path: str) -> Tensor:
        """``B @ A`` of one module, ``[out, in]``."""
        a_RI, b_OR = self.factors[path]
        return b_OR @ a_RI


@dataclass(frozen=True)
class Thresholds:
    """The least size that an input of a matrix must have at a token to count; what is smaller is taken for 0 there."""

    least: Mapping[str, float]
    """Module path of the matrix to its threshold, a float32 number; 0 keeps every input. Others are left alone."""

    def __post_init__(self) -> None:
        for path, least in self.least.items():
            if not (math.isfinite(least) and least >= 0):
                raise UsageError(f"the threshold of {path} must be a finite number, 0 or more; got {least}.")


Payload = Index | Partition | LowRank | Thresholds

Op = Literal["mask", "keep", "read", "route", "add_delta", "threshold"]
Part = Literal["ffn", "attn", "embed", "head", "block"]
OPS: dict[type, tuple[Op, ...]] = {
    Index: ("mask", "keep", "read"),
    Partition: ("route",),
    LowRank: ("add_delta",),
    Thresholds: ("threshold",),
}
"""What may be done with each payload; the first is the default."""


@dataclass(frozen=True, kw_only=True)
class Site:
    """One matrix of the base model that a brick changes, masks or reads."""

    layer: int | None
    """Decoder block, from 0; None outside the blocks."""

    part: Part
    path: str
    """Module path in the model: "model.layers.3.mlp.down_proj"."""

    op: Op
    inputs: int
    outputs: int
    transposed: bool
    """True where the module stores its weight as ``[in, out]`` (Conv1D of GPT-2)."""

    def __post_init__(self) -> None:
        if not self.path or any(not piece for piece in self.path.split(".")) or "/" in self.path or "\\" in self.path:
            raise UsageError(f"a site is a dotted module path; got {self.path!r}.")


def sites_of(loaded: LoadedModel, payload: Payload, op: Op | None = None) -> tuple[Site, ...]:
    """The sites of a payload in an open model: FFN writes by layer, or changed matrices by path.

    Raises UsageError for an operation that does not fit the payload, a layer, neuron, module or shape that the model
    does not have; ModelError where a layer has no single FFN write.
    """
    allowed = OPS[type(payload)]
    if op is not None and op not in allowed:
        raise UsageError(f"{type(payload).__name__} takes {', '.join(allowed)}; got {op!r}.")
    chosen = op or allowed[0]
    names = {id(module): name for name, module in loaded.model.named_modules()}
    if isinstance(payload, LowRank):
        changed = [_matrix_site(loaded, names, path, chosen) for path in sorted(payload.factors)]
        for site in changed:
            a_RI, b_OR = payload.factors[site.path]
            if (a_RI.shape[1], b_OR.shape[0]) != (site.inputs, site.outputs):
                raise UsageError(
                    f"{site.path} maps {site.inputs} to {site.outputs} numbers, but the change maps {a_RI.shape[1]} "
                    f"to {b_OR.shape[0]}."
                )
        return tuple(changed)
    if isinstance(payload, Thresholds):
        return tuple(_matrix_site(loaded, names, path, chosen) for path in sorted(payload.least))
    if isinstance(payload, Partition):
        if len(payload.labels_LM) != loaded.anatomy.num_layers:
            raise UsageError(
                f"the partition has {len(payload.labels_LM)} layers; {loaded.name} has {loaded.anatomy.num_layers}."
            )
        sites = [_write_site(loaded, names, layer, chosen) for layer in range(len(payload.labels_LM))]
        if wrong := next((site for site in sites if site.inputs != payload.labels_LM.shape[1]), None):
            raise UsageError(
                f"layer {wrong.layer} has {wrong.inputs} neurons; the partition {payload.labels_LM.shape[1]}."
            )
        return tuple(sites)
    sites = [_write_site(loaded, names, layer, chosen) for layer in sorted(payload.neurons)]
    for site in sites:
        neurons = payload.neurons[cast(int, site.layer)]
        if len(neurons) and neurons[-1] >= site.inputs:
            raise UsageError(
                f"layer {site.layer} of {loaded.name} has neurons 0 to {site.inputs - 1}; got {neurons[-1]}."
            )
    return tuple(sites)


def bound_tensors(loaded: LoadedModel, payload: Payload, sites: Sequence[Site]) -> list[str]:
    """Names of the parameters that a payload is about: the changed matrices, or all that make the neurons (what their
    block reads and writes with)."""
    if isinstance(payload, LowRank | Thresholds):
        return [f"{site.path}.weight" for site in sites]
    blocks = {site.path.rpartition(".")[0] for site in sites}
    return [
        f"{block}.{child}.{name}"
        for block in sorted(blocks)
        for child, part in loaded.model.get_submodule(block).named_children()
        if isinstance(part, nn.Linear | Conv1D)
        for name, _ in part.named_parameters(recurse=False)
    ]


def matrix(model: nn.Module, path: str) -> nn.Module:
    """The Linear or Conv1D at a module path. UsageError where there is none or its weight is not in floating point."""
    try:
        module = model.get_submodule(path)
    except AttributeError:
        raise UsageError(f"the model has no module {path!r}.") from None
    weight = getattr(module, "weight", None)
    if not isinstance(module, nn.Linear | Conv1D) or not isinstance(weight, Tensor) or not weight.is_floating_point():
        raise UsageError(f"{path} is no Linear or Conv1D with a weight in floating point, so it can't be changed.")
    return module


def shared_paths(first: Sequence[Site], a: Payload, second: Sequence[Site], b: Payload) -> list[str]:
    """Module paths that both bricks change; two masks meet only where they name the same neuron."""
    changing = {site.path: site for site in first if site.op != "read"}
    return [site.path for site in second if site.op != "read" and _meet(changing.get(site.path), a, site, b)]


def _meet(first: Site | None, a: Payload, second: Site, b: Payload) -> bool:
    if first is None:
        return False
    if first.op == second.op == "mask" and isinstance(a, Index) and isinstance(b, Index):
        layer = cast(int, first.layer)
        return not set(a.neurons[layer].tolist()).isdisjoint(b.neurons[layer].tolist())
    return True


def _write_site(loaded: LoadedModel, names: Mapping[int, str], layer: int, op: Op) -> Site:
    if layer >= loaded.anatomy.num_layers:
        raise UsageError(f"{loaded.name} has layers 0 to {loaded.anatomy.num_layers - 1}; got {layer}.")
    write = single_write(loaded, layer)
    inputs, outputs, transposed = _shape(write)
    return Site(
        layer=layer, part="ffn", path=names[id(write)], op=op, inputs=inputs, outputs=outputs, transposed=transposed
    )


def _matrix_site(loaded: LoadedModel, names: Mapping[int, str], path: str, op: Op) -> Site:
    inputs, outputs, transposed = _shape(matrix(loaded.model, path))
    layer, part = _layer_and_part(loaded, names, path)
    return Site(layer=layer, part=part, path=path, op=op, inputs=inputs, outputs=outputs, transposed=transposed)


def _layer_and_part(loaded: LoadedModel, names: Mapping[int, str], path: str) -> tuple[int | None, Part]:
    for layer, block in enumerate(loaded.anatomy.layers):
        inside = names[id(block)]
        if path.startswith(f"{inside}."):
            steps = path.removeprefix(f"{inside}.").split(".")
            above = [block.get_submodule(".".join(steps[:depth])) for depth in range(1, len(steps))]
            attention = any("attention" in type(module).__name__.lower() for module in above)
            return layer, "attn" if attention else "ffn"
    return None, "head" if loaded.anatomy.head is loaded.model.get_submodule(path) else "block"


def _shape(module: nn.Module) -> tuple[int, int, bool]:
    rows, columns = cast(Tensor, module.weight).shape
    transposed = isinstance(module, Conv1D)
    return (rows, columns, True) if transposed else (columns, rows, False)
