"""A LoRA as its folder holds it: two factors and a scale for each module that it changes. Read exactly or refused.

The format is that of ``huggingface/peft``; the package itself is not needed.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from armillary.errors import StorageError, UsageError
from armillary.models.adapters.lora_settings import CONFIG, LoraSettings
from armillary.models.folders import INDEX, WEIGHTS as WHOLE

WEIGHTS = "adapter_model.safetensors"
PREFIX = "base_model.model."


@dataclass(frozen=True)
class LoraChange:
    """What a LoRA adds to one matrix: ``scale * B A``."""

    a_RI: Tensor
    b_OR: Tensor
    scale: float


@dataclass(frozen=True, kw_only=True)
class Lora:
    """An adapter's folder, read."""

    settings: LoraSettings
    changes: Mapping[str, LoraChange]
    """By the path of the module that is changed, factors as they are stored."""

    @property
    def digest(self) -> str:
        """Sixteen hex digits of what it computes: paths, scales and every number of the factors."""
        digest = hashlib.sha256()
        for path, change in self.changes.items():
            digest.update(f"{path} {change.scale!r}\n".encode())
            for factor in (change.a_RI, change.b_OR):
                digest.update(f"{tuple(factor.shape)} {factor.dtype}\n".encode())
                digest.update(factor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()[:16]

    @property
    def parameters(self) -> int:
        """Numbers in all factors."""
        return sum(change.a_RI.numel() + change.b_OR.numel() for change in self.changes.values())


def is_adapter(folder: Path) -> bool:
    """True for the folder of an adapter alone, without a whole model beside it."""
    return (folder / CONFIG).is_file() and not any((folder / name).exists() for name in (WHOLE, INDEX))


def factor_name(path: str, which: str) -> str:
    """PEFT's name of factor "A" or "B" of the module at ``path``."""
    return f"{PREFIX}{path}.lora_{which}.weight"


def read_lora(folder: Path, own: Mapping[str, Tensor] | None = None, base: str = "") -> Lora:
    """The LoRA of a folder; ``own`` are the parameters of its base by name, ``base`` what that is called.

    Weights of the base that PEFT saved beside the factors (of a head that is adapted, of embeddings) are let through
    where they are those of ``own``.

    Raises UsageError naming what makes an adapter more than a low-rank change (DoRA, trained biases, modules_to_save,
    another kind than LoRA and the like), a setting of another type than PEFT's, a rank that is not the factors', and
    for numbers that are not finite; StorageError for a folder without safetensors (pickles are not opened) or one that
    can't be read.
    """
    settings = LoraSettings.read(folder)
    tensors = read_tensors(folder)
    matches = {name: re.fullmatch(rf"{re.escape(PREFIX)}(.+)\.lora_[AB]\.weight", name) for name in tensors}
    for name, match in matches.items():
        if match is None:
            _refuse_unless_the_bases(name, tensors[name], folder, own, base)
    changes: dict[str, LoraChange] = {}
    for path in sorted({match[1] for match in matches.values() if match is not None}):
        try:
            a_RI, b_OR = (tensors[factor_name(path, which)] for which in "AB")
        except KeyError:
            raise UsageError(f"{folder}: {path} has only one of its two factors.") from None
        scale = settings.scale(path, a_RI, b_OR)
        if not bool(a_RI.isfinite().all() and b_OR.isfinite().all()):
            raise UsageError(f"{folder}: {path} holds numbers that are not finite.")
        changes[path] = LoraChange(a_RI, b_OR, scale)
    if not changes:
        raise UsageError(f"{folder} holds no factors of a LoRA.")
    return Lora(settings=settings, changes=changes)


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """Every tensor of an adapter's folder by name. StorageError where there is no file of safetensors."""
    path = folder / WEIGHTS
    if not path.is_file():
        pickled = (folder / "adapter_model.bin").exists()
        why = "only pickled weights, which can run code and are not opened" if pickled else f"no {WEIGHTS}"
        raise StorageError(f"{folder} holds {why}; save the adapter with PEFT's save_pretrained.")
    try:
        with safe_open(path, framework="pt") as weights:
            return {name: weights.get_tensor(name) for name in weights.keys()}  # noqa: SIM118  (no iterator)
    except (OSError, SafetensorError) as error:
        raise StorageError(f"{path} can't be read as safetensors: {error}.") from error


def _refuse_unless_the_bases(
    name: str, saved: Tensor, folder: Path, own: Mapping[str, Tensor] | None, base: str
) -> None:
    """UsageError for a tensor that is neither a factor nor, unchanged, the base's own."""
    own_name = name.removeprefix(PREFIX).replace(".base_layer.", ".")
    if own is None or not name.startswith(PREFIX) or own_name not in own:
        kind = "which is no factor of a Linear's low-rank change"
        raise UsageError(f"{folder} holds {name}, {kind if 'base_layer' not in name else 'a weight of its base'}.")
    value = own[own_name].detach().cpu()
    # The base may be opened in a coarser dtype than the adapter was saved in, or in a finer one.
    if value.shape != saved.shape or not (
        torch.equal(value.to(saved.dtype), saved) or torch.equal(saved.to(value.dtype), value)
    ):
        raise UsageError(f"{folder} holds {name}, which differs from {base}'s own: it is more than a low-rank change.")
