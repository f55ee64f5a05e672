"""Which entries of each tensor may change (MDGD-GM): those with the largest scores, fixed before training.

That a mask is applied is the paper's; what its entries are chosen by is ours.
"""

import math
from fractions import Fraction

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from armillary.errors import NumericError, UsageError
from armillary.methods.mdgd.config import MaskScore


def kept_count(ratio: float, entries: int) -> int:
    """``ceil(ratio * entries)``, exactly for the decimal that was written: 0.07 of 100 is 7, not 8."""
    if not 0 < ratio <= 1:
        raise UsageError(f"a mask's ratio is a share, above 0 and up to 1 for no mask; got {ratio}.")
    return math.ceil(Fraction(str(ratio)) * entries)


def topk_indices(score: Float[Tensor, "*shape"], ratio: float) -> Int[Tensor, " k"]:
    """Flat positions of the ``ceil(ratio * n)`` largest scores, ascending; of equal ones the first.

    NumericError for NaN.
    """
    flat = score.detach().reshape(-1)
    if bool(flat.isnan().any()):
        raise NumericError(f"{int(flat.isnan().sum())} of {flat.numel()} mask scores are NaN; all must be numbers.")
    k = kept_count(ratio, flat.numel())
    if k == 0:
        return torch.zeros(0, dtype=torch.long, device=flat.device)
    # topk breaks ties as it likes; the k-th value itself is the same everywhere.
    least = flat.topk(k).values[-1]
    chosen = flat > least
    ties = (flat == least).nonzero().reshape(-1)[: k - int(chosen.sum())]
    chosen[ties] = True
    return chosen.nonzero().reshape(-1)


def topk_mask(score: Float[Tensor, "*shape"], ratio: float) -> Bool[Tensor, "*shape"]:
    """True at the ``ceil(ratio * n)`` largest scores of one tensor; of equal ones the first in memory order."""
    mask = torch.zeros(score.numel(), dtype=torch.bool, device=score.device)
    mask[topk_indices(score, ratio)] = True
    return mask.reshape(score.shape)


class ScoreSums:
    """The running score of one tensor over calibration batches.

    ``decoupled_magnitude``: mean ``|g~|`` of the projected gradient; ``task_magnitude``: mean ``|g_t|``; ``ratio``:
    mean ``|g~|`` over mean ``|g_v|``, for entries that matter to the task and little to the drift; ``random``: uniform
    numbers from ``seed``.
    """

    def __init__(self, kind: MaskScore, like: Tensor, seed: int) -> None:
        self.kind, self.seed = kind, seed
        self._like = like
        self._magnitude: Tensor | None = None
        self._visual: Tensor | None = None

    def add(self, task: Tensor | None, visual: Tensor | None, decoupled: Tensor | None) -> None:
        """Take in the gradients of one batch; a missing one counts as zero."""
        used = task if self.kind == "task_magnitude" else decoupled
        if self.kind != "random":
            self._magnitude = _plus(self._magnitude, used)
        if self.kind == "ratio":
            self._visual = _plus(self._visual, visual)

    def score(self) -> Tensor:
        """The score of each entry, in the shape of the tensor."""
        if self.kind == "random":
            generator = torch.Generator().manual_seed(self.seed)
            return torch.rand(self._like.shape, generator=generator).to(self._like.device)
        magnitude = torch.zeros_like(self._like) if self._magnitude is None else self._magnitude
        if self.kind != "ratio" or self._visual is None:
            return magnitude.detach()
        # An entry without any drift gradient would win by a division by zero: floor at a part of the tensor's mean.
        floor = 1e-3 * self._visual.mean() + torch.finfo(torch.float32).tiny
        return (magnitude / (self._visual + floor)).detach()


def _plus(total: Tensor | None, gradient: Tensor | None) -> Tensor | None:
    if gradient is None:
        return total
    magnitude = gradient.detach().abs().float()
    return magnitude if total is None else total.add_(magnitude)
