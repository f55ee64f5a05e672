"""How far the image tokens' hidden states have moved from those of the pre-trained model.

Shapes: B rows, T tokens, N image tokens of all rows in reading order, D hidden size, L layers compared.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, cast, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from armillary.errors import UsageError
from armillary.methods.mdgd.config import Drift
from armillary.models.vision import VisionAnatomy
from armillary.numerics.spectrum import rms_normalised, sink_rows

Batch = Mapping[str, Any]
ROUNDING = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 2.0**-10, torch.bfloat16: 2.0**-7}
"""What two forwards of one model in other batches may differ by, for states of root mean square 1."""

OWN_COLUMNS = ("image_token_mask", "image_key")
"""Columns of a batch that are for this method and not for the model."""

_NOT_FOR_THE_BODY = ("labels", "shift_labels", "num_items_in_batch", "use_cache", *OWN_COLUMNS)


class ImageStates:
    """The image tokens' states of one forward, layer by layer; filled by ``watch``."""

    def __init__(self, mask: Bool[Tensor, "b t"]) -> None:
        self.mask = mask
        self._outputs: dict[int, Tensor] = {}

    def put(self, layer: int, output: Tensor) -> None:
        """Take in a layer's output ``[b, t, d]``; of several forwards the first counts."""
        # With gradients the whole output lives until the backward pass anyway, and an operation here would be a
        # surprise to activation checkpointing, which counts what a layer saves; without, only what is needed is kept.
        if layer not in self._outputs:
            self._outputs[layer] = output if torch.is_grad_enabled() else self._gathered(output)

    def states(self, layers: Sequence[int]) -> list[Float[Tensor, "n d"]]:
        """``[N, D]`` of each layer. UsageError where a layer did not run or ran without a graph under training."""
        missing = [layer for layer in layers if layer not in self._outputs]
        if missing:
            raise UsageError(f"decoder layers {missing} did not run in this forward, so they have no image states.")
        return [self._gathered(self._outputs[layer]) for layer in layers]

    def _gathered(self, output: Tensor) -> Tensor:
        if output.dim() == 2:
            return output
        if output.shape[:2] != self.mask.shape:
            raise UsageError(
                f"a layer gave {tuple(output.shape[:2])} rows and tokens, but the image mask has "
                f"{tuple(self.mask.shape)}; give a mask of the tokens that the decoder sees."
            )
        return output[self.mask.to(output.device)]


@contextmanager
def watch(layers: Mapping[int, nn.Module], mask: Bool[Tensor, "b t"]) -> Iterator[ImageStates]:
    """Inside, a forward fills the states of these layers, with their graph; the hooks are gone on any exit."""
    seen = ImageStates(mask)
    handles = []
    try:
        for number, module in layers.items():
            handles.append(module.register_forward_hook(partial(_receive, seen, number)))
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _receive(seen: ImageStates, number: int, _module: nn.Module, _args: object, output: Any) -> None:
    # Blocks return a tensor in transformers 5 and a tuple before it and in custom models.
    seen.put(number, output if isinstance(output, Tensor) else output[0])


@contextmanager
def held_back(layers: Sequence[nn.Module], mask: Bool[Tensor, "b t"], passes: Callable[[], bool]) -> Iterator[None]:
    """Inside, a forward whose backward pass brings no gradient to the weights by way of the tokens of ``mask``.

    The gradient of every output of the layers' own weights is set to zero at these tokens, except while ``passes()``.
    So the keys and values of image tokens are constants to the loss, and what made them gets none of its gradient.
    """

    def hold(_module: nn.Module, _args: object, output: Any) -> None:
        if not isinstance(output, Tensor) or not output.requires_grad:
            return
        flat = output.shape[:1] == (mask.numel(),)  # experts and packed rows: one row a token
        if not flat and output.shape[:2] != mask.shape:
            return
        held = mask.reshape(-1) if flat else mask
        held = held.reshape(*held.shape, *[1] * (output.dim() - held.dim())).to(output.device)
        output.register_hook(lambda gradient: gradient if passes() else gradient.masked_fill(held, 0))

    own = [module for layer in layers for module in layer.modules() if any(True for _ in module.parameters(False))]
    handles = [module.register_forward_hook(hold) for module in own]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def image_token_mask(anatomy: VisionAnatomy, batch: Batch) -> Bool[Tensor, "b t"]:
    """True at the image tokens of a batch that are not padding: its own ``image_token_mask``, or found by their id.

    UsageError without ``input_ids`` and mask, and for a mask of another shape.
    """
    ids: Tensor | None = batch.get("input_ids")
    own: Tensor | None = batch.get("image_token_mask")
    if own is None and ids is None:
        raise UsageError("a batch needs input_ids, or an image_token_mask where it has inputs_embeds.")
    if own is not None and ids is not None and own.shape != ids.shape:
        raise UsageError(f"image_token_mask has shape {tuple(own.shape)}, but input_ids {tuple(ids.shape)}.")
    mask = anatomy.image_mask(cast(Tensor, ids)) if own is None else own.bool()
    attended = batch.get("attention_mask")
    if isinstance(attended, Tensor) and attended.shape == mask.shape:
        mask = mask & attended.bool()
    return mask


