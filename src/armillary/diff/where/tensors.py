"""The tensors of a model, read one at a time: from its files without opening it, or from memory where it was made."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from torch import Tensor

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
