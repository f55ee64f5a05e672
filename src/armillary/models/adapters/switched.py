"""One copy of a base in memory and an adapter on it that is switched on and off, or merged for good.

All three compute what PEFT computes, bit for bit: its forward with the adapter enabled and disabled, and its
``merge_and_unload``. The factors are kept in float32 whatever the base's dtype (float64 on a base of float64), as PEFT
does, and the base's own output comes first: ``y = W x + (B (A x)) * scale``.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers.pytorch_utils import Conv1D

from armillary.errors import ModelError, UsageError
from armillary.models.adapters.lora import Lora, LoraChange
from armillary.models.adapters.stated_base import StatedBase
from armillary.models.anatomy import find_anatomy
from armillary.models.loaded import LoadedModel


class SwitchedModel:
    """A base and an adapter on it, of which one is seen at a time."""

    def __init__(self, base: LoadedModel, lora: Lora, name: str, folder: Path) -> None:
        """Puts the adapter on, switched off. UsageError where it does not fit the base."""
        self.lora = lora
        self.stated = StatedBase.of(lora.settings.base, lora.settings.revision, base)
        """What the folder says of its base, and whether that is the model it is on."""

        self._base = base
        source = f"adapter {folder.name} (LoRA, {lora.parameters:,} numbers) on {base.name} ({base.source})"
        self._adapted = replace(base, name=name, source=source, adapted_from=(base, lora.digest))
        self._is_on = False
        self._modules = {path: _module(base, lora, path, folder) for path in lora.changes}
        self._hooks = [
            module.register_forward_hook(partial(self._add, _cast(lora.changes[path], module)))
            for path, module in self._modules.items()
        ]

    def off(self) -> LoadedModel:
        """The base: from here on the adapter adds nothing."""
        self._is_on = False
        return self._base

    def on(self) -> LoadedModel:
        """The base with the adapter, in the same memory: from here on it adds its change."""
        self._is_on = True
        return self._adapted

    @contextmanager
    def switched(self, on: bool) -> Iterator[LoadedModel]:
        """One of the two inside the block; after it the adapter is as it was."""
        was_on = self._is_on
        try:
            yield self.on() if on else self.off()
        finally:
            self._is_on = was_on

    @torch.no_grad()
    def merged(self) -> LoadedModel:
        """The adapter added to the base's weights, for good; the switch then has nothing to switch.

        A head that shares its matrix with the embedding gets one of its own where the adapter changes it. ModelError
        for packed weights, to which nothing can be added.
        """
        model, anatomy = self._base.model, self._base.anatomy
        for path, module in self._modules.items():
            weight = cast(nn.Parameter, module.weight)
            if not weight.is_floating_point() or type(weight.data) is not Tensor:
                raise ModelError(f"{self._adapted.name} can't be merged into packed weights ({path}); open it plain.")
            if anatomy.tied and module is anatomy.head:
                weight = module.weight = nn.Parameter(weight.detach().clone(), requires_grad=weight.requires_grad)
                model.config.tie_word_embeddings = False
            change = _cast(self.lora.changes[path], module)
            delta = change.b_OR @ change.a_RI
            weight.data += (delta.T if isinstance(module, Conv1D) else delta) * change.scale
        self.remove()
        untied = anatomy.tied and not model.config.tie_word_embeddings
        return LoadedModel(
            model,
            self._base.tokenizer,
            find_anatomy(model) if untied else anatomy,
            self._adapted.name,
            f"{self._adapted.source}, merged",
            self._base.converter,
            self._base.unread,
        )

    def remove(self) -> None:
        """Take the adapter off: the base is as it was, and the switch has nothing to switch."""
        for hook in self._hooks:
            hook.remove()

    def _add(self, change: LoraChange, module: nn.Module, inputs: tuple[Tensor, ...], result: Tensor) -> Any:
        if not self._is_on or module in _SILENT:
            return None
        low = linear(inputs[0].to(change.a_RI.dtype), change.a_RI)
        return (result + linear(low, change.b_OR) * change.scale).to(result.dtype)


_SILENT: set[nn.Module] = set()
"""Matrices on which no adapter acts at the moment, although it is on."""


@contextmanager
def silenced(block: nn.Module) -> Iterator[None]:
    """Inside the block of code no switched adapter changes this part of a model."""
    modules = {module for module in block.modules() if module not in _SILENT}
    _SILENT.update(modules)
    try:
        yield
    finally:
        _SILENT.difference_update(modules)


def _module(base: LoadedModel, lora: Lora, path: str, folder: Path) -> nn.Module:
    """The matrix of the base that is changed, which the factors must fit."""
    stated = f" (it names {lora.settings.base})" if lora.settings.base else ""
    try:
        module = base.model.get_submodule(path)
    except AttributeError:
        raise UsageError(
            f"{folder} changes {path}, which {base.name} does not have: it is an adapter of another base{stated}."
        ) from None
    if not isinstance(module, nn.Linear | Conv1D):
        raise UsageError(f"{folder} changes {path}, a {type(module).__name__}; a LoRA of matrices (Linear) is read.")
    change = lora.changes[path]
    shape = (len(change.b_OR), change.a_RI.shape[1])
    own = (module.nf, module.nx) if isinstance(module, Conv1D) else (module.out_features, module.in_features)
    if shape != own:
        raise UsageError(
            f"{folder} changes {path} as a matrix of {list(shape)}, but {base.name} has {list(own)} there: it is an "
            f"adapter of another base{stated}."
        )
    return module


def _cast(change: LoraChange, module: nn.Module) -> LoraChange:
    weight = cast(Tensor, module.weight)
    dtype = torch.float64 if weight.dtype == torch.float64 else torch.float32
    device = cast(Any, module)._hf_hook.execution_device if weight.is_meta else weight.device
    return LoraChange(change.a_RI.to(device, dtype), change.b_OR.to(device, dtype), change.scale)
