"""A model's folder as tensors on disk: read one at a time from safetensors, written shard by shard."""

import json
import math
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from armillary.errors import ModelError, StorageError
from armillary.files import read_object, write_atomic
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
        self.config = read_object(self.path / "config.json")
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
        value: Tensor = self._files[name].get_tensor(name)
        return value

    def tokenizer(self) -> str | None:
        """Hash of the vocabulary and the added tokens; None where the folder has no tokenizer."""
        path = self.path / "tokenizer.json"
        if path.is_file():
            data = read_object(path)
            added = [(token.get("id"), token.get("content")) for token in data.get("added_tokens", [])]
            return digest({"vocabulary": data.get("model", {}).get("vocab"), "added": added})
        files = [self.path / name for name in ("tokenizer.model", "vocab.json", "vocab.txt")]
        present = [file for file in files if file.is_file()]
        return digest([file.read_bytes().hex() for file in present]) if present else None

    def _safetensors(self) -> Sequence[Path]:
        index = self.path / INDEX
        if not index.is_file():
            return [self.path / SINGLE] if (self.path / SINGLE).is_file() else sorted(self.path.glob("*.safetensors"))
        names = sorted(set(read_object(index).get("weight_map", {}).values()))
        if strange := [name for name in names if Path(name).name != name or not name.endswith(".safetensors")]:
            raise StorageError(f"{index} points to {strange[0]!r}; shards are safetensors in the same folder.")
        return [self.path / name for name in names]

    def _open(self, file: Path) -> None:
        opened = self._stack.enter_context(safe_open(file, framework="pt"))
        for name in opened.keys():  # noqa: SIM118  (the file is no mapping)
            if self.tied and name.endswith(_HEADS):
                continue
            part = opened.get_slice(name)
            self._files[name] = opened
            self.shapes[name], self.dtypes[name] = tuple(part.get_shape()), str(part.get_dtype())


def shards(folder: WeightFolder, limit: int) -> list[list[str]]:
    """The names in order, cut so that a shard holds at most ``limit`` bytes (or a single larger tensor)."""
    plan: list[list[str]] = [[]]
    used = 0
    for name in folder.names:
        # safetensors' name of a type ends in its bits ("BF16", "F8_E4M3"); BOOL names none and has 8.
        bits = "".join(letter for letter in folder.dtypes[name].split("_")[0] if letter.isdigit())
        size = math.prod(folder.shapes[name]) * max(1, int(bits or 8) // 8)
        if plan[-1] and used + size > limit:
            plan.append([])
            used = 0
        plan[-1].append(name)
        used += size
    return plan


def write_shards(out: Path, plan: Sequence[Sequence[str]], tensors: Iterator[tuple[str, Tensor]]) -> int:
    """Bytes written; ``tensors`` come in the order of the plan and only one shard is held at a time."""
    total, weight_map = 0, {}
    for number, names in enumerate(plan, start=1):
        file = SINGLE if len(plan) == 1 else f"model-{number:05d}-of-{len(plan):05d}.safetensors"
        shard = dict(next(tensors) for _ in names)
        total += sum(value.numel() * value.element_size() for value in shard.values())
        weight_map.update(dict.fromkeys(shard, file))
        save_file(shard, out / file, metadata={"format": "pt"})
    if len(plan) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        write_atomic(out / INDEX, json.dumps(index, indent=1) + "\n")
    return total


def copy_beside(source: Path, out: Path) -> None:
    """Everything of a model's folder that is no weights: configuration, tokenizer, licence."""
    for file in sorted({file for pattern in _BESIDE for file in source.glob(pattern) if file.is_file()}):
        if file.name != INDEX:
            shutil.copyfile(file, out / file.name)
