"""Pure tensor mathematics; imports nothing of ours. Names resolve lazily so that intervals need no torch."""

import importlib
from typing import Any

_HOMES = {
    "Interval": "intervals",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = sorted(_HOMES)
