"""Three small sets of time series from the UCR archive, as the package sktime bundles them.

The package is neither installed nor imported: the files are read out of its wheel.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from armillary.data.sources import Source
from armillary.errors import StorageError, UsageError
from armillary.models import pip_download
from armillary.models.wheel_files import Wheel, keep_data

# Shapes: N training series, M test series, T points.

WHEEL = Wheel(
    package="sktime",
    version="1.2.0",
    sha256="dbffc6731d2d683b668dceb5e2bbc5804bebc8446b4c580803a281684d90e4ae",
    megabytes=9,
)

SERIES = ("GunPoint", "ItalyPowerDemand", "ArrowHead")
"""Names of the sets: a hand that draws a gun or points (150 points, 2 classes), a day's demand for electricity in
winter or summer (24 points, 2 classes), outlines of projectile points of 3 kinds (251 points)."""

_PARTS = ("TRAIN", "TEST")
_LICENCE = f"{WHEEL.package}-{WHEEL.version}.dist-info/licenses/LICENSE"
_NEEDED = 40_000_000  # the wheel twice (pip moves it), the six files


@dataclass(frozen=True, eq=False)
class Series:
    """One set of series of equal length, in the archive's own training and test part."""

    name: str
    train: Float64[np.ndarray, "n t"]
    train_classes: tuple[str, ...]
    """One a series, as the archive names them: "1", "2"."""

    test: Float64[np.ndarray, "m t"]
    test_classes: tuple[str, ...]
    source: Source


def fetch_series() -> Path:
    """The folder with the ``.ts`` files of all sets, fetched through pip at first use.

    Raises DownloadError (no network, wrong checksum) or StorageError (no space), and then leaves nothing behind.
    """
    return keep_data("series", WHEEL, _take, needed=_NEEDED)


def load_series(name: str) -> Series:
    """A set by its name, one of ``SERIES``; fetched at first use.

    Raises UsageError (another name), DownloadError or StorageError.
    """
    if name not in SERIES:
        raise UsageError(f"no set of series is named {name!r}; the names are {', '.join(SERIES)}.")
    folder = fetch_series()
    parts = []
    for part in _PARTS:
        path = folder / _file_name(name, part)
        try:
            parts.append(parse_series(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise StorageError(f"{path} can't be read ({error}); delete {folder} and fetch it again.") from error
    (train, train_classes), (test, test_classes) = parts
    return Series(name, train, train_classes, test, test_classes, _source(name))


def parse_series(text: str) -> tuple[Float64[np.ndarray, "n t"], tuple[str, ...]]:
    """The series and their classes in a ``.ts`` file of one channel: behind ``@data`` a series a line, then a colon.

    Raises ValueError where there is none, or where they differ in length, have several channels or a missing value.
    """
    lines = [line.strip() for line in text.splitlines()]
    start = [line.lower() for line in lines].index("@data") + 1
    rows, classes = [], []
    for line in filter(None, lines[start:]):
        values, label = line.split(":")
        rows.append([float(value) for value in values.split(",")])
        classes.append(label.strip())
    if not rows or len({len(row) for row in rows}) != 1:
        raise ValueError("its series differ in length, or there are none")
    series = np.array(rows)
    if not np.isfinite(series).all():
        raise ValueError("its series have missing values")
    return series, tuple(classes)


def _file_name(name: str, part: str) -> str:
    return f"{name}_{part}.ts"


def _take(result: Path, scratch: Path) -> None:
    for name in SERIES:
        for part in _PARTS:
            file = _file_name(name, part)
            pip_download.take(scratch, [f"sktime/datasets/data/{name}/{file}"], result / file)
    pip_download.take(scratch, [_LICENCE], result / "LICENSE")


def _source(name: str) -> Source:
    return Source(
        name=f"UCR time series archive: {name}",
        package=WHEEL.package,
        version=WHEEL.version,
        licence="BSD-3-Clause (package); data of the UCR/UEA archive",
        url=f"https://www.timeseriesclassification.com/description.php?Dataset={name}",
    )
