"""A model that leaves out small inputs: its own modules with other forwards, so that generate() and hooks work on.

Legend: I inputs, O outputs of a matrix.
"""

from contextlib import ExitStack
from pathlib import Path
from typing import Self, cast
from weakref import WeakSet

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from armillary.errors import ModelError, StorageError, UsageError
from armillary.methods.bricks.brick import Brick
from armillary.methods.bricks.experts.routed_model import replace_forward
from armillary.methods.bricks.library.folder import CARD, read_brick
from armillary.methods.bricks.library.mounting import check_base
from armillary.methods.bricks.payloads import Thresholds, sites_of
from armillary.methods.bricks.sparsity.calibration import left_out_of
from armillary.methods.bricks.sparsity.gather import DTYPES, Engine, Gather, RowSum, gatherer
from armillary.models import LoadedModel
from armillary.models.feed_forward import bias_O, weight_OI

_SPARSE: "WeakSet[nn.Module]" = WeakSet()


class Sparsified:
    """A model that runs with thresholds from the moment this is made until ``restore``, or the end of a ``with``."""

    def __init__(self, loaded: LoadedModel, thresholds: Thresholds, gather: Gather) -> None:
        self.thresholds = thresholds
        self._undo = ExitStack()
        _SPARSE.add(loaded.model)
        self._undo.callback(_SPARSE.discard, loaded.model)
        for path, least in thresholds.least.items():
            module = loaded.model.get_submodule(path)
            replace_forward(module, _Sparse(module, least, gather), self._undo)
            if not isinstance(module, Conv1D):  # which stores [in, out] already
                weight = cast(nn.Parameter, module.weight)
                # One matrix after the other, so that the model is never in memory twice.
                weight.data = weight.data.T.contiguous().T
                self._undo.callback(_row_by_output, weight)

    def restore(self) -> None:
        """The dense model again, bit for bit."""
        self._undo.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.restore()


def _row_by_output(weight: nn.Parameter) -> None:
    weight.data = weight.data.contiguous()


def sparsified(
    loaded: LoadedModel, source: Thresholds | Brick | Path | str, *, engine: Engine | None = None
) -> Sparsified:
    """The model, from now on without the inputs below their thresholds: ``y = W (x * (|x| >= t)) + b``.

    A single token on a CPU in float32 or bfloat16 reads only the weights of the inputs that count, by numba where it
    is installed and else by torch alone (``engine`` names one); several tokens, gradients and other devices run
    densely on the same masked input. Weights are rearranged in place, not copied. ``with sparsified(...):`` puts the
    dense model back at the end; without ``with`` it stays until ``restore()``. ``source`` is the folder of ``armillary
    bricks sparsify``, or what is in it.

    UsageError for thresholds of another model, a model that is sparsified already, or an engine that is not installed;
    StorageError for a folder that holds no thresholds; ModelError for packed weights.
    """
    if loaded.model in _SPARSE:
        raise UsageError(f"{loaded.name} leaves out inputs already; restore it first.")
    thresholds = source if isinstance(source, Thresholds) else _of_brick(loaded, source)
    if not thresholds.least:
        raise UsageError("thresholds must name a matrix; got none.")
    for site in sites_of(loaded, thresholds):
        weight_OI(loaded.model.get_submodule(site.path))
    if any(parameter.is_meta for parameter in loaded.model.parameters()):
        raise ModelError(f"parts of {loaded.name} are kept elsewhere (offloaded); open it on one device.")
    return Sparsified(loaded, thresholds, gatherer(engine))


def _of_brick(loaded: LoadedModel, source: Brick | Path | str) -> Thresholds:
    if isinstance(source, Brick):
        brick, named = source, repr(source.name)
    else:
        folder, named = Path(source), str(source)
        # The folder of a run has the brick in one of its own.
        brick = read_brick(folder if (folder / CARD).is_file() else folder / "brick")
    if not isinstance(brick.payload, Thresholds):
        raise StorageError(f"{named} holds no thresholds; give what `armillary bricks sparsify` made.")
    check_base(brick, loaded)
    return brick.payload


class _Sparse:
    """Stands in for the forward of one matrix."""

    def __init__(self, module: nn.Module, least: float, gather: Gather) -> None:
        self._module, self._least, self._gather = module, least, gather
        self._dense = module.forward
        self._weight, self._bias_O = cast(nn.Parameter, module.weight), bias_O(module)
        self._pointer = 0
        self._total: RowSum | None = None

    def __call__(self, x: Tensor) -> Tensor:
        weight = self._weight
        if (
            x.numel() != x.shape[-1]
            or (torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad))
            or x.device.type != "cpu"
            or weight.dtype not in DTYPES
            or x.dtype != weight.dtype
        ):  # fmt: skip
            return cast(Tensor, self._dense(left_out_of(x, self._least)))
        if self._total is None or weight.data_ptr() != self._pointer:
            # The first call, or something put other numbers there.
            self._pointer = weight.data_ptr()
            self._total = self._gather(weight_OI(self._module).detach().T.contiguous())
        y_O = self._total(x.reshape(-1), self._least)
        if self._bias_O is not None:
            y_O = y_O + self._bias_O
        return y_O.reshape(*x.shape[:-1], -1)
