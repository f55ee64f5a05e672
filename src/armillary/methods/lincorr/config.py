"""Settings of a LinCorr measurement; importable without torch."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from armillary.errors import UsageError

Space = Literal["logits", "logp"]
Policy = Literal["single", "full", "first", "error"]


@dataclass(frozen=True, kw_only=True)
class LinCorrConfig:
    """What is drawn, fitted and resampled. Where the paper's choice differs from the default, the field says so."""

    n: int = 3000
    """Subjects: vocabulary items that fill the slot; half fit the map, half test it (the paper draws 10,000)."""

    seed: int = 0
    """Seed of every draw: subjects, halves, control tokens, permutations, resamples."""

    ridge: float | Literal["gcv"] = "gcv"
    """Penalty on the weights: "gcv" chooses it on the fitting half, 0 is ordinary least squares (the paper's)."""

    space: Space = "logits"
    """What is mapped: raw logits (the official code's), or log-probabilities over the whole vocabulary."""

    policy: Policy = "single"
    """Which words take part. "single": those that are one token; "full": those whose first token is their first word
    (the official rule); "first": every word by its first token; "error": all must be one token."""

    level: float = 0.95
    """Coverage of the intervals."""

    keep_space: bool = False
    """Keep the white space with which vocabulary items begin, in templates that start with the slot."""

    chat_template: bool = False
    """Put the prompt into the model's chat template as the beginning of its answer (the paper does not)."""

    control_tokens: int = 128
    """Random tokens that take the target words' place in the control domain; 0 leaves the control out."""

    permutations: int = 100
    """Fits with the target rows shuffled, for the null."""

    replicates: int = 1000
    """Bootstrap resamples of the test subjects."""

    batch_size: int = 256
    """Prompts in one forward pass."""

    chunk: int = 1024
    """Subjects whose logits are collected, and kept, together."""

    def __post_init__(self) -> None:
        # A call from Python may give anything, so types are checked as well.
        least = {"n": 8, "control_tokens": 0, "permutations": 1, "replicates": 2, "batch_size": 1, "chunk": 1}
        for name, value in ((name, getattr(self, name)) for name in least):
            if isinstance(value, bool) or not isinstance(value, int) or value < least[name]:
                raise UsageError(f"{name} must be a whole number of at least {least[name]}; got {value!r}.")
        for name, known in (("space", get_args(Space)), ("policy", get_args(Policy))):
            if getattr(self, name) not in known:
                raise UsageError(f"{name} must be one of {', '.join(known)}; got {getattr(self, name)!r}.")
        if not 0 < self.level < 1:
            raise UsageError(f"level must lie between 0 and 1, such as 0.95; got {self.level}.")
        ridge: object = self.ridge
        if ridge != "gcv" and not (isinstance(ridge, int | float) and 0 <= ridge < math.inf):
            raise UsageError(f"ridge must be 'gcv' or a finite number of at least 0; got {self.ridge!r}.")