def body_inputs(batch: Batch) -> Batch:
    """What of a training batch the model's body takes: everything but labels and our own columns."""
    return {name: value for name, value in batch.items() if name not in _NOT_FOR_THE_BODY}


def body_of(model: nn.Module) -> nn.Module:
    """The model without its head, inside any PEFT wrapper: it runs the decoder and computes no logits.

    UsageError for an adapter of learned prompts or prefixes, which is in the wrapper and would not be seen.
    """
    for adapter in (getattr(model, "peft_config", None) or {}).values():
        if getattr(adapter, "is_prompt_learning", False):
            raise UsageError(
                f"{type(adapter).__name__} puts learned states before the image, beside the weights; image states are "
                "compared of adapters of weights, such as LoRA, and of models without one."
            )
    base_of = getattr(model, "get_base_model", None)
    return cast(nn.Module, cast(Any, model if base_of is None else base_of()).base_model)


@torch.no_grad()
def visual_hidden_states(
    model: nn.Module, batch: Batch, layers: Sequence[int], anatomy: VisionAnatomy
) -> list[Float[Tensor, "n d"]]:
    """States of a batch's image tokens after each of the given decoder layers, without gradients.

    One ``[N, D]`` a layer, in the model's dtype; N is 0 for a batch without images. The model stays in its mode.
    """
    chosen = {layer: anatomy.layers[layer] for layer in layers}
    with watch(chosen, image_token_mask(anatomy, batch)) as seen:
        body_of(model)(**body_inputs(batch), use_cache=False)
    return seen.states(layers)


def drift_loss(
    current_L: Sequence[Float[Tensor, "n d"]],
    reference_L: Sequence[Float[Tensor, "_ _"]],
    kind: Drift = "l1",
    *,
    normalise: bool = True,
    tolerance: float = 0.0,
) -> Float[Tensor, ""]:
    """``1/L sum_l mean |Z_l - Z_l(theta_0)|`` over tokens and dimensions; no gradient goes to the reference.

    The paper speaks of drift; the distance is remembered as L1. ``l2`` is the mean square, ``cosine`` the mean of
    one minus the cosine. ``normalise`` first divides each row by its root mean square, so that layers with huge
    channels don't drown the others. Entries that differ by ``tolerance`` or less (for ``cosine``, rows all of whose
    entries do) count as equal: the slope of L1 is the same however small a difference is, so that without it rounding
    alone would give the pre-trained weights a full-sized gradient. Layers, normalisation and tolerance are ours.
    In at least float32; 0, with a gradient of zeros, for no tokens. UsageError for lists or shapes that differ.
    """
    if len(current_L) != len(reference_L) or not current_L:
        raise UsageError(f"drift needs as many layers of both models; got {len(current_L)} and {len(reference_L)}.")
    if kind not in get_args(Drift):
        raise UsageError(f"the drift must be one of {', '.join(get_args(Drift))}; got {kind!r}.")
    pairs = zip(current_L, reference_L, strict=True)
    losses = [_layer_loss(now, before.detach().to(now.device), kind, normalise, tolerance) for now, before in pairs]
    return torch.stack([loss.to(losses[0].device) for loss in losses]).mean()


def _layer_loss(now: Tensor, before: Tensor, kind: Drift, normalise: bool, tolerance: float) -> Tensor:
    if now.shape != before.shape:
        raise UsageError(f"image states are {tuple(now.shape)}, but those of the reference {tuple(before.shape)}.")
    if not len(now):
        return now.float().sum()
    x, y = _wide(now), _wide(before)
    if normalise or kind == "cosine":
        x, y = rms_normalised(x), rms_normalised(y)
    # Inside the tolerance the branch with the slope is not taken, so its gradient there is zero.
    apart = (x.detach() - y).abs() > tolerance
    if kind == "cosine":
        return torch.where(apart.any(1), 1 - (x * y).mean(1), 0.0).mean()
    difference = torch.where(apart, x - y, 0.0)
    return difference.abs().mean() if kind == "l1" else difference.square().mean()


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def relative_drift(now: Float[Tensor, "n d"], before: Float[Tensor, "n d"], *, normalise: bool = True) -> float:
    """``|Z - Z_0| / |Z_0|`` over all tokens, in float64; 0 where both are zero.

    Every token's state has unit root mean square first, and tokens that were attention sinks before (``sink_rows``)
    are left out: else one huge channel of one such token is nearly all of ``|Z_0|``, and hides what moved. Without
    ``normalise`` the states are taken as they are.
    """
    x, y = now.detach().cpu().double(), before.detach().cpu().double()
    if normalise:
        ordinary = ~sink_rows(y)
        x, y = rms_normalised(x[ordinary]), rms_normalised(y[ordinary])
    distance, size = float(torch.linalg.vector_norm(x - y)), float(torch.linalg.vector_norm(y))
    return distance / size if size else (float("inf") if distance else 0.0)
