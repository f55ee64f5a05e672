"""The paper's equations and our controls as pure functions, in float64. Nothing is loaded or printed here.

Legend: N subjects, S source tokens, T target tokens, R resamples. ``y_t(X) ~ y_s(X) @ W + b`` with ``W [S, T]``
(arXiv 2502.04520; rows are source tokens, as in the official code).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from armillary.errors import NumericError, UsageError
from armillary.numerics import Interval, LinearFit, RidgePath, mean_correlation_under_weights
from armillary.numerics.intervals import percentile_interval

Ridge = float | Literal["gcv"]
Array = NDArray[np.float64]


def solve(path: RidgePath, target_NT: Float[Tensor, "n t"], ridge: Ridge) -> LinearFit:
    """The map to these targets by a factorised source: ordinary least squares at 0, "gcv" chooses the penalty."""
    return path.solve(target_NT, path.gcv(target_NT) if ridge == "gcv" else ridge)


def row_centred(y_NM: Float[Tensor, "n m"]) -> Float[Tensor, "n m"]:
    """Each row less its mean over the domain: takes away the offset that makes any two domains correlate."""
    return y_NM - y_NM.mean(dim=1, keepdim=True)


def rank_one(
    source_NS: Float[Tensor, "n s"], target_NT: Float[Tensor, "n t"], test_NS: Float[Tensor, "k s"]
) -> Float[Tensor, "k t"]:
    """Baseline: every target predicted from the row mean of the source logits alone."""
    path = RidgePath(source_NS.mean(dim=1, keepdim=True))
    return path.solve(target_NT).predict(test_NS.mean(dim=1, keepdim=True))


def shuffled_fits(
    path: RidgePath, target_NT: Float[Tensor, "n t"], ridge: Ridge, *, permutations: int, seed: int
) -> Iterator[LinearFit]:
    """Fits with the rows of the targets permuted: which subject said what is lost, all else stays."""
    generator = np.random.default_rng(seed)
    for _ in range(permutations):
        yield solve(path, target_NT[torch.from_numpy(generator.permutation(len(target_NT)))], ridge)


def standardised_weight(
    weight_ST: Float[Tensor, "s t"], source_NS: Float[Tensor, "n s"], target_NT: Float[Tensor, "n t"]
) -> Float[Tensor, "s t"]:
    """``W[i, j] * std(y_s[:, i]) / std(y_t[:, j])``: change of a target per usual change of a source, unit-free."""
    spread_T = target_NT.std(dim=0)
    scaled = weight_ST * source_NS.std(dim=0)[:, None] / spread_T
    return torch.where(spread_T > 0, scaled, 0.0)


def rows_note(rows: int, sources: int, ridge: Ridge) -> str | None:
    """A caution when there are few rows for the regressors, or None.

    UsageError for plain least squares with fewer than twice as many rows as source tokens: it fits noise.
    """
    if ridge == 0 and rows < 2 * sources:
        raise UsageError(
            f"{rows} fitting rows are too few for least squares on {sources} source tokens (at least "
            f"{2 * sources} are needed); draw more subjects or use ridge='gcv'."
        )
    if rows < 5 * sources:
        return f"only {rows} fitting rows for {sources} source tokens (5 each are advised): correlations come out low"
    return None


@dataclass(frozen=True)
class Replicated:
    """A statistic of the test subjects and its values over the same resamples as every other one's."""

    estimate: float
    values_R: Array


class TestRows:
    """Resamples of the test subjects, drawn once, so that any two statistics can be compared as pairs."""

    __test__ = False  # not a test case, whatever a test runner reads into the name

    def __init__(self, rows: int, *, replicates: int, level: float, seed: int) -> None:
        if rows < 2:
            raise UsageError(f"at least 2 test subjects are needed; got {rows}.")
        self.rows, self.level, self.replicates = rows, level, replicates
        generator = np.random.default_rng(seed)
        self._counts_RN = generator.multinomial(rows, np.full(rows, 1 / rows), size=replicates).astype(np.float64)

    def mean_correlation(self, predicted_NT: Tensor, measured_NT: Tensor) -> Replicated:
        """Mean over target tokens of the Pearson correlation; NumericError when every token is constant."""
        return self._replicated(mean_correlation_under_weights(predicted_NT.numpy(), measured_NT.numpy()))

    def mean_r_squared(self, predicted_NT: Tensor, measured_NT: Tensor) -> Replicated:
        """Mean over target tokens of ``1 - RSS / TSS``."""
        return self._replicated(_mean_r_squared_under_weights(predicted_NT.numpy(), measured_NT.numpy()))

    def interval(self, statistic: Replicated, minus: Replicated | None = None) -> Interval:
        """Percentile interval of the statistic, or of its paired difference to another."""
        values = statistic.values_R if minus is None else statistic.values_R - minus.values_R
        estimate = statistic.estimate if minus is None else statistic.estimate - minus.estimate
        kind = "bootstrap" if minus is None else "paired bootstrap"
        how = f"{kind} over {self.rows:,} test subjects, the fit held fixed"
        return percentile_interval(estimate, values, self.rows, self.level, how)

    def _replicated(self, statistic: Callable[[Array], Array]) -> Replicated:
        estimate = float(statistic(np.ones((1, self.rows)))[0])
        return Replicated(estimate, statistic(self._counts_RN))


def _mean_r_squared_under_weights(predicted_NT: Array, measured_NT: Array) -> Callable[[Array], Array]:
    measured = measured_NT - measured_NT.mean(axis=0)
    spread = measured.std(axis=0)
    # Rounding alone spreads a constant column by about 1e-16 of its size.
    varies = spread > 1e-12 * np.abs(measured_NT).max(axis=0)
    if not varies.any():
        raise NumericError("every target token has a constant logit: no correlation is defined.")
    unit = measured[:, varies] / spread[varies]
    error = ((predicted_NT - measured_NT)[:, varies] / spread[varies]) ** 2

    def statistic(counts_RN: Array) -> Array:
        share = counts_RN / counts_RN.sum(axis=1, keepdims=True)
        # A resample may hold one subject only, and then has no spread to divide by.
        total = np.maximum(share @ unit**2 - (share @ unit) ** 2, 1e-12)
        mean: Array = (1 - share @ error / total).mean(axis=1)
        return mean

    return statistic
