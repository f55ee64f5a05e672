"""Open a model by name, folder, GGUF file or hub id, or take a ready one; everything ends in a LoadedModel."""

import difflib
import re
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import constants, get_session
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from armillary.errors import ArmillaryError, DownloadError, ModelError, UsageError
from armillary.models import gguf_file, packaged
from armillary.models.anatomy import find_anatomy, refuse_encoder_decoder
from armillary.models.loaded import LoadedModel
from armillary.models.packaged import PACKAGED
from armillary.models.quiet import quiet, reason, refuse_gaps
from armillary.models.tiny_models import KINDS, tiny

# The names that need no path, and which of them somebody may have meant.


def near(text: str) -> str:
    """The end of a sentence about an unknown name: the known names that are near it, or what is accepted."""
    packaged = [entry.name for entry in PACKAGED]
    known = [*packaged, *(f"tiny-{kind}" for kind in KINDS)]
    last = text.rstrip("/").rpartition("/")[2].lower()
    close = difflib.get_close_matches(last, known, n=2, cutoff=0.5)
    close = close or [name for name in known if len(last) > 2 and last in name][:2]
    if close:
        return f"; did you mean {' or '.join(close)}?"
    return f"; give a packaged name ({', '.join(packaged)}), a folder, a .gguf file or a hub id (owner/name)."


# A model from a folder or the hub, with transformers' many ways to fail turned into one sentence each.

_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


def require_readable(folder: Path) -> None:
    """Raises ModelError where a folder lacks what a model needs: a configuration and safetensors."""
    if not (folder / "config.json").is_file():
        if (folder / "adapter_config.json").is_file():
            raise ModelError(f"{folder} holds an adapter, not a whole model; merge it into its base and save that.")
        files = sorted(folder.glob("*.gguf"))
        hint = f"give the file {files[0]}" if files else "give a folder that save_pretrained wrote"
        raise ModelError(f"{folder} has no config.json, so it is not a model's folder; {hint}.")
    if any(folder.glob("*.safetensors")):
        return
    if any(path for pattern in _PICKLED for path in folder.glob(pattern)):
        raise ModelError(
            f"{folder} holds only pickled weights, and only safetensors are read because unpickling can run code; if "
            "you trust the file, open it once with transformers' from_pretrained and write it with save_pretrained."
        )
    raise ModelError(f"{folder} has a config.json but no weights (*.safetensors).")


def open_pretrained(
    location: Path | str,
    *,
    label: str,
    dtype: torch.dtype,
    device: torch.device,
    trust_remote_code: bool,
    online: bool,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model in eval mode and its tokenizer; ``label`` is what the user asked for and appears in errors."""
    at_hub = isinstance(location, str)
    common: dict[str, Any] = {"trust_remote_code": trust_remote_code, "local_files_only": not online}
    try:
        with quiet(bars=at_hub):
            config = AutoConfig.from_pretrained(location, **common)
            refuse_encoder_decoder(config, label)
            tokenizer = AutoTokenizer.from_pretrained(location, **common)
            opened: Any = AutoModelForCausalLM.from_pretrained(
                location,
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
        raise _failure(error, location, label, online) from error
    refuse_gaps(opened[1], label)
    model: PreTrainedModel = opened[0]
    try:
        model.to(device)  # type: ignore[arg-type]
    except (RuntimeError, MemoryError) as error:
        raise ModelError(f"{label} does not fit on {device} ({reason(error)}).") from error
    model.eval()
    return model, tokenizer


def _failure(error: Exception, location: Path | str, label: str, online: bool) -> ArmillaryError:
    if isinstance(error, MemoryError):
        return ModelError(f"{label} does not fit into this machine's memory; give a smaller dtype or model.")
    if "trust_remote_code" in str(error):
        return ModelError(f"{label} needs code written by its author, which runs only if you say trust_remote_code.")
    if isinstance(location, str) and (not online or "connect" in str(error).lower()):
        return DownloadError(
            f"{label} is no folder here and the model hub can't be reached to look for it (check the network)"
            f"{near(label)}"
        )
    if "is not a local folder" in str(error):
        return ModelError(f"{label} is no folder here and not on the model hub{near(label)}")
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

    ``name`` is tried in this order: a packaged name ("smollm2-135m-instruct", fetched at first use), "tiny-llama" and
    its like, a folder with safetensors, a ``.gguf`` file (dequantised once and cached), a hub id ("owner/name"); or it
    is a ready ``(model, tokenizer)``, used in the dtype it has. ``device`` is "cuda", "mps" or "cpu", by default the
    first of these that is there. Pickled weights are never read, and remote code only with ``trust_remote_code``.

    Raises ModelError (unknown, unreadable or unsuitable), DownloadError, StorageError, UsageError (dtype, device).
    """
    if dtype not in _DTYPES:
        raise UsageError(f"dtype {dtype!r} is not known; it is one of {', '.join(_DTYPES)}.")
    wanted, chosen = _DTYPES[dtype], _device(device)
    if not isinstance(name, str | Path):
        return _ready(name, None if device is None else chosen)
    text = str(name)
    if text.startswith("tiny-") and text.removeprefix("tiny-").replace("-", "_") in KINDS:
        made = tiny(text.removeprefix("tiny-").replace("-", "_"))
        made.model.to(device=chosen, dtype=wanted)  # type: ignore[call-arg]
        return LoadedModel(made.model, made.tokenizer, find_anatomy(made.model), text, made.source)
    location, source, online, converter = _locate(name)
    model, tokenizer = open_pretrained(
        location, label=text, dtype=wanted, device=chosen, trust_remote_code=trust_remote_code, online=online
    )
    return LoadedModel(model, tokenizer, find_anatomy(model), text, source, converter)


def _locate(name: str | Path) -> tuple[Path | str, str, bool, str]:
    """Where to read from, the source in words, whether the hub may be asked, and what converted the tensors."""
    text = str(name)
    for entry in packaged.PACKAGED:
        if text == entry.name:
            return packaged.fetch(text), entry.source, False, gguf_file.converter_version()
    path = Path(name).expanduser()
    if text and path.is_dir():
        require_readable(path)
        return path, f"folder {path.name}", False, ""
    if path.is_file():
        if path.suffix.lower() != ".gguf":
            raise ModelError(f"{text} is a file, and the only files read are .gguf; give a model's folder instead.")
        source = f"GGUF file {path.name}, dequantised to float32"
        return gguf_file.converted(path), source, False, gguf_file.converter_version()
    if isinstance(name, Path) or not _HUB_ID.fullmatch(text) or path.suffix.lower() == ".gguf":
        what = "file" if path.suffix.lower() == ".gguf" else "folder"
        seen = f"there is no {what} {text!r}" if isinstance(name, Path) or "/" in text or what == "file" else None
        raise ModelError(f"{seen or f'no model is named {text!r}'}{near(text)}")
    return text, f"model hub, {text}", reachable(), ""


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
