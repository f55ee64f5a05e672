"""AdamW that changes and remembers only chosen entries of each tensor.

Shapes: K chosen entries of a tensor.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, overload

import torch
from jaxtyping import Int
from torch import Tensor, nn

from armillary.errors import UsageError


class MaskedAdamW(torch.optim.Optimizer):
    """AdamW (decoupled weight decay, Loshchilov and Hutter 2019) on the entries at the given flat positions.

    All other entries stay bit for bit: no gradient, no momentum, no weight decay. Equal to dense AdamW on a masked
    gradient at the chosen entries; the two moments are stored for those alone, so that at a ratio of 0.1 the state
    takes a tenth of AdamW's (plus one integer an entry).

    ``indices`` gives ascending flat positions a parameter; without it the optimiser waits for ``load_state_dict``,
    whose dictionary holds them. UsageError for a parameter without positions or not contiguous in memory.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
        indices: Mapping[nn.Parameter, Int[Tensor, " k"]] | None,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})
        self._indices: dict[nn.Parameter, Tensor] = {}
        if indices is not None:
            self._set([indices.get(parameter) for parameter in self._ordered()])

    def index(self, parameter: nn.Parameter) -> Int[Tensor, " k"]:
        """Flat positions of ``parameter`` that may change. UsageError where none were given or loaded."""
        if parameter not in self._indices:
            raise UsageError("this parameter has no mask; give MaskedAdamW its positions or load a saved state.")
        return self._indices[parameter]

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step of AdamW at the chosen entries."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._step_one(parameter, parameter.grad, group)
        return loss

    def _step_one(self, parameter: nn.Parameter, gradient: Tensor, group: dict[str, Any]) -> None:
        index = self.index(parameter)
        gradient_K = gradient.reshape(-1)[index]
        flat = parameter.detach().view(-1)
        weight_K = flat[index]
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"] = torch.zeros_like(weight_K)
            state["exp_avg_sq"] = torch.zeros_like(weight_K)
        state["step"] += 1
        count, (beta1, beta2) = float(state["step"]), group["betas"]
        weight_K.mul_(1 - group["lr"] * group["weight_decay"])
        state["exp_avg"].lerp_(gradient_K, 1 - beta1)
        state["exp_avg_sq"].mul_(beta2).addcmul_(gradient_K, gradient_K, value=1 - beta2)
        scale = (state["exp_avg_sq"].sqrt() / math.sqrt(1 - beta2**count)).add_(group["eps"])
        weight_K.addcdiv_(state["exp_avg"], scale, value=-group["lr"] / (1 - beta1**count))
        flat[index] = weight_K

    def state_dict(self) -> dict[str, Any]:
        """As of any optimiser, with the positions under ``indices`` in the order of the parameters."""
        return {**super().state_dict(), "indices": [self._indices.get(parameter) for parameter in self._ordered()]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Inverse of ``state_dict``: moments, steps and positions."""
        # The positions are no per-parameter state, because that is cast to the parameter's dtype when loaded.
        if "indices" not in state_dict:
            raise UsageError("this optimiser state has no 'indices'; it was not saved by MaskedAdamW.")
        if any(index is not None for index in state_dict["indices"]):
            self._set(state_dict["indices"])
        super().load_state_dict({name: value for name, value in state_dict.items() if name != "indices"})

    def _ordered(self) -> list[nn.Parameter]:
        return [parameter for group in self.param_groups for parameter in group["params"]]

    def _set(self, indices: list[Tensor | None]) -> None:
        parameters = self._ordered()
        if len(indices) != len(parameters):
            raise UsageError(f"got positions for {len(indices)} tensors, but the optimiser has {len(parameters)}.")
        for number, (parameter, index) in enumerate(zip(parameters, indices, strict=True)):
            if index is None:
                raise UsageError(f"parameter {number} of shape {tuple(parameter.shape)} has no mask; give positions.")
            if not parameter.is_contiguous():
                raise UsageError(f"parameter {number} of shape {tuple(parameter.shape)} is not contiguous in memory.")
            self._indices[parameter] = index.to(parameter.device, torch.long)
