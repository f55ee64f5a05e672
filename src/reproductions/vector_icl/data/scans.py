"""One region's BOLD signal while moving dots were shown now and then, as the package nitime bundles it.

The package is neither installed nor imported: the file is read out of its wheel.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64, Int64

from armillary.data.sources import DataSource
from armillary.errors import StorageError
from armillary.fetch import cache, pip
from armillary.fetch.pip import Wheel, keep_data

WHEEL = Wheel(package="nitime", version="0.12.1", sha256=None, megabytes=4)
DIGEST = "f0517820de8a8c8e94373f4c4186ea347e0fcbc7000f94a332534ed646dbe07b"
EVENT_FMRI_SOURCE = DataSource(
    name="event-related fMRI of one region",
    package=WHEEL.package,
    version=WHEEL.version,
    licence="BSD-3-Clause",
    url="https://nipy.org/nitime/",
)

_MEMBER, _FILE = "nitime/data/event_related_fmri.csv", "event_related_fmri.csv"
_NEEDED = 20_000_000  # the wheel twice (pip moves it), the file


@dataclass(frozen=True, eq=False)
class EventFMRI:
    """A scan."""

    bold: Float64[np.ndarray, " t"]
    """Signal of each volume, change in percent."""

    events: Int64[np.ndarray, " t"]
    """Which kind of event began with the volume, 1 to 6; 0 where none did."""


def load_event_fmri() -> EventFMRI:
    """The scan, fetched through pip at first use.

    Raises DownloadError (no network, wrong checksum) or StorageError.
    """
    path = keep_data("event-fmri", WHEEL, _take, needed=_NEEDED) / _FILE
    try:
        bold, events = np.loadtxt(path, delimiter=",", skiprows=1, ndmin=2, unpack=True)
    except (OSError, ValueError) as error:
        raise StorageError(f"{path} can't be read ({error}); delete {path.parent} and fetch it again.") from error
    return EventFMRI(bold, events.astype(np.int64))


def _take(result: Path, scratch: Path) -> None:
    pip.take(scratch, [_MEMBER], result / _FILE)
    cache.require_digest(result / _FILE, DIGEST, f"{_FILE} of {WHEEL.pinned}")


# Windows of a brain scan in which something was shown, or nothing was. (ours)
#
# Legend: N windows, T volumes of the scan, W volumes of a window.

VOLUMES, TRAINED = 8, 0.7
"""Volumes of a window (longer ones hold more of a response and are fewer), and the training's share of the scan."""

_BEFORE, _AFTER = 2, 4
"""Volumes around a window's first in which a window of rest has no event."""


@dataclass(frozen=True, eq=False)
class Windows:
    """Some windows of one scan."""

    volumes: Float64[np.ndarray, "n w"]
    shown: Bool[np.ndarray, " n"]


def windows(scan: EventFMRI, queries: int, seed: int) -> tuple[Windows, Windows]:
    """Training windows of the scan's first part and at most ``queries`` test windows of the rest, none in both.

    As many with an event as without; the seed draws which.
    """
    border = int(TRAINED * len(scan.bold))
    train = _balanced(scan, 0, border, None, seed)
    return train, _balanced(scan, border, len(scan.bold), queries // 2, seed + 1)


def _balanced(scan: EventFMRI, begin: int, end: int, each: int | None, seed: int) -> Windows:
    starts = np.arange(begin, end - VOLUMES + 1)
    shown = scan.events[starts] > 0
    busy = np.array([scan.events[max(0, at - _BEFORE) : at + _AFTER].any() for at in starts])
    generator = np.random.default_rng(seed)
    kinds = [generator.permutation(starts[shown]), generator.permutation(starts[~busy])]
    count = min(*map(len, kinds), *(() if each is None else (each,)))
    chosen = np.stack([kind[:count] for kind in kinds], axis=1).reshape(-1)
    return Windows(scan.bold[chosen[:, None] + np.arange(VOLUMES)], scan.events[chosen] > 0)


def synthetic_scan() -> EventFMRI:
    """400 volumes whose signal rises behind each event, for where nothing is fetched."""
    generator = np.random.default_rng(0)
    events = np.zeros(400, dtype=np.int64)
    events[np.arange(5, 395, 13)] = generator.integers(1, 7, size=30)
    response = np.array([0.0, 0.3, 0.9, 1.2, 0.8, 0.3, 0.0, -0.2])
    bold = np.convolve(events > 0, response)[:400] + generator.normal(scale=0.1, size=400)
    return EventFMRI(bold, events)
