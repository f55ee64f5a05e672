"""Armillary: `git diff` for language models, and published methods for looking inside, steering and tuning them.

Public names resolve on first use, so that ``import armillary`` (and ``armillary --help``) loads no torch.
"""

from importlib import import_module

import lazy_loader

__version__ = "0.1.0"

_resolved, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["__version__"]


def __getattr__(name: str) -> object:
    # The package itself, which can be called: the function of that name would hide its modules.
    return import_module("armillary.diff") if name == "diff" else _resolved(name)
