"""What users give: vectors, or things that an encoder makes vectors of.

Legend: N inputs, E encoder width.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from armillary.errors import UsageError
from armillary.methods.vector_icl.projector import EncoderFacts


@runtime_checkable
class Encoder(Protocol):
    """Anything with ``encode(list) -> [n, e]``, such as a sentence-transformers model."""

    def encode(self, inputs: list[Any], /) -> Any: ...


AnyEncoder = Encoder | Callable[[list[Any]], Any]

UNEVEN = 10.0
"""A column with so many times the spread of the middle one is a matter of units: columns are scaled then (ours)."""


def uneven_spread(vectors: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Spread of each column where one has ``UNEVEN`` times that of the middle one, so that a projector would see
    little else; else None. A column that does not vary has 1."""
    spread_E = vectors.std(axis=0)
    moving = spread_E[spread_E > 0]
    if not len(moving) or moving.max() <= UNEVEN * np.median(moving):
        return None
    return np.where(spread_E > 1e-8 * moving.max(), spread_E, 1.0)


def on_cpu(X: Any) -> Any:
    """A tensor of any device and precision as numpy's, anything else as it is. UsageError for masked numbers."""
    if np.ma.is_masked(X):
        raise UsageError("some numbers of the vectors are masked; vectors must be whole.")
    if not isinstance(X, torch.Tensor):
        return X
    X = X.detach().cpu()
    return (X.float() if X.dtype == torch.bfloat16 else X).numpy()


def encoded(encoder: AnyEncoder, inputs: Sequence[Any]) -> NDArray[np.float64]:
    """Checked vectors of the inputs, one each; UsageError where the encoder gives another number of them."""
    items, way = list(inputs), cast(Any, encoder)
    if isinstance(way, str) or not (isinstance(way, Encoder) or callable(way)):
        raise UsageError(f"an encoder has encode(list) or is called with one, as a ready model; got {encoder!r}.")
    given = encoder.encode(items) if isinstance(encoder, Encoder) else encoder(items)
    vectors = checked_vectors(given)
    if len(vectors) != len(items):
        raise UsageError(f"the encoder gave {len(vectors)} vectors for {len(items)} inputs; it must give one each.")
    return vectors


def checked_vectors(X: Any) -> NDArray[np.float64]:
    """``X`` as float64 ``[n, e]``. A vector of zeros is allowed with a warning.

    UsageError (a ValueError) where it has not two dimensions or holds NaN or infinity, naming the row.
    """
    X = on_cpu(X)
    try:
        vectors = np.ascontiguousarray(X, dtype=np.float64) if np.ndim(X) else np.asarray(X, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise UsageError("vectors must be a table of numbers, one row an input.") from error
    if vectors.ndim != 2:
        raise UsageError(f"vectors must have two dimensions, one row an input; got shape {vectors.shape}.")
    refuse_not_finite(vectors)
    empty = np.flatnonzero(~vectors.any(axis=1))
    if len(empty):
        warnings.warn(f"row {empty[0]} is a vector of zeros: its slot says nothing of it.", UserWarning, stacklevel=2)
    return vectors


def refuse_rows(X: Any, size: int | None, name: str) -> None:
    """UsageError in one sentence for a table of numbers that is flat, not ``size`` wide or not finite, and for dates.

    Whatever is no such table is left to scikit-learn's checks. The sentences begin with what its own begin with.
    """
    try:
        table = np.asarray(X)
    except ValueError:
        return
    if table.dtype.kind in "Mm":
        raise UsageError("dates and times are no numbers of a vector; give them as numbers in a unit that fits.")
    if table.dtype.kind not in "fiub" or type(X).__module__.startswith("scipy"):
        return
    if table.ndim == 1 and len(table):
        raise UsageError(
            "Expected 2D array, got 1D array instead: vectors must have two dimensions, one row an input. "
            "Reshape your data."
        )
    if table.ndim == 2 and size is not None and table.shape[1] != size and len(table):
        raise UsageError(
            f"X has {table.shape[1]} features, but {name} is expecting {size} features as input: row 0 is no vector "
            "like those of the fit."
        )
    if table.ndim == 2 and table.dtype.kind == "f":
        refuse_not_finite(table)


def refuse_not_finite(vectors: NDArray[np.float64]) -> None:
    """UsageError naming the first row with NaN or infinity (inf)."""
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        raise UsageError(f"row {bad[0]} holds NaN or infinity (inf); vectors must be finite.")


def encoder_facts(encoder: AnyEncoder | None, vector_size: int) -> EncoderFacts:
    """What is known of an encoder: its own ``name`` or class; "vectors" where they came ready."""
    if encoder is None:
        return EncoderFacts(name="vectors", vector_size=vector_size)
    name = getattr(encoder, "name", None) or getattr(encoder, "__name__", None) or type(encoder).__name__
    return EncoderFacts(
        name=str(name),
        vector_size=vector_size,
        normalised=bool(getattr(encoder, "normalised", False)),
        prefix=str(getattr(encoder, "prefix", "")),
    )
