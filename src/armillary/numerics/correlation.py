"""Correlation of matching columns, in float64. Legend: N rows, Q columns."""

import torch
from jaxtyping import Float, Shaped
from scipy.stats import rankdata
from torch import Tensor

from armillary.errors import UsageError

CONSTANT = 1e-12
"""A column whose spread is below this share of its largest value is constant: the rest is rounding."""


def pearson_columns(a_NQ: Shaped[Tensor, "n q"], b_NQ: Shaped[Tensor, "n q"]) -> Float[Tensor, " q"]:
    """Pearson correlation of column j of ``a`` with column j of ``b``: float64 ``[q]``, NaN where either is constant.

    UsageError for unequal shapes or fewer than two rows. A NaN or infinity in a column makes its correlation NaN.
    """
    a, b = _pair(a_NQ, b_NQ)
    (a, size_a), (b, size_b) = _centred(a), _centred(b)
    r = (a * b).sum(0) / (size_a * size_b)
    return r.clamp(-1.0, 1.0)


def spearman_columns(a_NQ: Shaped[Tensor, "n q"], b_NQ: Shaped[Tensor, "n q"]) -> Float[Tensor, " q"]:
    """Pearson correlation of the ranks (ties share their mean rank): float64 ``[q]``, NaN where either is constant."""
    a, b = _pair(a_NQ, b_NQ)
    return pearson_columns(_ranks(a), _ranks(b))


def pearson(a_N: Shaped[Tensor, " n"], b_N: Shaped[Tensor, " n"]) -> float:
    """Pearson correlation of two vectors; NaN when either is constant."""
    return float(pearson_columns(_column(a_N), _column(b_N)))


def spearman(a_N: Shaped[Tensor, " n"], b_N: Shaped[Tensor, " n"]) -> float:
    """Spearman rank correlation of two vectors; NaN when either is constant."""
    return float(spearman_columns(_column(a_N), _column(b_N)))


def _column(x_N: Tensor) -> Tensor:
    if x_N.ndim != 1:
        raise UsageError(f"expected a vector, got a tensor of shape {tuple(x_N.shape)}.")
    return x_N[:, None]


def _pair(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    if a.ndim != 2 or a.shape != b.shape or a.shape[0] < 2:
        raise UsageError(
            f"expected two tables of one shape with at least 2 rows; got {tuple(a.shape)} and {tuple(b.shape)}."
        )
    return a.to(torch.float64), b.to(a.device, torch.float64)


def _centred(a: Tensor) -> tuple[Tensor, Tensor]:
    """Centred columns and their lengths; a constant column's length is NaN."""
    centred = a - a.mean(0)
    size = centred.square().sum(0).sqrt()
    spread = a.abs().amax(0) * CONSTANT * a.shape[0] ** 0.5
    return centred, torch.where(size > spread, size, torch.nan)


def _ranks(x: Tensor) -> Tensor:
    ranks = torch.from_numpy(rankdata(x.detach().cpu().numpy(), axis=0)).to(x)
    return torch.where(torch.isfinite(x).all(0), ranks, torch.nan)
