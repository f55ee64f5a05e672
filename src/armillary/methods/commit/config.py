"""Settings of CoMMIT; importable without torch. What the paper's sources do not give is our choice and says so."""

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from armillary.errors import UsageError

Mode = Literal["lift", "balance", "integral"]
Divergence = Literal["exact", "second_order"]


@dataclass(frozen=True, kw_only=True)
class CoMMITConfig:
    """How often the balance of two components is measured, and what is done about it.

    That rates follow a moving average of the balance, refreshed every few steps, is the paper's; all numbers and the
    map from balance to rates are ours, since no source gives them.
    """

    mode: Mode = "lift"
    """``lift`` speeds up the lagging component only; ``balance`` slows the other by the same factor; ``integral``
    goes on until both move alike."""

    gamma: float = 0.25
    """Gain. In ``balance`` and ``lift`` 1/4 equalises a constant imbalance at once; 0 measures only."""

    ema: float = 0.9
    """Weight of the past in the moving average of log kappa; 0 keeps the last value alone."""

    interval: int = 10
    """Optimiser steps from one probe to the next; a probe costs a forward pass for each component and one more, less
    what frozen parts needn't do again."""

    first_probe: int = 5
    """No probe before this step: LoRA's first step moves one of its two matrices only."""

    clip: float = 10.0
    """Multipliers stay between 1/clip and clip: of rates a hundred apart, 10 takes back a tenth at most."""

    divergence: Divergence = "exact"
    """KL itself, or its second order, half the variance of the change of logits."""

    least_change: float = 1e-14
    """Nats per token; a probe in which a component moved the output by no more is skipped."""

    max_tokens: int = 256
    """Answer tokens used in one probe, evenly spaced over the batch."""

    floor_every: int = 10
    """Probes from one reading of the floor, what rounding alone reads as, to the next: it goes with the size of the
    logits, which grows slowly. It is read anew at each probe whose changes come within a hundred times of it, and in
    half precision at all, since changes are less it there."""

    aux_weight: float = 0.0
    """Weight of our regulariser; 0 is CoMMIT-CLR, the scheduler alone. It stands where the paper has one of its own,
    on the gradient, and rewards movement of the output; with a cap of 0.05 a weight of 0.01 is too little to act."""

    aux_cap: float = 0.05
    """Nats per token of movement beyond which the regulariser pushes no more: it rewards any movement."""

    aux_gate: bool = False
    """Keep the regulariser of a component only where its gradient does not oppose the task's."""

    warn_after: int = 5
    """Unusable probes in a row (NaN, infinite), or in all (no more than rounding), after which a warning is given."""

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise UsageError(f"mode must be one of {', '.join(get_args(Mode))}; got {self.mode!r}.")
        if self.divergence not in get_args(Divergence):
            raise UsageError(f"divergence must be one of {', '.join(get_args(Divergence))}; got {self.divergence!r}.")
        if not 0 <= self.ema < 1:
            raise UsageError(f"ema must be 0 or more and less than 1, got {self.ema}.")
        for name in ("interval", "max_tokens", "floor_every", "warn_after"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be 1 or more, got {getattr(self, name)}.")
        for name in ("first_probe", "least_change", "aux_weight"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise UsageError(f"{name} must be 0 or more, got {getattr(self, name)}.")
        if not self.clip >= 1:
            raise UsageError(f"clip must be 1 or more, got {self.clip}.")
        if not self.aux_cap > 0:
            raise UsageError(f"aux_cap must be more than 0, got {self.aux_cap}.")
        self._refuse_unstable()

    def _refuse_unstable(self) -> None:
        """A multiplier acts twice on log kappa, so the loop gain is 4 gamma; see ``core.multipliers``."""
        if not self.gamma >= 0:
            raise UsageError(f"gamma must be 0 or more, got {self.gamma}.")
        if self.mode == "integral" and not self.gamma < 0.5:
            raise UsageError(f"mode integral is stable only for gamma < 0.5, got {self.gamma}.")
        if self.mode != "integral" and not (1 - self.ema) * (1 + 4 * self.gamma) < 2:
            largest = (2 / (1 - self.ema) - 1) / 4
            raise UsageError(
                f"mode {self.mode} is stable only for (1 - ema) * (1 + 4 * gamma) < 2, that is gamma < {largest:.4g} "
                f"at ema = {self.ema}; got gamma = {self.gamma}."
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain data, from which ``CoMMITConfig(**data)`` makes the same settings."""
        return asdict(self)
