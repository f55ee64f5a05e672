"""The size of each component's gradient, step by step, in the Trainer's log."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainerCallback

from armillary.training.component_groups import Components, component_parameters, log_figures


def component_norms(parts: Mapping[str, Mapping[str, nn.Parameter]]) -> dict[str, Tensor]:
    """Component -> Euclidean norm of its gradient as it stands, a scalar in float32; 0 where there is none."""
    norms = {}
    for name, parameters in parts.items():
        grads = [parameter.grad for parameter in parameters.values() if parameter.grad is not None]
        sizes = [torch.linalg.vector_norm(grad.detach().float()) for grad in grads]
        norms[name] = torch.stack([size.to(sizes[0].device) for size in sizes]).norm() if sizes else torch.zeros(())
    return norms


class ComponentNorms(TrainerCallback):
    """Adds ``gradient_norm/<component>`` of the last step, after clipping, to each line of the log."""

    def __init__(self, components: Components) -> None:
        self.components = components
        self._parts: dict[str, dict[str, nn.Parameter]] | None = None
        self._last: dict[str, Tensor] = {}

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Reads the gradients."""
        if self._parts is None:
            self._parts = component_parameters(kwargs["model"], self.components)
        self._last = component_norms(self._parts)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        """Tells the last reading."""
        if self._last and logs is not None and "loss" in logs:
            log_figures(state, logs, {f"gradient_norm/{name}": float(norm) for name, norm in self._last.items()})
