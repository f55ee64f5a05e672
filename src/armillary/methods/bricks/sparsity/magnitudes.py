"""How large the numbers of an input are: counts in bins that are the numbers of bfloat16, so none has to be kept.

Legend: N tokens, I numbers of the input, B bins.
"""

from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from armillary.errors import NumericError

BINS = 1 << 15
"""Positive numbers of bfloat16, the upper half of the bits of a float32: 128 an octave, so that a threshold is known
to 1 % whatever the scale, and no range has to be guessed."""

_INFINITE = 0x7F80
"""The bin of infinity; those behind it are NaN."""

_EDGES = (np.arange(_INFINITE + 1, dtype=np.uint32) << 16).view(np.float32).astype(np.float64)
_EDGES[_INFINITE] = 2.0**128  # the number after the largest

_TINY = float(np.finfo(np.float32).tiny)
"""Least threshold above 0: it leaves out nothing but zeros."""


class Magnitudes:
    """Counts of sizes, from which thresholds for shares and shares for thresholds are read."""

    def __init__(self) -> None:
        self._counts_B: NDArray[np.int64] = np.zeros(BINS, dtype=np.int64)

    def update(self, x_NI: Float[Tensor, "n i"]) -> None:
        """Take in the numbers of some tokens. NumericError where one is not finite."""
        bits = x_NI.detach().float().abs().reshape(-1).view(torch.int32) >> 16
        self._counts_B += torch.bincount(bits, minlength=BINS).cpu().numpy()
        if self._counts_B[_INFINITE:].any():
            raise NumericError("an input of a matrix holds NaN or infinite values, so it has no thresholds.")
        self.__dict__.pop("_below_B", None)

    @cached_property
    def _below_B(self) -> NDArray[np.int64]:
        """How many lie in a bin or below it; one more at the beginning, for none."""
        return np.concatenate([[0], self._counts_B[:_INFINITE].cumsum()])

    @property
    def count(self) -> int:
        """How many numbers were taken in."""
        return int(self._below_B[-1])

    def threshold(self, share: float) -> float:
        """The least threshold below which this share of the sizes lies, a float32 number; 0 for a share of 0.

        Within a bin sizes are taken for evenly spread. Where zeros alone are the share or more the threshold is the
        smallest above 0. NumericError where nothing was taken in.
        """
        if self.count == 0:
            raise NumericError("no numbers were taken in, so they have no thresholds.")
        rank = share * self.count
        if rank <= 0:
            return 0.0
        index = min(int(np.searchsorted(self._below_B[1:], rank)), _INFINITE - 1)
        if index == 0:
            return _TINY
        part = (rank - self._below_B[index]) / self._counts_B[index]
        return float(np.float32(_EDGES[index] + min(part, 1.0) * (_EDGES[index + 1] - _EDGES[index])))

    def below(self, threshold: float) -> float:
        """The share of the sizes that lies below a threshold; 0 for a threshold of 0."""
        if threshold <= 0:
            return 0.0
        index = int(np.searchsorted(_EDGES, threshold, side="right")) - 1
        part = 1.0 if index == 0 else (threshold - _EDGES[index]) / (_EDGES[index + 1] - _EDGES[index])
        return float((self._below_B[index] + part * self._counts_B[index]) / self.count)
