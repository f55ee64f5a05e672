"""Optional packages: asked for before long work begins, so that nobody waits in vain for what can't be done."""

from importlib import import_module, metadata
from types import ModuleType

from armillary.errors import UsageError


def optional(module: str, extra: str | None = None, package: str | None = None) -> ModuleType:
    """The module of an optional package; UsageError naming the extra that brings it where it is not installed, or
    the package itself where none does.

    ``package`` is the name under which it is installed, if that is not the module's own.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError:
        raise _missing(package or module.partition(".")[0], extra) from None


def optional_version(package: str, extra: str) -> str:
    """The installed version of an optional package, which is not imported; UsageError as for ``optional``."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        raise _missing(package, extra) from None


def _missing(package: str, extra: str | None) -> UsageError:
    wanted = package if extra is None else f"'armillary[{extra}]'"
    return UsageError(f"this needs the package {package}, which is not installed: pip install {wanted}.")
