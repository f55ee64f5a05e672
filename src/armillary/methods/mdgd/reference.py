"""Hidden states of the image tokens before training: of a frozen copy, without an adapter, or kept an image.

Shapes: B rows, T tokens, N image tokens of a batch or row, L layers, D hidden size.
"""

import copy
import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import torch
from jaxtyping import Bool, Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from armillary.errors import StorageError, UsageError
from armillary.files import write_atomic
from armillary.methods.mdgd.drift import ROUNDING, Batch, image_token_mask, visual_hidden_states
from armillary.models.vision import VisionAnatomy, find_vision_anatomy, text_before_images
from armillary.numerics.spectrum import rms_normalised
from armillary.training.checkpoints import without_adapter


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
        """States of the copy; see ``StateReference``. UsageError where a weight that it shares is trained by now."""
        if moving := next((name for name, weight in self.model.named_parameters() if weight.requires_grad), None):
            raise UsageError(
                f"{moving} was frozen when the training began and is trained now, so that the frozen copy has moved "
                "with it; make a new trainer for each stage, or give reference_model."
            )
        return visual_hidden_states(self.model, batch, self.layers, self.anatomy)


class AdapterReference:
    """A PEFT model with its adapter switched off: no copy, one more forward a batch.

    Right only where that is the model before training: ``take_reference`` finds out.
    """

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
        with evaluating(self.model), without_adapter(self.model):
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
            entries = flat[:: max(1, flat.numel() // 64)][:64].cpu().contiguous()
            digest.update(name.encode() + entries.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


# The states of each image, kept: in a causal decoder with the image before the question they depend on the image and
# the weights alone. Both conditions are checked: the same text before all images, and states that don't change with
# the text after them.


class CachedReference:
    """The states of each image, kept on the CPU in the model's dtype: no forward of a reference while training."""

    def __init__(self, layers: Sequence[int], states: dict[str, Float[Tensor, "l n d"]] | None = None) -> None:
        self.layers = tuple(layers)
        self._states = states or {}
        self._bytes = sum(map(_size, self._states.values()))

    @classmethod
    def build(
        cls,
        model: nn.Module,
        batches: Iterable[Batch],
        layers: Sequence[int],
        *,
        limit_gib: float = 8.0,
        processor_marks: Collection[int] = (),
    ) -> "CachedReference":
        """Run the model over the batches, each image once, and keep what drift is measured from.

        ``processor_marks`` are token ids that a processor puts around images and tiles, which may differ before them.
        UsageError where different texts precede images, where the states depend on the text that follows, and beyond
        ``limit_gib`` GiB.
        """
        anatomy, cache, before = find_vision_anatomy(model), cls(layers), set[tuple[int, ...]]()
        with evaluating(model):
            for batch in batches:
                mask = image_token_mask(anatomy, batch)
                if not bool(mask.any()):
                    continue
                before |= text_before_images(
                    batch["input_ids"], anatomy.image_token_id, batch.get("attention_mask"), allowed=processor_marks
                )
                if len(before) > 1:
                    raise UsageError(
                        f"a cached reference needs the same text before every image, but {len(before)} different ones "
                        "precede the images; put the image first, or use reference='copy'."
                    )
                keys = image_keys(batch, mask)
                if all(key is None or key in cache._states for key in keys):
                    continue
                states = visual_hidden_states(model, batch, layers, anatomy)
                if not cache._states:
                    _check_causal(model, batch, mask, layers, anatomy, states)
                cache._add(keys, mask, states, limit_gib)
        return cache

    def __len__(self) -> int:
        """Number of images (or sets of images that stand in one row)."""
        return len(self._states)

    def states(self, batch: Batch, mask: Bool[Tensor, "b t"]) -> list[Float[Tensor, "n d"]]:
        """Kept states of a batch's images, on the device of ``mask``. UsageError for an image that was not seen."""
        kept = []
        for row, key in enumerate(image_keys(batch, mask)):
            if key is None:
                continue
            if key not in self._states:
                raise UsageError(
                    f"the image of row {row} is not among the {len(self._states)} in the reference cache; images "
                    "that change from epoch to epoch (random crops) need reference='copy'."
                )
            kept.append(self._states[key])
        if not kept:
            raise UsageError("a batch without images has no reference states.")
        return list(torch.cat(kept, dim=1).to(mask.device))

    def save(self, path: Path) -> None:
        """Write all states to one safetensors file, whole or not at all."""
        write_atomic(path, save(self._states, {"layers": ",".join(map(str, self.layers))}))

    @classmethod
    def load(cls, path: Path) -> "CachedReference":
        """Inverse of ``save``. StorageError for a file that is missing or none of ours."""
        try:
            with safe_open(path, framework="pt") as file:
                layers = [int(word) for word in (file.metadata() or {})["layers"].split(",")]
                return cls(layers, {key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118  (no iterator)
        except (OSError, KeyError, ValueError, SafetensorError) as error:
            raise StorageError(f"{path} could not be read as a reference cache: {error}.") from error

    def _add(self, keys: Sequence[str | None], mask: Tensor, states_L: Sequence[Tensor], limit_gib: float) -> None:
        stacked = torch.stack([states.cpu() for states in states_L])
        counts = mask.sum(1).tolist()
        for key, states in zip(keys, stacked.split(counts, dim=1), strict=True):
            if key is not None and key not in self._states:
                self._states[key] = states.clone()
                self._bytes += _size(states)  # images of many tiles have more tokens than others
        size = self._bytes / 2**30
        if size > limit_gib:
            raise UsageError(
                f"the reference cache has grown to {size:.2f} GiB with {len(self._states)} images, above the limit of "
                f"{limit_gib:g}; raise reference_cache_gib, name fewer visual_layers, or use reference='copy'."
            )


def _size(states: Tensor) -> int:
    return states.numel() * states.element_size()


def image_keys(batch: Batch, mask: Bool[Tensor, "b t"]) -> list[str | None]:
    """A key of each row's images: its own column ``image_key``, or a hash of its pixels; None without an image.

    UsageError where it can't be told which pixels are a row's.
    """
    counts = cast(list[int], mask.sum(1).tolist())
    if "image_key" in batch:
        own = batch["image_key"]
        own_keys = own.tolist() if isinstance(own, Tensor) else list(own)
        return [str(key) if n else None for key, n in zip(own_keys, counts, strict=True)]
    pixels = batch.get("pixel_values")
    if not isinstance(pixels, Tensor):
        raise UsageError("a cached reference needs pixel_values or a column image_key in every batch with images.")
    besides = [
        value
        for name, value in sorted(batch.items())
        if name in ("pixel_attention_mask", "image_sizes") and isinstance(value, Tensor) and len(value) == len(pixels)
    ]
    keys: list[str | None] = []
    for (start, end), n in zip(_pixel_rows(batch, pixels, counts), counts, strict=True):
        digest = hashlib.blake2b(digest_size=16)
        for tensor in (pixels, *besides):
            part = tensor[start:end].detach().cpu().contiguous()
            digest.update(f"{part.dtype}{tuple(part.shape)}".encode() + part.view(torch.uint8).numpy().tobytes())
        keys.append(digest.hexdigest() if n else None)
    return keys


def _pixel_rows(batch: Batch, pixels: Tensor, counts: list[int]) -> list[tuple[int, int]]:
    """Where in ``pixel_values`` each row's begin and end: rows of them, images in order, or patches by their grid."""
    if pixels.dim() == 5 and len(pixels) == len(counts):
        return [(row, row + 1) for row in range(len(counts))]
    total, length = sum(counts), len(pixels)
    # Pixels go to tokens in one proportion: patches always, whole images if all take as many tokens.
    if "image_grid_thw" in batch:
        even = total > 0 and length % total == 0
    else:
        even = total > 0 and total % length == 0 and all(n % (total // length) == 0 for n in counts)
    if pixels.dim() in (2, 4) and even:
        ends = [0]
        for n in counts:
            ends.append(ends[-1] + n * length // total)
        return list(pairwise(ends))
    raise UsageError(
        f"pixel_values of shape {tuple(pixels.shape)} can't be divided among rows with {counts} image tokens; give an "
        "integer column image_key (and remove_unused_columns=False), or use reference='copy'."
    )


def _check_causal(
    model: nn.Module,
    batch: Batch,
    mask: Tensor,
    layers: Sequence[int],
    anatomy: VisionAnatomy,
    states: Sequence[Tensor],
) -> None:
    """The states must stay when the text after the last image is turned round."""
    turned = batch["input_ids"].clone()
    attended = batch.get("attention_mask")
    attended = torch.ones_like(turned) if attended is None else attended
    for row in range(len(turned)):
        if bool(mask[row].any()):
            last = int(mask[row].nonzero().max())
            after = attended[row].bool() & (torch.arange(turned.shape[1], device=turned.device) > last)
            turned[row, after] = turned[row, after].flip(0)
    with_turned = visual_hidden_states(model, {**batch, "input_ids": turned}, layers, anatomy)
    for layer, before, after in zip(layers, states, with_turned, strict=True):
        difference = float((rms_normalised(before.float()) - rms_normalised(after.float())).abs().max())
        # Ten times the rounding of two forwards: far below what a real dependence on the text makes.
        if difference > 10 * ROUNDING.get(before.dtype, 1e-5):
            raise UsageError(
                f"image states after layer {layer} change with the text that follows (by {difference:.2g}), so they "
                "can't be kept an image; use reference='copy'."
            )
