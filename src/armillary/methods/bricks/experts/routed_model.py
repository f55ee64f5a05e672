"""Running a model with part of its FFNs, chosen token by token.

The base's weights are never touched: inside the block the forwards of each FFN's matrices are replaced, and put back
on any exit. An FFN is split into experts whose rows lie together in memory, and only those that are chosen are read:
``y = b + sum over chosen e of down_e (act(gate_e x) * (up_e x))``, with unit gates, so that all experts together are
the dense FFN.
Legend: L layers, N tokens, D hidden size, M neurons, E experts, S neurons of an expert, R their rows in the reads.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakSet

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from armillary.errors import UsageError
from armillary.methods.bricks.experts.router import ExpertChoice, ExpertScorer, Router, expert_neurons, score_mass
from armillary.methods.bricks.payloads import Partition, sites_of
from armillary.models import LoadedModel
from armillary.models.feed_forward import FfnFunction, bias_O, ffn_functions, weight_OI


@dataclass(frozen=True, kw_only=True, eq=False)
class ExpertBlock:
    """The rows of some neurons, each matrix contiguous."""

    neurons_S: Tensor
    read_RD: Tensor
    """Gate rows and then up rows; the only rows of a plain FFN."""

    read_bias_R: Tensor | None
    down_DS: Tensor
    """Columns of the write matrix, row by row as it is: for one token that product is the faster one."""

    @classmethod
    def of(cls, function: FfnFunction, neurons: NDArray[np.int64]) -> "ExpertBlock":
        """A copy of the neurons' rows as they are now."""
        neurons_S = torch.from_numpy(neurons).to(function.parts.write.weight.device)
        biases = [bias_O(read) for read in function.reads]
        rows = [weight_OI(read).detach()[neurons_S] for read in function.reads]
        kept = [
            torch.zeros_like(row_SD[:, 0]) if bias is None else bias.detach()[neurons_S]
            for row_SD, bias in zip(rows, biases, strict=True)
        ]
        return cls(
            neurons_S=neurons_S,
            read_RD=torch.cat(rows).contiguous(),
            read_bias_R=torch.cat(kept) if any(bias is not None for bias in biases) else None,
            down_DS=weight_OI(function.parts.write).detach()[:, neurons_S].contiguous(),
        )

    def read(self, x_ND: Tensor) -> Tensor:
        """What the read matrices give, ``[n, r]``."""
        return functional.linear(x_ND, self.read_RD, self.read_bias_R)


@dataclass(kw_only=True)
class Usage:
    """How many experts one layer has run."""

    tokens: int = 0
    experts: int = 0
    neurons: int = 0
    """Neurons read, summed over tokens."""


@dataclass(kw_only=True, eq=False)
class RoutedLayer:
    """The two halves of the routed FFN of one layer: activations from the input, output from the activations.

    Activations are written into a vector of all M neurons, zeros where an expert was not run, so that hooks on the
    input of the write matrix see and may change what they always see.
    """

    function: FfnFunction
    experts: Sequence[ExpertBlock]
    choice: ExpertChoice
    router: Router | None = None
    scorer: ExpertScorer | None = None
    """The oracle's. Where all experts run there is neither."""

    usage: Usage = field(default_factory=Usage)
    _chosen: tuple[list[ExpertBlock], list[Tensor]] = field(default=([], []), init=False)
    """Blocks of the call under way, and for each the indices of its tokens; none where all tokens run all blocks."""

    _columns: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64), init=False)
    """Where all tokens run all blocks: the neurons of the blocks, one block after the other."""

    def read(self, x: Tensor) -> Tensor:
        """Activations ``[..., M]`` of the input ``[..., D]``; stands in for the forward of the gate."""
        x_ND = x.reshape(-1, x.shape[-1])
        blocks, tokens = self._chosen = self._choose(x_ND)
        a_NM = x_ND.new_zeros(len(x_ND), self.function.parts.width)
        if tokens:
            for block, tokens_K in zip(blocks, tokens, strict=True):
                a_NM[tokens_K[:, None], block.neurons_S] = self._activate([block.read(x_ND[tokens_K])])
        elif blocks:
            self._columns = _joined([block.neurons_S for block in blocks], 0)
            a_NM = a_NM.index_copy(1, self._columns, self._activate([block.read(x_ND) for block in blocks]))
        return a_NM.reshape(*x.shape[:-1], -1)

    def write(self, a: Tensor) -> Tensor:
        """Output ``[..., D]`` of the activations; reads the columns of the experts that ``read`` has chosen."""
        a_NM = a.reshape(-1, a.shape[-1])
        blocks, tokens = self._chosen
        bias_D = bias_O(self.function.parts.write)
        width = weight_OI(self.function.parts.write).shape[0]
        y_ND = a_NM.new_zeros(len(a_NM), width) if bias_D is None else bias_D.expand(len(a_NM), -1).clone()
        if tokens:
            for block, tokens_K in zip(blocks, tokens, strict=True):
                y_ND[tokens_K] += a_NM[tokens_K[:, None], block.neurons_S] @ block.down_DS.T
        elif blocks:
            parts = a_NM.index_select(1, self._columns).split([len(block.neurons_S) for block in blocks], dim=1)
            for part_NS, block in zip(parts, blocks, strict=True):
                y_ND = torch.addmm(y_ND, part_NS, block.down_DS.T)
        return y_ND.reshape(*a.shape[:-1], -1)

    def _activate(self, read: Sequence[Tensor]) -> Tensor:
        if self.function.up is None:
            return self.function.apply(_joined(read, 1))
        halves = [rows.chunk(2, dim=1) for rows in read]
        gate, up = (_joined([pair[which] for pair in halves], 1) for which in (0, 1))
        return self.function.apply(gate) * up

    def _choose(self, x_ND: Tensor) -> tuple[list[ExpertBlock], list[Tensor]]:
        """The blocks to run. One token needs no indices, and nor do blocks that run for every token."""
        everything = self.choice.k == len(self.experts)
        self.usage.tokens += len(x_ND)
        blocks: list[ExpertBlock] = []
        if self.choice.k == 0 or everything or not len(x_ND):
            blocks = list(self.experts) if everything else []
            self._count(blocks, len(x_ND))
            return blocks, []
        scores = self._scores(x_ND)
        if len(x_ND) == 1:
            blocks = [self.experts[expert] for expert in self.choice.of_one(*scores)]
            self._count(blocks, 1)
            return blocks, []
        mask_NE = self.choice.mask(*scores)
        tokens = []
        for block, mask_N in zip(self.experts, mask_NE.T, strict=True):
            tokens_K = mask_N.nonzero()[:, 0]
            if len(tokens_K):
                blocks.append(block)
                tokens.append(tokens_K)
                self._count([block], len(tokens_K))
        return blocks, tokens

    def _scores(self, x_ND: Tensor) -> tuple[Tensor, Tensor | None]:
        if self.scorer is not None:
            scores_NE = self.scorer(self.function.activations(x_ND))
            return scores_NE, score_mass(scores_NE, self.scorer.kind)
        assert self.router is not None
        scores_NE = self.router.scores(self.function.parts.layer, x_ND)
        return scores_NE, None if self.choice.share is None else self.router.mass(scores_NE)

    def _count(self, blocks: Sequence[ExpertBlock], tokens: int) -> None:
        self.usage.experts += len(blocks) * tokens
        self.usage.neurons += tokens * sum(len(block.neurons_S) for block in blocks)


