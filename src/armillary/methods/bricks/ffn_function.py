"""What a feed-forward block computes: which matrix goes through the activation, which one it is multiplied by.

Found by watching one small forward pass and verified on it, so that no table of architectures is needed.
Legend: N tokens, D hidden size, M neurons.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from armillary.errors import ModelError
from armillary.methods.bricks.feed_forward import FeedForward, Matrix, bias_O, feed_forward, weight_OI
from armillary.models import LoadedModel
from armillary.models.batches import run_body

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
    blocks = [feed_forward(loaded, layer) for layer in range(loaded.anatomy.num_layers)]
    watched = [_Watched(block) for block in blocks]
    ids = torch.arange(min(PROBE_TOKENS, loaded.anatomy.vocabulary_size), device=loaded.device)[None]
    with ExitStack() as hooks, torch.no_grad():
        for one in watched:
            one.watch(hooks)
        run_body(loaded, ids)
    found = tuple(one.function(loaded.name) for one in watched)
    if len({id(one.activation) for one in found}) < len(found):
        raise ModelError(f"Layers of {loaded.name} share one activation module, so one can't be changed alone.")
    return found


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
        first = self.block.write.register_forward_pre_hook(self._asked, prepend=True)
        hooks.callback(first.remove)

    def _asked(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        self._seen(module, args, args[0])

    def _seen(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if len(args) == 1 and isinstance(args[0], Tensor) and isinstance(output, Tensor):
            pair = (args[0].detach().clone(), output.detach().clone())
            self.calls.setdefault(module, []).append(pair)

    def function(self, name: str) -> FfnFunction:
        """The one function that gives the activations which the write matrix read."""
        block, where = self.block, f"The FFN of layer {self.block.layer} of {name}"
        if any(len(self.calls.get(one, ())) != 1 for one in (*block.reads, block.write)):
            raise ModelError(f"{where} ran without its matrices: fused or compiled layers can't be split.")
        wanted = self.calls[block.write][0][0]
        for activation, calls in self.calls.items():
            for gate in block.reads if activation not in block.matrices.values() and len(calls) == 1 else ():
                others = [read for read in block.reads if read is not gate]
                if _equal(calls[0][0], self.calls[gate][0][1]) and self._explains(calls[0][1], others, wanted):
                    up = others[0] if others else None
                    return FfnFunction(parts=block, gate=gate, up=up, activation=activation, apply=activation.forward)
        raise ModelError(f"{where} is neither act(gate x) * (up x) nor act(read x) with an activation module.")

    def _explains(self, activated: Tensor, others: Sequence[Matrix], wanted: Tensor) -> bool:
        made = activated * self.calls[others[0]][0][1] if others else activated
        return made.shape == wanted.shape and bool(
            (made - wanted).abs().max() <= _TOLERANCE * wanted.abs().max().clamp_min(1e-30)
        )


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a, b)
