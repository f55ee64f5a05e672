"""A model from a folder or the hub, with transformers' many ways to fail turned into one sentence each."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from armillary.errors import ArmillaryError, DownloadError, ModelError
from armillary.models.names import near
from armillary.models.probe import refuse_encoder_decoder
from armillary.models.quiet import quiet, reason

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


def refuse_gaps(loading: Any, label: str) -> None:
    """Raises ModelError where transformers' loading info tells of weights that are missing or of another shape.

    They would otherwise be drawn at random, with a warning that is easily missed.
    """
    missing = sorted(loading["missing_keys"])
    if missing:
        raise ModelError(f"{label} lacks {len(missing)} of its weights ({missing[0]}), so it is not a whole model.")
    for name, found, expected in loading["mismatched_keys"]:
        raise ModelError(
            f"{label} does not fit its config.json: {name} is {list(found)} where {list(expected)} is expected."
        )


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