def _joined(parts: Sequence[Tensor], dim: int) -> Tensor:
    """The parts side by side; one alone is not copied, which at one token costs as much as a small product."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=dim)


_ROUTED: "WeakSet[nn.Module]" = WeakSet()


@dataclass(frozen=True, kw_only=True)
class Routing:
    """A model while it runs with part of its FFNs."""

    layers: Mapping[int, RoutedLayer]

    @property
    def experts_per_token(self) -> float:
        """Mean number of experts run at a token so far, over layers; 0 before the first token."""
        return self._mean([layer.usage.experts for layer in self.layers.values()])

    @property
    def neurons_share(self) -> float:
        """Share of the neurons read at a token so far, over layers; 0 before the first token."""
        width = next(iter(self.layers.values())).function.parts.width
        return self._mean([layer.usage.neurons for layer in self.layers.values()]) / width

    def _mean(self, counts: list[int]) -> float:
        return sum(counts) / max(1, sum(layer.usage.tokens for layer in self.layers.values()))


def routed(
    loaded: LoadedModel, partition: Partition, router: Router, *, k: int | None = None, share: float | None = None
) -> AbstractContextManager[Routing]:
    """Inside the block each token runs ``k`` experts a layer, or the fewest predicted to hold ``share`` of the mass.

    With ``k`` = E the outputs are those of the dense model but for the order of sums, with 0 only the write's bias is
    left. Weights are copied when the block is entered, a second set of FFN weights: what changes them later does not
    show. An oracle runs the dense FFN first to see its scores, so it saves nothing.

    UsageError for a partition or router of another shape, k outside 0 to E, both or neither of ``k`` and ``share``, or
    a model that is routed already; ModelError where an FFN is neither plain nor gated.
    """
    choice = ExpertChoice(k=k, share=share)
    choice.check(partition.experts)
    sites_of(loaded, partition)
    _check_router(loaded, partition, router)
    if share is not None and router.kind == "centroid":
        raise UsageError("a centroid router only orders the experts, so it can't tell a share; give k.")
    is_oracle = router.kind == "oracle"
    moved = None if is_oracle else router.on(loaded.device, loaded.dtype)

    def layer_of(function: FfnFunction) -> RoutedLayer:
        return RoutedLayer(
            function=function,
            experts=[ExpertBlock.of(function, chosen) for chosen in expert_neurons(partition, function.parts.layer)],
            choice=choice,
            router=moved,
            scorer=ExpertScorer(function, partition, router.score) if is_oracle else None,
        )

    return replaced(loaded, layer_of)


@contextmanager
def replaced(loaded: LoadedModel, layer_of: Callable[[FfnFunction], RoutedLayer]) -> Iterator[Routing]:
    """Inside the block each FFN runs as the layer that is made of it; raises as ``routed``.

    The gate gives the activations, up a factor of one, the activation hands on, the write reads what was chosen.
    """
    if loaded.model in _ROUTED:
        raise UsageError(f"{loaded.name} is routed already; leave the other block first.")
    layers = {layer: layer_of(function) for layer, function in enumerate(ffn_functions(loaded))}
    with ExitStack() as undo:
        _ROUTED.add(loaded.model)
        undo.callback(_ROUTED.discard, loaded.model)
        for layer in layers.values():
            function = layer.function
            replace_forward(function.gate, layer.read, undo)
            replace_forward(function.activation, _hand_on, undo)
            replace_forward(function.parts.write, layer.write, undo)
            if function.up is not None:
                replace_forward(function.up, _factor_of_one, undo)
        yield Routing(layers=layers)


def replace_forward(module: nn.Module, forward: Callable[[Tensor], Tensor], undo: ExitStack) -> None:
    """Let the module compute ``forward`` until ``undo`` is closed; hooks on it run as before."""
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


def _factor_of_one(x: Tensor) -> Tensor:
    return x.new_ones(())


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
