"""What is mounted in which model: for each changed matrix its own tensor, and the changes on it at the moment."""

from collections.abc import Mapping
from typing import Any, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from armillary.methods.bricks.low_rank_sums import Factors


class Ledger:
    """The mounts of one model. A matrix always holds its own tensor plus the changes still there, in their order."""

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


_LEDGERS: "WeakKeyDictionary[nn.Module, Ledger]" = WeakKeyDictionary()


def ledger_of(model: nn.Module) -> Ledger:
    """The ledger of a model, empty where nothing was ever mounted."""
    return _LEDGERS.setdefault(model, Ledger())


def base_parameters(model: nn.Module) -> Mapping[str, Tensor]:
    """Every parameter by name with the value it has when nothing is mounted; a shared one under each of its names."""
    held = _LEDGERS.get(model)
    own = held.base_values() if held else {}
    return {name: own.get(name, value) for name, value in model.named_parameters(remove_duplicate=False)}
