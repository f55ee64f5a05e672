"""Arrays that a run keeps under a name, so that a killed run goes on where it stopped."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
Store = Callable[[str, Callable[[], Arrays]], Arrays]
"""Gives the arrays of the name if it has them, else computes, keeps and gives them (such as ``Parts.arrays``)."""


def kept(store: Store | None, name: str, compute: Callable[[], Arrays]) -> Arrays:
    """The arrays from ``store``, or computed where there is none."""
    return compute() if store is None else store(name, compute)


def part_name(kind: str, *parts: object) -> str:
    """A name that differs wherever one of the parts (plain JSON data) does."""
    text = json.dumps(parts, ensure_ascii=True, sort_keys=True)
    return f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def array_digest(values: NDArray[Any]) -> str:
    """A digest of shape, type and every number."""
    values = np.ascontiguousarray(values)
    return part_name(f"{values.dtype}{values.shape}", hashlib.sha256(values.data).hexdigest())
