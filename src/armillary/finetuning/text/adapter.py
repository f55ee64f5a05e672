"""Where a LoRA stands in a language model, and how it is put on and left: the format and the modules are PEFT's."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from armillary.data.tables import listed_names
from armillary.errors import ModelError, UsageError
from armillary.finetuning.text.config import TextConfig
from armillary.models import LoadedModel
from armillary.models.quiet import quiet

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel

_PACKED = ("Linear4bit", "Linear8bitLt")
"""bitsandbytes' classes, which PEFT knows too; torchao packs the weight of an ordinary Linear."""


def chosen_layers(config: TextConfig, depth: int) -> list[int]:
    """Numbers of the layers that get an adapter, ascending. UsageError for one that the model does not have."""
    if not config.layers:
        return list(range(depth - max(1, round(config.top_share * depth)), depth))
    wrong = [layer for layer in config.layers if not 0 <= layer < depth]
    if wrong:
        raise UsageError(f"layers names layer {wrong[0]}; this model has the layers 0 to {depth - 1}.")
    return sorted(set(config.layers))


def lora_config(loaded: LoadedModel, config: TextConfig) -> "LoraConfig":
    """PEFT's settings. UsageError, which lists what is there, for modules that the layers don't have."""
    from peft import LoraConfig

    depth = loaded.anatomy.num_layers
    layers = chosen_layers(config, depth)
    parts = {id(part) for layer in layers for part in loaded.anatomy.layers[layer].modules()}
    paths = {
        path: id(module) in parts
        for path, module in loaded.model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) or type(module).__name__ in _PACKED
    }
    there = list(dict.fromkeys(path.rpartition(".")[2] for path, inside in paths.items() if inside))
    if not there:
        raise ModelError(f"{loaded.name} has no matrices (Linear) in its layers beside which an adapter could stand.")
    names = list(dict.fromkeys(config.modules)) or there
    for name in names:
        if not any(inside and _ends(path, name) for path, inside in paths.items()):
            raise UsageError(f"modules names {name!r}; the layers of {loaded.name} have {listed_names(there)}.")
    named = {path for path in paths if any(_ends(path, name) for name in names)}
    chosen = {path for path in named if paths[path]}
    numbered = {path for path in named if (number := _NUMBER.match(path)) and int(number[1]) in layers}
    # Names and numbers of layers as long as they say it; where a tower of images has the same names, every path.
    short = chosen in (named, numbered)
    alpha = float(2 * config.rank if config.alpha is None else config.alpha)
    return LoraConfig(
        r=config.rank,
        lora_alpha=cast(Any, int(alpha) if alpha.is_integer() else alpha),
        target_modules=names if short else sorted(chosen),
        layers_to_transform=layers if short and chosen != named else None,
        task_type="CAUSAL_LM",
    )


_NUMBER = re.compile(r"(?:^|.*?\.)[^.]*\.(\d+)\.")
"""Which layer a module is in, by PEFT's rule."""


def _ends(path: str, name: str) -> bool:
    return f".{path}".endswith(f".{name}")


@contextmanager
def with_adapter(loaded: LoadedModel, config: TextConfig) -> Iterator["PeftModel"]:
    """Inside, the model has an adapter that learns, with its first weights drawn by the seed; after it, none.

    Weights and what learns are then as they were. Errors as in ``lora_config``.
    """
    from peft import get_peft_model

    settings = lora_config(loaded, config)
    kept = [(parameter, parameter.requires_grad) for parameter in loaded.model.parameters()]
    with torch.random.fork_rng(), quiet():
        torch.manual_seed(config.seed)
        adapted = cast("PeftModel", get_peft_model(loaded.model, settings))
    name, _, revision = loaded.name.partition("@")
    # Not the folder in this machine's cache, which PEFT puts there; of a user's folder the whole path.
    settings.base_model_name_or_path = str(Path(name).resolve()) if Path(name).exists() else name
    settings.target_modules = sorted(settings.target_modules or ())  # of PEFT a set, in another order every time
    settings.revision = config.revision or revision or None
    try:
        yield adapted
    finally:
        adapted.unload()
        for parameter, needed in kept:
            parameter.requires_grad_(needed)


def save_adapter(adapted: "PeftModel", folder: Path) -> None:
    """The adapter alone in a folder of PEFT's."""
    adapted.save_pretrained(str(folder), save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's empty form of a model card
