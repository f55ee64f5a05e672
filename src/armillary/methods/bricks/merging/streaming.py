"""A model's folder as tensors on disk: read one at a time from safetensors, written shard by shard."""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from armillary.errors import ModelError, NumericError, StorageError, UsageError
from armillary.files import write_atomic
from armillary.methods.bricks.merging.rules import MergeRule, Whole, draws_of, kept_entries, merged, trimmed
from armillary.models.loading import require_readable
from armillary.records.plain import digest

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
_HEADS = ("lm_head.weight", "embed_out.weight")
_BESIDE = ("*.json", "*.model", "*.txt", "*.jinja", "LICENSE*", "NOTICE*")


class WeightFolder:
    """The tensors of one model, opened lazily: only names and shapes are read until a tensor is asked for.

    Where the configuration ties the head to the embedding, the head's copy is not listed. A context manager.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise ModelError(f"there is no folder {str(path)!r}; give one that save_pretrained wrote.")
        require_readable(self.path)
        self.config = _json(self.path / "config.json")
        self._stack = ExitStack()
        self._files: dict[str, Any] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.dtypes: dict[str, str] = {}
        try:
            for file in self._safetensors():
                self._open(file)
        except (OSError, SafetensorError) as error:
            self._stack.close()
            raise StorageError(f"{self.path} can't be read as safetensors: {error}.") from error

    def __enter__(self) -> "WeightFolder":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def names(self) -> list[str]:
        """Tensors in rising order, a tied head left out."""
        return sorted(self.shapes)

    @property
    def tied(self) -> bool:
        """True where the head is the embedding."""
        text = self.config.get("text_config") or {}
        return bool(self.config.get("tie_word_embeddings", text.get("tie_word_embeddings", False)))

    def tensor(self, name: str) -> Tensor:
        """One tensor in its stored dtype."""
        found: Tensor = self._files[name].get_tensor(name)
        return found

    def tokenizer(self) -> str | None:
        """Hash of the vocabulary and the added tokens; None where the folder has no tokenizer."""
        path = self.path / "tokenizer.json"
        if path.is_file():
            held = _json(path)
            added = [(token.get("id"), token.get("content")) for token in held.get("added_tokens", [])]
            return digest({"vocabulary": held.get("model", {}).get("vocab"), "added": added})
        files = [self.path / name for name in ("tokenizer.model", "vocab.json", "vocab.txt")]
        there = [file for file in files if file.is_file()]
        return digest([file.read_bytes().hex() for file in there]) if there else None

    def _safetensors(self) -> Sequence[Path]:
        index = self.path / INDEX
        if not index.is_file():
            return [self.path / SINGLE] if (self.path / SINGLE).is_file() else sorted(self.path.glob("*.safetensors"))
        names = sorted(set(_json(index).get("weight_map", {}).values()))
        if strange := [name for name in names if Path(name).name != name or not name.endswith(".safetensors")]:
            raise StorageError(f"{index} points to {strange[0]!r}; shards are safetensors in the same folder.")
        return [self.path / name for name in names]

    def _open(self, file: Path) -> None:
        held = self._stack.enter_context(safe_open(file, framework="pt"))
        for name in held.keys():  # noqa: SIM118  (the file is no mapping)
            if self.tied and name.endswith(_HEADS):
                continue
            part = held.get_slice(name)
            self._files[name] = held
            self.shapes[name], self.dtypes[name] = tuple(part.get_shape()), str(part.get_dtype())


def shards(folder: WeightFolder, limit: int) -> list[list[str]]:
    """The names in order, cut so that a shard holds at most ``limit`` bytes (or a single larger tensor)."""
    found: list[list[str]] = [[]]
    used = 0
    for name in folder.names:
        size = _bytes(folder.shapes[name], folder.dtypes[name])
        if found[-1] and used + size > limit:
            found.append([])
            used = 0
        found[-1].append(name)
        used += size
    return found


def write_shards(out: Path, plan: Sequence[Sequence[str]], tensors: Iterator[tuple[str, Tensor]]) -> int:
    """Bytes written; ``tensors`` come in the order of the plan and only one shard is held at a time."""
    total, places = 0, {}
    for number, names in enumerate(plan, start=1):
        file = SINGLE if len(plan) == 1 else f"model-{number:05d}-of-{len(plan):05d}.safetensors"
        held = dict(next(tensors) for _ in names)
        total += sum(value.numel() * value.element_size() for value in held.values())
        places.update(dict.fromkeys(held, file))
        save_file(held, out / file, metadata={"format": "pt"})
    if len(plan) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": places}
        write_atomic(out / INDEX, json.dumps(index, indent=1) + "\n")
    return total


def copy_beside(source: Path, out: Path) -> None:
    """Everything of a model's folder that is no weights: configuration, tokenizer, licence."""
    for file in _files(source, _BESIDE):
        if file.name != INDEX:
            shutil.copyfile(file, out / file.name)


