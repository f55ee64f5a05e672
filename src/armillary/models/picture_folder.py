"""An image-text model with its processor, opened from a folder or the hub, or a tiny random one."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoProcessor,
    Dinov2Config,
    Dinov2Model,
    PreTrainedModel,
    ProcessorMixin,
)

from armillary.errors import ArmillaryError, DownloadError, ModelError, UsageError
from armillary.models import hub
from armillary.models.folder import refuse_gaps, require_readable
from armillary.models.loaded import LoadedModel
from armillary.models.picture_model import assemble_picture_model
from armillary.models.quiet import quiet, reason
from armillary.models.tiny import tiny
from armillary.models.vision import VisionAnatomy, find_vision_anatomy

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
TINY = "tiny-picture-model"


@dataclass(frozen=True)
class PictureModel:
    """An image-text model in eval mode, what makes its inputs, and its parts."""

    model: PreTrainedModel
    processor: ProcessorMixin
    anatomy: VisionAnatomy
    name: str
    source: str

    @cached_property
    def fingerprint(self) -> str:
        """As ``LoadedModel.fingerprint``; of the weights at the first use."""
        # Only the weights are read for it.
        return LoadedModel(
            self.model, cast(Any, self.processor).tokenizer, cast(Any, self.anatomy), self.name, self.source
        ).fingerprint

    def facts(self) -> dict[str, str | int | float]:
        """Plain data for a record: what the model is and where it came from."""
        return {
            "name": self.name,
            "source": self.source,
            "fingerprint": self.fingerprint,
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "layers": self.anatomy.num_layers,
            "hidden": self.anatomy.hidden_size,
            "architecture": type(self.model).__name__,
            "dtype": str(self.model.dtype).removeprefix("torch."),
        }


def open_picture_model(name: str, *, dtype: str = "float32") -> PictureModel:
    """The model of a folder, a hub id ("owner/name") or the name "tiny-picture-model", on the CPU.

    Only safetensors are read, and no code of a repository is run. ModelError for what is no image-text model or can't
    be opened, DownloadError where the hub can't be reached, UsageError for another dtype.
    """
    if dtype not in DTYPES:
        raise UsageError(f"dtype must be one of {', '.join(DTYPES)}; got {dtype!r}.")
    if name == TINY:
        return tiny_picture_model()
    path = Path(name).expanduser()
    local = path.is_dir()
    if local:
        require_readable(path)
    elif name.count("/") != 1 or not all(name.split("/")):
        raise ModelError(f"there is no folder {name!r}; give a folder that save_pretrained wrote, or a hub id.")
    online = not local and hub.reachable()
    common: dict[str, Any] = {"local_files_only": not online}
    place = path if local else name
    try:
        with quiet(bars=not local):
            config = AutoConfig.from_pretrained(place, **common)
            if getattr(config, "vision_config", None) is None:
                raise ModelError(f"{name} is a text model; give an image-text model such as LLaVA or SmolVLM.")
            opened: Any = AutoModelForImageTextToText.from_pretrained(
                place, dtype=DTYPES[dtype], use_safetensors=True, output_loading_info=True, **common
            )
            processor = AutoProcessor.from_pretrained(place, **common)
    except ArmillaryError:
        raise
    except Exception as error:
        if not local and not online:
            raise DownloadError(
                f"{name} is no folder here, and the model hub can't be reached to look for it."
            ) from error
        raise ModelError(f"{name} can't be opened as an image-text model: {reason(error)}.") from error
    refuse_gaps(opened[1], name)
    if not hasattr(processor, "image_processor"):
        raise ModelError(f"{name} has no image processor; save its processor (AutoProcessor) into the folder.")
    source = f"folder {path.name}" if local else f"model hub, {name}"
    model: PreTrainedModel = opened[0].eval()
    return PictureModel(model, processor, find_vision_anatomy(model), name, source)


def tiny_picture_model(seed: int = 0) -> PictureModel:
    """A random LLaVA of two small layers with a real tokenizer; a picture takes four tokens. No download."""
    config = Dinov2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, mlp_ratio=2, image_size=28, patch_size=14
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tower = Dinov2Model(config).eval()
    model, processor = assemble_picture_model(
        tiny(seed=seed), image_size=28, connector_seed=seed, tower=tower, vision_layers=2
    )
    return PictureModel(model, processor, find_vision_anatomy(model), TINY, f"random weights, seed {seed}")
