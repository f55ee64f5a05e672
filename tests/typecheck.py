"""The run-time checker of the tests: dtypes and shapes of arrays, which no static checker sees.

Everything else is mypy's. Checking it here too would forbid the tests that hand in wrong values on purpose.
"""

import inspect
from collections.abc import Callable
from typing import Any, TypeVar, get_args

from beartype import beartype
from jaxtyping import AbstractArray

Function = TypeVar("Function", bound=Callable[..., Any])


def has_shape(annotation: Any) -> bool:
    """True for ``Float[Tensor, "n d"]`` and for anything that holds one."""
    shaped = inspect.isclass(annotation) and issubclass(annotation, AbstractArray)
    return shaped or any(has_shape(part) for part in get_args(annotation))


def checked(function: Function) -> Function:
    """``function`` with its array annotations checked at every call."""
    annotations = getattr(function, "__annotations__", {})
    shaped = {name: annotation for name, annotation in annotations.items() if has_shape(annotation)}
    if not shaped:
        return function
    function.__annotations__ = shaped
    try:
        wrapped = beartype(function)
    finally:
        function.__annotations__ = annotations
    wrapped.__annotations__ = annotations
    return wrapped
