"""The package peft, which is optional: asked for before long work begins, so that nobody waits in vain."""

from importlib import import_module
from types import ModuleType

from armillary.errors import UsageError


def peft_package() -> ModuleType:
    """The module ``peft``; UsageError naming the extra where it is not installed."""
    try:
        return import_module("peft")
    except ModuleNotFoundError:
        raise UsageError(
            "this needs the package peft, which is not installed: pip install 'armillary[adapters]'."
        ) from None


def data_module(module: str, package: str) -> ModuleType:
    """The module of an optional data package; UsageError naming the extra when it is not installed."""
    try:
        return import_module(module)
    except ModuleNotFoundError:
        raise _missing(package) from None


def _missing(package: str) -> UsageError:
    return UsageError(f"this data needs the package {package}, which is not installed: pip install 'armillary[data]'.")
