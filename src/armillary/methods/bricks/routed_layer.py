"""One FFN split into experts whose rows lie together in memory, and a forward that reads only those that are chosen.

``y = b + sum over chosen e of down_e (act(gate_e x) * (up_e x))``: unit gates, so that all experts together are the
dense FFN. Legend: N tokens, D hidden size, M neurons, E experts, S neurons of an expert, R their rows in the reads.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from armillary.methods.bricks.expert_scores import Choice, ExpertScorer, score_mass
from armillary.methods.bricks.feed_forward import bias_O, weight_OI
from armillary.methods.bricks.ffn_function import FfnFunction
from armillary.methods.bricks.router import Router


@dataclass(frozen=True, kw_only=True, eq=False)
class ExpertBlock:
    """The rows of some neurons, each matrix contiguous."""

    neurons_S: Tensor
    read_RD: Tensor
    """Gate rows and then up rows; the only rows of a plain FFN."""

    read_bias_R: Tensor | None
    down_SD: Tensor
    """Columns of the write matrix as rows."""

    @classmethod
    def of(cls, function: FfnFunction, neurons_S: Tensor) -> "ExpertBlock":
        """A copy of the neurons' rows as they are now."""
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
            down_SD=weight_OI(function.parts.write).detach()[:, neurons_S].T.contiguous(),
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
    """Neurons read, summed over tokens, always-on ones included."""


@dataclass(kw_only=True, eq=False)
class RoutedLayer:
    """The two halves of the routed FFN of one layer: activations from the input, output from the activations.

    Activations are written into a vector of all M neurons, zeros where an expert was not run, so that hooks on the
    input of the write matrix see and may change what they always see.
    """

    function: FfnFunction
    experts: Sequence[ExpertBlock]
    always: ExpertBlock | None
    """Neurons that run at every token."""

    choice: Choice
    router: Router | None
    scorer: ExpertScorer | None
    """The oracle's, where there is no router."""

    usage: Usage = field(default_factory=Usage)
    _chosen: tuple[list[ExpertBlock], list[Tensor]] = field(default=([], []), init=False)
    """Blocks of the call under way, and for each the places of its tokens; no places where all tokens run them."""

    _columns: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64), init=False)
    """Where there are no places: the neurons of the blocks, one block after the other."""

    def read(self, x: Tensor) -> Tensor:
        """Activations ``[..., M]`` of the input ``[..., D]``; stands in for the forward of the gate."""
        x_ND = x.reshape(-1, x.shape[-1])
        blocks, places = self._chosen = self._choose(x_ND)
        a_NM = x_ND.new_zeros(len(x_ND), self.function.parts.width)
        if places:
            for block, places_K in zip(blocks, places, strict=True):
                a_NM[places_K[:, None], block.neurons_S] = self._activate([block.read(x_ND[places_K])])
        elif blocks:
            self._columns = torch.cat([block.neurons_S for block in blocks])
            a_NM = a_NM.index_copy(1, self._columns, self._activate([block.read(x_ND) for block in blocks]))
        return a_NM.reshape(*x.shape[:-1], -1)

    def write(self, a: Tensor) -> Tensor:
        """Output ``[..., D]`` of the activations; reads the columns of the experts that ``read`` has chosen."""
        a_NM = a.reshape(-1, a.shape[-1])
        blocks, places = self._chosen
        bias_D = bias_O(self.function.parts.write)
        width = weight_OI(self.function.parts.write).shape[0]
        y_ND = a_NM.new_zeros(len(a_NM), width) if bias_D is None else bias_D.expand(len(a_NM), -1).clone()
        if places:
            for block, places_K in zip(blocks, places, strict=True):
                y_ND[places_K] += a_NM[places_K[:, None], block.neurons_S] @ block.down_SD
        elif blocks:
            parts = a_NM.index_select(1, self._columns).split([len(block.neurons_S) for block in blocks], dim=1)
            for part_NS, block in zip(parts, blocks, strict=True):
                y_ND = torch.addmm(y_ND, part_NS, block.down_SD)
        return y_ND.reshape(*a.shape[:-1], -1)

    def _activate(self, read: Sequence[Tensor]) -> Tensor:
        if self.function.up is None:
            return self.function.apply(torch.cat(list(read), dim=1))
        halves = [one.chunk(2, dim=1) for one in read]
        gate, up = (torch.cat([half[which] for half in halves], dim=1) for which in (0, 1))
        return self.function.apply(gate) * up

    def _choose(self, x_ND: Tensor) -> tuple[list[ExpertBlock], list[Tensor]]:
        """The blocks to run. One token needs no places, and nor do blocks that run for every token."""
        first = [] if self.always is None else [self.always]
        everything = self.choice.k == len(self.experts)
        self.usage.tokens += len(x_ND)
        if self.choice.k == 0 or everything or not len(x_ND):
            blocks = [*first, *self.experts] if everything else first
            self._count((len(blocks) - len(first)) * len(x_ND), blocks, len(x_ND))
            return blocks, []
        scores = self._scores(x_ND)
        if len(x_ND) == 1:
            blocks = first + [self.experts[place] for place in self.choice.of_one(*scores)]
            self._count(len(blocks) - len(first), blocks, 1)
            return blocks, []
        mask_NE = self.choice.mask(*scores)
        blocks, places = list(first), [torch.arange(len(x_ND), device=x_ND.device) for _ in first]
        for block, mask_N in zip(self.experts, mask_NE.T, strict=True):
            places_K = mask_N.nonzero()[:, 0]
            if len(places_K):
                blocks.append(block)
                places.append(places_K)
                self._count(len(places_K), [block], len(places_K))
        self._count(0, first, len(x_ND))
        return blocks, places

    def _scores(self, x_ND: Tensor) -> tuple[Tensor, Tensor | None]:
        if self.scorer is not None:
            scores_NE = self.scorer(self.function.activations(x_ND))
            return scores_NE, score_mass(scores_NE, self.scorer.kind)
        assert self.router is not None
        scores_NE = self.router.scores(self.function.parts.layer, x_ND)
        return scores_NE, None if self.choice.share is None else self.router.mass(scores_NE)

    def _count(self, experts: int, blocks: Sequence[ExpertBlock], tokens: int) -> None:
        self.usage.experts += experts
        self.usage.neurons += tokens * sum(len(block.neurons_S) for block in blocks)
