"""How strongly each neuron takes part in each token: histograms of normalised indicators, and which neurons fire.

Legend: T tokens of a text, M neurons, H bins. The two indicators of a neuron at a token are its activation |a_i| and
its output magnitude |a_i| times the norm of its column of the FFN write matrix.
"""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

Indicator = Literal["activation", "magnitude"]
INDICATORS: tuple[Indicator, ...] = ("activation", "magnitude")
_MOST_IN_BYTE = 127  # the upper end of the last bin is a place too


def indicator_of(size_TM: Tensor, norms_M: Tensor, indicator: Indicator) -> Tensor:
    """The indicator of every neuron from the sizes |a|."""
    return size_TM * norms_M if indicator == "magnitude" else size_TM


def histogram(indicator_TM: Float[Tensor, "t m"], bins: int) -> Int[Tensor, " h"]:
    """How many of the text's values fall into each bin of [0, 1] after each token is divided by its largest, int64.

    Values at the upper end belong to the last bin; a token that is zero throughout falls into the first.
    """
    largest_T1 = indicator_TM.amax(dim=1, keepdim=True)
    place_TM = (indicator_TM / torch.where(largest_T1 > 0, largest_T1, 1.0)).mul_(bins)
    if bins > _MOST_IN_BYTE or indicator_TM.numel() % 2:
        bin_TM = place_TM.to(torch.int32).clamp_(0, bins - 1)  # NaN becomes any integer
        return torch.bincount(bin_TM.reshape(-1), minlength=bins)
    # Two bytes read as one number: counting is what takes the time, and this halves it.
    pairs = place_TM.to(torch.int8).clamp_(0, bins - 1).reshape(-1).view(torch.int16)
    counts_HH = torch.bincount(pairs, minlength=256 * bins).view(bins, 256)[:, :bins]
    return counts_HH.sum(dim=0) + counts_HH.sum(dim=1)


def firing(magnitude_TM: Float[Tensor, "t m"], share: float) -> Int[Tensor, " m"]:
    """At how many tokens each neuron is within the ``share`` of largest output magnitudes, int64.

    At least one neuron counts a token; one that writes nothing never fires.
    """
    width = magnitude_TM.shape[1]
    count = max(1, int(share * width))
    if magnitude_TM.device.type == "cpu":  # where NumPy selects more than twice as fast
        return _firing_on_host(magnitude_TM.numpy(), width - count)
    least_T1 = magnitude_TM.kthvalue(width - count + 1, dim=1, keepdim=True).values
    return ((magnitude_TM >= least_T1) & (magnitude_TM > 0)).sum(dim=0)


def _firing_on_host(magnitude_TM: NDArray[np.float32], place: int) -> Tensor:
    # Numbers that aren't negative lie in the order of their bits, and NumPy selects integers faster.
    bits_TM = magnitude_TM.view(np.int32)
    least_T1 = np.maximum(np.partition(bits_TM, place, axis=1)[:, place, None], 1)  # the bits 0 are the number 0
    fired_M = np.add.reduce(bits_TM >= least_T1, axis=0, dtype=np.int32)
    return torch.from_numpy(fired_M.astype(np.int64))
