"""The feed-forward block of a layer found by shape: the matrix that writes and the one or two that read.

Legend: I inputs, O outputs of a matrix, M neurons, D hidden size.
"""

import copy
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from armillary.errors import ModelError, UsageError
from armillary.models import LoadedModel
from armillary.models.anatomy import expert_parameters
from armillary.models.batches import run_body
from armillary.models.experts import ExpertWrite, expert_write

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


def single_write(loaded: LoadedModel, layer: int) -> nn.Module:
    """The matrix with which the layer's FFN writes; ModelError that says why there is none, and what can be read."""
    anatomy = loaded.anatomy
    write = anatomy.ffn_writes[layer]
    if write is not None:
        return write
    experts = expert_parameters(anatomy.layers[layer], anatomy.hidden_size)
    why = f"its experts share {experts[0]}" if experts else "it holds several, or mixes tokens on the way"
    if expert_write(anatomy.layers[layer]):
        what = "this can't be done there; profiles and ablations read the neurons of its experts"
    else:
        what = (
            "its neurons can't be read or changed; what layers give out, and models with a dense FFN in each, can be"
        )
    kind = type(loaded.model).__name__
    raise ModelError(f"layer {layer} of {loaded.name} ({kind}) has no single FFN write matrix ({why}), so {what}.")


