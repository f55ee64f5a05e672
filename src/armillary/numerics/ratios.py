"""A share or mean over samples of any number, from six sums: what a stream of samples leaves in memory.

The samples are what is independent: of each come two numbers, x (of these, so many are late) and y (of so many in
all), and the ratio is sum x / sum y. Its variance is the linearised one of a ratio of two means over a simple random
sample (Cochran 1977, Sampling Techniques, section 6.4).
"""

import math
from dataclasses import dataclass

from armillary.numerics.intervals import Interval, binomial


@dataclass(kw_only=True)
class RatioSums:
    """Sums over samples; those of two streams add up."""

    n: int = 0
    x: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    xy: float = 0.0
    yy: float = 0.0

    def add(self, x: float, y: float = 1.0) -> None:
        """Count one sample."""
        self.n += 1
        self.x += x
        self.y += y
        self.xx += x * x
        self.xy += x * y
        self.yy += y * y

    def merge(self, other: "RatioSums") -> None:
        """Add the samples of another stream."""
        self.n += other.n
        self.x += other.x
        self.y += other.y
        self.xx += other.xx
        self.xy += other.xy
        self.yy += other.yy

    def interval(
        self, *, within: tuple[float, float] = (0.0, 1.0), level: float = 0.95, what: str = "samples"
    ) -> Interval | None:
        """x over y with its interval by Student's t; None where y is 0.

        ``within``: the range of the ratio, to which the interval keeps. Where all samples have one ratio the spread is
        nothing and says nothing: the exact binomial interval of n samples that are all alike takes its place where the
        ratio is an end of (0, 1), else there is no interval. ``what`` names the samples.
        """
        if not self.y:
            return None
        ratio = self.x / self.y
        squares = self.xx - 2 * ratio * self.xy + ratio * ratio * self.yy
        least, most = within
        # Sums of rounded numbers: what is left of equal ratios is some 1e-16 of the terms.
        alike = squares <= 1e-12 * (self.xx + ratio * ratio * self.yy)
        if alike and within == (0.0, 1.0) and ratio in within:
            exact = binomial(self.n if ratio else 0, self.n, level=level)
            return Interval(estimate=ratio, low=exact.low, high=exact.high, n=self.n, level=level,
                            how=f"exact binomial over {self.n:,} {what}, all alike")  # fmt: skip
        if alike or self.n < 2:
            return Interval(estimate=ratio, n=self.n, level=level, how=f"{self.n:,} {what}, all alike: no interval")
        from scipy.stats import t

        error = math.sqrt(squares / (self.n - 1) * self.n) / self.y
        half = float(t.ppf((1 + level) / 2, self.n - 1)) * error
        low, high = max(ratio - half, least), min(ratio + half, most)
        return Interval(
            estimate=ratio, low=low, high=high, n=self.n, level=level, how=f"t interval over {self.n:,} {what}"
        )
