"""One region's BOLD signal while moving dots were shown now and then, as the package nitime bundles it.

The package is neither installed nor imported: the file is read out of its wheel.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64

from armillary.data.sources import Source
from armillary.errors import StorageError
from armillary.models import pip_download
from armillary.models.wheel_files import Wheel, keep_data, require_digest

# Shapes: T volumes.

WHEEL = Wheel(package="nitime", version="0.12.1", sha256=None, megabytes=4)
DIGEST = "f0517820de8a8c8e94373f4c4186ea347e0fcbc7000f94a332534ed646dbe07b"
EVENT_FMRI_SOURCE = Source(
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
    pip_download.take(scratch, [_MEMBER], result / _FILE)
    require_digest(result / _FILE, DIGEST, f"{_FILE} of {WHEEL.pinned}")
