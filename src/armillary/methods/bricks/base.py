"""The base model that a brick belongs to: what it must look like for the brick to mean what it meant."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase
from transformers.pytorch_utils import Conv1D

from armillary.errors import UsageError
from armillary.methods.bricks.low_rank import Factors
from armillary.models.loaded import LoadedModel
from armillary.records.plain import digest


class MountState:
    """What is mounted in one model: for each changed matrix its own tensor and the changes on it at the moment.

    A matrix always holds its own tensor plus the changes still there, in their order.
    """

    def __init__(self) -> None:
        self.bricks: dict[object, Any] = {}
        """What is mounted, in order of mounting."""

        self._kept: dict[str, Tensor] = {}
        self._changes: dict[str, dict[object, Factors]] = {}

    def base_values(self) -> dict[str, Tensor]:
        """The base's own values of the parameters that are changed at the moment, by name."""
        return {f"{path}.weight": value for path, value in self._kept.items()}

    def add(self, token: object, path: str, module: nn.Module, factors: Factors) -> None:
        """Add the change ``token`` to a matrix."""
        self._kept.setdefault(path, cast(Tensor, module.weight).data)
        self._changes.setdefault(path, {})[token] = factors
        self._write(path, module)

    def remove(self, token: object, path: str, module: nn.Module) -> None:
        """Take a change away; with the last one the base's own tensor comes back."""
        if self._changes.get(path, {}).pop(token, None) is not None:
            self._write(path, module)

    def _write(self, path: str, module: nn.Module) -> None:
        weight, base = cast(Tensor, module.weight), self._kept[path]
        if not self._changes[path]:
            weight.data = base
            del self._kept[path], self._changes[path]
            return
        wide = base.to(torch.float64 if base.dtype == torch.float64 else torch.float32, copy=True)
        for a_RI, b_OR in self._changes[path].values():
            delta = b_OR.to(wide) @ a_RI.to(wide)
            wide += delta.T if isinstance(module, Conv1D) else delta
        weight.data = wide.to(base.dtype)


_STATES: "WeakKeyDictionary[nn.Module, MountState]" = WeakKeyDictionary()


def mount_state_of(model: nn.Module) -> MountState:
    """What is mounted in a model; empty where nothing ever was."""
    return _STATES.setdefault(model, MountState())


def base_parameters(model: nn.Module) -> Mapping[str, Tensor]:
    """Every parameter by name with the value it has when nothing is mounted; a shared one under each of its names."""
    state = _STATES.get(model)
    own = state.base_values() if state else {}
    return {name: own.get(name, value) for name, value in model.named_parameters(remove_duplicate=False)}


@dataclass(frozen=True, kw_only=True)
class BaseRef:
    """Hashes of a base model: of its shape, its tokenizer and, byte for byte, of the tensors that a brick touches."""

    model_type: str
    """Architecture as transformers names it: "llama"."""

    shapes: str
    """sha256 over name and shape of every parameter. Without the dtype, so that a cast shows in ``touched`` alone."""

    touched: dict[str, str]
    """Tensor name to sha256 over its shape, dtype and bytes."""

    tokenizer: str
    """sha256 over the vocabulary and the special tokens."""

    @classmethod
    def of(cls, loaded: LoadedModel, tensors: Iterable[str]) -> "BaseRef":
        """The reference of an open model; ``tensors`` are names of its parameters.

        What bricks mounted at the moment change does not count. Raises UsageError naming a tensor that the model does
        not have.
        """
        parameters = base_parameters(loaded.model)
        wanted = sorted(set(tensors))
        for name in wanted:
            if name not in parameters:
                raise UsageError(f"{loaded.name} has no tensor {name!r}; give names of its parameters.")
        return cls(
            model_type=str(loaded.model.config.model_type),
            shapes=digest({name: list(value.shape) for name, value in parameters.items()}),
            touched={name: tensor_hash(parameters[name]) for name in wanted},
            tokenizer=tokenizer_hash(loaded.tokenizer),
        )

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits for the whole reference."""
        return digest(self)[:16]

    def same_shape(self, other: "BaseRef") -> bool:
        """True where architecture and all shapes agree, whatever the values."""
        return (self.model_type, self.shapes) == (other.model_type, other.shapes)

    def first_difference(self, other: "BaseRef") -> str | None:
        """The first differing touched tensor (of those both name) or other part, in words; None where all agree."""
        if self.model_type != other.model_type:
            return f"the architecture ({self.model_type} and {other.model_type})"
        shared = sorted(set(self.touched) & set(other.touched))
        differing = next((name for name in shared if self.touched[name] != other.touched[name]), None)
        if differing is not None:
            return f"the tensor {differing}"
        if self.shapes != other.shapes:
            return "the names or shapes of the tensors"
        return "the tokenizer" if self.tokenizer != other.tokenizer else None

    def mismatch(self, other: "BaseRef", mine: str, others: str) -> str | None:
        """One sentence where the two are not the same base; None where they are."""
        difference = self.first_difference(other)
        if difference is None:
            return None
        return (
            f"{mine} was made for the base {self.fingerprint}, but {others} is {other.fingerprint}: "
            f"the first difference is {difference}."
        )


def tensor_hash(value: Tensor) -> str:
    """sha256 over shape, dtype and bytes."""
    hashed = hashlib.sha256(f"{tuple(value.shape)} {value.dtype}\n".encode())
    hashed.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return hashed.hexdigest()


def tokenizer_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """sha256 over the vocabulary with its ids and the special tokens; padding and cutting do not count."""
    specials = {name: str(value) for name, value in tokenizer.special_tokens_map.items()}
    return digest({"vocabulary": tokenizer.get_vocab(), "special": specials})
