"""Armillary: one instrument of many rings for looking inside language models.

Public names resolve on first use, so that ``import armillary`` (and ``armillary --help``) loads no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from armillary.cards import CARDS, MethodCard
    from armillary.errors import ArmillaryError
    from armillary.methods.icn import Navigator
    from armillary.methods.lincorr import LinCorrConfig, lincorr
    from armillary.models import LoadedModel, load, tiny
    from armillary.runs import RunRecord

__version__ = "0.1.0"

_HOMES = {
    "CARDS": "cards",
    "ArmillaryError": "errors",
    "LinCorrConfig": "methods.lincorr",
    "LoadedModel": "models",
    "MethodCard": "cards",
    "Navigator": "methods.icn",
    "RunRecord": "runs",
    "lincorr": "methods.lincorr",
    "load": "models",
    "tiny": "models",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"armillary.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'armillary' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])


__all__ = [
    "CARDS",
    "ArmillaryError",
    "LinCorrConfig",
    "LoadedModel",
    "MethodCard",
    "Navigator",
    "RunRecord",
    "__version__",
    "lincorr",
    "load",
    "tiny",
]
