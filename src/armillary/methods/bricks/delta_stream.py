"""A merge rule applied to changes that come in blocks, whatever holds them: adapters in memory or models on disk.

Legend: T things to merge, N entries of a block.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from armillary.errors import NumericError
from armillary.methods.bricks.merge_rules import MergeRule, draws_of, merged
from armillary.methods.bricks.trimming import majority_sign, trim_thresholds

BLOCK = 2_000_000
"""Entries (of all things together) that a block holds: 16 MB of float64, and a few times that while it is merged."""


class DeltaSource(Protocol):
    """Gives the changes of each tensor, any number of times."""

    @property
    def names(self) -> Sequence[str]:
        """The tensors."""
        ...

    def blocks(self, name: str) -> Iterator[Tensor]:
        """The changes of one tensor, all things side by side, ``[t, n]``, in the same blocks every time."""
        ...


@dataclass
class SquaredError:
    """Sums of squares that give a relative Frobenius error."""

    wrong: float = 0.0
    whole: float = 0.0

    def add(self, found_N: Tensor, exact_N: Tensor) -> None:
        """Count some entries, float64."""
        self.wrong += float((found_N - exact_N).square().sum())
        self.whole += float(exact_N.square().sum())

    @property
    def relative(self) -> float | None:
        """``|found - exact| / |exact|``; None where the exact values are all zero, so that nothing can be compared."""
        return float((self.wrong / self.whole) ** 0.5) if self.whole > 0 else None


class Merger:
    """One rule over one source; what the rule must know of the whole is gathered when it is made."""

    def __init__(self, rule: MergeRule, source: DeltaSource) -> None:
        self._rule, self._source = rule, source
        self._thresholds: list[float] | None = None
        self._sign_of_zero = 1.0
        if rule.method == "ties_global":
            self._thresholds = trim_thresholds(self._all_blocks, rule.density) if rule.trims else None
            self._sign_of_zero = majority_sign(self._all_blocks, rule, self._thresholds or [0.0] * len(rule.weights))

    def blocks(self, name: str) -> Iterator[tuple[Tensor, Tensor]]:
        """``(exact weighted sum, merged)`` of one tensor, block by block, each ``[n]`` float64.

        NumericError naming the tensor where a change is not finite.
        """
        rule = self._rule
        thresholds = self._thresholds
        if rule.trims and thresholds is None:
            thresholds = trim_thresholds(lambda: self._source.blocks(name), rule.density)
        generators = draws_of(rule.seed, name, len(rule.weights)) if rule.method.startswith("dare") else None
        coefficients = torch.tensor(rule.coefficients, dtype=torch.float64)
        for deltas_TN in self._source.blocks(name):
            if not bool(deltas_TN.isfinite().all()):
                raise NumericError(f"{name} holds numbers that are not finite, so it can't be merged.")
            joined_N = merged(
                rule, deltas_TN, thresholds=thresholds, sign_of_zero=self._sign_of_zero, generators=generators
            )
            yield coefficients.to(deltas_TN.device) @ deltas_TN.double(), joined_N

    def _all_blocks(self) -> Iterator[Tensor]:
        for name in self._source.names:
            yield from self._source.blocks(name)
