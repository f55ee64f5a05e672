"""A model's folder as tensors on disk: read one at a time from safetensors, written shard by shard.

What a folder holds is decided by its files and by what transformers makes of them: it is opened once without weights
(on the "meta" device), which tells what is missing, left unread, or tied.
"""

import json
import math
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from armillary.errors import ArmillaryError, ModelError, StorageError
from armillary.files import digest_of, read_object, write_atomic
from armillary.models.folders import require_readable
from armillary.models.loaded import tokenizer_digest
from armillary.models.quiet import quiet, reason, refuse_gaps
from armillary.records.plain import digest

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
_BESIDE = ("*.json", "*.model", "*.txt", "*.jinja", "LICENSE*", "NOTICE*")
_QUANTISED = ("quantize_config.json", "quant_config.json", "hf_quant_config.json")
_FLOATS = ("F64", "F32", "F16", "BF16")
_NO_FUNCTION = {
    "_name_or_path", "architectures", "auto_map", "dtype", "id2label", "label2id", "tie_word_embeddings",
    "torch_dtype", "transformers_version", "use_cache",
}  # fmt: skip
"""Settings that say nothing of what a model computes, or are decided by its files; so do ids of special tokens."""


class _Stored(NamedTuple):
    file: Any
    name: str
    shape: tuple[int, ...]
    dtype: str


class WeightFolder:
    """The tensors of one model, opened lazily: only names and shapes are read until a tensor is asked for.

    Names are those of the opened model, whatever prefix the files use. A head that is the embedding (absent from the
    files, or equal to it and tied by the configuration) is in ``ties`` and not listed. A context manager.

    Raises ModelError for a folder that is no whole model, is quantised or holds an adapter as well.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise ModelError(f"there is no folder {str(path)!r}; give one that save_pretrained wrote.")
        require_readable(self.path)
        refuse_unmergeable(self.path, read_object(self.path / "config.json"))
        self._stack = ExitStack()
        self.parts: dict[str, _Stored] = {}
        try:
            files = [self._stack.enter_context(safe_open(file, framework="pt")) for file in self._safetensors()]
            model, unread = opened_empty(self.path)
            self._list(model, unread, files)
        except (OSError, SafetensorError) as error:
            self._stack.close()
            raise StorageError(f"{self.path} can't be read as safetensors: {error}.") from error
        except ArmillaryError:
            self._stack.close()
            raise

    def __enter__(self) -> "WeightFolder":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def names(self) -> list[str]:
        """Tensors in rising order, a tied head left out."""
        return sorted(self.parts)

    def tensor(self, name: str) -> Tensor:
        """One tensor in its stored dtype."""
        value: Tensor = self.parts[name].file.get_tensor(self.parts[name].name)
        return value

    def untie(self, name: str) -> None:
        """List a tied head on its own, with the values of the embedding that it is."""
        self.parts[name] = self.parts[self.ties.pop(name)]

    @cached_property
    def tokenizer(self) -> tuple[str, str] | None:
        """Hashes of the vocabulary with its ids, and of all else besides; None where the folder has no tokenizer."""
        try:
            with quiet():
                opened = AutoTokenizer.from_pretrained(self.path, local_files_only=True)
            return digest(opened.get_vocab()), tokenizer_digest(opened)
        except Exception:  # a tokenizer that needs its author's code; its file can still be compared
            file = self.path / "tokenizer.json"
            return (digest_of(file), digest_of(file)) if file.is_file() else None

    def _safetensors(self) -> Sequence[Path]:
        index, names = self.path / INDEX, []
        if index.is_file():
            names = sorted(set(read_object(index).get("weight_map", {}).values()))
            if strange := [name for name in names if Path(name).name != name or not name.endswith(".safetensors")]:
                raise StorageError(f"{index} points to {strange[0]!r}; shards are safetensors in the same folder.")
        # Where both are there transformers opens the single file.
        single = (self.path / SINGLE).is_file() or not names
        return [self.path / SINGLE] if single else [self.path / name for name in names]

    def _list(self, model: PreTrainedModel, unread: Sequence[str], files: Sequence[Any]) -> None:
        self.kind, self.settings = str(model.config.model_type), model.config.to_dict()
        expected, prefix = model.state_dict(), f"{model.base_model_prefix}."
        ignored = [*(model._keys_to_ignore_on_load_unexpected or ()), r"rotary_emb\.inv_freq"]
        self.unread: set[str] = set()
        """Tensors that the opened model does not take."""

        for file in files:
            for stored in file.keys():  # noqa: SIM118  (the file is no mapping)
                spelled = (stored, f"{prefix}{stored}", stored.removeprefix(prefix))
                name = next((name for name in spelled if name in expected), stored)
                part = file.get_slice(stored)
                dtype = str(part.get_dtype())
                self.parts[name] = _Stored(file, stored, tuple(part.get_shape()), dtype)
                if name not in expected and (stored in unread or any(re.search(rule, name) for rule in ignored)):
                    self.unread.add(name)
                elif name in expected and expected[name].is_floating_point() and dtype not in _FLOATS:
                    raise ModelError(f"{self.path} holds {name} as {dtype}, which is quantised; {_UNQUANTISED}")
        self.may_tie = bool(model.all_tied_weights_keys)
        """The configuration ties where the files don't say otherwise."""

        self.ties: dict[str, str] = {}
        """Of the heads that are the embedding: their name and its."""

        for target, source in model.all_tied_weights_keys.items():
            if source not in self.parts and target in self.parts:
                self.parts[source] = self.parts.pop(target)
            if target in self.parts and not torch.equal(self.tensor(target), self.tensor(source)):
                continue  # transformers leaves the two apart then, whatever the configuration says
            self.ties[target] = source
            self.parts.pop(target, None)


