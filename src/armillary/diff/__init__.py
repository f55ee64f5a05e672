"""`git diff` for language models: what a fine-tune, merge or quantisation changed, and how sure that is.

``armillary.diff(base, after)`` runs it: the package can be called, since a function of that name would be hidden by
the package as soon as one of its modules is imported. Its other names are imported from its modules.
"""

import sys
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    def __call__(self, *models: Any, **settings: Any) -> Any:
        from armillary.diff.call import diff

        return diff(*models, **settings)


sys.modules[__name__].__class__ = _Callable
