"""A picture's states behind a frozen vision tower, computed once instead of at every step.

Shapes: B pictures, N states of one picture (the class token first, where the tower has one), v width of the tower.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from armillary.models.vision import find_vision_anatomy


class StoredStates(nn.Module):
    """Stands where a vision tower was: its "pixels" are the states that the tower gave for the pictures."""

    def __init__(self, config: object) -> None:
        """``config`` is the tower's, by which the model's parts are found."""
        super().__init__()
        self.config = config

    def forward(self, pixel_values: Float[Tensor, "B N v"], **_: Any) -> BaseModelOutputWithPooling:
        """The states themselves, as the last of the hidden states."""
        return BaseModelOutputWithPooling(last_hidden_state=pixel_values, hidden_states=(pixel_values,))


@torch.inference_mode()
def tower_states(model: PreTrainedModel, pictures: Iterable[Tensor]) -> Iterator[Float[Tensor, "B N v"]]:
    """For each batch of pictures ``[B, 3, P, P]`` the states that the model's connector reads, class token included.

    For models of LLaVA's kind, whose connector reads one layer of the tower.
    """
    tower = find_vision_anatomy(model).vision_tower
    layer = cast(Any, model.config).vision_feature_layer
    for batch in pictures:
        seen = tower(batch.to(device=model.device, dtype=model.dtype), output_hidden_states=True)
        yield seen.hidden_states[layer].clone()


@contextmanager
def stored_states(model: PreTrainedModel) -> Iterator[None]:
    """Inside, ``pixel_values`` of the model are what ``tower_states`` gave; everything else is as before.

    The layer that the connector reads is the last one meanwhile, since only that one is kept.
    """
    inner, config = cast(Any, model).model, cast(Any, model.config)
    tower, layer = inner.vision_tower, config.vision_feature_layer
    try:
        inner.vision_tower, config.vision_feature_layer = StoredStates(tower.config), -1
        yield
    finally:
        inner.vision_tower, config.vision_feature_layer = tower, layer
