"""Which model an adapter says that it was trained on, whether that is the model at hand, and where it lies."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from huggingface_hub import try_to_load_from_cache

from armillary.files import sha256_of
from armillary.models import gguf_file, packaged
from armillary.models.loaded import LoadedModel

Verdict = Literal["same", "different", "not verifiable"]
_HUB_ID = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}")
_SNAPSHOT = re.compile(r"models--([^/\\]+)--([^/\\]+)[/\\]snapshots[/\\]([^/\\]+)$")


@dataclass(frozen=True, kw_only=True)
class StatedBase:
    """What an adapter's configuration says of its base, and whether that is the model it was read for."""

    name: str
    """A folder, a packaged name or a hub id; empty where the adapter names none."""

    revision: str = ""
    verdict: Verdict = "not verifiable"

    @classmethod
    def of(cls, name: str, revision: str, loaded: LoadedModel) -> "StatedBase":
        """With the verdict for an open model, known by what the user called it and by where it was read from."""
        read_from = str(getattr(loaded.model, "name_or_path", "") or "")
        commit = str(getattr(loaded.model.config, "_commit_hash", "") or "")
        verdicts = [same_model(name, revision, given, commit) for given in (loaded.name, read_from) if given]
        verdict: Verdict = next((verdict for verdict in _BEST_FIRST if verdict in verdicts), "not verifiable")
        return cls(name=name, revision=revision, verdict=verdict)

    @property
    def words(self) -> str:
        """For a reader."""
        revision = f" at revision {self.revision}" if self.revision else ""
        if not self.name:
            return "not stated, so the base is not verifiable"
        meaning = {"same": "the model given", "different": "another model than the one given"}
        return f"{self.name}{revision}: {meaning.get(self.verdict, 'base not verifiable')}"


_BEST_FIRST: tuple[Verdict, ...] = ("same", "not verifiable", "different")


def same_model(first: str, revision: str, second: str, commit: str = "") -> Verdict:
    """Whether two names mean one model: equal names, paths resolved; else equal weights, where both lie here.

    Two hub ids that differ are different models. A hub id and a folder can't be compared unless the hub's copy is in
    the cache, nor can two revisions.
    """
    pairs = ((first, revision), (second, commit))
    here = [location(name, at) for name, at in pairs]
    if here[0] is not None and here[1] is not None:
        return "same" if here[0] == here[1] or _weights(here[0]) == _weights(here[1]) else "different"
    known = [{name.rstrip("/\\").lower()} for name, _ in pairs]
    for place, spelled in zip(here, known, strict=True):
        if snapshot := _SNAPSHOT.search(str(place)):
            spelled.add(f"{snapshot[1]}/{snapshot[2]}".lower())
    if first and known[0] & known[1]:
        return "same" if revision in ("", "main", commit) else "not verifiable"
    both_ids = all(_HUB_ID.fullmatch(name) and not Path(name).exists() for name, _ in pairs)
    return "different" if both_ids else "not verifiable"


def location(name: str, revision: str = "") -> Path | None:
    """The folder on this machine that a name means: itself, a packaged or converted model, the cache of the hub."""
    try:
        path = Path(name).expanduser()
        is_here = bool(name) and path.exists()
    except (OSError, RuntimeError, ValueError):  # no such user, too long a name: no path of this machine
        return None
    if is_here:
        return gguf_file.converted(path) if path.suffix.lower() == ".gguf" else path.resolve()
    if any(name == entry.name for entry in packaged.PACKAGED):
        return packaged.cached(name)
    if not _HUB_ID.fullmatch(name):
        return None
    config = try_to_load_from_cache(name, "config.json", revision=revision or None)
    return Path(config).parent if isinstance(config, str) else None


def reference(name: str) -> tuple[str | None, str | None]:
    """What ``base_model_name_or_path`` and ``revision`` must hold for PEFT to open the model of that name."""
    place = location(name)
    if place is None:
        return name or None, None
    snapshot = _SNAPSHOT.search(str(place))
    return (name, snapshot[3]) if snapshot and _HUB_ID.fullmatch(name) else (str(place), None)


def _weights(folder: Path) -> list[str]:
    """Digests of a folder's weights; of one without any, the folder itself."""
    return sorted(sha256_of(file) for file in folder.glob("*.safetensors")) or [str(folder)]
