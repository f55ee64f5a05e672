"""Three small sets of time series from the UCR archive, as the package sktime bundles them.

The package is neither installed nor imported: the files are read out of its wheel.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

from armillary.data.sources import DataSource
from armillary.errors import StorageError, UsageError
from armillary.fetch import pip
from armillary.fetch.pip import Wheel, keep_data
from armillary.methods.vector_icl.baselines import Vectors, standardised

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
class TimeSeries:
    """One set of series of equal length, in the archive's own training and test part."""

    name: str
    train: Float64[np.ndarray, "n t"]
    train_classes: tuple[str, ...]
    """One a series, as the archive names them: "1", "2"."""

    test: Float64[np.ndarray, "m t"]
    test_classes: tuple[str, ...]
    source: DataSource


def fetch_series() -> Path:
    """The folder with the ``.ts`` files of all sets, fetched through pip at first use.

    Raises DownloadError (no network, wrong checksum) or StorageError (no space), and then leaves nothing behind.
    """
    return keep_data("series", WHEEL, _take, needed=_NEEDED)


def load_series(name: str) -> TimeSeries:
    """A set by its name, one of ``SERIES``; fetched at first use.

    Raises UsageError (another name), DownloadError or StorageError.
    """
    if name not in SERIES:
        raise UsageError(f"no set of series is named {name!r}; the names are {', '.join(SERIES)}.")
    folder = fetch_series()
    parts = []
    for part in _PARTS:
        path = folder / f"{name}_{part}.ts"
        try:
            parts.append(parse_series(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise StorageError(f"{path} can't be read ({error}); delete {folder} and fetch it again.") from error
    (train, train_classes), (test, test_classes) = parts
    source = DataSource(
        name=f"UCR time series archive: {name}",
        package=WHEEL.package,
        version=WHEEL.version,
        licence="BSD-3-Clause (package); data of the UCR/UEA archive",
        url=f"https://www.timeseriesclassification.com/description.php?Dataset={name}",
    )
    return TimeSeries(name, train, train_classes, test, test_classes, source)


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


def _take(result: Path, scratch: Path) -> None:
    for name in SERIES:
        for part in _PARTS:
            file = f"{name}_{part}.ts"
            pip.take(scratch, [f"sktime/datasets/data/{name}/{file}"], result / file)
    pip.take(scratch, [_LICENCE], result / "LICENSE")


# Time series as vectors (random convolutions, then principal components) and as text. (ours)
#
# Legend: N series, T points, E encoder width.

KERNELS, COMPONENTS, AS_TEXT = 128, 64, 24
"""Random kernels (more tell finer shapes apart and cost time), most numbers of a vector, and of a series as text."""


def encoded_series(train: NDArray[np.float64], test: NDArray[np.float64], *, seed: int) -> tuple[Vectors, Vectors]:
    """Standardised principal components of random convolutions, fitted on the training series alone."""
    from sklearn.decomposition import PCA

    wide_train, wide_test = random_convolutions(train, seed), random_convolutions(test, seed)
    first, second = standardised(wide_train, wide_test)
    components = PCA(min(COMPONENTS, len(train) - 1), random_state=seed).fit(first)
    kept = standardised(components.transform(first), components.transform(second))
    return kept[0], kept[1]


def random_convolutions(series: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Of random dilated kernels (as ROCKET's) the share of positive outputs and the largest, ``[n, 2 * KERNELS]``."""
    generator = np.random.default_rng(seed)
    columns = []
    for _ in range(KERNELS):
        length = int(generator.choice((7, 9, 11)))
        weights = generator.normal(size=length)
        weights -= weights.mean()
        bias = generator.uniform(-1, 1)
        dilation = int(2 ** generator.uniform(0, np.log2((series.shape[1] - 1) / (length - 1))))
        width = (length - 1) * dilation
        windows = np.lib.stride_tricks.sliding_window_view(series, width + 1, axis=1)[:, :, ::dilation]
        out = windows @ weights + bias
        columns += [(out > 0).mean(1), out.max(1)]
    return np.stack(columns, axis=1)


def series_text(series: NDArray[np.float64]) -> str:
    """A standardised series as whole numbers around 50, ten a deviation, means of equal stretches."""
    means = series[: len(series) // AS_TEXT * AS_TEXT].reshape(AS_TEXT, -1).mean(1)
    return " ".join(str(int(value)) for value in np.clip(np.rint(50 + 10 * means), 0, 99))


def jittered(vectors: Vectors, copies: int, seed: int, noise: float = 0.02) -> Vectors:
    """The vectors and so many noisy copies, one set after the other."""
    generator = np.random.default_rng(seed)
    more = [vectors + generator.normal(scale=noise, size=vectors.shape) for _ in range(copies)]
    return np.concatenate([vectors, *more]).astype(np.float32)


def synthetic_series() -> list[TimeSeries]:
    """Two sets of waves whose classes are frequencies, for where nothing is fetched."""
    generator = np.random.default_rng(0)
    source = DataSource(name="waves", package="armillary", version="0", licence="Apache-2.0", url="")
    sets = []
    for number, (length, names) in enumerate(((30, (" slow", " fast")), (48, (" low", " high")))):
        at, classes = np.linspace(0, 1, length), names * 6
        rows = [
            np.sin(2 * np.pi * ((2 if index % 2 else 5) + number) * (at + generator.uniform()))
            for index in range(2 * len(classes))
        ]
        train, test = np.array(rows[: len(classes)]), np.array(rows[len(classes) :])
        sets.append(TimeSeries(f"waves {number}", train, classes, test, classes, source))
    return sets
