"""A low-rank change put into a model's own weights for a while, without a brick around it: what editing tries out.

The tensors of before are kept and put back, so changes may be put in over bricks that are mounted already.
Legend: R rank, I inputs, O outputs.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from torch import nn
from transformers.pytorch_utils import Conv1D

from armillary.errors import UsageError
from armillary.methods.bricks.feed_forward import weight_OI
from armillary.methods.bricks.payloads import LowRank
from armillary.models import LoadedModel


@contextmanager
def applied(loaded: LoadedModel, change: LowRank) -> Iterator[None]:
    """Inside, each named matrix is ``W + B @ A``, summed in float64 and rounded once; after it the tensors of before.

    Also after an error: the original storage is put back, so every bit is as it was. UsageError for a path that the
    model lacks or a shape that does not fit, before anything is changed.
    """
    modules = {path: _fitting(loaded, change, path) for path in change.factors}
    weights = {path: cast(nn.Parameter, module.weight) for path, module in modules.items()}
    originals = {path: weight.data for path, weight in weights.items()}
    try:
        for path, module in modules.items():
            a_RI, b_OR = (factor.to(loaded.device).double() for factor in change.factors[path])
            changed_OI = (weight_OI(module).detach().double() + b_OR @ a_RI).to(weights[path].dtype)
            weights[path].data = changed_OI.T.contiguous() if isinstance(module, Conv1D) else changed_OI
        yield
    finally:
        for path, weight in weights.items():
            weight.data = originals[path]


def _fitting(loaded: LoadedModel, change: LowRank, path: str) -> nn.Module:
    module = dict(loaded.model.named_modules()).get(path)
    if not isinstance(module, nn.Linear | Conv1D):
        raise UsageError(f"{loaded.name} has no matrix {path!r} to change; was the change made for it?")
    a_RI, b_OR = change.factors[path]
    shape = tuple(weight_OI(module).shape)
    if shape != (b_OR.shape[0], a_RI.shape[1]):
        raise UsageError(f"{path} is {shape}; the change is for {(b_OR.shape[0], a_RI.shape[1])}.")
    return module
