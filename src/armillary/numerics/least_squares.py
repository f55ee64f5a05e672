"""Least squares and ridge with an intercept, factorised once on the smaller Gram side, in float64.

Legend: N rows (prompts), P regressors, Q targets, K = min(N, P) directions kept.

One eigendecomposition gives the whole ridge path and its generalised cross-validation, and serves any number of
targets, so that controls with permuted targets cost one product each.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from armillary.errors import NumericError, UsageError

RELATIVE_GRID: tuple[float, ...] = tuple(10.0 ** (exponent / 4) for exponent in range(-24, 5))
"""Penalties that GCV tries, in units of the mean eigenvalue of the Gram matrix: 1e-6 to 1e1, four a decade."""


@dataclass(frozen=True, kw_only=True)
class LinearFit:
    """``y ≈ x @ weight + intercept``, fitted in float64."""

    weight: Float[Tensor, "p q"]
    """Rows are regressors, columns are targets."""

    intercept: Float[Tensor, " q"]

    ridge: float
    """Penalty on the squared weights, in the units of the Gram matrix of the centred regressors; 0 is plain OLS."""

    effective_dof: float
    """Trace of the smoother, without the intercept: the rank at ``ridge=0``, less with a penalty."""

    def predict(self, x_NP: Shaped[Tensor, "n p"]) -> Float[Tensor, "n q"]:
        """Predicted targets ``[n, q]``, float64; UsageError when the number of regressors differs."""
        if x_NP.ndim != 2 or x_NP.shape[1] != self.weight.shape[0]:
            raise UsageError(
                f"the fit has {self.weight.shape[0]} regressors and the rows to predict {tuple(x_NP.shape)}."
            )
        return x_NP.to(self.weight) @ self.weight + self.intercept


class RidgePath:
    """All ridge solutions of one regressor matrix, factorised once.

    Below the cutoff ``eps * max(n, p) * largest eigenvalue`` a direction counts as absent, so that ``ridge=0`` gives
    the minimum-norm solution of a rank-deficient problem.
    """

    def __init__(self, x_NP: Shaped[Tensor, "n p"]) -> None:
        x = _checked(x_NP, "regressors")
        self.rows, self.columns = x.shape
        self.mean_P: Tensor = x.mean(0)
        centred = x - self.mean_P
        wide = self.rows < self.columns
        eigenvalues, vectors = torch.linalg.eigh(centred @ centred.T if wide else centred.T @ centred)
        self.mean_eigenvalue = float(eigenvalues.clamp_min(0).sum()) / min(self.rows, self.columns)
        largest = float(eigenvalues[-1].clamp_min(0))
        kept = eigenvalues > max(largest * torch.finfo(torch.float64).eps * max(x.shape), _noise(x))
        self._eigenvalues_K, vectors = eigenvalues[kept], vectors[:, kept]
        scale_K = self._eigenvalues_K.sqrt()
        self._left_NK = vectors if wide else centred @ vectors / scale_K
        self._right_PK = centred.T @ vectors / scale_K if wide else vectors

    @property
    def rank(self) -> int:
        """Number of directions in which the centred regressors really vary."""
        return len(self._eigenvalues_K)

    def effective_dof(self, ridge: float) -> float:
        """``sum e / (e + ridge)`` over the kept eigenvalues, without the intercept."""
        return float((self._eigenvalues_K / (self._eigenvalues_K + ridge)).sum())

    def solve(self, y_NQ: Shaped[Tensor, "n q"], ridge: float | int = 0.0) -> LinearFit:
        """The fit at one absolute penalty; minimum norm when ``ridge=0`` and the regressors are rank-deficient."""
        y = self._targets(y_NQ)
        if not (ridge >= 0 and ridge < float("inf")):
            raise UsageError(f"ridge must be a finite number of at least 0, or 'gcv'; got {ridge}.")
        mean_Q = y.mean(0)
        shrink_K = self._eigenvalues_K.sqrt() / (self._eigenvalues_K + ridge)
        weight = self._right_PK @ (shrink_K[:, None] * (self._left_NK.T @ (y - mean_Q)))
        return LinearFit(
            weight=weight,
            intercept=mean_Q - self.mean_P @ weight,
            ridge=float(ridge),
            effective_dof=self.effective_dof(ridge),
        )

    def gcv(self, y_NQ: Shaped[Tensor, "n q"], relative_grid: Sequence[float] = RELATIVE_GRID) -> float:
        """The absolute penalty with the lowest generalised cross-validation score, one for all columns.

        Score (Golub, Heath and Wahba 1979), residuals in units of each column's variance so that no column's scale
        decides: ``mean_j RSS_j / TSS_j / (1 - (1 + dof) / n)^2``. Constant columns are left out; when every column or
        regressor is constant the smallest penalty of the grid is returned.
        """
        y = self._targets(y_NQ)
        centred = y - y.mean(0)
        total_Q = centred.square().sum(0)
        varies = total_Q > _noise(y)
        unit = centred[:, varies] / total_Q[varies].sqrt()
        penalties = torch.tensor(relative_grid, dtype=torch.float64, device=y.device) * (self.mean_eigenvalue or 1.0)
        if not len(penalties) or float(penalties.min()) <= 0:
            raise UsageError("the grid of relative penalties must be non-empty and positive.")
        if unit.shape[1] == 0 or self.rank == 0:
            return float(penalties.min())
        energy_K = (self._left_NK.T @ unit).square().mean(1)
        left_LK = penalties[:, None] / (self._eigenvalues_K + penalties[:, None])
        residual_L = (1.0 - energy_K.sum()).clamp_min(0) + left_LK.square() @ energy_K
        freedom_L = 1.0 - (1.0 + (1.0 - left_LK).sum(1)) / self.rows
        score_L = torch.where(freedom_L > 0, residual_L / freedom_L.square(), torch.inf)
        return float(penalties[int(score_L.argmin())])

    def _targets(self, y_NQ: Tensor) -> Tensor:
        y = _checked(y_NQ, "targets")
        if y.shape[0] != self.rows:
            raise UsageError(f"regressors have {self.rows} rows and targets {y.shape[0]}; they must be the same.")
        return y.to(self.mean_P.device)


def fit_linear(
    x_NP: Shaped[Tensor, "n p"],
    y_NQ: Shaped[Tensor, "n q"],
    ridge: float | int | Literal["gcv"] = 0.0,
) -> LinearFit:
    """Least squares (``ridge=0``), ridge, or ridge chosen by GCV, with an intercept that is never penalised.

    ``weight = (Xc'Xc + ridge I)^-1 Xc'Yc`` on centred data, through the smaller Gram side. UsageError for fewer than
    two rows, unequal rows or a negative penalty; NumericError for NaN or infinite values.
    """
    path = RidgePath(x_NP)
    if isinstance(ridge, str) and ridge != "gcv":
        raise UsageError(f"ridge must be a finite number of at least 0, or 'gcv'; got {ridge!r}.")
    return path.solve(y_NQ, path.gcv(y_NQ) if ridge == "gcv" else ridge)


def _noise(x: Tensor) -> float:
    """Squared size that rounding alone gives a constant column of the matrix."""
    if x.numel() == 0:
        return 0.0
    return float((x.abs().max() * torch.finfo(torch.float64).eps * 8) ** 2) * x.shape[0]


def _checked(x: Tensor, what: str) -> Tensor:
    if x.ndim != 2 or x.shape[0] < 2 or x.shape[1] < 1:
        raise UsageError(f"{what} must be a table of at least 2 rows and 1 column; got shape {tuple(x.shape)}.")
    if x.is_complex():
        raise UsageError(f"{what} must be real numbers; got {x.dtype}.")
    x = x.to(torch.float64)
    bad = ~torch.isfinite(x)
    if bool(bad.any()):
        row, column = (int(i) for i in bad.nonzero()[0])
        raise NumericError(f"{what} hold a NaN or infinite value at row {row}, column {column}.")
    return x
