"""The tensors of a model, read one at a time: from its files without opening it, or from memory where it was made."""

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from armillary.diff.pair import Origin
from armillary.methods.bricks.merging.weight_folder import WeightFolder
from armillary.models import LoadedModel, load
from armillary.models.adapters.lora import Lora, is_adapter, read_lora


class Tensors(Protocol):
    """What is compared of a model: its tensors, a head that is the embedding left out."""

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """By the name that the opened model has for it."""

    @property
    def dtypes(self) -> Mapping[str, str]:
        """As safetensors writes them: "F32", "BF16"."""

    def tensor(self, name: str) -> Tensor:
        """One of them, as it is stored."""


class FolderTensors:
    """Those of a folder, whose files are read as they are asked for."""

    def __init__(self, folder: WeightFolder) -> None:
        self._folder = folder
        own = [name for name in folder.names if name not in folder.unread]
        self.shapes = {name: folder.parts[name].shape for name in own}
        self.dtypes = {name: folder.parts[name].dtype for name in own}

    def tensor(self, name: str) -> Tensor:
        """One of them, as it is stored."""
        return self._folder.tensor(name)


_SPELLED = {"float32": "F32", "bfloat16": "BF16", "float16": "F16", "float64": "F64"}


class OpenTensors:
    """Those of a model in memory."""

    def __init__(self, loaded: LoadedModel) -> None:
        self._parameters = dict(loaded.model.named_parameters())
        self.shapes = {name: tuple(value.shape) for name, value in self._parameters.items()}
        kinds = {name: str(value.dtype).removeprefix("torch.") for name, value in self._parameters.items()}
        self.dtypes = {name: _SPELLED.get(kind, kind) for name, kind in kinds.items()}

    def tensor(self, name: str) -> Tensor:
        """One of them, as it is stored."""
        return self._parameters[name].detach().cpu()


@contextmanager
def tensors_of(origin: Origin) -> Iterator[Tensors]:
    """The tensors of a model that is no adapter; its files are open inside the block.

    Raises ModelError for a folder that is no whole model or is quantised.
    """
    if origin.ready is None and origin.folder is not None:
        with WeightFolder(origin.folder) as folder:
            yield FolderTensors(folder)
    else:
        yield OpenTensors(load(origin.name) if origin.ready is None else origin.ready)


def adapter_of(folder: Path | None, base: Tensors, name: str) -> Lora | None:
    """The LoRA in a folder, for a base of these tensors; None where the folder holds none.

    Raises as ``models.adapters.lora.read_lora``.
    """
    if folder is None or not is_adapter(folder):
        return None
    own = {name: base.tensor(name) for name in base.shapes if name.endswith(("lm_head.weight", "embed_tokens.weight"))}
    return read_lora(folder, own, name)


# A model with layers taken out, or put in, numbers all that follow anew: they are laid over each other by likeness.

PROBED = 65_536
"""Numbers of each layer that are compared to tell which it is."""

_NUMBER = re.compile(r"(?:^|(?<=\.))\d+(?=\.)")


class RenumberedTensors:
    """Those of another model under other names."""

    def __init__(self, own: Tensors, names: Mapping[str, str]) -> None:
        self._own, self._names = own, names
        self.shapes = {new: own.shapes[old] for new, old in names.items()}
        self.dtypes = {new: own.dtypes[old] for new, old in names.items()}

    def tensor(self, name: str) -> Tensor:
        """One of them, as it is stored."""
        return self._own.tensor(self._names[name])


def aligned(base: Tensors, after: Tensors) -> tuple[Tensors, list[int], list[int]]:
    """``after`` with its layers numbered as those of base that they are, base's layers that it lacks, and the numbers
    that layers of its own have got, behind all others. Unchanged where both have as many layers."""
    first, second = _layers(base), _layers(after)
    probes = [name for name in set.intersection(*first.values(), *second.values())] if first and second else []
    fitting = []
    for name in probes:
        both = ((base, first), (after, second))
        spelled = [(side, name.replace("*", str(layer), 1)) for side, of in both for layer in of]
        shapes = {side.shapes[full] for side, full in spelled}
        if len(shapes) == 1 and len(min(shapes)) == 2:
            fitting.append((math.prod(min(shapes)), name))
    if len(first) == len(second) or not fitting:
        return after, [], []
    probe = min(fitting)[1]
    rows_L, rows_M = (
        normalize(
            torch.stack(
                [side.tensor(probe.replace("*", str(layer), 1)).flatten()[:PROBED].float() for layer in sorted(of)]
            ),
            dim=1,
        )
        for side, of in ((base, first), (after, second))
    )
    likeness_LM = (rows_L @ rows_M.T).double().numpy()
    fewer = len(second) < len(first)
    chosen = _increasing(likeness_LM if fewer else likeness_LM.T)
    own = sorted(second)
    if fewer:
        numbers = dict(zip(own, (sorted(first)[index] for index in chosen), strict=True))
    else:
        numbers = {own[index]: layer for index, layer in zip(chosen, sorted(first), strict=True)}
    extra = [layer for layer in own if layer not in numbers]
    numbers |= {layer: max(first) + 1 + count for count, layer in enumerate(extra)}
    names = {}
    for name in after.shapes:
        match = _NUMBER.search(name)
        renumbered = name if match is None else _NUMBER.sub(str(numbers[int(match[0])]), name, count=1)
        names[renumbered] = name
    missing = sorted(set(first) - set(numbers.values()))
    return RenumberedTensors(after, names), missing, extra


def depth_of(side: Tensors) -> int:
    """Layers of a model."""
    return len(_layers(side))


def _layers(side: Tensors) -> dict[int, set[str]]:
    """Names of the tensors of each layer, with a star for its number."""
    layers: dict[int, set[str]] = {}
    for name in side.shapes:
        match = _NUMBER.search(name)
        if match is not None:
            layers.setdefault(int(match[0]), set()).add(_NUMBER.sub("*", name, count=1))
    return layers


def _increasing(likeness_LM: NDArray[np.float64]) -> list[int]:
    """For each column a row, rising, so that the sum is largest; there are more rows than columns."""
    rows, columns = likeness_LM.shape
    best = np.full((columns + 1, rows + 1), -np.inf)
    best[0] = 0.0
    for column in range(1, columns + 1):
        for row in range(column, rows + 1):
            taken = best[column - 1, row - 1] + likeness_LM[row - 1, column - 1]
            best[column, row] = max(best[column, row - 1], taken)
    chosen, row = [], rows
    for column in range(columns, 0, -1):
        while best[column, row] == best[column, row - 1]:
            row -= 1
        chosen.append(row - 1)
        row -= 1
    return chosen[::-1]
