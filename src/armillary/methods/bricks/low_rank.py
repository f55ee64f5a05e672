"""Sums of low-rank changes: exact by putting factors side by side, compressed by a small SVD, errors without d x d.

Also ``applied``: a change put into a model's own weights for a while, without a brick around it, as editing tries one.
Legend: R rank (of all terms together), I inputs, O outputs of a matrix, K kept rank.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from armillary.errors import UsageError
from armillary.methods.bricks.payloads import LowRank
from armillary.models import LoadedModel
from armillary.models.feed_forward import weight_OI

Factors = tuple[Tensor, Tensor]
"""``A [r, in]`` and ``B [out, r]``; the change is ``B @ A``."""


def weighted_sum(terms: Sequence[Factors], coefficients: Sequence[float]) -> Factors:
    """Factors of ``sum c_t B_t A_t``, of rank ``sum r_t``, float64: no entry of the sum is rounded."""
    a_RI = torch.cat([coefficient * a.double() for (a, _), coefficient in zip(terms, coefficients, strict=True)])
    return a_RI, torch.cat([b.double() for _, b in terms], dim=1)


def core(a_RI: Float[Tensor, "r i"], b_OR: Float[Tensor, "o r"]) -> tuple[Tensor, Tensor, Tensor]:
    """``Q_B [o, k]``, a small ``[k, j]`` and ``Q_A [i, j]`` with orthonormal columns: ``B A = Q_B small Q_A^T``."""
    q_b, r_b = torch.linalg.qr(b_OR.double())
    q_a, r_a = torch.linalg.qr(a_RI.double().T)
    return q_b, r_b @ r_a.T, q_a


def norm(a_RI: Float[Tensor, "r i"], b_OR: Float[Tensor, "o r"]) -> float:
    """Frobenius norm of ``B A``, float64."""
    return float(torch.linalg.matrix_norm(core(a_RI, b_OR)[1]))


def distance(first: Factors, second: Factors) -> float:
    """Frobenius norm of the difference of two products, float64; small differences keep their digits."""
    return norm(*weighted_sum([first, second], [1.0, -1.0]))


def compressed(a_RI: Float[Tensor, "r i"], b_OR: Float[Tensor, "o r"], rank: int) -> tuple[Factors, float]:
    """The nearest product of rank ``rank`` and its Frobenius distance (the root of the dropped squares).

    Both factors get the square roots of the singular values, so that they are of like size in float32.
    """
    q_b, small, q_a = core(a_RI, b_OR)
    return _cut(torch.linalg.svd(small, full_matrices=False), rank, q_b, q_a)


def factored(delta_OI: Float[Tensor, "o i"], rank: int | None) -> tuple[Factors, float]:
    """The nearest product of rank ``rank`` to a full matrix, and its Frobenius distance; None takes the rank that the
    matrix has beyond the rounding of float32."""
    left, values, right = torch.linalg.svd(delta_OI.double(), full_matrices=False)
    needed = max(1, int((values > torch.finfo(torch.float32).eps * values[0]).sum()))
    return _cut((left, values, right), needed if rank is None else rank, None, None)


def first_input_direction(a_RI: Float[Tensor, "r i"], b_OR: Float[Tensor, "o r"]) -> Float[Tensor, " i"]:
    """Unit top right singular vector of ``B A``: the input that the change answers most; its sign is arbitrary."""
    _, small, q_a = core(a_RI, b_OR)
    direction: Tensor = q_a @ torch.linalg.svd(small, full_matrices=False).Vh[0]
    return direction


def _cut(
    parts: tuple[Tensor, Tensor, Tensor], rank: int, q_b: Tensor | None, q_a: Tensor | None
) -> tuple[Factors, float]:
    if rank < 1:
        raise UsageError(f"the rank of a compressed change must be 1 or more; got {rank}.")
    left, values, right = parts
    roots = values[:rank].sqrt()
    b_OK = left[:, :rank] * roots
    a_KI = roots[:, None] * right[:rank]
    b_OK = b_OK if q_b is None else q_b @ b_OK
    a_KI = a_KI if q_a is None else a_KI @ q_a.T
    return (a_KI, b_OK), float(values[rank:].square().sum().sqrt())


@contextmanager
def applied(loaded: LoadedModel, change: LowRank) -> Iterator[None]:
    """Inside, each named matrix is ``W + B @ A``, summed in float64 and rounded once; after it the tensors of before.

    Also after an error: the original storage is put back, so every bit is as it was, mounted bricks included.
    UsageError for a path that the model lacks or a shape that does not fit, before anything is changed.
    """
    modules = {path: _fitting(loaded, change, path) for path in change.factors}
    weights = {path: cast(nn.Parameter, module.weight) for path, module in modules.items()}
    originals = {path: weight.data for path, weight in weights.items()}
    try:
        for path, module in modules.items():
            a_RI, b_OR = (factor.to(loaded.device).double() for factor in change.factors[path])
            changed_OI = (weight_OI(module).detach().double() + b_OR @ a_RI).to(weights[path].dtype)
            weights[path].data = changed_OI.T.contiguous() if isinstance(module, Conv1D) else changed_OI
        yield
    finally:
        for path, weight in weights.items():
            weight.data = originals[path]


def _fitting(loaded: LoadedModel, change: LowRank, path: str) -> nn.Module:
    module = dict(loaded.model.named_modules()).get(path)
    if not isinstance(module, nn.Linear | Conv1D):
        raise UsageError(f"{loaded.name} has no matrix {path!r} to change; was the change made for it?")
    a_RI, b_OR = change.factors[path]
    shape = tuple(weight_OI(module).shape)
    if shape != (b_OR.shape[0], a_RI.shape[1]):
        raise UsageError(f"{path} is {shape}; the change is for {(b_OR.shape[0], a_RI.shape[1])}.")
    return module
