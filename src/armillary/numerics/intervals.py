"""An estimate with its uncertainty, and the resampling that gives it. Needs NumPy and SciPy, no torch."""

from dataclasses import asdict, dataclass
from typing import Any, Self


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A number that is shown to a user: an estimate, its interval, and what it comes from."""

    estimate: float
    """The point estimate, in ``unit``."""

    low: float | None = None
    """Lower end of the interval; None when only a count of runs is known."""

    high: float | None = None
    """Upper end of the interval."""

    n: int = 1
    """Number of independent things behind the estimate (prompts, words, seeds); ``how`` says which."""

    level: float = 0.95
    """Coverage the interval aims at."""

    how: str = ""
    """Where the interval comes from, for a reader: "paired bootstrap over 1,000 prompts"."""

    def excludes(self, value: float) -> bool:
        """True when the interval is known and ``value`` lies outside it."""
        return self.low is not None and self.high is not None and not self.low <= value <= self.high

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Inverse of ``to_dict``."""
        return cls(**data)
