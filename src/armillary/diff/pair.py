"""The two models of a diff, of which one at most is in memory: opening one frees the other.

An adapter is the exception that needs no freeing: base and after are then one copy, the adapter switched off and on.
"""

import gc
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch

from armillary.errors import ArmillaryError, UsageError
from armillary.files import sha256_of
from armillary.models import LoadedModel, SwitchedModel, adapter_base, load, located, open_adapter
from armillary.models.loaded import joined_digest
from armillary.runs.settings import ModelSettings, RunSettings

Side = Literal["base", "after"]

_READ = {".json", ".safetensors", ".model", ".txt", ".jinja", ".py", ".tiktoken"}
"""Endings of the files that opening a model reads; a folder may hold a training's states besides."""

_BLOB = re.compile(r"[0-9a-f]{64}")
"""Name of a large file in the hub's cache: its own sha256."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where one of the two comes from, known without opening it."""

    name: str
    """What the user asked for."""

    folder: Path | None = None
    """Its files; None for a model that was made in memory or given open."""

    ready: LoadedModel | None = None
    """The model itself where it was given open."""

    base: "Origin | None" = None
    """Of an adapter, the model that it is on; None for a whole model."""

    lacking: str = ""
    """Of an adapter's base, why it can't be had; another may be given in its place."""

    @cached_property
    def identity(self) -> str:
        """Sixteen hex digits: of an open model its own identity, else of every byte of its files and its base's."""
        if self.ready is not None:
            return self.ready.identity
        own = self.name if self.folder is None else _digests(self.folder)
        return joined_digest([own, self.base.identity] if self.base is not None else own)

    def facts(self) -> dict[str, Any]:
        """Plain data for a record."""
        if self.ready is not None:
            return self.ready.facts()
        base = {"base": self.base.name, "base_identity": self.base.identity} if self.base is not None else {}
        return {"name": self.name, "identity": self.identity, **base}


def _digests(folder: Path) -> dict[str, str]:
    """sha256 of each file that is read, by its name; the hub's cache knows those of weights."""
    digests = {}
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix.lower() in _READ:
            blob = path.resolve().name if path.is_symlink() else ""
            digests[path.name] = blob if _BLOB.fullmatch(blob) else sha256_of(path)
    return digests


def origin_of(name: str, settings: RunSettings) -> Origin:
    """Where a model or adapter of this name comes from; fetched if it is not on this machine, and not opened.

    An adapter comes with the base that it names, which need not be there. Raises as ``models.load``.
    """
    revision = settings.revision if isinstance(settings, ModelSettings) else None
    folder = located(name, revision=revision)
    if folder is None or not (folder / "adapter_config.json").is_file():
        return Origin(name=name, folder=folder)
    stated = ""
    try:
        stated = adapter_base(name, revision=revision) or ""
        base = Origin(name=stated, folder=located(stated)) if stated else None
    except ArmillaryError as error:
        base = Origin(name=stated, lacking=str(error))
    return Origin(name=name, folder=folder, base=base)


class Pair:
    """Base and after; ``open`` gives one of them."""

    def __init__(self, base: Origin | None, after: Origin, opening: ModelSettings) -> None:
        """Without ``base``, ``after`` is an adapter. UsageError where it is not, or the base is one."""
        if base is None and after.base is None:
            raise UsageError(f"{after.name} is a whole model; give the model that it is compared with, too.")
        if base is not None and base.base is not None:
            raise UsageError(f"{base.name} is an adapter; give it after the model that it is compared with.")
        first = base if base is not None else after.base
        assert first is not None
        if first.lacking:
            of = f"{after.name} is an adapter of {first.name}, which can't be opened: " if first.name else ""
            raise UsageError(f"{of}{first.lacking}")
        self.origins: Mapping[Side, Origin] = {"base": first, "after": after}
        self._opening = opening
        self._open: tuple[Side, LoadedModel] | None = None
        self._switched: SwitchedModel | None = None

    @property
    def is_adapter(self) -> bool:
        """True where after is an adapter on base, so that one copy serves both."""
        return self.origins["after"].base is not None

    def open(self, side: Side) -> LoadedModel:
        """The model of that side. Raises as ``models.load``."""
        origin = self.origins[side]
        if self.is_adapter:
            if self._switched is None:
                base = self.origins["base"]
                self._switched = open_adapter(
                    self.origins["after"].name, base=base.ready or base.name, **self._opening.opening()
                )
            return self._switched.off() if side == "base" else self._switched.on()
        if origin.ready is not None:
            return origin.ready
        if self._open is not None and self._open[0] == side:
            return self._open[1]
        self.free()
        self._open = (side, load(origin.name, **self._opening.opening()))
        return self._open[1]

    def __enter__(self) -> "Pair":
        return self

    def __exit__(self, *_: object) -> None:
        self.free()

    @property
    def holds(self) -> bool:
        """True while a model that was opened here is in memory."""
        return self._open is not None or self._switched is not None

    def free(self) -> None:
        """Let go of what is open; a model that was given open stays its owner's, without the adapter."""
        if not self.holds:
            return
        if self._switched is not None:
            self._switched.remove()
        self._open = self._switched = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
