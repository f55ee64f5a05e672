"""A merge rule applied to changes that come in blocks, whatever holds them: adapters in memory or models on disk.

What TIES must know before its first entry is streamed as well. The exact k-th largest magnitude is found without
holding a model: magnitudes as float32 are ordered like their bits, so one pass counts the upper 16 bits, the next the
lower 15 of those that share the threshold's upper ones.

Legend: T things to merge, N entries of a block.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from armillary.errors import NumericError, UsageError
from armillary.methods.bricks.merging.rules import MergeRule, Whole, draws_of, kept_entries, merged, trimmed

_LOW = 15  # bits of a non-negative float32 left to the second pass; its sign bit is always zero
Blocks = Callable[[], Iterator[Tensor]]
"""Gives, at every call, all changes once more as blocks ``[t, n]``."""


def trim_thresholds(blocks: Blocks, density: float) -> list[float]:
    """For each thing the magnitude (float32) of its smallest kept entry among all its entries; two passes.

    Entries as large as the last kept one are kept with it. Raises UsageError where there are no entries.
    """
    coarse: NDArray[np.int64] | None = None
    for block in blocks():
        counts = np.stack([np.bincount(row, minlength=1 << 16) for row in _bits(block) >> _LOW])
        coarse = counts if coarse is None else coarse + counts
    if coarse is None or not coarse.sum():
        raise UsageError("there is nothing to merge: no tensor has entries.")
    wanted = [kept_entries(int(row.sum()), density) for row in coarse]
    upper, left = zip(*(_reach(row, count) for row, count in zip(coarse, wanted, strict=True)), strict=True)
    fine = np.zeros((len(coarse), 1 << _LOW), dtype=np.int64)
    for block in blocks():
        for thing, bits in enumerate(_bits(block)):
            low = bits[(bits >> _LOW) == upper[thing]] & ((1 << _LOW) - 1)
            fine[thing] += np.bincount(low, minlength=1 << _LOW)
    lower = [_reach(row, count)[0] for row, count in zip(fine, left, strict=True)]
    bits_T = np.array([(high << _LOW) | low for high, low in zip(upper, lower, strict=True)], dtype=np.int32)
    return [float(value) for value in bits_T.view(np.float32)]


def majority_sign(blocks: Blocks, thresholds: Sequence[float] | None) -> float:
    """The sign that more entries elect over the whole model, 1 or -1; what a tie of the vote is given. One pass."""
    total = sum(float(trimmed(block.double(), thresholds).sum(0).sign().sum()) for block in blocks())
    return -1.0 if total < 0 else 1.0


def _bits(block_TN: Tensor) -> NDArray[np.int32]:
    bits_TN: NDArray[np.int32] = block_TN.float().abs().contiguous().view(torch.int32).cpu().numpy()
    return bits_TN


def _reach(counts: NDArray[np.int64], wanted: int) -> tuple[int, int]:
    """The bin where, from the top, ``wanted`` entries are reached, and how many of them this bin has to give."""
    from_top = np.cumsum(counts[::-1])
    steps = int(np.searchsorted(from_top, wanted))
    bin_ = len(counts) - 1 - steps
    return bin_, int(wanted - (from_top[steps] - counts[bin_]))


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

    @classmethod
    def total(cls, errors: Iterable["SquaredError"]) -> "SquaredError":
        """Of several tensors as one."""
        parts = list(errors)
        return cls(sum(part.wrong for part in parts), sum(part.whole for part in parts))

    def add(self, stored_N: Tensor, exact_N: Tensor) -> None:
        """Count some entries, float64."""
        self.wrong += float((stored_N - exact_N).square().sum())
        self.whole += float(exact_N.square().sum())

    @property
    def relative(self) -> float | None:
        """``|stored - exact| / |exact|``; None where the exact values are all zero: nothing to compare with."""
        return float((self.wrong / self.whole) ** 0.5) if self.whole > 0 else None


class Merger:
    """One rule over one source; what the rule must know of the whole is gathered when it is made."""

    def __init__(self, rule: MergeRule, source: DeltaSource) -> None:
        self._rule, self._source = rule, source
        self._thresholds = trim_thresholds(self._all_blocks, rule.density) if rule.trim == "model" else None
        self._sign_of_zero = majority_sign(self._all_blocks, self._thresholds) if rule.how.asks_majority else 1.0

    def blocks(self, name: str) -> Iterator[tuple[Tensor, Tensor]]:
        """``(exact weighted sum, merged)`` of one tensor, block by block, each ``[n]`` float64.

        NumericError naming the tensor where a change is not finite.
        """
        rule, thresholds = self._rule, self._thresholds
        if rule.trim == "tensor":
            thresholds = trim_thresholds(lambda: self._source.blocks(name), rule.density)
        # Made once for the tensor: its blocks are drawn for one after the other.
        whole = Whole(
            thresholds=thresholds,
            sign_of_zero=self._sign_of_zero,
            generators=draws_of(rule.seed, name, len(rule.weights)) if rule.how.is_random else None,
        )
        coefficients_T = torch.tensor(rule.coefficients, dtype=torch.float64)
        for deltas_TN in self._source.blocks(name):
            if not bool(deltas_TN.isfinite().all()):
                raise NumericError(f"{name} holds numbers that are not finite, so it can't be merged.")
            yield coefficients_T.to(deltas_TN.device) @ deltas_TN.double(), merged(rule, deltas_TN, whole)

    def _all_blocks(self) -> Iterator[Tensor]:
        for name in self._source.names:
            yield from self._source.blocks(name)
