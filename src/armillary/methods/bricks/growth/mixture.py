"""Several experts in the place of one feed-forward block, and the router that chooses among them.

Legend: N tokens, D hidden size, E experts, K chosen.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from armillary.errors import UsageError


class PlainBlock(nn.Module):
    """Read, activation and write of a model that keeps them as direct children of the layer."""

    def __init__(self, read: nn.Module, act: nn.Module, write: nn.Module) -> None:
        super().__init__()
        self.read, self.act, self.write = read, act, write

    def forward(self, x: Tensor) -> Tensor:
        """The block's output for any leading shape."""
        out: Tensor = self.write(self.act(self.read(x)))
        return out


class Mixture(nn.Module):
    """Each token goes to the ``top_k`` experts with the largest router logits.

    Their outputs are weighted by the softmax over the chosen logits, so that weights sum to 1 (equal experts then give
    what one gives), or with ``unit_gates`` added up (parts of one block then give the block). Every expert has a
    router row of its own, so that the row of a new expert can be trained alone. An expert whose ``opening`` is minus
    infinity gets weight 0.
    """

    opening_E: Tensor

    def __init__(
        self,
        experts: Sequence[nn.Module],
        rows: Sequence[Tensor],
        top_k: int,
        *,
        unit_gates: bool = False,
        bias: Tensor | None = None,
    ) -> None:
        super().__init__()
        if not 1 <= top_k <= len(experts) or len(rows) != len(experts):
            raise UsageError(f"top_k must be 1 to {len(experts)}, the number of experts; got {top_k}.")
        self.experts = nn.ModuleList(experts)
        self.router_rows = nn.ParameterList(nn.Parameter(row) for row in rows)
        self.top_k, self.unit_gates = top_k, unit_gates
        self.bias = None if bias is None else nn.Parameter(bias)
        self.register_buffer("opening_E", torch.zeros(len(experts), device=rows[0].device))
        self.only: int | None = None

    def router_logits(self, x: Float[Tensor, "*n d"]) -> Float[Tensor, "*n e"]:
        """Logit of each expert, float32; minus infinity for a closed one."""
        return functional.linear(x.float(), torch.stack(tuple(self.router_rows)).float()) + self.opening_E

    def gates(self, logits_NE: Float[Tensor, "n e"]) -> tuple[Tensor, Tensor]:
        """Weights and indices of the chosen experts, both ``[n, k]``; a closed expert has weight 0."""
        chosen_NK, index_NK = logits_NE.topk(self.top_k, dim=-1)
        weight_NK = chosen_NK.isfinite().float() if self.unit_gates else chosen_NK.softmax(dim=-1)
        return weight_NK, index_NK

    def forward(self, x: Tensor) -> Tensor:
        """The block's output, of the shape of the input."""
        flat_ND = x.reshape(-1, x.shape[-1])
        if self.only is not None:
            out_ND = self.experts[self.only](flat_ND)
        else:
            weight_NK, index_NK = self.gates(self.router_logits(flat_ND))
            out_ND = torch.zeros_like(flat_ND)
            for number, expert in enumerate(self.experts):
                token, slot = torch.where((index_NK == number) & (weight_NK > 0))
                if len(token):
                    part = expert(flat_ND[token]) * weight_NK[token, slot, None].to(flat_ND.dtype)
                    out_ND = out_ND.index_add(0, token, part)
        if self.bias is not None:
            out_ND = out_ND + self.bias
        whole: Tensor = out_ND.reshape(x.shape)
        return whole


def mixtures(model: nn.Module) -> dict[str, Mixture]:
    """Module path to mixture, in order; UsageError where the model has none."""
    by_path = {path: module for path, module in model.named_modules() if isinstance(module, Mixture)}
    if not by_path:
        raise UsageError("the model has no experts; make some first.")
    return by_path


@contextmanager
def through_expert(model: nn.Module, expert: int) -> Iterator[None]:
    """Inside, every token goes through this one expert alone: how a new, still closed expert is trained."""
    by_path = mixtures(model)
    least = min(len(mixture.experts) for mixture in by_path.values())
    if not 0 <= expert < least:
        raise UsageError(f"the expert must be 0 to {least - 1}; got {expert}.")
    before = {path: mixture.only for path, mixture in by_path.items()}
    try:
        for mixture in by_path.values():
            mixture.only = expert
        yield
    finally:
        for path, mixture in by_path.items():
            mixture.only = before[path]


def open_experts(model: nn.Module) -> None:
    """Let the routers choose every expert from now on; logits change, unless the opened ones equal the others."""
    for mixture in mixtures(model).values():
        mixture.opening_E.zero_()


@contextmanager
def router_losses(model: nn.Module) -> Iterator[list[Tensor]]:
    """Inside, each forward appends every mixture's load-balance loss; add 0.01 times their mean to what is trained."""
    losses: list[Tensor] = []

    def note(module: nn.Module, args: tuple[Any, ...], _output: object) -> None:
        if isinstance(module, Mixture) and module.only is None:
            logits_NE = module.router_logits(args[0].reshape(-1, args[0].shape[-1]))
            losses.append(balance_loss(logits_NE, module.top_k))

    with ExitStack() as hooks:
        for mixture in mixtures(model).values():
            hooks.enter_context(mixture.register_forward_hook(note))
        yield losses


def balance_loss(logits_NE: Float[Tensor, "n e"], top_k: int) -> Float[Tensor, ""]:
    """``E sum_e f_e p_e``: share of choices times mean probability; 1 where experts are used evenly (Switch)."""
    experts = logits_NE.shape[1]
    index_NK = logits_NE.topk(top_k, dim=-1).indices
    share_E = functional.one_hot(index_NK, experts).float().mean(dim=(0, 1))
    return experts * (share_E * logits_NE.softmax(dim=-1).mean(dim=0)).sum()
