"""Whole models merged on disk, tensor by tensor: never two of them in memory, and the result is whole or not there.

Legend: T models to merge, N entries of a block.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from armillary.errors import ModelError, NumericError, UsageError
from armillary.files import whole_folder, write_atomic
from armillary.methods.bricks.merging.rules import MergeRule
from armillary.methods.bricks.merging.streaming import BLOCK, Merger, SquaredError
from armillary.methods.bricks.merging.weight_folder import (
    WeightFolder,
    copy_beside,
    differing_settings,
    shards,
    write_shards,
)
from armillary.records.plain import dumps

RECORD = "armillary_merge.json"
SHARD_BYTES = 1_000_000_000
"""Of a file of weights: what is held in memory at once, against the number of files."""


@dataclass(frozen=True, kw_only=True)
class StateMerge:
    """A merged model on disk. The error is computed over all entries, in float64."""

    folder: str
    rule: MergeRule
    base: str
    models: tuple[str, ...]
    tensors: int
    bytes: int
    error: float | None
    """Relative Frobenius distance of the change, as stored, from the exact weighted sum that ``rule.coefficients``
    gives, None where that sum is zero; storing in 16 bits alone makes it above zero."""

    worst_tensor: str
    """Where the distance is largest."""

    worst_error: float | None
    """The relative distance there."""

    left_out: tuple[str, ...] = ()
    """Tensors that only some of the models hold and that none reads."""

    settings: tuple[str, ...] = ()
    """Settings of ``config.json`` in which a model differs from the base, whose are taken: "rope_theta of tuned"."""


def merge_models(
    base: Path | str,
    models: Sequence[Path | str],
    out: Path | str,
    method: str = "average",
    *,
    weights: Sequence[float] | None = None,
    density: float | None = None,
    scale: float = 1.0,
    seed: int = 0,
    shard_bytes: int = SHARD_BYTES,
) -> StateMerge:
    """A new model folder ``out``: the base plus the merged changes of models that started from it.

    All are folders with safetensors. Values are merged in float64 and stored in the base's dtype; memory is one shard
    and one tensor of each model. An interrupted merge leaves nothing, and no source is ever written to.

    Where one model has a head of its own and another's is its embedding, that one's embedding counts as its head and
    the result is untied. The folder is opened again (without weights) and every file compared before it gets its name.

    Raises:
        UsageError: other architecture, tensors, shapes, dtypes or vocabulary (the first difference is named), settings
            that ``MergeRule.of`` refuses.
        NumericError: NaN or infinity in a model (model and tensor are named), also where only a cast makes it so.
        StorageError, ModelError: ``out`` exists or can't be written; a folder is no model, is quantised or holds
            pickles only; the result opens as another model.
    """
    rule = MergeRule.of(method, len(models), weights=weights, density=density, scale=scale, seed=seed)
    with ExitStack() as opened:
        root = opened.enter_context(WeightFolder(base))
        others = [opened.enter_context(WeightFolder(model)) for model in models]
        for other in others:
            if root.kind != other.kind:
                raise UsageError(
                    f"{other.path} can't be merged onto {root.path}: their architectures are {other.kind} and "
                    f"{root.kind}."
                )
        left_out = _brought_to_one_form([root, *others])
        for other in others:
            _check_like(root, other)
        source = _Differences(root, others)
        with whole_folder(out) as folder:
            merging = _Merging(rule, source)
            written = write_shards(folder, shards(root, shard_bytes), merging.tensors())
            copy_beside(root, folder)
            with WeightFolder(folder) as opened_again:
                if (opened_again.names, opened_again.ties) != (root.names, root.ties):
                    raise ModelError(f"the merge of {root.path} would open as another model than was merged.")
            settings = [f"{name} of {other.path.name}" for other in others for name in differing_settings(root, other)]
            result = replace(merging.result(Path(out), written), left_out=left_out, settings=tuple(settings))
            write_atomic(folder / RECORD, json.dumps(json.loads(dumps(result)), indent=1) + "\n")
    return result


class _Differences:
    """Changes of the models against their base, in blocks of entries."""

    def __init__(self, base: WeightFolder, models: Sequence[WeightFolder]) -> None:
        self.base, self.models = base, models

    @property
    def names(self) -> Sequence[str]:
        return [name for name in self.base.names if _floating(self.base.parts[name].dtype)]

    def blocks(self, name: str) -> Iterator[Tensor]:
        start = self.base.tensor(name).reshape(-1)
        ends = [model.tensor(name).reshape(-1) for model in self.models]
        for model, values in zip(self.models, ends, strict=True):
            # Limits that a model never clips at are infinite by design: equal ones stay as they are.
            odd_N = ~(values.isfinite() & start.isfinite()) & (values != start)
            if bool(odd_N.any()):
                path = self.base.path if bool(values[odd_N].isfinite().all()) else model.path
                raise NumericError(f"{name} of {path} holds numbers that are not finite, so it can't be merged.")
        step = max(1, BLOCK // len(self.models))
        for first in range(0, len(start), step):
            origin = start[first : first + step].double()
            yield torch.stack([_change(values[first : first + step].double(), origin) for values in ends])


def _change(end_N: Tensor, start_N: Tensor) -> Tensor:
    """What was added; nothing where the two are equal, though they be infinite."""
    return torch.where(end_N == start_N, 0.0, end_N - start_N)


class _Merging:
    """The merged tensors in order, and the errors as they arise."""

    def __init__(self, rule: MergeRule, source: _Differences) -> None:
        self.rule, self.source = rule, source
        self.merger = Merger(rule, source)
        self.errors: dict[str, SquaredError] = {}

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        base, merged_names = self.source.base, set(self.source.names)
        for name in base.names:
            yield name, self._merged(name) if name in merged_names else self._same(name)

    def result(self, out: Path, written: int) -> StateMerge:
        worst = max(self.errors, key=lambda name: self.errors[name].wrong)
        return StateMerge(
            folder=out.name,
            rule=self.rule,
            base=self.source.base.path.name,
            models=tuple(model.path.name for model in self.source.models),
            tensors=len(self.source.base.names),
            bytes=written,
            error=SquaredError.total(self.errors.values()).relative,
            worst_tensor=worst,
            worst_error=self.errors[worst].relative,
        )

    def _merged(self, name: str) -> Tensor:
        start = self.source.base.tensor(name)
        flat, stored = start.reshape(-1), torch.empty(start.numel(), dtype=start.dtype)
        self.errors[name] = SquaredError()
        first = 0
        for exact_N, joined_N in self.merger.blocks(name):
            block = slice(first, first + len(joined_N))
            origin = flat[block].double()
            stored[block] = (origin + joined_N).to(start.dtype)
            self.errors[name].add(_change(stored[block].double(), origin), exact_N)
            first = block.stop
        if not bool((stored.isfinite() | (stored == flat)).all()):
            raise NumericError(f"{name} is beyond the range of {start.dtype} once merged, or not finite in the base.")
        return stored.reshape(start.shape)

    def _same(self, name: str) -> Tensor:
        value = self.source.base.tensor(name)
        for model in self.source.models:
            if not torch.equal(value, model.tensor(name)):
                raise UsageError(f"{name} holds whole numbers that differ in {model.path}; they can't be merged.")
        return value.contiguous()


def _brought_to_one_form(folders: Sequence[WeightFolder]) -> tuple[str, ...]:
    """Untie in all what is untied in one, and leave out what only some hold and none reads; the latter's names."""
    own = {name for folder in folders for name in folder.names}
    if any(name in own for folder in folders for name in folder.ties):
        for folder in folders:
            for name in list(folder.ties):
                folder.untie(name)
    strays = {name for name in own if any(name not in folder.parts for folder in folders)}
    strays = {name for name in strays if all(name in folder.unread or name not in folder.parts for folder in folders)}
    for folder in folders:
        for name in strays:
            folder.parts.pop(name, None)
    return tuple(sorted(strays))


def _check_like(base: WeightFolder, model: WeightFolder) -> None:
    where = f"{model.path} can't be merged onto {base.path}"
    for name in sorted({*base.names, *model.names}):
        if name not in base.parts or name not in model.parts:
            lacking = base.path if name not in base.parts else model.path
            raise UsageError(f"{where}: the first difference is {name}, which {lacking} lacks.")
        mine, others = base.parts[name], model.parts[name]
        if (mine.shape, _floating(mine.dtype)) != (others.shape, _floating(others.dtype)):
            raise UsageError(
                f"{where}: the first difference is {name}, {list(others.shape)} {others.dtype} "
                f"against {list(mine.shape)} {mine.dtype}."
            )
    ours, theirs = base.tokenizer, model.tokenizer
    if ours is not None and theirs is not None and ours[0] != theirs[0]:
        raise UsageError(f"{where}: their tokenizers differ; bring them to one with a tokenizer transplant tool.")


def _floating(dtype: str) -> bool:
    """True of a safetensors dtype in floating point; 16 and 32 bits may meet in a merge."""
    return dtype.startswith(("F", "BF"))
