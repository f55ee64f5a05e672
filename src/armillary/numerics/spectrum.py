"""How many directions a set of vectors really uses, in float64. Legend: N rows (tokens), D dimensions."""

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from armillary.errors import NumericError, UsageError

NEGLIGIBLE = 1e-12
"""Shares of the sum of singular values below this are dropped: they are rounding."""


def effective_rank_from_singular_values(s_K: Shaped[Tensor, " k"]) -> float:
    """``exp(-sum p log p)`` with ``p = s / sum s`` (Roy and Vetterli 2007): between 1 and the rank; 0 if all are zero.

    NumericError for NaN, infinite or negative values.
    """
    s = _checked(s_K, 1, "singular values")
    if bool((s < 0).any()):
        raise NumericError(f"singular values can't be negative; got {float(s.min())}.")
    total = s.sum()
    if float(total) == 0.0:
        return 0.0
    p = s / total
    p = p[p >= NEGLIGIBLE]
    return float((-(p * p.log()).sum()).exp())


def effective_rank(x_ND: Shaped[Tensor, "n d"], center: bool = False) -> float:
    """Effective rank (Roy and Vetterli 2007) of the rows; ``center=True`` first removes their mean.

    An offset shared by all rows collapses the raw value, so report both. 0 for a zero matrix.
    """
    return effective_rank_from_singular_values(singular_values(x_ND, center=center))


def effective_rank_from_covariance(covariance_DD: Shaped[Tensor, "d d"]) -> float:
    """Centred effective rank of rows known only by their covariance: singular values are the roots of its eigenvalues.

    Any positive multiple of the covariance gives the same value. UsageError when it is not square or not symmetric.
    """
    c = _checked(covariance_DD, 2, "the covariance")
    if c.shape[0] != c.shape[1] or not torch.allclose(c, c.T, rtol=1e-6, atol=1e-9 * float(c.abs().max())):
        raise UsageError(f"a covariance must be a symmetric square matrix; got shape {tuple(c.shape)}.")
    return effective_rank_from_singular_values(_positive(torch.linalg.eigvalsh(c), c.shape[0]).sqrt())


SINK = 5.0
"""A row longer than so many times the median one is set apart. [ours] Ordinary tokens of a layer lie within a factor
of two or three of each other; attention sinks, made by one huge channel, are ten to a thousand times as long."""


def sink_rows(x_ND: Float[Tensor, "n d"]) -> Bool[Tensor, " n"]:
    """True at the rows that are more than ``SINK`` times as long as the median one: attention sinks among tokens."""
    size_N = x_ND.detach().float().square().mean(1).sqrt()
    middle = size_N.median() if len(size_N) else size_N.sum()
    return (size_N > SINK * middle) & (middle > 0)


def rms_normalised(x_ND: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Each row over its root mean square; a zero row stays zero, with a finite slope."""
    return x_ND * torch.rsqrt(x_ND.square().mean(1, keepdim=True) + 1e-12)


def singular_values(x_ND: Shaped[Tensor, "n d"], center: bool = False) -> Float[Tensor, " k"]:
    """The ``min(n, d)`` singular values, largest first, float64, through the smaller Gram side.

    Those below ``sqrt(eps * max(n, d))`` of the largest (about 1e-7) can't be told from zero
    this way and are given as 0.
    """
    x = _checked(x_ND, 2, "the matrix")
    if center:
        size = x.square().sum()
        x = x - x.mean(0)
        if float(x.square().sum()) <= float(size) * torch.finfo(x.dtype).eps ** 2 * x.shape[0]:
            x = torch.zeros_like(x)  # equal rows: what is left is rounding
    gram = x @ x.T if x.shape[0] < x.shape[1] else x.T @ x
    return _positive(torch.linalg.eigvalsh(gram), max(x.shape)).sqrt().flip(0)


def _positive(eigenvalues_K: Tensor, size: int) -> Tensor:
    """Eigenvalues of a positive matrix with what rounding left of its null space set to zero."""
    noise = float(eigenvalues_K[-1].clamp_min(0)) * torch.finfo(eigenvalues_K.dtype).eps * size
    return torch.where(eigenvalues_K > noise, eigenvalues_K, 0.0)


def _checked(x: Tensor, dimensions: int, what: str) -> Tensor:
    if x.ndim != dimensions or x.numel() == 0:
        raise UsageError(f"{what} must be a non-empty tensor of {dimensions} dimension(s); got {tuple(x.shape)}.")
    x = x.to(torch.float64)
    if not bool(torch.isfinite(x).all()):
        raise NumericError(f"{what} hold a NaN or infinite value; every one must be finite.")
    return x
