"""The feed-forward block of a layer found by shape: the matrix that writes and the one or two that read.

Legend: I inputs, O outputs of a matrix, M neurons, D hidden size.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from armillary.errors import ModelError, UsageError
from armillary.models import LoadedModel

Matrix = nn.Linear | Conv1D


@dataclass(frozen=True, kw_only=True)
class FeedForward:
    """Modules of one layer's block, the model's own. Neuron ``i`` is row ``i`` of each read, column ``i`` of write."""

    layer: int
    block: nn.Module
    """The module that holds the matrices: the layer itself where they are its direct children (OPT)."""

    block_path: str
    reads: tuple[Matrix, ...]
    """Hidden to neurons: one in a plain block, gate and up in a gated one, in the order of the module."""

    read_paths: tuple[str, ...]
    write: Matrix
    write_path: str

    @property
    def width(self) -> int:
        """Neurons."""
        return weight_OI(self.write).shape[1]

    @property
    def is_gated(self) -> bool:
        """True where two matrices read."""
        return len(self.reads) == 2

    @property
    def matrices(self) -> dict[str, Matrix]:
        """Path to matrix, reads first."""
        return {**dict(zip(self.read_paths, self.reads, strict=True)), self.write_path: self.write}


def feed_forward(loaded: LoadedModel, layer: int) -> FeedForward:
    """The block of one layer; ModelError where it is neither plain nor gated (experts, gate and up in one matrix).

    UsageError for a layer that the model does not have.
    """
    anatomy = loaded.anatomy
    if not 0 <= layer < anatomy.num_layers:
        raise UsageError(f"layer must be 0 to {anatomy.num_layers - 1}; got {layer}.")
    write = anatomy.ffn_writes[layer]
    if write is None:
        raise ModelError(f"layer {layer} of {loaded.name} has no single FFN write matrix: it holds experts.")
    write = cast(Matrix, write)
    paths = {module: path for path, module in loaded.model.named_modules()}
    block = next(module for module in anatomy.layers[layer].modules() if write in module.children())
    out, width = weight_OI(write).shape
    found = [
        child
        for child in block.children()
        if isinstance(child, Matrix) and child is not write and tuple(weight_OI(child).shape) == (width, out)
    ]
    if len(found) not in (1, 2):
        raise ModelError(
            f"layer {layer} of {loaded.name} has {len(found)} matrices from {out} hidden values to {width} neurons; "
            "a plain block has one, a gated one two."
        )
    return FeedForward(
        layer=layer,
        block=block,
        block_path=paths[block],
        reads=tuple(found),
        read_paths=tuple(paths[read] for read in found),
        write=write,
        write_path=paths[write],
    )


def chosen_layers(loaded: LoadedModel, layers: Sequence[int] | None) -> list[int]:
    """Some layers, sorted and each once; None means all. UsageError for none or one that the model lacks."""
    depth = loaded.anatomy.num_layers
    chosen = list(range(depth)) if layers is None else sorted(set(layers))
    if not chosen or chosen[0] < 0 or chosen[-1] >= depth:
        raise UsageError(f"layers must be some of 0 to {depth - 1}; got {layers}.")
    return chosen


def weight_OI(matrix: nn.Module) -> Tensor:
    """The weight as ``[out, in]``: a view, transposed for Conv1D, which stores ``[in, out]``."""
    weight = cast(Tensor, matrix.weight)
    return weight.T if isinstance(matrix, Conv1D) else weight


def bias_O(matrix: nn.Module) -> Tensor | None:
    """The bias, or None."""
    return cast(Tensor | None, getattr(matrix, "bias", None))


def with_weight(matrix: Matrix, new_OI: Tensor, bias: Tensor | None) -> Matrix:
    """A matrix of the same class with its own copy of the weight ``[out, in]`` and bias, of any size."""
    made = copy.deepcopy(matrix)
    stored = new_OI.T if isinstance(matrix, Conv1D) else new_OI
    needs = matrix.weight.requires_grad
    made.weight = nn.Parameter(stored.detach().clone(memory_format=torch.contiguous_format), requires_grad=needs)
    new_bias = None if bias is None else nn.Parameter(bias.detach().clone(), requires_grad=needs)
    made.register_parameter("bias", new_bias)
    if isinstance(made, Conv1D):
        made.nf, made.nx = new_OI.shape
    else:
        made.out_features, made.in_features = new_OI.shape
    return made


def replace_module(root: nn.Module, path: str, new: nn.Module) -> None:
    """Put ``new`` where ``path`` is."""
    parent, _, name = path.rpartition(".")
    setattr(root.get_submodule(parent), name, new)
