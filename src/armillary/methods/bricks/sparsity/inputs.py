"""The inputs of a model's matrices: which of a block read the same numbers, seen in one small forward pass."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from armillary.errors import ModelError
from armillary.models import LoadedModel
from armillary.models.batches import run_body
from armillary.models.feed_forward import weight_OI

PROBE_TOKENS = 4


@dataclass(frozen=True, kw_only=True)
class MatrixInput:
    """What one or several matrices of a block read: query, key and value share one input, gate and up another."""

    layer: int
    paths: tuple[str, ...]
    """Module paths of the matrices, in the order in which they run."""

    width: int
    """Numbers of the input at a token."""

    bytes: int
    """Weights of all its matrices; leaving out one number saves one part in ``width`` of them."""

    @property
    def name(self) -> str:
        """Last words of the paths: "q_proj, k_proj, v_proj"."""
        return ", ".join(path.rpartition(".")[2] for path in self.paths)


def matrix_inputs(loaded: LoadedModel) -> tuple[tuple[MatrixInput, ...], ...]:
    """Layer by layer the inputs of its Linear and Conv1D modules, in the order in which they are read.

    Matrices that are no modules of their own (experts that share one parameter) are not among them. ModelError for
    packed weights, and for a layer in which no such module runs.
    """
    paths = {module: path for path, module in loaded.model.named_modules()}
    read: dict[int, list[tuple[Tensor, list[nn.Module]]]] = {}

    def note(layer: int, module: nn.Module, args: tuple[object, ...]) -> None:
        rows = read.setdefault(layer, [])
        if not args or not isinstance(args[0], Tensor) or any(module in readers for _, readers in rows):
            return
        # The tensor itself is kept, so that its identity can't be another's.
        same = next((readers for x, readers in rows if x is args[0]), None)
        if same is None:
            rows.append((args[0], [module]))
        else:
            same.append(module)

    with ExitStack() as hooks, torch.no_grad():
        for layer, block in enumerate(loaded.anatomy.layers):
            for module in matrices_of(block):
                hooks.callback(module.register_forward_pre_hook(partial(note, layer)).remove)
        run_body(loaded, torch.arange(min(PROBE_TOKENS, loaded.anatomy.vocabulary_size), device=loaded.device)[None])
    for layer in range(loaded.anatomy.num_layers):
        if layer not in read:
            raise ModelError(f"layer {layer} of {loaded.name} runs no linear module, so no inputs can be left out.")
    return tuple(tuple(_input(layer, readers, paths) for _, readers in rows) for layer, rows in sorted(read.items()))


def matrices_of(block: nn.Module) -> list[nn.Module]:
    """The Linear and Conv1D modules in a block."""
    return [module for module in block.modules() if isinstance(module, nn.Linear | Conv1D)]


def _input(layer: int, readers: Sequence[nn.Module], paths: dict[nn.Module, str]) -> MatrixInput:
    weights = [weight_OI(module) for module in readers]
    return MatrixInput(
        layer=layer,
        paths=tuple(paths[module] for module in readers),
        width=weights[0].shape[1],
        bytes=sum(weight.numel() * weight.element_size() for weight in weights),
    )