_UNQUANTISED = "give the model that it was made from, or a copy that was dequantised and saved."


def refuse_unmergeable(folder: Path, config: Mapping[str, Any]) -> None:
    """ModelError for a folder whose weights are quantised, or that holds an adapter beside its model."""
    text = config.get("text_config")
    parts = [config, text if isinstance(text, dict) else {}]
    named = next(
        (part[key] for part in parts for key in ("quantization_config", "compression_config") if part.get(key)), None
    )
    if named or any((folder / name).is_file() for name in _QUANTISED):
        kind = (named if isinstance(named, dict) else {}).get("quant_method", "a method of its own")
        raise ModelError(f"{folder} holds weights quantised by {kind}, which can't be merged; {_UNQUANTISED}")
    if (folder / "adapter_config.json").is_file():
        raise ModelError(f"{folder} holds an adapter beside its model; merge that into it first, or take it out.")


def opened_empty(folder: Path) -> tuple[PreTrainedModel, list[str]]:
    """The folder's model without weights, and the names of tensors that it does not read.

    ModelError where transformers can't open the folder or lacks one of its weights.
    """
    try:
        with quiet():
            config = AutoConfig.from_pretrained(folder)
            # A head that is no language model's (a classifier's, an image-text model's) is opened as what it is.
            named = getattr(transformers, next(iter(getattr(config, "architectures", None) or ()), ""), None)
            kind: Any = named if "For" in getattr(named, "__name__", "") else AutoModelForCausalLM
            model, loading = kind.from_pretrained(
                folder, device_map="meta", output_loading_info=True, ignore_mismatched_sizes=True, use_safetensors=True
            )
    except Exception as error:
        raise ModelError(f"{folder} can't be opened as a model: {reason(error)}.") from error
    refuse_gaps(loading, str(folder))
    return model, sorted(loading["unexpected_keys"])


def differing_settings(base: WeightFolder, model: WeightFolder) -> list[str]:
    """Settings of the opened configurations that differ and may change what a model computes; and the tokenizer,
    where it has another chat template or adds other tokens."""
    ours, theirs = base.settings, model.settings
    names = (name for name in sorted({*ours, *theirs} - _NO_FUNCTION) if not name.endswith("_token_id"))
    differing = [name for name in names if ours.get(name) != theirs.get(name)]
    other_tokenizer = model.tokenizer not in (None, base.tokenizer)
    return differing + other_tokenizer * ["tokenizer (chat template, special tokens or those that it adds)"]


def shards(folder: WeightFolder, limit: int) -> list[list[str]]:
    """The names in order, cut so that a shard holds at most ``limit`` bytes (or a single larger tensor)."""
    plan: list[list[str]] = [[]]
    used = 0
    for name in folder.names:
        # safetensors' name of a type ends in its bits ("BF16", "F8_E4M3"); BOOL names none and has 8.
        bits = "".join(letter for letter in folder.parts[name].dtype.split("_")[0] if letter.isdigit())
        size = math.prod(folder.parts[name].shape) * max(1, int(bits or 8) // 8)
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
        _compare(shard, out / file)
    if len(plan) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        write_atomic(out / INDEX, json.dumps(index, indent=1) + "\n")
    return total


def _compare(shard: Mapping[str, Tensor], file: Path) -> None:
    with safe_open(file, framework="pt") as written:
        for name, value in shard.items():
            if not torch.equal(written.get_tensor(name), value):
                raise StorageError(f"{file.name} does not hold the {name} that was written; is the disk sound?")


def copy_beside(source: WeightFolder, out: Path) -> None:
    """Everything of a model's folder that is no weights: configuration, tokenizer, licence.

    The configuration says that the head is untied where it is.
    """
    for file in sorted({file for pattern in _BESIDE for file in source.path.glob(pattern) if file.is_file()}):
        if not file.name.endswith(".index.json"):
            shutil.copyfile(file, out / file.name)
    if source.may_tie and not source.ties:
        config = dict(read_object(out / "config.json"))
        parts = [config, *(value for value in config.values() if isinstance(value, dict))]
        for part in parts:
            if part is config or "tie_word_embeddings" in part:
                part["tie_word_embeddings"] = False
        write_atomic(out / "config.json", json.dumps(config, indent=2) + "\n")
