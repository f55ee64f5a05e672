"""Remove the drift component from what the optimiser adds to the weights, rather than from the gradient.

Adam scales each entry by its own history, so an update made from an orthogonal gradient is no longer orthogonal; this
option (ours) projects the update itself. Weight decay counts as part of it.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainerCallback

from armillary.errors import UsageError
from armillary.methods.mdgd.config import MDGDSettings
from armillary.methods.mdgd.core import decouple
from armillary.training.second_gradient import Gradients


class UpdateProjection(TrainerCallback):
    """Around ``optimizer.step``: keeps the weights before it, and takes the drift component out of the difference.

    Memory: a copy of the trainable weights and the visual gradient, during the step. UsageError for the unsigned
    removal together with alignment, which it would undo.
    """

    def __init__(self, settings: MDGDSettings) -> None:
        if settings.projection == "full" and settings.align_weight > 0:
            raise UsageError(
                "projection_of='update' with projection='full' would also remove the alignment; set "
                "visual_align_weight=0 or projection='conflict'."
            )
        self.settings = settings
        self._parameters: list[nn.Parameter] = []
        self._visual: Gradients = {}
        self._before: list[Tensor] = []
        self._seed: int | None = None

    def begin(self, parameters: list[nn.Parameter], visual: Gradients, seed: int | None) -> None:
        """Take in the visual gradient of this step; nothing is projected without one."""
        self._parameters = [parameter for parameter in parameters if visual]
        self._visual, self._seed = visual, seed

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Keep the weights."""
        self._before = [parameter.detach().clone() for parameter in self._parameters]

    @torch.no_grad()
    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Project what was added. Against the gradient's sign: a step is the negative of what it descends."""
        steps: list[Tensor | None] = [
            before - parameter for before, parameter in zip(self._before, self._parameters, strict=True)
        ]
        visual = [self._visual.get(parameter) for parameter in self._parameters]
        edited, _ = decouple(
            steps,
            visual,
            mode=self.settings.projection or "none",
            scope=self.settings.projection_scope,
            random_seed=self._seed,
        )
        for parameter, before, v, step in zip(self._parameters, self._before, visual, edited, strict=True):
            if v is not None and step is not None:
                parameter.copy_(before - step)
        self._parameters, self._before, self._visual = [], [], {}
