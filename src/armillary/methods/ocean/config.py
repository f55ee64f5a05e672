"""Settings of OCEAN's alignment and of the knowledge graph's policy; needs no torch.

No source gives the paper's hyper-parameters: every number here is ours.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from armillary.errors import UsageError

Objective = Literal["kg_ips_stable", "kg_ips"]
Baseline = Literal["expected", "none"]
EntityRatio = Literal["token", "span"]
Logging = Literal["base", "lambda", "unknown"]
"""Which policy wrote the logged chains: the base policy, equation 3's lambda, or nobody knows."""


def listed(name: str, value: object, choices: tuple[str, ...]) -> None:
    """UsageError where the value is none of the choices."""
    if value not in choices:
        raise UsageError(f"{name} must be one of {', '.join(choices)}; got {value!r}.")


@dataclass(kw_only=True)
class OceanSettings:
    """What is ascended on logged chains."""

    objective: Objective = "kg_ips_stable"
    """``kg_ips`` is the paper's, equation 4; the stable one has a baseline, clipped weights and a bound on how far the
    model moves, without which few logs push probability to what was never logged."""

    weight_clip: float = 10.0
    """Largest ratio of the model to what wrote the chain; beyond it a token pushes no more (stable objective)."""

    ratio_clip: float = 10.0
    """Bounds the base policy over the graph's, from both sides (stable objective)."""

    beta_kl: float = 1.0
    """Weight of the divergence from the base policy, nats a token (stable objective); 0 leaves it out. In a small
    world 0.1 cost a quarter of the variety of texts, and 1 nothing."""

    baseline: Baseline = "expected"
    """``expected``: the mean reward of what the base policy says at each state, exact over the vocabulary."""

    precompute_ref_log_probs: bool = True
    """Read base and graph policy once before training, and keep their log-probabilities with the run: a step then
    costs what a step of supervised tuning does. Without it both are read at each step."""

    entity_ratio: EntityRatio = "token"
    """``span`` compares probabilities of whole entities, for a graph policy with another tokenizer."""

    propensity_floor: float | None = None
    """Least probability of a logged token under the base and the graph's policy; None refuses tokens of none."""

    logged_by: Logging = "base"
    """Who wrote the chains of rows without a column ``logging``. Chains of the base policy (or of nobody knows whom)
    are shaped by the graph; those of lambda have the graph in their words already, and are weighed by lambda."""

    separator: str = "\n"
    """Between the prompt and the steps, and between steps."""

    max_length: int | None = 1024
    """Tokens of a row; longer rows are left out, and counted. None keeps all."""

    def check(self) -> None:
        """UsageError for a value that is not accepted."""
        listed("objective", self.objective, get_args(Objective))
        listed("baseline", self.baseline, get_args(Baseline))
        listed("entity_ratio", self.entity_ratio, get_args(EntityRatio))
        listed("logged_by", self.logged_by, get_args(Logging))
        for name in ("weight_clip", "ratio_clip"):
            if not 1 < getattr(self, name) < math.inf:
                raise UsageError(f"{name} must be above 1 and finite, got {getattr(self, name)}.")
        if not 0 <= self.beta_kl < math.inf:
            raise UsageError(f"beta_kl must be 0 or more, got {self.beta_kl}.")
        if self.propensity_floor is not None and not 0 < self.propensity_floor < 1:
            raise UsageError(f"propensity_floor must lie between 0 and 1, or be None, got {self.propensity_floor}.")
        if self.max_length is not None and self.max_length < 2:
            raise UsageError(f"max_length must be 2 or more, or None, got {self.max_length}.")
