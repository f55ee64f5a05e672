"""PEFT's folders: read a LoRA exactly or refuse it by name, write a brick so that PEFT loads it unchanged.

Low-rank bricks leave as a LoRA (an edit as one of rank n), masks as an (IA)^3 of zeros and ones. The format is that of
``huggingface/peft``; the package itself is not needed here.
"""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from armillary.errors import StorageError, UsageError
from armillary.files import read_object, whole_folder, write_atomic
from armillary.methods.bricks.brick import Brick, BrickMeta, Provenance
from armillary.methods.bricks.payloads import Index, LowRank
from armillary.models.loaded import LoadedModel
from armillary.runs.environment import versions

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."
_HARMLESS = {
    "alpha_pattern", "auto_mapping", "base_model_name_or_path", "exclude_modules", "fan_in_fan_out", "inference_mode",
    "init_lora_weights", "layers_pattern", "layers_to_transform", "lora_alpha", "lora_dropout", "megatron_core",
    "peft_type", "peft_version", "r", "rank_pattern", "revision", "target_modules", "task_type", "use_rslora",
    "ensure_weight_tying", "qalora_group_size",
}  # fmt: skip
"""Settings under which an adapter is its two factors and a scale; any other one that is set is refused by its name."""

_NOTHING = (None, False, "", "none", 0)
_INITIAL = ("pissa", "corda", "olora", "lora_ga", "loftq")  # these take a part out of the base's own weights


def read_adapter(folder: Path | str) -> LowRank:
    """The LoRA in a PEFT folder, scale included: alpha / r, or alpha / sqrt(r) with rsLoRA, per module.

    Raises UsageError naming what makes an adapter more than a low-rank change (DoRA, trained biases, modules_to_save,
    another kind than LoRA and the like) and for numbers that are not finite; StorageError for a folder without
    safetensors (pickles are not opened) or one that can't be read.
    """
    folder = Path(folder)
    if not (folder / CONFIG).is_file():
        raise StorageError(f"{folder} has no {CONFIG}, so it is not the folder of an adapter.")
    config = read_object(folder / CONFIG)
    _refuse_more_than_lora(config, folder)
    tensors = _tensors(folder)
    matches = {name: re.fullmatch(rf"{re.escape(_PREFIX)}(.+)\.lora_[AB]\.weight", name) for name in tensors}
    if strange := [name for name, match in matches.items() if match is None]:
        raise UsageError(
            f"{folder} holds {strange[0]}, which is no factor of a Linear's low-rank change; it is refused."
        )
    paths = sorted({match[1] for match in matches.values() if match is not None})
    factors: dict[str, tuple[Tensor, Tensor]] = {}
    for path in paths:
        try:
            a_RI, b_OR = (tensors[factor_name(path, which)] for which in "AB")
        except KeyError:
            raise UsageError(f"{folder}: {path} has only one of its two factors.") from None
        scale = _scale(config, path, len(a_RI))
        factors[path] = (a_RI.float(), (b_OR.double() * scale).float())
    if not factors:
        raise UsageError(f"{folder} holds no factors of a LoRA.")
    return LowRank(factors)


def brick_from_adapter(folder: Path | str, loaded: LoadedModel, *, name: str = "", licence: str = "") -> Brick:
    """The brick of a PEFT folder whose base is the open model; UsageError where the two don't fit."""
    folder = Path(folder)
    payload = read_adapter(folder)
    provenance = Provenance(
        method="LoRA, read from a PEFT folder", base=loaded.name, licence=licence, versions=versions()
    )
    return Brick.of(loaded, payload, name=name or folder.name, meta=BrickMeta(provenance=provenance))


def write_adapter(brick: Brick, out: Path | str) -> Path:
    """A new folder that ``PeftModel.from_pretrained(model, out)`` loads as it is; whole or not there.

    Raises UsageError for a brick that PEFT has no form for (partitions, neurons that are only read), StorageError
    where ``out`` exists or can't be written.
    """
    files = adapter_files(brick)
    with whole_folder(out) as folder:
        for name, content in files.items():
            write_atomic(folder / name, content)
    return Path(out)


