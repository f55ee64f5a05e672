"""A larger model without changing a logit: new neurons that write nothing, old ones split in two, or new layers.

New layers are copies of blocks whose writes are zero (LLaMA-Pro).
Legend: I inputs, O outputs of a matrix, N new neurons.
"""

import copy
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from armillary.errors import ModelError, UsageError
from armillary.methods.bricks.growth.grown import Grown, grown_from, model_copy
from armillary.methods.bricks.payloads import Index
from armillary.models import LoadedModel
from armillary.models.feed_forward import (
    FeedForward,
    Matrix,
    bias_O,
    chosen_layers,
    feed_forward,
    replace_module,
    weight_OI,
    with_weight,
)

_WIDTHS = ("intermediate_size", "ffn_dim", "ffn_hidden_size", "n_inner", "d_ff")
"""Names under which configurations and blocks keep the width of an FFN."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _More:
    """What one block gets: rows and biases for each read, columns for the write, and the write's old columns."""

    rows: tuple[Tensor, ...]
    biases: tuple[Tensor | None, ...]
    old_columns: Tensor
    columns: Tensor


def grow_neurons(loaded: LoadedModel, count: int, *, layers: Sequence[int] | None = None, seed: int = 0) -> Grown:
    """A copy with ``count`` new neurons in each block: random gate and up rows, zero down columns.

    Rows are normal with the spread of the matrix they join, biases of new neurons zero. Gradients reach the down
    columns first, then the rows. Where ``layers`` names only some, the others get as many neurons that are zero
    throughout, since a configuration holds one width; they are not among the new ones. UsageError for a count below 1.
    """
    if count < 1:
        raise UsageError(f"the number of new neurons must be at least 1; got {count}.")
    chosen = chosen_layers(loaded, layers)
    generator = torch.Generator().manual_seed(seed)
    more: dict[int, _More] = {}
    for layer in chosen:
        block = feed_forward(loaded, layer)
        spreads = [float(weight_OI(read).detach().float().std()) for read in block.reads]
        rows = tuple(
            (torch.randn(count, weight_OI(read).shape[1], generator=generator) * spread).to(weight_OI(read))
            for read, spread in zip(block.reads, spreads, strict=True)
        )
        more[layer] = _silent(block, count, rows)
    width = feed_forward(loaded, chosen[0]).width
    neurons = Index({layer: np.arange(width, width + count) for layer in chosen})
    return _widened(loaded, more, count, neurons, f"{count} neurons in each of {len(chosen)} layers")


def split_neurons(loaded: LoadedModel, neurons: Index, *, share: float = 0.3) -> Grown:
    """A copy in which each of these neurons is two with the same rows: ``share`` of the down column goes to the new.

    Exact for any activation, gated or not (Net2Net). The new neurons stand last in their layer, in the order of
    ``neurons``; layers with fewer are filled with zero neurons. UsageError for a share outside 0 to 1, or of 1/2: the
    twins would stay equal in training.
    """
    if not 0 < share < 1 or share == 0.5:
        raise UsageError(f"share must lie between 0 and 1 and not be 1/2, which leaves twins equal; got {share}.")
    if neurons.size == 0:
        raise UsageError("the brick names no neuron to split.")
    count = max(len(chosen) for chosen in neurons.neurons.values())
    more: dict[int, _More] = {}
    new: dict[int, Any] = {}
    for layer, chosen in neurons.neurons.items():
        block = feed_forward(loaded, layer)
        if not len(chosen):
            continue
        if chosen[-1] >= block.width:
            raise UsageError(f"layer {layer} has {block.width} neurons; the brick names neuron {chosen[-1]}.")
        more[layer] = _split(block, torch.from_numpy(chosen).to(loaded.device), count, share)
        new[layer] = np.arange(block.width, block.width + len(chosen))
    return _widened(loaded, more, count, Index(new), f"{neurons.size} neurons split in two")


def _split(block: FeedForward, chosen_N: Tensor, count: int, share: float) -> _More:
    def padded(x: Tensor, axis: int) -> Tensor:
        shape = list(x.shape)
        shape[axis] = count - len(chosen_N)
        return torch.cat([x, x.new_zeros(shape)], dim=axis)

    old_columns = weight_OI(block.write).detach().clone()
    columns = old_columns[:, chosen_N]
    given = columns * share
    old_columns[:, chosen_N] = columns - given
    biases = [bias_O(read) for read in block.reads]
    return _More(
        rows=tuple(padded(weight_OI(read).detach()[chosen_N], 0) for read in block.reads),
        biases=tuple(None if bias is None else padded(bias.detach()[chosen_N], 0) for bias in biases),
        old_columns=old_columns,
        columns=padded(given, 1),
    )


def _silent(block: FeedForward, count: int, rows: tuple[Tensor, ...] | None = None) -> _More:
    """Neurons that write nothing."""
    old = weight_OI(block.write).detach()
    biases = [bias_O(read) for read in block.reads]
    return _More(
        rows=rows or tuple(read.weight.new_zeros(count, weight_OI(read).shape[1]) for read in block.reads),
        biases=tuple(None if bias is None else bias.detach().new_zeros(count) for bias in biases),
        old_columns=old,
        columns=old.new_zeros(old.shape[0], count),
    )


