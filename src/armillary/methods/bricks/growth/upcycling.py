"""Experts out of a dense model without changing a logit: copies of each block, parts of it, or one more expert.

Also the way out: a Llama-like model with experts as a stock Mixtral model, which can be saved and opened anywhere.
Legend: L layers, M neurons, D hidden size, E experts.
"""

import copy
from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import LlamaConfig, MistralConfig

from armillary.errors import ModelError, UsageError
from armillary.methods.bricks.experts.mixtral import as_mixtral
from armillary.methods.bricks.growth.grown import Grown, grown_from, model_copy, moved_logit, reopened
from armillary.methods.bricks.growth.mixture import Mixture, PlainBlock, mixtures
from armillary.methods.bricks.payloads import Partition
from armillary.models import LoadedModel
from armillary.models.feed_forward import (
    FeedForward,
    bias_O,
    chosen_layers,
    feed_forward,
    replace_module,
    weight_OI,
    with_weight,
)

SPREAD = 0.02
"""Standard deviation of the rows of a new router; with equal experts any gives the same logits."""


@torch.no_grad()
def upcycle(
    loaded: LoadedModel,
    experts: int = 4,
    *,
    top_k: int = 2,
    layers: Sequence[int] | None = None,
    seed: int = 0,
    spread: float = SPREAD,
) -> Grown:
    """A copy in which the blocks of ``layers`` (of all by default) are ``experts`` copies of themselves and a router.

    Exact up to rounding for any router as long as the copies are equal, since the weights of the chosen sum to 1. The
    first expert is the old block; the others and the router are the new parts. UsageError for fewer than two experts
    or a ``top_k`` outside 1 to their number.
    """
    if experts < 2 or not 1 <= top_k <= experts:
        raise UsageError(f"upcycling needs 2 experts or more and 1 <= top_k <= experts; got {experts} and {top_k}.")
    target, chosen = model_copy(loaded), chosen_layers(loaded, layers)
    generator = torch.Generator().manual_seed(seed)
    for layer in chosen:
        block = feed_forward(target, layer)
        whole = _whole(target, block)
        copies = [whole, *(copy.deepcopy(whole) for _ in range(experts - 1))]
        _put(target, block, Mixture(copies, _rows(target, experts, spread, generator), top_k))
    names = _names(target, range(1, experts), range(experts))
    return grown_from(loaded, target.model, f"{experts} experts in {len(chosen)} layers", parameters=names)


@torch.no_grad()
def split_into_experts(loaded: LoadedModel, partition: Partition) -> Grown:
    """A copy in which each block is the sum of its groups of neurons, all of them active, with gates of 1.

    Exact up to the order of sums; the bias of the write is added once. Only the routers are new; they choose nothing
    until ``top_k`` is set below the number of experts. UsageError for a partition of another shape.
    """
    target, layers = model_copy(loaded), loaded.anatomy.num_layers
    shape = (layers, feed_forward(loaded, 0).width)
    if partition.labels_LM.shape != shape:
        raise UsageError(
            f"the partition is for {partition.labels_LM.shape} layers and neurons; {loaded.name} has {shape}."
        )
    generator = torch.Generator().manual_seed(0)
    for layer in range(layers):
        block = feed_forward(target, layer)
        bias = bias_O(block.write)
        parts = [
            _part(target, block, np.flatnonzero(partition.labels_LM[layer] == expert))
            for expert in range(partition.experts)
        ]
        rows = _rows(target, partition.experts, SPREAD, generator)
        kept = None if bias is None else bias.detach().clone()
        _put(target, block, Mixture(parts, rows, partition.experts, unit_gates=True, bias=kept))
    names = _names(target, (), range(partition.experts))
    how = f"{partition.experts} experts out of the neurons of {layers} layers"
    return grown_from(loaded, target.model, how, parameters=names)


@torch.no_grad()
def add_expert(loaded: LoadedModel) -> Grown:
    """A copy of a model with experts in which every mixture has one more, a copy of the first, still closed.

    Closed means a router logit of minus infinity: exact, which zeros in the new expert's write are not (the weights of
    the others would shrink). Train it inside ``through_expert``, then ``open_experts``. UsageError for a model without
    experts.
    """
    target = model_copy(loaded)
    generator = torch.Generator().manual_seed(0)
    names: list[str] = []
    for path, mixture in mixtures(target.model).items():
        last = len(mixture.experts)
        mixture.experts.append(copy.deepcopy(mixture.experts[0]))
        mixture.router_rows.append(nn.Parameter(_rows(target, 1, SPREAD, generator)[0]))
        mixture.opening_E = torch.cat([mixture.opening_E, mixture.opening_E.new_tensor([-torch.inf])])
        mixture.top_k += mixture.unit_gates and mixture.top_k == last  # a sum of all stays one of all
        names += _names_in(path, mixture, [last], [last])
    how = f"one more expert in {len(mixtures(target.model))} layers"
    return grown_from(loaded, target.model, how, parameters=names)


def _names(loaded: LoadedModel, experts: Sequence[int], rows: Sequence[int]) -> list[str]:
    return [
        name for path, mixture in mixtures(loaded.model).items() for name in _names_in(path, mixture, experts, rows)
    ]


