"""Running a model with part of its FFNs: routed token by token, or cut down to a fixed set of neurons.

The base's weights are never touched: inside the block the forwards of each FFN's matrices are replaced, and put back
on any exit. Legend: L layers, M neurons of an FFN, E experts.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from armillary.errors import UsageError
from armillary.methods.bricks.expert_scores import Choice, ExpertScorer, expert_neurons
from armillary.methods.bricks.ffn_function import FfnFunction, ffn_functions
from armillary.methods.bricks.payloads import Index, Partition
from armillary.methods.bricks.routed_layer import ExpertBlock, RoutedLayer
from armillary.methods.bricks.router import Router
from armillary.methods.bricks.sites import sites_of
from armillary.models import LoadedModel

_ROUTED: "WeakSet[nn.Module]" = WeakSet()


@dataclass(frozen=True, kw_only=True)
class Routing:
    """A model while it runs with part of its FFNs."""

    layers: Mapping[int, RoutedLayer]

    @property
    def experts_per_token(self) -> float:
        """Mean number of experts run at a token so far, over layers; 0 before the first token."""
        return self._mean([one.usage.experts for one in self.layers.values()])

    @property
    def neurons_share(self) -> float:
        """Share of the neurons read at a token so far, over layers; 0 before the first token."""
        width = next(iter(self.layers.values())).function.parts.width
        return self._mean([one.usage.neurons for one in self.layers.values()]) / width

    def to_dict(self) -> dict[str, float]:
        """Plain JSON data."""
        return {"experts_per_token": self.experts_per_token, "neurons_share": self.neurons_share}

    def _mean(self, counts: list[int]) -> float:
        return sum(counts) / max(1, sum(one.usage.tokens for one in self.layers.values()))


@contextmanager
def routed(
    loaded: LoadedModel,
    partition: Partition,
    router: Router,
    *,
    k: int | None = None,
    share: float | None = None,
    always: Index | None = None,
) -> Iterator[Routing]:
    """Inside the block each token runs ``k`` experts a layer, or the fewest predicted to hold ``share`` of the mass.

    ``always`` are neurons that run at every token besides; they belong to no expert. With ``k`` = E the outputs are
    those of the dense model but for the order of sums, with 0 only the write's bias and the always-on neurons are
    left. Weights are copied when the block is entered, a second set of FFN weights: what changes them later does not
    show. An oracle runs the dense FFN first to see its scores, so it saves nothing.

    UsageError for a partition or router of another shape, k outside 0 to E, both or neither of ``k`` and ``share``, or
    a model that is routed already; ModelError where an FFN is neither plain nor gated.
    """
    choice = Choice(k=k, share=share)
    choice.check(partition.experts)
    sites_of(loaded, partition)
    _check_router(loaded, partition, router)
    if share is not None and router.kind == "centroid":
        raise UsageError("a centroid router only orders the experts, so it can't tell a share; give k.")
    _refuse_twice(loaded)
    here = router if router.kind == "oracle" else router.on(loaded.device, loaded.dtype)
    made = {}
    for layer, function in enumerate(ffn_functions(loaded)):
        kept = None if always is None else always.neurons.get(layer)
        made[layer] = RoutedLayer(
            function=function,
            experts=[_block(function, chosen) for chosen in expert_neurons(partition, layer, always)],
            always=None if kept is None else _block(function, kept),
            choice=choice,
            router=None if router.kind == "oracle" else here,
            scorer=ExpertScorer(function, partition, router.score, always) if router.kind == "oracle" else None,
        )
    with _mounted(loaded, made):
        yield Routing(layers=made)


@contextmanager
def sliced(loaded: LoadedModel, keep: Index) -> Iterator[Routing]:
    """Inside the block each FFN that ``keep`` names is a smaller dense one of these neurons, cut out once.

    Other layers stay whole; the bias of the write stays. No router and no choice at a token: what the model computes
    equals masking all other neurons. Raises as ``routed``.
    """
    sites_of(loaded, keep, "keep")
    if not keep.neurons:
        raise UsageError("a fixed set of neurons must name a layer; got none.")
    _refuse_twice(loaded)
    functions = ffn_functions(loaded)
    made = {
        layer: RoutedLayer(
            function=functions[layer],
            experts=(),
            always=_block(functions[layer], chosen),
            choice=Choice(k=0),
            router=None,
            scorer=None,
        )
        for layer, chosen in sorted(keep.neurons.items())
    }
    with _mounted(loaded, made):
        yield Routing(layers=made)


@contextmanager
def _mounted(loaded: LoadedModel, layers: Mapping[int, RoutedLayer]) -> Iterator[None]:
    """The gate gives the activations, up a factor of one, the activation hands on, the write reads what was chosen."""
    with ExitStack() as undo:
        _ROUTED.add(loaded.model)
        undo.callback(_ROUTED.discard, loaded.model)
        for layer in layers.values():
            function = layer.function
            _replace(function.gate, layer.read, undo)
            _replace(function.activation, _hand_on, undo)
            _replace(function.parts.write, layer.write, undo)
            if function.up is not None:
                _replace(function.up, _one, undo)
        yield


def _replace(module: nn.Module, forward: Callable[[Tensor], Tensor], undo: ExitStack) -> None:
    own = vars(module)
    # Some libraries set a forward on the instance; that one comes back, else the class's shows again.
    before = own.get("forward")

    def restore() -> None:
        if before is None:
            own.pop("forward", None)
        else:
            own["forward"] = before

    undo.callback(restore)
    own["forward"] = forward


def _hand_on(x: Tensor) -> Tensor:
    return x


def _one(x: Tensor) -> Tensor:
    return x.new_ones(())


def _block(function: FfnFunction, neurons: NDArray[np.int64]) -> ExpertBlock:
    return ExpertBlock.of(function, torch.from_numpy(neurons).to(function.parts.write.weight.device))


def _refuse_twice(loaded: LoadedModel) -> None:
    if loaded.model in _ROUTED:
        raise UsageError(f"{loaded.name} runs with part of its FFNs already; leave that block first.")


def _check_router(loaded: LoadedModel, partition: Partition, router: Router) -> None:
    wanted = {
        "first": (loaded.anatomy.num_layers, partition.experts, loaded.anatomy.hidden_size),
        "bias": (loaded.anatomy.num_layers, partition.experts),
        "second": (loaded.anatomy.num_layers, partition.experts, partition.experts),
    }
    given: dict[str, Any] = {name: tuple(values.shape) for name, values in router.tensors().items()}
    if wrong := next((name for name, shape in given.items() if shape != wanted[name]), None):
        raise UsageError(
            f"the router's {wrong} has shape {given[wrong]}; this model and partition need {wanted[wrong]}."
        )