def factor_name(path: str, which: str) -> str:
    """PEFT's name of factor "A" or "B" of the module at ``path``."""
    return f"{_PREFIX}{path}.lora_{which}.weight"


def adapter_files(brick: Brick) -> dict[str, bytes]:
    """Configuration and weights of the PEFT form of a brick, by file name."""
    if isinstance(brick.payload, LowRank):
        config, tensors = _as_lora(brick, brick.payload)
    elif isinstance(brick.payload, Index) and all(site.op in ("mask", "keep") for site in brick.sites):
        config, tensors = _as_ia3(brick, brick.payload)
    else:
        raise UsageError(
            f"{brick.name!r} has no form as an adapter: PEFT knows low-rank changes and masks of neurons."
        )
    transposed = {site.transposed for site in brick.sites}
    config |= {
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": brick.meta.provenance.base or None,
        "fan_in_fan_out": transposed == {True},
        "inference_mode": True,
        "target_modules": [site.path for site in brick.sites],
    }
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    return {CONFIG: text.encode(), WEIGHTS: save(tensors, metadata={"format": "pt"})}


def _as_lora(brick: Brick, payload: LowRank) -> tuple[dict[str, Any], dict[str, Tensor]]:
    ranks = {site.path: len(payload.factors[site.path][0]) for site in brick.sites}
    first = next(iter(ranks.values()))
    pattern = ranks if len(set(ranks.values())) > 1 else {}
    tensors = {
        factor_name(path, which): factor.float().cpu().contiguous().clone()
        for path, factors in payload.factors.items()
        for which, factor in zip("AB", factors, strict=True)
    }
    # alpha = r makes PEFT's scale 1: the brick's factors hold theirs already.
    config = {"peft_type": "LORA", "r": first, "lora_alpha": first, "rank_pattern": pattern, "alpha_pattern": pattern}
    return config | {"bias": "none", "lora_dropout": 0.0, "use_rslora": False, "use_dora": False}, tensors


def _as_ia3(brick: Brick, payload: Index) -> tuple[dict[str, Any], dict[str, Tensor]]:
    tensors: dict[str, Tensor] = {}
    for site in brick.sites:
        assert site.layer is not None
        named = torch.zeros(1, site.inputs)
        named[0, torch.from_numpy(payload.neurons[site.layer])] = 1.0
        tensors[f"{_PREFIX}{site.path}.ia3_l"] = 1.0 - named if site.op == "mask" else named
    return {"peft_type": "IA3", "feedforward_modules": [site.path for site in brick.sites]}, tensors


def _tensors(folder: Path) -> dict[str, Tensor]:
    path = folder / WEIGHTS
    if not path.is_file():
        pickled = (folder / "adapter_model.bin").exists()
        why = "only pickled weights, which can run code and are not opened" if pickled else f"no {WEIGHTS}"
        raise StorageError(f"{folder} holds {why}; save the adapter with PEFT's save_pretrained.")
    try:
        with safe_open(path, framework="pt") as weights:
            return {name: weights.get_tensor(name) for name in weights.keys()}  # noqa: SIM118  (no iterator)
    except (OSError, SafetensorError) as error:
        raise StorageError(f"{path} can't be read as safetensors: {error}.") from error


def _refuse_more_than_lora(config: Mapping[str, Any], folder: Path) -> None:
    kind = str(config.get("peft_type"))
    if kind != "LORA":
        raise UsageError(f"{folder} is an adapter of kind {kind}; LORA is what can be merged exactly.")
    for name, value in sorted(config.items()):
        if name not in _HARMLESS and value not in _NOTHING and value not in ({}, []):
            raise UsageError(f"{folder} uses {name}={value!r}, so it is more than a low-rank change; it is refused.")
    start = str(config.get("init_lora_weights", True)).lower()
    if start.startswith(_INITIAL):
        raise UsageError(
            f"{folder} began from {start}, which changes the base's own weights; convert it to a LoRA first."
        )


def _scale(config: Mapping[str, Any], path: str, rank: int) -> float:
    alpha = float(config.get("lora_alpha", rank))
    for pattern, value in (config.get("alpha_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", path):  # PEFT's own rule
            alpha = float(value)
            break
    return alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank
