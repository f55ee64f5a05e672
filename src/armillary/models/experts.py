"""The neurons of a mixture of experts, as far as transformers keeps its experts in the one form it has for them.

An expert's activation times the weight that the router gave the expert is what its column of the write matrices is
multiplied by; an expert that a token is not sent to writes nothing. So the neurons of all experts side by side are
those of one wide FFN, most of which are 0 at a token. Shared experts beside them are not among them.
Legend: N tokens, K experts a token is sent to, E experts, I neurons of one, M = E x I, H hidden size.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from armillary.errors import ModelError
from armillary.models.anatomy import agree

CHECKED = 8
"""Tokens of each pass at which what the neurons write is compared with what the experts gave."""


@dataclass(frozen=True)
class ExpertWrite:
    """What stands for the one write matrix of an FFN in a layer of experts."""

    module: nn.Module
    """Called with (hidden states ``[N, H]``, chosen experts ``[N, K]``, their weights ``[N, K]``)."""

    @property
    def _columns_EIH(self) -> Tensor:
        down = cast(Tensor, self.module.down_proj)
        return down if self.module.is_transposed else down.transpose(1, 2)

    @property
    def weight(self) -> Tensor:
        """The experts' write matrices side by side, ``[H, M]``."""
        return self._columns_EIH.flatten(0, 1).T

    @property
    def neurons(self) -> int:
        """M."""
        return self._columns_EIH.shape[0] * self._columns_EIH.shape[1]

    def activations(self, args: tuple[Any, ...], given: Mapping[str, Any], out_NH: Tensor) -> Tensor:
        """``[N, M]``, from what the module was called with.

        ModelError unless what they write is what the module gave.
        """
        names = ("hidden_states", "top_k_index", "top_k_weights")
        inputs = {**dict(zip(names, args, strict=False)), **given}
        if not set(names) <= set(inputs) or inputs["top_k_index"].shape != inputs["top_k_weights"].shape:
            raise self._unreadable()
        hidden_NH, index_NK, weight_NK = (inputs[name].flatten(0, -2) for name in names)
        module, columns_EIH = cast(Any, self.module), self._columns_EIH
        a_NEI = hidden_NH.new_zeros(len(hidden_NH), *columns_EIH.shape[:2])
        bias_NH = torch.zeros_like(hidden_NH)
        for expert in index_NK.unique().tolist():
            rows, ranks = torch.where(index_NK == expert)
            read = (module.gate_up_proj if module.has_gate else module.up_proj)[expert]
            raw = functional.linear(hidden_NH[rows], read.T if module.is_transposed else read)
            if module.has_bias:
                raw = raw + (module.gate_up_proj_bias if module.has_gate else module.up_proj_bias)[expert]
                bias_NH[rows] += module.down_proj_bias[expert] * weight_NK[rows, ranks, None]
            act = module._apply_gate(raw) if module.has_gate else module.act_fn(raw)
            a_NEI[rows, expert] += (act * weight_NK[rows, ranks, None]).to(a_NEI.dtype)
        a_NM: Tensor = a_NEI.flatten(1)
        some = slice(CHECKED)
        if not agree(self.written(a_NM[some]) + bias_NH[some], out_NH.flatten(0, -2)[some]):
            raise self._unreadable()
        return a_NM

    def _unreadable(self) -> ModelError:
        return ModelError(
            f"the experts of class {type(self.module).__name__} give something other than what their neurons write, "
            "so the neurons can't be read; what layers give out can be."
        )

    def written(self, a_NM: Tensor) -> Tensor:
        """What these activations write, ``[N, H]``."""
        a_NEI = a_NM.unflatten(1, tuple(self._columns_EIH.shape[:2]))
        out_NH: Tensor = torch.einsum("nei,eih->nh", a_NEI, self._columns_EIH)
        return out_NH


def expert_write(layer: nn.Module) -> ExpertWrite | None:
    """The layer's experts, if it has one set of them and they are in transformers' common form."""
    settings = ("has_gate", "has_bias", "is_transposed", "has_post_expert_norm")
    sets = [
        part
        for part in layer.modules()
        if all(hasattr(part, name) for name in settings)
        and isinstance(getattr(part, "down_proj", None), nn.Parameter)
        and not part.has_post_expert_norm
    ]
    return ExpertWrite(sets[0]) if len(sets) == 1 else None
