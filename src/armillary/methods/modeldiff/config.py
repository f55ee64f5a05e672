"""Settings of a comparison; importable without torch."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from armillary.errors import UsageError
from armillary.runs.settings import at_least

Weighting = Literal["count", "profile"]
Bounds = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Sequences:
    """All token sequences of one length after one beginning."""

    length: int = 16
    """Tokens of a sequence, prefix not counted."""

    prefix: str | None = None
    """Text in front of every sequence, not scored; by default the beginning-of-text token alone."""

    ban_eos: bool = False
    """Leave end tokens out: their probability is set to 0 and the others renormalised, in drawing and in scoring."""

    def __post_init__(self) -> None:
        if self.length < 1:
            raise UsageError(f"length must be 1 token or more, got {self.length}.")


@dataclass(frozen=True, kw_only=True)
class InputSpace(Sequences):
    """Those of the sequences that a model finds plausible: its NLL lies in a window."""

    window: Literal["pilot"] | Bounds | Mapping[str, Bounds] = "pilot"
    """Lowest and highest NLL (nats, summed over the sequence). "pilot": the ``quantiles`` of what each model writes,
    from one pilot of both models that both score; a pair: the same for both; {"a": pair, "b": pair}: one each."""

    quantiles: tuple[float, float] = (0.05, 0.5)
    """Ends of the window that a pilot chooses; the median keeps many samples near the edge, where the weights are."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.quantiles[0] < self.quantiles[1] <= 1:
            raise UsageError(f"quantiles must be two numbers, 0 <= low < high <= 1; got {self.quantiles}.")
        if self.window != "pilot":
            for low, high in self.bounds().values():
                if not (math.isfinite(low) and math.isfinite(high) and 0 <= low < high):
                    raise UsageError(f"window must be two numbers of nats, 0 <= low < high; got ({low}, {high}).")

    def bounds(self) -> dict[str, Bounds]:
        """The window of each model ("a", "b") where it is given; empty where a pilot chooses it."""
        if isinstance(self.window, str):
            if self.window != "pilot":
                raise UsageError(f'window must be "pilot", a pair of nats, or one pair each; got {self.window!r}.')
            return {}
        if isinstance(self.window, Mapping):
            if set(self.window) != {"a", "b"}:
                raise UsageError(f'window needs a pair for "a" and one for "b"; got {sorted(self.window)}.')
            return {side: (float(pair[0]), float(pair[1])) for side, pair in self.window.items()}
        low, high = (float(end) for end in self.window)
        return {"a": (low, high), "b": (low, high)}


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    """How much is drawn and how it is summed."""

    samples: int = 1024
    """Sequences drawn from each model."""

    proposal: Literal["own", "tempered"] = "own"
    """own draws token by token from each model. tempered draws whole sequences by parallel tempering, all
    that its ladders give and ``samples`` at least: worth its price where own draws hardly reach the window."""

    temperatures: tuple[float, ...] = (1.0,)
    """Temperatures of the draws, equally many sequences at each; 1 must be among them. By default 1 alone, and with
    the tempered proposal 1, 1.5, 2 and 3."""

    weighting: Weighting = "count"
    """count lets every sequence count once (the paper's); profile is flat over the NLL window, which needs fewer
    samples."""

    bin_width: float = 0.1
    """Width of a bin of the difference, nats per token."""

    pilot: int = 256
    """Sequences of each model in the pilot that chooses the windows; its chance is part of every interval."""

    block: int = 256
    """Sequences drawn, and kept on disk, together."""

    batch_size: int = 64
    """Sequences in one forward pass."""

    replicates: int = 1000
    """Bootstrap resamples."""

    level: float = 0.95
    """Coverage of the intervals."""

    seed: int = 0
    """Seed of every draw."""

    half_precision: bool = False
    """Compare models in bfloat16 or float16 too, whose rounding (about 0.05 nat a token) then enters the result."""

    def __post_init__(self) -> None:
        at_least(self, samples=2, pilot=20, block=1, batch_size=1, replicates=2)
        if not self.temperatures or any(not 0 < value < math.inf for value in self.temperatures):
            raise UsageError(f"temperatures must be positive numbers, got {self.temperatures}.")
        if 1.0 not in self.temperatures:
            raise UsageError(f"temperatures must contain 1, which anchors the counts; got {self.temperatures}.")
        if self.samples < len(self.temperatures):
            raise UsageError(f"{self.samples} samples can't be shared among {len(self.temperatures)} temperatures.")
        if self.weighting not in get_args(Weighting):
            raise UsageError(f"weighting must be one of {', '.join(get_args(Weighting))}; got {self.weighting!r}.")
        if not self.bin_width > 0:
            raise UsageError(f"bin_width must be above 0, got {self.bin_width}.")
        if not 0 < self.level < 1:
            raise UsageError(f"level must be between 0 and 1, got {self.level}.")
