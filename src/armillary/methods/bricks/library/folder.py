"""One brick as a folder that a user can read: ``brick.json`` beside safetensors, or PEFT's files for an adapter."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from armillary.errors import StorageError, UsageError
from armillary.files import read_object, write_atomic
from armillary.methods.bricks.brick import FIELDS, Brick, BrickFacts, Cost, PayloadSpec, payload_from, payload_tensors
from armillary.methods.bricks.library import peft as adapters
from armillary.methods.bricks.payloads import LowRank, Site
from armillary.models.adapters import lora
from armillary.models.adapters.lora_settings import CONFIG
from armillary.records.plain import decode

CARD, WEIGHTS = "brick.json", "brick.safetensors"
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")


def write_brick(brick: Brick, folder: Path) -> None:
    """Fill a folder with a brick; the caller makes it whole (``whole_folder``)."""
    card = {"id": brick.id, **brick.to_dict()}
    write_atomic(folder / CARD, json.dumps(card, sort_keys=True, ensure_ascii=False, indent=1) + "\n")
    if isinstance(brick.payload, LowRank):
        for name, content in adapters.adapter_files(brick).items():
            write_atomic(folder / name, content)
        return
    header = {"format": "armillary-brick-1", "id": brick.id, "base": brick.base.fingerprint}
    write_atomic(folder / WEIGHTS, save(payload_tensors(brick.payload, brick.sites), metadata=header))


@dataclass(frozen=True, kw_only=True)
class BrickCard(BrickFacts):
    """What ``brick.json`` holds: all that is known of a brick but its tensors."""

    id: str
    format: Literal[1]
    payload: PayloadSpec
    cost: Cost


def read_card(folder: Path) -> BrickCard:
    """The specification of the brick in a folder; StorageError where there is none or it is not of our format."""
    if not (folder / CARD).is_file():
        raise StorageError(f"{folder} has no {CARD}, so it is not the folder of a brick.")
    data = read_object(folder / CARD)
    if data.get("format") != 1 or "id" not in data:
        raise StorageError(f"{folder / CARD} is not a brick of format 1.")
    try:
        return decode(BrickCard, data, "it")
    except UsageError as error:
        raise StorageError(f"{folder / CARD} lacks or mistakes a field: {error}") from error


def read_brick(folder: Path, *, layers: Sequence[int] | None = None) -> Brick:
    """The brick in a folder, checked against its id; with ``layers`` only the sites of those layers are read.

    A part of a brick has another id, names the whole as its parent, and its bytes are not checked. Raises StorageError
    for a folder that is not a brick, holds pickles or anything else that is no part of it, or differs from its id (it
    was changed, or damaged), its adapter's settings included.
    """
    card = read_card(folder)
    if pickled := next((path for path in sorted(folder.iterdir()) if path.suffix in _PICKLES), None):
        raise StorageError(f"{pickled} is a pickle, which can run code; a brick's folder holds safetensors only.")
    chosen = {index: site for index, site in enumerate(card.sites) if layers is None or site.layer in layers}
    if not chosen or (layers is not None and card.payload.type == "partition"):
        raise StorageError(f"{folder} can't be read in part: no site in the layers asked for, or it is a partition.")
    payload = payload_from(card.payload, _tensors(folder, chosen, card.payload.type == "low_rank"), chosen)
    parents = card.parents if layers is None else (card.id,)
    brick = Brick(**{**card.facts(), "sites": tuple(chosen.values()), "parents": parents}, payload=payload)
    if layers is None and (brick.id != card.id or not _as_written(brick, folder)):
        raise StorageError(f"{folder} differs from its id {card.id[:16]}: it was changed after it was written.")
    return brick


def files_of(folder: Path) -> list[Path]:
    """What a brick's folder holds but for hidden files, which file managers leave."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))


def _as_written(brick: Brick, folder: Path) -> bool:
    """Whether the folder holds a brick's files and no more, and PEFT would read in them what the brick is."""
    if not isinstance(brick.payload, LowRank):
        return {path.name for path in files_of(folder)} == {CARD, WEIGHTS}
    wanted = adapters.adapter_files(brick)
    if {path.name for path in files_of(folder)} != {CARD, *wanted}:
        return False
    with safe_open(folder / lora.WEIGHTS, framework="pt") as weights:
        if set(weights.keys()) != {lora.factor_name(site.path, which) for site in brick.sites for which in "AB"}:
            return False
    # Where the base lies may be written otherwise on another machine, or by another version.
    ours, theirs = (
        {name: value for name, value in config.items() if name not in ("base_model_name_or_path", "revision")}
        for config in (json.loads(wanted[CONFIG]), read_object(folder / CONFIG))
    )
    return ours == theirs


def _tensors(folder: Path, sites: dict[int, Site], low_rank: bool) -> dict[str, Tensor]:
    path = folder / (lora.WEIGHTS if low_rank else WEIGHTS)
    fields = ("A", "B") if low_rank else sorted({name for names in FIELDS.values() for name in names})
    tensors: dict[str, Tensor] = {}
    try:
        with safe_open(path, framework="pt") as weights:
            present = set(weights.keys())
            for index, site in sites.items():
                for field in fields:
                    name = lora.factor_name(site.path, field) if low_rank else f"{index}.{field}"
                    if name in present:
                        tensors[f"{index}.{field}"] = weights.get_tensor(name)
    except FileNotFoundError:
        raise StorageError(f"{folder} has no {path.name}.") from None
    except (OSError, SafetensorError) as error:
        raise StorageError(f"{path} can't be read as safetensors: {error}.") from error
    return tensors
