"""Intervals over texts that are resampled within their capabilities. Needs NumPy, no torch.

Legend: N texts of a capability, R replicates.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from armillary.errors import NumericError, UsageError
from armillary.numerics.intervals import Interval

Array = NDArray[np.float64]
Drawn = Mapping[str, Array]
"""For each capability how often each of its texts was drawn, ``[R, N]``."""


def resampled(
    statistic: Callable[[Drawn], Array],
    texts: Mapping[str, int],
    *,
    seed: int,
    replicates: int = 2000,
    level: float = 0.95,
) -> Interval:
    """Percentile bootstrap of a statistic of texts, drawn anew within each capability, so that their shares stay.

    ``texts`` are the numbers of texts; ``statistic`` gives one value a replicate, ``[R]``. Of one text a
    capability the estimate alone. NumericError where the statistic is NaN or infinite, UsageError for no texts.
    """
    if not texts or min(texts.values()) < 1 or replicates < 2:
        raise UsageError(f"a bootstrap needs texts and at least 2 replicates; got {dict(texts)} and {replicates}.")
    estimate = float(_finite(statistic({name: np.ones((1, n)) for name, n in texts.items()}))[0])
    total = sum(texts.values())
    if max(texts.values()) == 1:
        return Interval(estimate=estimate, n=total, level=level, how="one text a capability: no interval")
    generator = np.random.default_rng(seed)
    drawn = {
        name: generator.multinomial(n, np.full(n, 1 / n), size=replicates).astype(np.float64)
        for name, n in texts.items()
    }
    values_R = _finite(statistic(drawn))
    low, high = np.quantile(values_R, [(1 - level) / 2, (1 + level) / 2])
    how = f"percentile bootstrap over {total:,} texts"
    how += f" within {len(texts)} capabilities" if len(texts) > 1 else ""
    return Interval(estimate=estimate, low=float(low), high=float(high), n=total, level=level, how=how)


def _finite(values: Array) -> Array:
    if not np.isfinite(values).all():
        raise NumericError("a statistic of resampled texts is NaN or infinite: there are too few texts, or no change.")
    return values