def feed_forward(loaded: LoadedModel, layer: int) -> FeedForward:
    """The block of one layer; ModelError where it is neither plain nor gated (experts, gate and up in one matrix).

    UsageError for a layer that the model does not have.
    """
    anatomy = loaded.anatomy
    if not 0 <= layer < anatomy.num_layers:
        raise UsageError(f"layer must be 0 to {anatomy.num_layers - 1}; got {layer}.")
    write = cast(Matrix, single_write(loaded, layer))
    paths = {module: path for path, module in loaded.model.named_modules()}
    block = next(module for module in anatomy.layers[layer].modules() if write in module.children())
    out, width = weight_OI(write).shape
    reads = [
        child
        for child in block.children()
        if isinstance(child, Matrix) and child is not write and tuple(weight_OI(child).shape) == (width, out)
    ]
    matrices = [child for child in block.children() if isinstance(child, Matrix)]
    fused = [child for child in matrices if weight_OI(child).shape[0] == 2 * width]
    if not reads and fused:
        raise ModelError(
            f"layer {layer} of {loaded.name} keeps gate and up in one matrix ({paths[fused[0]]}): its neurons can be "
            "read and changed, but not split or grown; give a model that keeps them apart."
        )
    if len(reads) not in (1, 2):
        raise ModelError(
            f"layer {layer} of {loaded.name} has {len(reads)} matrices from {out} hidden values to {width} neurons; "
            "a plain block has one, a gated one two."
        )
    return FeedForward(
        layer=layer,
        block=block,
        block_path=paths[block],
        reads=tuple(reads),
        read_paths=tuple(paths[read] for read in reads),
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


def weight_OI(matrix: nn.Module | ExpertWrite) -> Tensor:
    """The weight as ``[out, in]``: a view, transposed for Conv1D, which stores ``[in, out]``.

    ModelError for packed weights, whose numbers are codes.
    """
    weight = cast(Tensor, matrix.weight)
    if type(weight) not in (nn.Parameter, Tensor):
        raise ModelError("this reads the weights themselves, and they are packed; open the model without quantize.")
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


# What a feed-forward block computes: which matrix goes through the activation, which one it is multiplied by.
#
# Found by watching one small forward pass and verified on it, so that no table of architectures is needed.
# Legend: N tokens, D hidden size, M neurons.

PROBE_TOKENS = 4
_TOLERANCE = 1e-4  # relative to the largest activation; bfloat16 is compared with itself, so rounding is equal


@dataclass(frozen=True, kw_only=True)
class FfnFunction:
    """``FFN(x) = write(act(gate x) * (up x))``, or ``write(act(gate x))`` where the block is plain."""

    parts: FeedForward
    gate: Matrix
    """The matrix whose output goes through the activation; the only read of a plain block."""

    up: Matrix | None
    activation: nn.Module
    apply: Callable[[Tensor], Tensor]
    """The activation's own forward, which stays what it is where the module's is replaced for a while."""

    @property
    def reads(self) -> tuple[Matrix, ...]:
        """The gate, and the up matrix where there is one."""
        return (self.gate,) if self.up is None else (self.gate, self.up)

    def activations(self, x_ND: Float[Tensor, "n d"]) -> Float[Tensor, "n m"]:
        """Activations of all neurons: what the write matrix reads."""
        gate_NM, *up = (functional.linear(x_ND, weight_OI(read), bias_O(read)) for read in self.reads)
        return self.apply(gate_NM) * up[0] if up else self.apply(gate_NM)


def ffn_functions(loaded: LoadedModel) -> tuple[FfnFunction, ...]:
    """The function of each layer's block, from one forward of a few tokens.

    ModelError where a block is neither plain nor gated, or where its activation is no module that runs once in it.
    """
    watched = [_Watched(feed_forward(loaded, layer)) for layer in range(loaded.anatomy.num_layers)]
    ids = torch.arange(min(PROBE_TOKENS, loaded.anatomy.vocabulary_size), device=loaded.device)[None]
    with ExitStack() as hooks, torch.no_grad():
        for block in watched:
            block.watch(hooks)
        run_body(loaded, ids)
    functions = tuple(block.function(loaded.name) for block in watched)
    if len({id(function.activation) for function in functions}) < len(functions):
        raise ModelError(f"Layers of {loaded.name} share one activation module, so one can't be changed alone.")
    return functions


class _Watched:
    """Inputs and outputs of one block's matrices and of the modules in it that have no parameters."""

    def __init__(self, block: FeedForward) -> None:
        self.block = block
        self.calls: dict[nn.Module, list[tuple[Tensor, Tensor]]] = {}

    def watch(self, hooks: ExitStack) -> None:
        """Hooks on every module that may be part of the function, until the stack closes."""
        free = [child for child in self.block.block.children() if next(child.parameters(), None) is None]
        for module in [*self.block.reads, *free]:
            hooks.callback(module.register_forward_hook(self._seen).remove)
        # First of all hooks, so that a mask on the activations, which is no part of the function, does not show.
        first = self.block.write.register_forward_pre_hook(self._seen_before, prepend=True)
        hooks.callback(first.remove)

    def _seen_before(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        self._seen(module, args, args[0])

    def _seen(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if len(args) == 1 and isinstance(args[0], Tensor) and isinstance(output, Tensor):
            pair = (args[0].detach().clone(), output.detach().clone())
            self.calls.setdefault(module, []).append(pair)

    def function(self, name: str) -> FfnFunction:
        """The one function that gives the activations which the write matrix read."""
        block, where = self.block, f"The FFN of layer {self.block.layer} of {name}"
        if any(len(self.calls.get(matrix, ())) != 1 for matrix in (*block.reads, block.write)):
            raise ModelError(f"{where} ran without its matrices: fused or compiled layers can't be split.")
        wanted = self.calls[block.write][0][0]
        for activation, calls in self.calls.items():
            for gate in block.reads if activation not in block.matrices.values() and len(calls) == 1 else ():
                others = [read for read in block.reads if read is not gate]
                taken, given = calls[0][0], self.calls[gate][0][1]
                follows = taken.shape == given.shape and torch.equal(taken, given)
                if follows and self._explains(calls[0][1], others, wanted):
                    up = others[0] if others else None
                    return FfnFunction(parts=block, gate=gate, up=up, activation=activation, apply=activation.forward)
        raise ModelError(f"{where} is neither act(gate x) * (up x) nor act(read x) with an activation module.")

    def _explains(self, activated: Tensor, others: Sequence[Matrix], wanted: Tensor) -> bool:
        made = activated * self.calls[others[0]][0][1] if others else activated
        return made.shape == wanted.shape and bool(
            (made - wanted).abs().max() <= _TOLERANCE * wanted.abs().max().clamp_min(1e-30)
        )
