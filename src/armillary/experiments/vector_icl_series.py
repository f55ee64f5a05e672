"""Time series as vectors (random convolutions, then principal components) and as text. [derived]

Legend: N series, T points, E encoder width.
"""

import numpy as np
from numpy.typing import NDArray

from armillary.data.series import Series
from armillary.data.sources import Source
from armillary.experiments.vector_icl_lab import Vectors, standardised

KERNELS, COMPONENTS, SPOKEN = 128, 64, 24
"""SPOKEN: whole numbers in the text of a series."""


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
    means = series[: len(series) // SPOKEN * SPOKEN].reshape(SPOKEN, -1).mean(1)
    return " ".join(str(int(value)) for value in np.clip(np.rint(50 + 10 * means), 0, 99))


def jittered(vectors: Vectors, copies: int, seed: int, noise: float = 0.02) -> Vectors:
    """The vectors and so many noisy copies, one set after the other."""
    generator = np.random.default_rng(seed)
    more = [vectors + generator.normal(scale=noise, size=vectors.shape) for _ in range(copies)]
    return np.concatenate([vectors, *more]).astype(np.float32)


def made_up_series() -> list[Series]:
    """Two sets of waves whose classes are frequencies, for where nothing is fetched."""
    generator = np.random.default_rng(0)
    source = Source(name="waves", package="armillary", version="0", licence="Apache-2.0", url="")
    found = []
    for number, length in enumerate((30, 48)):
        classes = tuple(f" {word}" for word in (("slow", "fast") if number == 0 else ("low", "high")) * 6)
        at = np.linspace(0, 1, length)
        rows = [
            np.sin(2 * np.pi * ((2 if index % 2 else 5) + number) * (at + generator.uniform()))
            for index in range(2 * len(classes))
        ]
        half = len(classes)
        found.append(
            Series(
                name=f"waves {number}",
                train=np.array(rows[:half]),
                train_classes=classes,
                test=np.array(rows[half:]),
                test_classes=classes,
                source=source,
            )
        )
    return found
