"""More layers without changing a logit: copies of blocks whose writes are zero (LLaMA-Pro)."""

import copy
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from armillary.errors import ModelError, UsageError
from armillary.methods.bricks.feed_forward import Matrix, bias_O, feed_forward, weight_OI
from armillary.methods.bricks.grown import Grown, grown_from, model_copy
from armillary.models import LoadedModel

_PER_LAYER = ("layer_types", "no_rope_layers", "mlp_layer_types")
"""Lists of a configuration with one entry a layer."""


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
    after = [(place + 1) * depth // count - 1 for place in range(count)]
    stack, path = _stack(target)
    layers: list[nn.Module] = []
    new: list[int] = []
    for place, layer in enumerate(target.anatomy.layers):
        layers.append(layer)
        if place in after:
            new.append(len(layers))
            layers.append(_silent_copy(target, place))
    stack._modules.clear()
    stack.extend(layers)
    _renumber(target, layers, after)
    names = tuple(
        name for name, _ in target.model.named_parameters() if any(name.startswith(f"{path}.{one}.") for one in new)
    )
    return grown_from(loaded, target.model, f"{count} layers, at {new}", parameters=names)


def _stack(loaded: LoadedModel) -> tuple[nn.ModuleList, str]:
    for path, module in loaded.model.named_modules():
        if isinstance(module, nn.ModuleList) and tuple(module) == loaded.anatomy.layers:
            return module, path
    raise ModelError(f"the layers of {loaded.name} are not one list of modules.")


def _silent_copy(loaded: LoadedModel, layer: int) -> nn.Module:
    block = loaded.anatomy.layers[layer]
    names = {module: name for name, module in block.named_modules()}
    writes = [names[_attention_write(loaded, layer)], names[feed_forward(loaded, layer).write]]
    made = copy.deepcopy(block)
    for name in writes:
        matrix = made.get_submodule(name)
        cast(Tensor, matrix.weight).zero_()
        bias = bias_O(matrix)
        if bias is not None:
            bias.zero_()
    return made


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
    handles = [module.register_forward_hook(note) for module in matrices]
    try:
        loaded.model(input_ids=torch.tensor([[1, 2, 3]], device=loaded.device))
    finally:
        for handle in handles:
            handle.remove()
    if not called:
        raise ModelError(f"layer {layer} of {loaded.name} has no matrix from its attention into the stream.")
    return called[-1]


def _renumber(loaded: LoadedModel, layers: Sequence[nn.Module], after: Sequence[int]) -> None:
    """Caches are found by ``layer_idx``; lists of the configuration get an entry for each new layer."""
    for place, layer in enumerate(layers):
        for module in layer.modules():
            if isinstance(getattr(module, "layer_idx", None), int):
                vars(module)["layer_idx"] = place
    config = loaded.model.config.get_text_config()
    old = len(layers) - len(after)
    for name in _PER_LAYER:
        entries = getattr(config, name, None)
        if isinstance(entries, list) and len(entries) == old:
            setattr(config, name, [e for i, entry in enumerate(entries) for e in [entry] * (1 + (i in after))])
    config.num_hidden_layers = len(layers)