@torch.no_grad()
def _widened(loaded: LoadedModel, more: Mapping[int, _More], count: int, neurons: Index, how: str) -> Grown:
    target = model_copy(loaded)
    widths = {feed_forward(target, layer).width for layer in range(target.anatomy.num_layers)}
    if len(widths) != 1:
        raise ModelError(f"the layers of {loaded.name} have blocks of widths {sorted(widths)}; one width is needed.")
    width = widths.pop()
    for layer in range(target.anatomy.num_layers):
        block = feed_forward(target, layer)
        added = more[layer] if layer in more else _silent(block, count)
        for path, read, rows, bias in zip(block.read_paths, block.reads, added.rows, added.biases, strict=True):
            old = bias_O(read)
            whole = None if old is None or bias is None else torch.cat([old, bias])
            replace_module(target.model, path, with_weight(read, torch.cat([weight_OI(read), rows]), whole))
        columns_OI = torch.cat([added.old_columns, added.columns], dim=1)
        replace_module(target.model, block.write_path, with_weight(block.write, columns_OI, bias_O(block.write)))
        _set_width(block.block, width, width + count)
    config = target.model.config.get_text_config()
    if getattr(config, "n_inner", 0) is None:
        config.n_inner = width  # GPT-2 leaves it out where it is four times the hidden width
    if not _set_width(config, width, width + count):
        raise ModelError(f"the configuration of {loaded.name} does not name its FFN width of {width}.")
    return grown_from(loaded, target.model, how, neurons=neurons)


def _set_width(holder: object, old: int, new: int) -> bool:
    """True where the holder names its width, which is then the new one."""
    names = [name for name in _WIDTHS if getattr(holder, name, None) == old]
    for name in names:
        setattr(holder, name, new)
    return bool(names)


_PER_LAYER = ("layer_types", "no_rope_layers", "mlp_layer_types", "attention_layers")
"""Lists of a configuration with one entry a layer."""

_NUMBERS = ("layer_idx", "layer_id", "layer_number", "layer_index")
"""Names under which modules keep the number of their layer."""


@torch.no_grad()
def grow_layers(loaded: LoadedModel, count: int) -> Grown:
    """A copy with ``count`` more layers, one after each ``L / count`` of the old.

    A new layer is a copy of the one before it whose attention output and FFN write are zero, so the stream passes
    through unchanged whether norms stand before these or after. UsageError unless ``count`` is 1 to the number of
    layers; ModelError where a layer's place enters its attention, or where a block with zero writes is not the
    identity (the norm stands on the stream itself).
    """
    depth = loaded.anatomy.num_layers
    if not 1 <= count <= depth:
        raise UsageError(f"the number of new layers must be 1 to {depth}, the layers there are; got {count}.")
    if getattr(loaded.model.config, "scale_attn_by_inverse_layer_idx", False):
        raise ModelError(f"{loaded.name} divides its attention by the layer's number, so layers can't move.")
    target = model_copy(loaded)
    after = [(number + 1) * depth // count - 1 for number in range(count)]
    lists = ((path, module) for path, module in target.model.named_modules() if isinstance(module, nn.ModuleList))
    stack_path, stack = next(
        ((path, module) for path, module in lists if tuple(module) == target.anatomy.layers), ("", None)
    )
    if stack is None:
        raise ModelError(f"the layers of {loaded.name} are not one list of modules.")
    layers: list[nn.Module] = []
    new: list[int] = []
    for index, layer in enumerate(target.anatomy.layers):
        layers.append(layer)
        if index in after:
            new.append(len(layers))
            layers.append(_silent_copy(target, index))
    stack._modules.clear()
    stack.extend(layers)
    _renumber(target, layers, after)
    added = tuple(f"{stack_path}.{index}." for index in new)
    names = tuple(name for name, _ in target.model.named_parameters() if name.startswith(added))
    return grown_from(loaded, target.model, f"{count} layers, at {new}", parameters=names)


def _silent_copy(loaded: LoadedModel, layer: int) -> nn.Module:
    block = loaded.anatomy.layers[layer]
    names = {module: name for name, module in block.named_modules()}
    writes = [names[_attention_write(loaded, layer)], names[feed_forward(loaded, layer).write]]
    silent = copy.deepcopy(block)
    for name in writes:
        matrix = silent.get_submodule(name)
        cast(Tensor, matrix.weight).zero_()
        bias = bias_O(matrix)
        if bias is not None:
            bias.zero_()
    return silent


def _attention_write(loaded: LoadedModel, layer: int) -> Matrix:
    """The last matrix into the stream's width that the block calls outside its FFN."""
    own = set(feed_forward(loaded, layer).matrices.values())
    called: list[Matrix] = []

    def note(module: nn.Module, _args: tuple[Any, ...], _output: object) -> None:
        called.append(cast(Matrix, module))

    matrices = [
        module
        for module in loaded.anatomy.layers[layer].modules()
        if isinstance(module, nn.Linear | Conv1D)
        and module not in own
        and weight_OI(module).shape[0] == loaded.anatomy.hidden_size
    ]
    with ExitStack() as hooks:
        for module in matrices:
            hooks.enter_context(module.register_forward_hook(note))
        loaded.model(input_ids=torch.tensor([[1, 2, 3]], device=loaded.device))
    if not called:
        raise ModelError(f"layer {layer} of {loaded.name} has no matrix from its attention into the stream.")
    return called[-1]


def _renumber(loaded: LoadedModel, layers: Sequence[nn.Module], after: Sequence[int]) -> None:
    """Caches are found by a layer's number; lists of the configuration get an entry for each new layer."""
    for index, layer in enumerate(layers):
        for module in layer.modules():
            for name in _NUMBERS:
                if isinstance(vars(module).get(name), int):
                    vars(module)[name] = index
    config = loaded.model.config.get_text_config()
    old = len(layers) - len(after)
    for name in _PER_LAYER:
        entries = getattr(config, name, None)
        if isinstance(entries, list) and len(entries) == old:
            setattr(config, name, [e for i, entry in enumerate(entries) for e in [entry] * (1 + (i in after))])
    if hasattr(config, "attention_types"):  # GPT-Neo's attention_layers once more, in runs
        config.attention_types = [[config.attention_layers, 1]]
    config.num_hidden_layers = len(layers)
