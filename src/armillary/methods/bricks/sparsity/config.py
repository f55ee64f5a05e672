"""How thresholds are set; importable without torch."""

from dataclasses import dataclass
from typing import Literal

from armillary.errors import UsageError

Allocation = Literal["greedy", "uniform"]
"""Within a block, which inputs are left out: those that cost its output least, or of every matrix the same share."""


@dataclass(frozen=True, kw_only=True)
class CalibrationConfig:
    """How calibration texts are read. Defaults are ours."""

    max_tokens: int = 128
    """Texts are cut after so many tokens."""

    tokens_per_batch: int = 1024
    """Tokens read together; changes speed and memory, not results."""

    skip: int = 1
    """Tokens left out at the beginning of each text: the first position is an attention sink, whose huge values are
    few and would outweigh all else in the error of a block."""

    sample_tokens: int = 128
    """Tokens on which the error of a block is measured: the greedy search runs every block on them some eighty times.
    On SmolLM2-135M twice as many, or errors over each token's size, gave the same loss."""

    step: float = 0.05
    """By how much a step of the greedy search raises the share left out of one input: TEAL's step is one of bytes, a
    tenth of a block or less."""

    most: float = 0.95
    """The greatest share that is left out of one input: with all of it gone a matrix gives nothing."""

    def __post_init__(self) -> None:
        for name in ("max_tokens", "tokens_per_batch", "sample_tokens"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be 1 or more, got {getattr(self, name)}.")
        if not 0 <= self.skip < self.max_tokens:
            raise UsageError(f"skip must be 0 or more and less than max_tokens = {self.max_tokens}, got {self.skip}.")
        if not 0 < self.step <= 1 or not 0 < self.most <= 1:
            raise UsageError(f"step and most must lie above 0 and be at most 1; got {self.step} and {self.most}.")
