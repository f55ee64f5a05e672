"""How strongly each neuron takes part in each token: histograms of normalised indicators, and which neurons fire.

Legend: T tokens of a text, M neurons, H bins. The two indicators of a neuron at a token are its activation |a_i| and
its output magnitude |a_i| times the norm of its column of the FFN write matrix.
"""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

Indicator = Literal["activation", "magnitude"]
INDICATORS: tuple[Indicator, ...] = ("activation", "magnitude")


def indicator_of(size_TM: Tensor, norms_M: Tensor, indicator: Indicator) -> Tensor:
    """The indicator of every neuron from the sizes |a|."""
    return size_TM * norms_M if indicator == "magnitude" else size_TM


def histogram(indicator_TM: Float[Tensor, "t m"], bins: int) -> Int[Tensor, " h"]:
    """How many of the text's values fall into each bin of [0, 1] after each token is divided by its largest, int64.

    Values at the upper end belong to the last bin; a token that is zero throughout falls into the first.
    """
    largest_T1 = indicator_TM.amax(dim=1, keepdim=True)
    share_TM = indicator_TM / torch.where(largest_T1 > 0, largest_T1, 1.0)
    bin_TM = (share_TM * bins).to(torch.int32).clamp_(0, bins - 1)  # NaN becomes any integer
    return torch.bincount(bin_TM.reshape(-1), minlength=bins)


def firing(magnitude_TM: Float[Tensor, "t m"], share: float) -> Int[Tensor, " m"]:
    """At how many tokens each neuron is within the ``share`` of largest output magnitudes, int64.

    At least one neuron counts a token; one that writes nothing never fires.
    """
    width = magnitude_TM.shape[1]
    count = max(1, int(share * width))
    if magnitude_TM.device.type == "cpu":  # where NumPy selects more than twice as fast
        least_T = torch.from_numpy(np.partition(magnitude_TM.numpy(), width - count, axis=1)[:, width - count])
    else:
        least_T = magnitude_TM.kthvalue(width - count + 1, dim=1).values
    least_T1 = least_T[:, None]
    return ((magnitude_TM >= least_T1) & (magnitude_TM > 0)).sum(dim=0)
