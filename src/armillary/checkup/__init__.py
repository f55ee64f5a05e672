"""The main job: look inside a model (or at a model before and after tuning) and leave one report."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from armillary.checkup.config import CheckupConfig as CheckupConfig
    from armillary.checkup.run import run_checkup as run_checkup

_HOMES = {"CheckupConfig": "config", "run_checkup": "run"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = sorted(_HOMES)
