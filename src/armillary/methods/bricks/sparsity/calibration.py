"""Thresholds for a target share from calibration texts: how large inputs are, and what leaving some out costs a block.

From TEAL (Liu and others, 2024, arXiv 2408.14690, from memory): the numbers of a matrix's input whose size lies below
a quantile are left out; blocks leave out the same share, and within a block shares are raised step by step where that
adds least to the L2 error of the block's output. Ours: matrices that read the same input share a threshold, steps are
equal in the share of an input and compared by error a byte, and the error leaves out the first position of a text.
Legend: L layers, N tokens, D hidden size.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn

from armillary.errors import NumericError, UsageError
from armillary.methods.bricks.payloads import Thresholds
from armillary.methods.bricks.sparsity.config import CalibrationConfig
from armillary.methods.bricks.sparsity.inputs import MatrixInput, matrix_inputs
from armillary.methods.bricks.sparsity.magnitudes import Magnitudes
from armillary.models import LoadedModel
from armillary.models.batches import encode, equal_length_batches, run_body
from armillary.progress import counted, track

Call = tuple[tuple[Any, ...], dict[str, Any]]
"""Arguments of a decoder block, as the model gave them."""


@dataclass(frozen=True, kw_only=True)
class Levels:
    """What each input leaves out on the calibration texts, and the thresholds that do it."""

    share: float
    """Of the bytes of a block, the target."""

    left_out: tuple[tuple[float, ...], ...]
    """Share of the numbers, by layer and input."""

    thresholds: Thresholds


def left_out_of(x: Tensor, least: float) -> Tensor:
    """``x`` with what is smaller in size than the threshold set to 0, which every way to run keeps to.

    Sizes are compared in float32: a threshold that was rounded to bfloat16 would keep other numbers.
    """
    return x * (x.abs().float() >= least) if least > 0 else x


@dataclass(frozen=True, kw_only=True, eq=False)
class SparsityCalibration:
    """What was seen of a model on calibration texts."""

    loaded: LoadedModel
    inputs: tuple[tuple[MatrixInput, ...], ...]
    """By layer."""

    magnitudes: tuple[tuple[Magnitudes, ...], ...]
    """Sizes of each input."""

    calls: tuple[Call, ...]
    """By layer, how its block was called on the sample of texts; none where no sample was kept."""

    config: CalibrationConfig

    def uniform(self, share: float) -> Levels:
        """The same share of every input."""
        _check_shares([share], self.config)
        return self._levels(share, [[share] * len(inputs) for inputs in self.inputs])

    def greedy(self, *shares: float) -> list[Levels]:
        """In every block, the target share of its bytes left out where that costs its output least, at rising shares.

        From nothing on, the input whose raising by a step adds least to the squared L2 error of the block's output, a
        byte saved, is raised; the last step is cut to meet the share. Blocks see what the dense model gives them.
        UsageError unless the shares rise from 0 to what can be left out; NumericError where a block gives NaN.
        """
        _check_shares(shares, self.config)
        if not self.calls:
            raise UsageError("the greedy search needs a sample of the texts; calibrate with sampled=True.")
        rows = [
            self._block_levels(layer, shares)
            for layer in track(range(len(self.inputs)), "which inputs cost a block least", len(self.inputs))
        ]
        return [self._levels(share, [row[index] for row in rows]) for index, share in enumerate(shares)]

    def _levels(self, share: float, levels: Sequence[Sequence[float]]) -> Levels:
        least: dict[str, float] = {}
        left_out = []
        for inputs, row, sizes in zip(self.inputs, levels, self.magnitudes, strict=True):
            cuts = [size.threshold(level) for size, level in zip(sizes, row, strict=True)]
            least |= {path: cut for an_input, cut in zip(inputs, cuts, strict=True) for path in an_input.paths}
            left_out.append(tuple(size.below(cut) for size, cut in zip(sizes, cuts, strict=True)))
        return Levels(share=share, left_out=tuple(left_out), thresholds=Thresholds(least))

    @torch.no_grad()
    def _block_levels(self, layer: int, shares: Sequence[float]) -> list[list[float]]:
        """Share of each input left out, at each of the rising target shares."""
        inputs, sizes = self.inputs[layer], self.magnitudes[layer]
        weights = [an_input.bytes / sum(every.bytes for every in inputs) for an_input in inputs]
        levels, results = [0.0] * len(inputs), []
        with _Block(self.loaded, layer, inputs, self.calls[layer], self.config.skip) as block:

            def raised(which: int) -> float:
                level = min(levels[which] + self.config.step, self.config.most)
                # More where zeros alone are more: no threshold above 0 keeps them.
                return max(level, sizes[which].below(sizes[which].threshold(level)))

            def error(which: int, level: float) -> float:
                tried = [level if index == which else old for index, old in enumerate(levels)]
                return block.error([size.threshold(row) for size, row in zip(sizes, tried, strict=True)])

            before = 0.0
            for share in shares:
                while (lacking := share - sum(map(float.__mul__, weights, levels))) > _ROUNDING:
                    open_inputs = [which for which, level in enumerate(levels) if level < self.config.most]
                    errors = {which: error(which, raised(which)) for which in open_inputs}
                    costs = {
                        which: (value - before) / (weights[which] * (raised(which) - levels[which]))
                        for which, value in errors.items()
                    }
                    best = min(costs, key=lambda which: costs[which])
                    if weights[best] * (raised(best) - levels[best]) > lacking:
                        # The error before stays that of the last whole step, which the next share goes on from.
                        cut = list(levels)
                        cut[best] += lacking / weights[best]
                        results.append(cut)
                        break
                    levels[best], before = raised(best), errors[best]
                else:
                    results.append(list(levels))
        return results


_ROUNDING = 1e-9
"""Shares that differ by less are equal: sums of a few dozen float64 numbers below 1."""


def _check_shares(shares: Sequence[float], config: CalibrationConfig) -> None:
    rising = all(later > earlier for earlier, later in pairwise(shares))
    if not shares or not rising or not 0 <= shares[0] <= shares[-1] <= config.most:
        raise UsageError(
            f"shares left out must rise from 0 to at most {config.most}; got {', '.join(map(str, shares)) or 'none'}."
        )


class _Block:
    """One block on the sample, its matrices' inputs cut at thresholds that are set before each run."""

    def __init__(self, loaded: LoadedModel, layer: int, inputs: Sequence[MatrixInput], call: Call, skip: int) -> None:
        self._module, self._call, self._skip = loaded.anatomy.layers[layer], call, skip
        self._name = f"layer {layer} of {loaded.name}"
        self._least: list[float] = [0.0] * len(inputs)
        self._hooks = ExitStack()
        for which, an_input in enumerate(inputs):
            for path in an_input.paths:
                module = loaded.model.get_submodule(path)
                self._hooks.callback(module.register_forward_pre_hook(partial(self._cut, which)).remove)
        self._dense = self._output()

    def __enter__(self) -> "_Block":
        return self

    def __exit__(self, *_: object) -> None:
        self._hooks.close()

    def error(self, least: Sequence[float]) -> float:
        """Squared L2 distance from the dense outputs, summed over the sample."""
        self._least = list(least)
        error = float((self._output().float() - self._dense.float()).square().sum(dtype=torch.float64))
        if error != error:
            raise NumericError(f"{self._name} gives NaN on the calibration texts.")
        return error

    def _cut(self, which: int, _: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (left_out_of(args[0], self._least[which]), *args[1:])

    def _output(self) -> Tensor:
        args, given = self._call
        out = self._module(*args, **given)
        # Blocks return a tensor in transformers 5 and a tuple before it and in custom models.
        return cast(Tensor, out if isinstance(out, Tensor) else out[0])[:, self._skip :]


def calibrate(
    loaded: LoadedModel, texts: Sequence[str], config: CalibrationConfig | None = None, *, sampled: bool = True
) -> SparsityCalibration:
    """One pass over the texts, which counts the sizes of every input and keeps how blocks are called on a sample.

    Without ``sampled`` nothing is kept for the greedy search, only ``uniform`` can follow. UsageError for no texts or
    a text without tokens behind those that are skipped; ModelError as ``matrix_inputs``; NumericError for NaN.
    """
    config = config or CalibrationConfig()
    if not texts:
        raise UsageError("thresholds need at least one calibration text; got none.")
    inputs = matrix_inputs(loaded)
    rows = encode(loaded, texts, max_tokens=config.max_tokens, least=config.skip + 1)
    magnitudes = tuple(tuple(Magnitudes() for _ in layer) for layer in inputs)
    calls: list[Call] = []
    batch: list[int] = []

    def count(sizes: Magnitudes, _: nn.Module, args: tuple[Any, ...]) -> None:
        # OPT flattens batch and tokens.
        x = args[0].reshape(len(batch), -1, args[0].shape[-1])[:, config.skip :]
        sizes.update(x.reshape(-1, x.shape[-1]))

    def keep(_: nn.Module, args: tuple[Any, ...], given: Mapping[str, Any]) -> None:
        calls.append((args, dict(given)))

    with torch.no_grad():
        with ExitStack() as hooks, counted("sizes of inputs", len(rows)) as bar:
            for layer, layer_inputs in enumerate(inputs):
                for an_input, sizes in zip(layer_inputs, magnitudes[layer], strict=True):
                    module = loaded.model.get_submodule(an_input.paths[0])
                    hooks.callback(module.register_forward_pre_hook(partial(count, sizes)).remove)
            for batch in equal_length_batches(rows, config.tokens_per_batch):
                run_body(loaded, torch.tensor([rows[index] for index in batch], device=loaded.device))
                bar.advance(len(batch))
        with ExitStack() as hooks:
            for block in loaded.anatomy.layers:
                hooks.callback(block.register_forward_pre_hook(keep, with_kwargs=True).remove)
            if sampled:
                run_body(loaded, torch.tensor(_sample(rows, config.sample_tokens), device=loaded.device))
    return SparsityCalibration(loaded=loaded, inputs=inputs, magnitudes=magnitudes, calls=tuple(calls), config=config)


def _sample(rows: Sequence[list[int]], tokens: int) -> list[list[int]]:
    """Rows at even distances, as many as hold about so many tokens, cut to the shortest of them: one batch."""
    mean = sum(map(len, rows)) / len(rows)
    count = min(len(rows), max(1, round(tokens / mean)))
    chosen = [rows[index * len(rows) // count] for index in range(count)]
    return [row[: min(map(len, chosen))] for row in chosen]
