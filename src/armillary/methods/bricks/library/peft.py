"""PEFT's folders: read a LoRA exactly or refuse it by name, write a brick so that PEFT loads it unchanged.

Low-rank bricks leave as a LoRA (an edit as one of rank n), masks as an (IA)^3 of zeros and ones. The format is that of
``huggingface/peft``; the package itself is not needed here.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from armillary.errors import StorageError, UsageError
from armillary.files import whole_folder, write_atomic
from armillary.methods.bricks.base import base_parameters
from armillary.methods.bricks.brick import Brick, BrickMeta, Provenance
from armillary.methods.bricks.payloads import Index, LowRank
from armillary.models.adapters.lora import PREFIX, WEIGHTS, factor_name, read_lora, read_tensors
from armillary.models.adapters.lora_settings import CONFIG, LoraSettings
from armillary.models.adapters.stated_base import StatedBase, reference
from armillary.models.loaded import LoadedModel
from armillary.records.plain import decode, plain
from armillary.runs.environment import versions

NOTE = "stated base"
"""Among the notes of a brick that was an adapter's folder."""


def read_adapter(folder: Path | str, loaded: LoadedModel | None = None) -> LowRank:
    """The LoRA in a PEFT folder, scale included: alpha / r, or alpha / sqrt(r) with rsLoRA, per module.

    Weights of the base that PEFT saved beside the factors (of a head that is adapted, of embeddings) are let through
    where they are those of ``loaded``.

    Raises UsageError naming what makes an adapter more than a low-rank change (DoRA, trained biases, modules_to_save,
    another kind than LoRA and the like), a setting of another type than PEFT's, a rank that is not the factors', and
    for numbers that are not finite; StorageError for a folder without safetensors (pickles are not opened) or one that
    can't be read.
    """
    own = None if loaded is None else base_parameters(loaded.model)
    lora = read_lora(Path(folder), own, "" if loaded is None else loaded.name)
    return LowRank(
        {
            path: (change.a_RI.float(), (change.b_OR.double() * change.scale).float())
            for path, change in lora.changes.items()
        }
    )


def brick_from_adapter(
    folder: Path | str, loaded: LoadedModel, *, name: str = "", licence: str = "", allow_different_base: bool = False
) -> Brick:
    """The brick of a PEFT folder whose base is the open model; its notes say which base the folder names.

    UsageError where the two don't fit, or where the folder names another base than the model, unless that is allowed.
    """
    folder = Path(folder)
    settings = LoraSettings.read(folder)
    stated = StatedBase.of(settings.base, settings.revision, loaded)
    if stated.verdict == "different" and not allow_different_base:
        raise UsageError(
            f"{folder} was trained on {stated.name}{f' ({stated.revision})' if stated.revision else ''}, which is not "
            f"{loaded.name}; give that model, or allow a different base."
        )
    payload = read_adapter(folder, loaded)
    provenance = Provenance(
        method="LoRA, read from a PEFT folder", base=loaded.name, licence=licence, versions=versions()
    )
    meta = BrickMeta(provenance=provenance, notes={NOTE: plain(stated)})
    return Brick.of(loaded, payload, name=name or folder.name, meta=meta)


def stated_base(brick: Brick) -> StatedBase | None:
    """That of a brick which was read from an adapter's folder; None of one made otherwise."""
    note = brick.meta.notes.get(NOTE)
    return None if note is None else decode(StatedBase, note, f"The stated base of {brick.name!r}")


def write_adapter(brick: Brick, out: Path | str, *, beside: Path | None = None) -> Path:
    """A new folder that ``PeftModel.from_pretrained(model, out)`` loads as it is; whole or not there.

    It names the folder or hub id of its base, so that AutoPeftModel opens it, or what the folder ``beside`` names.
    Raises UsageError for a brick that PEFT has no form for (partitions, neurons that are only read), StorageError
    where ``out`` exists or can't be written.
    """
    files = adapter_files(brick)
    if beside is not None and (beside / CONFIG).is_file():
        files[CONFIG] = (beside / CONFIG).read_bytes()
    with whole_folder(out) as folder:
        for name, content in files.items():
            write_atomic(folder / name, content)
        wanted, written = load(files[WEIGHTS]), read_tensors(folder)
        if wanted.keys() != written.keys() or any(not torch.equal(written[name], wanted[name]) for name in wanted):
            raise StorageError(f"{out} does not hold the factors that were written; is the disk sound?")
        if isinstance(brick.payload, LowRank):
            read_adapter(folder)  # refuses settings under which PEFT would not open the factors as they are
    return Path(out)


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
    base, revision = reference(brick.meta.provenance.base)
    config |= {
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "revision": revision,
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
        tensors[f"{PREFIX}{site.path}.ia3_l"] = 1.0 - named if site.op == "mask" else named
    return {"peft_type": "IA3", "feedforward_modules": [site.path for site in brick.sites]}, tensors
