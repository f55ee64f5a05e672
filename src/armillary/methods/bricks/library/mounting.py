"""Put bricks into a model for the length of a block and take them out again, bit for bit.

The base's own tensors are kept and put back; nothing is ever subtracted, since ``(W + D) - D`` is not ``W`` in
floating point. Blocks may end in any order: what a matrix holds is always its base plus the changes still mounted.

Shapes: T tokens, M neurons of an FFN.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from armillary.errors import UsageError
from armillary.methods.bricks.base import BaseRef, MountState, mount_state_of
from armillary.methods.bricks.brick import Brick
from armillary.methods.bricks.payloads import Index, LowRank, Partition, Site, Thresholds, matrix, shared_paths
from armillary.models.loaded import LoadedModel

Combine = Literal["sum"]


@dataclass
class Mount:
    """What is mounted in a block."""

    bricks: tuple[Brick, ...]
    masked: dict[str, int] = field(default_factory=dict)
    """How often each masked module ran: 0 after a forward means that something went round the hooks (a compiled or
    fused FFN), so that the mask had no effect."""


@contextmanager
def mounted(loaded: LoadedModel, bricks: Sequence[Brick], combine: Combine | None = None) -> Iterator[Mount]:
    """Inside the block the model runs with the bricks; after it every tensor is what it was, bit for bit.

    Neurons to mask (or all others of their layers, for ``keep``) are set to zero in the input of the FFN write, which
    is bit-equal to zeroed columns of it. Low-rank changes are added to the weights, in float32 or wider. Bricks that
    change one matrix, or mask one neuron twice, need ``combine="sum"``: changes add up, masks unite. Bricks mounted by
    an outer block count too. Nothing is changed unless all fit.

    Raises:
        UsageError: another base (both fingerprints and the first difference are named), bricks that meet without a
            rule (the sites are listed), a partition (those are routed), thresholds (`sparsified` runs
            with those), a weight that is tied to another module.
            A task adapter whose base has only other values, not other shapes, is mounted with a warning.
    """
    if combine not in (None, "sum"):
        raise UsageError(f"bricks are combined by 'sum' or not at all; got {combine!r}.")
    state = mount_state_of(loaded.model)
    for brick in bricks:
        if isinstance(brick.payload, Partition):
            raise UsageError(f"{brick.name!r} is a partition: its groups are routed, not mounted.")
        if isinstance(brick.payload, Thresholds):
            raise UsageError(f"{brick.name!r} holds thresholds: a model is run with them by `sparsified`.")
        check_base(brick, loaded)
    if combine is None:
        _refuse_meetings([*state.bricks.values(), *bricks], new=len(bricks))
    modules = {site.path: _untied(loaded, site.path) for brick in bricks for site in brick.sites}
    mount = Mount(tuple(bricks))
    with ExitStack() as undo:
        for brick in bricks:
            _put_in(brick, modules, state, mount, undo)
        yield mount


def check_base(brick: Brick, loaded: LoadedModel) -> None:
    """UsageError where the model is not the brick's base; a warning where only a task adapter's values differ."""
    present = brick.base.touched.keys() & dict(loaded.model.named_parameters(remove_duplicate=False)).keys()
    reference = BaseRef.of(loaded, present)
    sentence = brick.base.mismatch(reference, f"the brick {brick.name!r}", loaded.name)
    if sentence is None:
        return
    if lacking := sorted(set(brick.base.touched) - present):
        sentence = f"{sentence.split(': ')[0]}: the first difference is the tensor {lacking[0]}, which it lacks."
    if brick.bound_to_bytes or not brick.base.same_shape(reference):
        raise UsageError(sentence)
    warnings.warn(f"{sentence} A task adapter is mounted all the same.", UserWarning, stacklevel=4)


def _put_in(brick: Brick, modules: Mapping[str, nn.Module], state: MountState, mount: Mount, undo: ExitStack) -> None:
    token = object()
    state.bricks[token] = brick
    undo.callback(state.bricks.pop, token, None)
    for site in brick.sites:
        module = modules[site.path]
        if isinstance(brick.payload, LowRank):
            undo.callback(state.remove, token, site.path, module)
            state.add(token, site.path, module, brick.payload.factors[site.path])
        elif isinstance(brick.payload, Index) and site.op != "read":
            mount.masked[site.path] = 0
            undo.callback(_mask(module, site, brick.payload, mount).remove)


def _mask(module: nn.Module, site: Site, payload: Index, mount: Mount) -> RemovableHandle:
    named_M = torch.zeros(site.inputs, dtype=torch.bool)
    named_M[torch.from_numpy(payload.neurons[cast(int, site.layer)])] = True
    silent_M = (named_M if site.op == "mask" else ~named_M).to(cast(Tensor, module.weight).device)

    def hook(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        mount.masked[site.path] += 1
        return (args[0].masked_fill(silent_M, 0.0), *args[1:])

    return module.register_forward_pre_hook(hook)


def _refuse_meetings(bricks: Sequence[Brick], new: int) -> None:
    pairs: dict[str, list[str]] = {}
    for index in range(len(bricks) - new, len(bricks)):
        brick = bricks[index]
        for other in bricks[:index]:
            for path in shared_paths(other.sites, other.payload, brick.sites, brick.payload):
                pairs.setdefault(path, []).append(f"{other.name!r} and {brick.name!r}")
    if pairs:
        listed = "; ".join(f"{path} ({', '.join(names)})" for path, names in sorted(pairs.items()))
        raise UsageError(f"bricks meet on one site without a rule (combine='sum' adds them up): {listed}.")


def _untied(loaded: LoadedModel, path: str) -> nn.Module:
    module = matrix(loaded.model, path)
    same = [
        name
        for name, value in loaded.model.named_parameters(remove_duplicate=False)
        if value is module.weight and name != f"{path}.weight"
    ]
    if same:
        raise UsageError(
            f"{path} shares its weight with {same[0]}, so a change would reach both; it can't be mounted."
        )
    return module
