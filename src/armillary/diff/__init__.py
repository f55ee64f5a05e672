"""`git diff` for language models: what a fine-tune, merge or quantisation changed, and how sure that is.

``armillary.diff(base, after)`` runs it: the package can be called, since a function of that name in it would be hidden
by the package itself as soon as one of its modules is imported.
"""

import sys
from types import ModuleType
from typing import Any

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


class _Callable(ModuleType):
    def __call__(self, *models: Any, **settings: Any) -> Any:
        from armillary.diff.call import diff

        return diff(*models, **settings)


sys.modules[__name__].__class__ = _Callable
