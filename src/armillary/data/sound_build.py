"""From the archive of the labelled sounds to waves: which file is of which kind, decoded, one channel, one rate.

Shapes: T samples.
"""

import io
import math
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from armillary.data.npm_download import read_members
from armillary.data.sound_sources import ENDING, FOLDER, KINDS, RATE, SAMPLES
from armillary.data.sources import data_module
from armillary.errors import DownloadError


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
    soundfile = data_module("soundfile", "soundfile")
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
