"""What TIES must know before its first entry: thresholds, and over a whole model the majority of signs; streamed.

The exact k-th largest magnitude is found without holding a model: magnitudes as float32 are ordered like their bits,
so one pass counts the upper 16 bits, the next the lower 15 of those that share the threshold's upper ones.

Legend: T things to merge, N entries of a block.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from armillary.errors import UsageError
from armillary.methods.bricks.merge_rules import MergeRule, elected, kept_entries

_LOW = 15  # bits of a non-negative float32 left to the second pass; its sign bit is always zero
Blocks = Callable[[], Iterator[Tensor]]
"""Gives, at every call, all changes once more as blocks ``[t, n]``."""


def trim_thresholds(blocks: Blocks, density: float) -> list[float]:
    """For each thing the magnitude (float32) of its smallest kept entry among all its entries; two passes.

    Entries as large as the last kept one are kept with it. Raises UsageError where there are no entries.
    """
    coarse = _counts(_bits(block) >> _LOW for block in blocks())
    if coarse is None:
        raise UsageError("there is nothing to merge: no tensor has entries.")
    wanted = [kept_entries(int(row.sum()), density) for row in coarse]
    upper, left = zip(*(_reach(row, count) for row, count in zip(coarse, wanted, strict=True)), strict=True)
    fine = np.zeros((len(coarse), 1 << _LOW), dtype=np.int64)
    for block in blocks():
        for thing, bits in enumerate(_bits(block)):
            low = bits[(bits >> _LOW) == upper[thing]] & ((1 << _LOW) - 1)
            fine[thing] += np.bincount(low, minlength=1 << _LOW)
    lower = [_reach(row, count)[0] for row, count in zip(fine, left, strict=True)]
    found = np.array([(high << _LOW) | low for high, low in zip(upper, lower, strict=True)], dtype=np.int32)
    return [float(value) for value in found.view(np.float32)]


def majority_sign(blocks: Blocks, rule: MergeRule, thresholds: list[float]) -> float:
    """The sign that more entries elect over the whole model, 1 or -1; what a tie of the vote is given. One pass."""
    total = 0.0
    weights = torch.tensor(rule.weights, dtype=torch.float64)
    bounds = torch.tensor(thresholds, dtype=torch.float32)[:, None]
    for block in blocks():
        trimmed = block.double().masked_fill(block.float().abs() < bounds, 0.0)
        total += float(elected(rule.method, trimmed, weights).sum())
    return -1.0 if total < 0 else 1.0


def _bits(block_TN: Tensor) -> NDArray[np.int32]:
    found: NDArray[np.int32] = block_TN.float().abs().contiguous().view(torch.int32).cpu().numpy()
    return found


def _counts(values: Iterator[NDArray[np.int32]]) -> NDArray[np.int64] | None:
    total: NDArray[np.int64] | None = None
    for block in values:
        counted = np.stack([np.bincount(row, minlength=1 << 16) for row in block])
        total = counted if total is None else total + counted
    return None if total is None or not total.sum() else total


def _reach(counts: NDArray[np.int64], wanted: int) -> tuple[int, int]:
    """The bin where, from the top, ``wanted`` entries are reached, and how many of them this bin has to give."""
    from_top = np.cumsum(counts[::-1])
    place = int(np.searchsorted(from_top, wanted))
    bin_ = len(counts) - 1 - place
    return bin_, int(wanted - (from_top[place] - counts[bin_]))
