"""Hidden states of the image tokens before training: of a frozen copy, or of the model without its adapter.

The third kind, a cache per image, is in ``reference_cache``.

Shapes: N image tokens of a batch, D hidden size.
"""

import copy
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, cast, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from armillary.errors import UsageError
from armillary.methods.mdgd.drift import Batch, visual_hidden_states
from armillary.models.vision import find_vision_anatomy


@runtime_checkable
class StateReference(Protocol):
    """Gives the states that drift is measured from."""

    def states(self, batch: Batch, mask: Bool[Tensor, "b t"]) -> list[Float[Tensor, "n d"]]:
        """``[N, D]`` of each compared layer for a batch whose image tokens are at ``mask``."""
        ...


class CopiedReference:
    """A frozen copy of the model runs beside it: right for any order of text and images, one more forward a batch.

    Parameters that are frozen in the model (its vision tower) are shared, not copied.
    """

    def __init__(self, model: nn.Module, layers: Sequence[int]) -> None:
        self.model = frozen_copy(model)
        self.layers = tuple(layers)
        self.anatomy = find_vision_anatomy(self.model)

    def states(self, batch: Batch, mask: Bool[Tensor, "b t"]) -> list[Float[Tensor, "n d"]]:
        """States of the copy; see ``StateReference``."""
        return visual_hidden_states(self.model, batch, self.layers, self.anatomy)


class AdapterReference:
    """A PEFT model with its adapter switched off is the pre-trained one: no copy, one more forward a batch."""

    def __init__(self, model: nn.Module, layers: Sequence[int]) -> None:
        if not hasattr(model, "disable_adapter"):
            raise UsageError(
                f"reference='adapter' needs a PEFT model, whose adapter can be switched off; got "
                f"{type(model).__name__}; use 'copy' or 'cache'."
            )
        self.model, self.layers = model, tuple(layers)
        self.anatomy = find_vision_anatomy(model)

    def states(self, batch: Batch, mask: Bool[Tensor, "b t"]) -> list[Float[Tensor, "n d"]]:
        """States without the adapter; see ``StateReference``."""
        with evaluating(self.model), cast(Any, self.model).disable_adapter():
            return visual_hidden_states(self.model, batch, self.layers, self.anatomy)


def frozen_copy(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode without gradients; parameters that are frozen already are shared with the model."""
    shared = {id(parameter): parameter for parameter in model.parameters() if not parameter.requires_grad}
    twin = copy.deepcopy(model, cast(Any, shared))
    # Trainers hang a wrapped forward on the instance, whose closure would run the original's weights.
    vars(twin).pop("forward", None)
    return twin.eval().requires_grad_(False)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Inside, the model is in evaluation mode; after it each module is in the mode it was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def weights_digest(model: nn.Module) -> str:
    """A short fingerprint of the trainable weights: of up to 64 entries of each tensor, bit for bit.

    The same on every device; training changes it.
    """
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            flat = parameter.detach().reshape(-1)
            some = flat[:: max(1, flat.numel() // 64)][:64].cpu().contiguous()
            digest.update(name.encode() + some.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
