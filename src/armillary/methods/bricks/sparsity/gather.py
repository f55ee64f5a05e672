"""``y = sum over |x_i| >= t of x_i W[i]`` for one token, reading only the rows of W that count.

Weights lie input-major, so that what an input multiplies is one contiguous row. Two ways, with the same result up to
the order of sums: numba's (the extra ``sparse``) scans the input and adds eight rows at a time in registers of
float32; torch's alone lists the inputs and hands them to ``embedding_bag``, which reads the same rows more slowly
(``benchmarks/bricks_sparse.py`` measures both). Both run on one thread: parting a matrix between two of numba's and
meeting again took longer than the sums themselves (a token of SmolLM2 79 ms against 42).
Legend: I inputs, O outputs, K inputs that count.
"""

import inspect
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any, Literal, Protocol, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from armillary.extras import optional

Engine = Literal["numba", "torch"]

DTYPES = (torch.float32, torch.bfloat16)
"""Of weights that can be gathered; others run dense on the input with its small numbers set to 0."""


class RowSum(Protocol):
    """The rows of one matrix that the inputs of a token call for, times these inputs, added up."""

    def __call__(self, x_I: Float[Tensor, " i"], least: float) -> Float[Tensor, " o"]: ...


Gather = Callable[[Tensor], RowSum]
"""Makes it from a contiguous matrix ``[I, O]``, which it keeps."""


def best_engine() -> Engine:
    """numba where it is installed, else torch."""
    return "torch" if find_spec("numba") is None else "numba"


def gatherer(engine: Engine | None = None) -> Gather:
    """That of the engine, else of the best. UsageError for an engine that is not installed."""
    if (engine or best_engine()) == "torch":
        return by_torch
    optional("numba", "sparse")
    return by_numba


def by_torch(weight_IO: Float[Tensor, "i o"]) -> RowSum:
    """Sums by ``embedding_bag``, all in one bag."""
    start = torch.zeros(1, dtype=torch.long)

    def total(x_I: Float[Tensor, " i"], least: float) -> Float[Tensor, " o"]:
        rows_K = (x_I.abs().float() >= least).nonzero()[:, 0]
        sums_1O = functional.embedding_bag(rows_K, weight_IO, start, mode="sum", per_sample_weights=x_I[rows_K])
        return sums_1O[0]

    return total


def by_numba(weight_IO: Float[Tensor, "i o"]) -> RowSum:
    """Sums by the compiled kernel, in float32 whatever the weights are; what comes out is of their type."""
    add_counting = _compiled(weight_IO.dtype)
    is_wide, outputs = weight_IO.dtype == torch.float32, weight_IO.shape[1]
    # numpy has no bfloat16: its bits are handed on.
    rows_IO = weight_IO.numpy() if is_wide else weight_IO.view(torch.int16).numpy().view(np.uint16)

    def total(x_I: Float[Tensor, " i"], least: float) -> Float[Tensor, " o"]:
        y_O = np.empty(outputs, np.float32)
        add_counting(x_I.float().numpy(), np.float32(least), rows_IO, y_O)
        return torch.from_numpy(y_O) if is_wide else torch.from_numpy(y_O).bfloat16()

    return total


@cache
def _compiled(dtype: torch.dtype) -> Callable[..., None]:
    """The kernel; compiled at the first call, which takes seconds, and kept on disk."""
    numba = optional("numba", "sparse")
    bits = dtype != torch.float32
    wide = _wide() if bits else numba.njit(inspect.unwrap(_same), inline="always")

    # Compiled from what they are without the checks of types that tests put around every function.
    def compiled(function: Callable[..., Any]) -> Any:
        # Sums may be taken in another order, which is what lets a processor add many numbers at once.
        return numba.njit(inspect.unwrap(function), fastmath=True, nogil=True)

    def counting(x_I: Any, least: Any) -> Any:
        rows_K = np.empty(len(x_I), np.int64)
        count = 0
        for i in range(len(x_I)):
            rows_K[count] = i
            count += abs(x_I[i]) >= least
        return rows_K[:count]

    def add_rows(x_I: Any, rows_K: Any, W_IO: Any, y_O: Any) -> None:
        y_O[:] = 0
        k = 0
        # Eight rows a pass: each is a stream of its own, and y is read and written once for all of them.
        while k + 8 <= len(rows_K):
            a, b, c, d = rows_K[k], rows_K[k + 1], rows_K[k + 2], rows_K[k + 3]
            e, f, g, h = rows_K[k + 4], rows_K[k + 5], rows_K[k + 6], rows_K[k + 7]
            xa, xb, xc, xd, xe, xf, xg, xh = x_I[a], x_I[b], x_I[c], x_I[d], x_I[e], x_I[f], x_I[g], x_I[h]
            for o in range(len(y_O)):
                y_O[o] += (
                    xa * wide(W_IO[a, o]) + xb * wide(W_IO[b, o]) + xc * wide(W_IO[c, o]) + xd * wide(W_IO[d, o])
                    + xe * wide(W_IO[e, o]) + xf * wide(W_IO[f, o]) + xg * wide(W_IO[g, o]) + xh * wide(W_IO[h, o])
                )  # fmt: skip
            k += 8
        while k < len(rows_K):
            a = rows_K[k]
            xa = x_I[a]
            for o in range(len(y_O)):
                y_O[o] += xa * wide(W_IO[a, o])
            k += 1

    count_rows, add = compiled(counting), compiled(add_rows)

    def add_counting(x_I: Any, least: Any, W_IO: Any, y_O: Any) -> None:
        add(x_I, count_rows(x_I, least), W_IO, y_O)

    return cast(Callable[..., None], compiled(add_counting))


def _same(weight: Any) -> Any:
    return weight


def _wide() -> Any:
    """Compiled: the float32 number whose upper half the bits of a bfloat16 are."""
    numba, ir = optional("numba", "sparse"), optional("llvmlite.ir", "sparse", "numba")
    intrinsic = optional("numba.extending", "sparse").intrinsic

    def of_bits(_: Any, bits: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.bitcast(args[0], ir.FloatType())

        return numba.float32(numba.uint32), inspect.unwrap(code)

    float_of = intrinsic(inspect.unwrap(of_bits))

    def wide(weight: Any) -> Any:
        return float_of(np.uint32(weight) << np.uint32(16))

    return numba.njit(inspect.unwrap(wide), inline="always")