def _names_in(path: str, mixture: Mixture, experts: Sequence[int], rows: Sequence[int]) -> list[str]:
    """Names of the parameters of some experts and some router rows."""
    own = [f"experts.{expert}.{name}" for expert in experts for name, _ in mixture.experts[expert].named_parameters()]
    return [f"{path}.{name}" for name in (*own, *(f"router_rows.{row}" for row in rows))]


def _whole(loaded: LoadedModel, block: FeedForward) -> nn.Module:
    """The block as one module, made of its parts where they are direct children of the layer (OPT)."""
    if block.block is not loaded.anatomy.layers[block.layer]:
        return block.block
    return PlainBlock(block.reads[0], block.block.get_submodule(_activation(loaded, block)), block.write)


def _activation(loaded: LoadedModel, block: FeedForward) -> str:
    """Name of the layer's one child without parameters."""
    names = [name for name, child in block.block.named_children() if not list(child.parameters())]
    if len(names) != 1 or block.is_gated:
        raise ModelError(
            f"layer {block.layer} of {loaded.name} has an FFN that is neither a module nor a plain block."
        )
    return names[0]


def _put(loaded: LoadedModel, block: FeedForward, mixture: Mixture) -> None:
    """The mixture in the place of the block; in a layer that holds the parts itself, in the place of the write."""
    if block.block is not loaded.anatomy.layers[block.layer]:
        replace_module(loaded.model, block.block_path, mixture)
        return
    setattr(block.block, _activation(loaded, block), nn.Identity())
    replace_module(loaded.model, block.read_paths[0], nn.Identity())
    replace_module(loaded.model, block.write_path, mixture)


def _part(loaded: LoadedModel, block: FeedForward, neurons: NDArray[np.int64]) -> nn.Module:
    """A block of some of the neurons, with a write bias of zero."""
    chosen_N = torch.from_numpy(neurons).to(loaded.device)
    whole = copy.deepcopy(_whole(loaded, block))
    names = {id(module): name for name, module in _whole(loaded, block).named_modules()}
    for read in block.reads:
        bias = bias_O(read)
        part = with_weight(read, weight_OI(read)[chosen_N], None if bias is None else bias[chosen_N])
        replace_module(whole, names[id(read)], part)
    bias = bias_O(block.write)
    columns = with_weight(block.write, weight_OI(block.write)[:, chosen_N], None if bias is None else bias * 0)
    replace_module(whole, names[id(block.write)], columns)
    return whole


def _rows(loaded: LoadedModel, count: int, spread: float, generator: torch.Generator) -> list[Tensor]:
    drawn_ED = torch.randn(count, loaded.anatomy.hidden_size, generator=generator) * spread
    return list(drawn_ED.to(device=loaded.device, dtype=loaded.dtype))


@torch.no_grad()
def to_mixtral(loaded: LoadedModel) -> LoadedModel:
    """A Mixtral model with the same logits, up to rounding, from a Llama-like one whose every layer is upcycled.

    ModelError for another architecture, layers without experts, experts that differ in number or width between
    layers, gates of 1 or closed experts: a Mixtral has none of these; also where its logits are others all the same.
    """
    config = loaded.model.config
    layers = list(mixtures(loaded.model).values())
    if not isinstance(config, LlamaConfig | MistralConfig) or getattr(config, "attention_bias", False):
        raise ModelError(f"{loaded.name} is no Llama or Mistral without attention biases, so it is no Mixtral either.")
    shapes = {(len(mixture.experts), mixture.top_k, *_matrices(mixture.experts[0])[2].shape) for mixture in layers}
    if len(layers) != config.num_hidden_layers or len(shapes) != 1:
        raise ModelError(f"{loaded.name} needs the same experts in each of its {config.num_hidden_layers} layers.")
    if any(mixture.unit_gates or not bool(mixture.opening_E.isfinite().all()) for mixture in layers):
        raise ModelError(f"{loaded.name} has gates of 1 or closed experts, which Mixtral does not have.")
    ((experts, k, _, size),) = shapes
    target = as_mixtral(loaded, [_experts(mixture) for mixture in layers], experts=experts, k=k, size=size)
    nn.Module.to(target, device=loaded.device)
    if (moved := moved_logit(loaded, loaded.model, target)) is not None:
        raise ModelError(f"{loaded.name} says something else as a Mixtral: a logit moved by {moved:.3g}.")
    return reopened(loaded, target, f"{loaded.source}; as Mixtral")


def _experts(mixture: Mixture) -> dict[str, Tensor]:
    parts = [_matrices(expert) for expert in mixture.experts]
    return {
        "gate.weight": torch.stack(tuple(mixture.router_rows)),
        "experts.gate_up_proj": torch.stack([torch.cat([gate, up]) for gate, up, _ in parts]),
        "experts.down_proj": torch.stack([down for _, _, down in parts]),
    }


def _matrices(expert: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
    """Gate, up and down of a Llama block; ModelError where there is none or a bias."""
    names = ("gate_proj", "up_proj", "down_proj")
    matrices = [getattr(expert, name, None) for name in names]
    if any(not isinstance(matrix, nn.Linear) or matrix.bias is not None for matrix in matrices):
        raise ModelError("the experts are not gate, up and down without biases, as Mixtral's are.")
    gate, up, down = (cast(nn.Linear, matrix).weight for matrix in matrices)
    return gate, up, down