def _files(folder: Path, patterns: Iterable[str]) -> list[Path]:
    return sorted({file for pattern in patterns for file in folder.glob(pattern) if file.is_file()})


def _bytes(shape: tuple[int, ...], dtype: str) -> int:
    count = 1
    for size in shape:
        count *= size
    digits = "".join(letter for letter in dtype.split("_")[0] if letter.isdigit())
    with suppress(ValueError):
        return count * max(1, int(digits) // 8)
    return count


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise StorageError(f"{path} can't be read: {error}.") from error
    if not isinstance(found, dict):
        raise StorageError(f"{path} holds no settings.")
    return found


# What TIES must know before its first entry: thresholds, and over a whole model the majority of signs; streamed.
#
# The exact k-th largest magnitude is found without holding a model: magnitudes as float32 are ordered like their bits,
# so one pass counts the upper 16 bits, the next the lower 15 of those that share the threshold's upper ones.
#
# Legend: T things to merge, N entries of a block.

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


def majority_sign(blocks: Blocks, thresholds: Sequence[float] | None) -> float:
    """The sign that more entries elect over the whole model, 1 or -1; what a tie of the vote is given. One pass."""
    total = sum(float(trimmed(block.double(), thresholds).sum(0).sign().sum()) for block in blocks())
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


# A merge rule applied to changes that come in blocks, whatever holds them: adapters in memory or models on disk.
#
# Legend: T things to merge, N entries of a block.

BLOCK = 2_000_000
"""Entries (of all things together) that a block holds: 16 MB of float64, and a few times that while it is merged."""


class DeltaSource(Protocol):
    """Gives the changes of each tensor, any number of times."""

    @property
    def names(self) -> Sequence[str]:
        """The tensors."""
        ...

    def blocks(self, name: str) -> Iterator[Tensor]:
        """The changes of one tensor, all things side by side, ``[t, n]``, in the same blocks every time."""
        ...


@dataclass
class SquaredError:
    """Sums of squares that give a relative Frobenius error."""

    wrong: float = 0.0
    whole: float = 0.0

    def add(self, found_N: Tensor, exact_N: Tensor) -> None:
        """Count some entries, float64."""
        self.wrong += float((found_N - exact_N).square().sum())
        self.whole += float(exact_N.square().sum())

    @property
    def relative(self) -> float | None:
        """``|found - exact| / |exact|``; None where the exact values are all zero, so that nothing can be compared."""
        return float((self.wrong / self.whole) ** 0.5) if self.whole > 0 else None


class Merger:
    """One rule over one source; what the rule must know of the whole is gathered when it is made."""

    def __init__(self, rule: MergeRule, source: DeltaSource) -> None:
        self._rule, self._source = rule, source
        self._thresholds = trim_thresholds(self._all_blocks, rule.density) if rule.trim == "model" else None
        self._sign_of_zero = majority_sign(self._all_blocks, self._thresholds) if rule.asks_majority else 1.0

    def blocks(self, name: str) -> Iterator[tuple[Tensor, Tensor]]:
        """``(exact weighted sum, merged)`` of one tensor, block by block, each ``[n]`` float64.

        NumericError naming the tensor where a change is not finite.
        """
        rule, thresholds = self._rule, self._thresholds
        if rule.trim == "tensor":
            thresholds = trim_thresholds(lambda: self._source.blocks(name), rule.density)
        # Made once for the tensor: its blocks are drawn for one after the other.
        whole = Whole(
            thresholds=thresholds,
            sign_of_zero=self._sign_of_zero,
            generators=draws_of(rule.seed, name, len(rule.weights)) if rule.is_random else None,
        )
        coefficients_T = torch.tensor(rule.coefficients, dtype=torch.float64)
        for deltas_TN in self._source.blocks(name):
            if not bool(deltas_TN.isfinite().all()):
                raise NumericError(f"{name} holds numbers that are not finite, so it can't be merged.")
            yield coefficients_T.to(deltas_TN.device) @ deltas_TN.double(), merged(rule, deltas_TN, whole)

    def _all_blocks(self) -> Iterator[Tensor]:
        for name in self._source.names:
            yield from self._source.blocks(name)
