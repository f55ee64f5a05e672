"""Gradients that leave what linear maps make of image tokens as it is, as a trainer to be compared with MDGD.

[derived] After gradient projection memory (Saha, Garg and Roy 2021); what is remembered are the image tokens' inputs.

Shapes: N image tokens of all images, i and o inputs and outputs of a linear map, k basis vectors.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import Trainer

from armillary.methods.mdgd.drift import OWN_COLUMNS
from armillary.models.vision import find_vision_anatomy
from armillary.training.second_gradient import Gradients, SecondGradientMixin

ENERGY = 0.99
"""Share of the squared norm of the image tokens' inputs that the basis holds: the usual choice of such methods."""


class OffImagesTrainer(SecondGradientMixin, Trainer):
    """Fine-tuning whose gradients of linear maps are orthogonal to what the maps are given at image positions.

    ``spans`` are those of ``image_spans`` before training. With plain SGD such a step leaves the maps' outputs for
    these inputs as they are; AdamW's scaling of each entry bends it.
    """

    own_columns = OWN_COLUMNS

    def __init__(self, *args: Any, spans: Mapping[str, Tensor], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._spans = {parameter: spans[name] for name, parameter in self.network.named_parameters() if name in spans}

    def edit_gradients(self, model: nn.Module, second: Gradients) -> None:
        """``G - G B B^T`` for each weight ``[o, i]`` with its basis ``[i, k]``."""
        for parameter, span_ik in self._spans.items():
            if parameter.grad is not None:
                parameter.grad.sub_(parameter.grad @ span_ik @ span_ik.T)


@torch.no_grad()
def image_spans(model: nn.Module, images: Mapping[str, Tensor], energy: float = ENERGY) -> dict[str, Tensor]:
    """By name of each linear weight of connector and decoder layers an orthonormal basis ``[i, k]`` of its inputs.

    ``images`` are inputs of image tokens alone. The basis is the fewest leading singular directions that hold the
    share ``energy`` of the inputs' squared norm, nothing subtracted, in float64.
    """
    anatomy = find_vision_anatomy(model)
    inside = {module for part in (anatomy.connector, *anatomy.layers) if part is not None for module in part.modules()}
    grams: dict[str, Tensor] = {}

    def add(name: str, _module: nn.Module, args: tuple[Tensor, ...]) -> None:
        x_Ni = args[0].flatten(0, -2).double()
        grams[name] = grams.get(name, 0) + x_Ni.T @ x_Ni

    handles = [
        module.register_forward_pre_hook(partial(add, f"{name}.weight"))
        for name, module in model.named_modules()
        if module in inside and isinstance(module, nn.Linear)
    ]
    try:
        cast(Any, model)(**images, logits_to_keep=1)
    finally:
        for handle in handles:
            handle.remove()
    return {name: _leading(gram_ii, energy) for name, gram_ii in grams.items()}


def _leading(gram_ii: Tensor, energy: float) -> Tensor:
    values_i, vectors_ii = torch.linalg.eigh(gram_ii)  # ascending
    shares_i = values_i.flip(0).clamp_min(0).cumsum(0) / values_i.clamp_min(0).sum()
    count = int((shares_i < energy).sum()) + 1
    leading_ik: Tensor = vectors_ii.flip(1)[:, :count].float()
    return leading_ik
