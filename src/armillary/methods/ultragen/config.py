"""Settings of data, space, expansion, sampling and training; needs no torch.

A default that the released code has is marked "released"; the others are ours.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from armillary.errors import UsageError
from armillary.runs.settings import at_least

Strategy = Literal["random", "high_correlation", "low_similarity", "hclr"]
Diversity = Literal["farthest", "released"]

SEPARATOR = "\n\n"
"""Between instruction and text for a model without a chat template: a paragraph's end, as in the texts it has read."""


def within(settings: object, names: tuple[str, ...], low: float, high: float = math.inf) -> None:
    """UsageError for the first of these fields that does not lie above ``low`` and at or below ``high``."""
    for name in names:
        value = getattr(settings, name)
        if not (low < value <= high) or value == math.inf:
            most = "" if high == math.inf else f" and at most {high:g}"
            raise UsageError(f"{name} must be above {low:g}{most}, got {value}.")


def listed(name: str, value: object, choices: tuple[str, ...]) -> None:
    """UsageError where the value is none of the choices."""
    if value not in choices:
        raise UsageError(f"{name} must be one of {', '.join(choices)}; got {value!r}.")


@dataclass(frozen=True, kw_only=True)
class SpaceConfig:
    """How the space is tuned in which attributes of one document lie close together (released, where not told)."""

    triplets: int = 100_000
    """Triplets in all, as many of each of the eight patterns of soft and hard."""

    validation: float = 0.2
    """Share of the triplets that decides which epoch is kept."""

    margin: float = 1.0
    """Of equation 2, in squared distance of unit vectors (which is between 0 and 4)."""

    epochs: int = 3
    batch_size: int = 16
    learning_rate: float | None = None
    """None takes the encoder's own: 2e-5 for a pretrained transformer (released), 1e-2 for hashed words."""

    weight_decay: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(self, triplets=2, epochs=0, batch_size=1)
        within(self, ("margin", *(("learning_rate",) if self.learning_rate is not None else ())), 0)
        within(self, ("validation",), 0, 0.5)


@dataclass(frozen=True, kw_only=True)
class ExpansionConfig:
    """How sets of attributes are drawn that never came from one document."""

    strategy: Strategy = "hclr"
    """hclr (released): high correlation with the seed, low similarity to what is chosen; each alone; or random."""

    diversity: Diversity = "farthest"
    """farthest: next comes the candidate whose largest cosine to the chosen is least (ours, the stated aim);
    released: whose smallest cosine is least, which lets in near-duplicates."""

    size: tuple[int, int] = (10, 50)
    """Attributes of a set, drawn uniformly between these (released)."""

    soft: tuple[int, int] = (1, 9)
    """Soft ones among them, drawn uniformly between these and below the size (released)."""

    candidates: int = 1024
    """Nearest neighbours of the seed among which a set is chosen (released)."""

    seed: int = 0

    def __post_init__(self) -> None:
        listed("strategy", self.strategy, get_args(Strategy))
        listed("diversity", self.diversity, get_args(Diversity))
        at_least(self, candidates=1)
        for name, least in (("size", 1), ("soft", 0)):
            low, high = getattr(self, name)
            if not least <= low <= high:
                raise UsageError(f"{name} must be (least, most) of {least} or more, got {getattr(self, name)}.")


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """How responses are drawn."""

    max_new_tokens: int = 512
    """Tokens of a response at most; 512 are about 380 English words."""

    temperature: float = 0.7
    """0.7 and 0.95 are those of the later benchmark's evaluation; for pairs 0.8 to 1 makes samples differ more."""

    top_p: float = 0.95
    batch_size: int = 16
    """Responses drawn together: changes speed and memory, not what is drawn."""

    def __post_init__(self) -> None:
        at_least(self, max_new_tokens=1, batch_size=1)
        within(self, ("temperature",), 0)
        within(self, ("top_p",), 0, 1)


@dataclass(frozen=True, kw_only=True)
class PairConfig:
    """Which two of K responses make a preference pair (the script that made them is not released: all ours)."""

    k: int = 4
    """Responses drawn for a set; 4 to 8 leave a best and a worst that differ."""

    margin: float = 0.1
    """Least difference of the two scores: with 45 attributes, five of them."""

    most_repeated: float = 0.2
    """Share of repeated 4-grams above which a response is degenerate and no candidate."""

    quality_slack: float = 0.05
    """How much lower the chosen response's quality may be than the rejected one's (quality between 0 and 1)."""

    length_gap: float = 0.5
    """Largest difference of lengths as a share of the longer, where no attribute asks for a length: else the pair
    would teach length."""

    def __post_init__(self) -> None:
        at_least(self, k=2)
        within(self, ("length_gap", "most_repeated"), 0, 1)
        if not 0 <= self.margin <= 1:
            raise UsageError(f"margin must be a share between 0 and 1, got {self.margin}.")


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """What both stages of training share."""

    learning_rate: float
    epochs: float
    batch_size: int = 1
    """Rows of one forward pass (released)."""

    accumulation: int = 8
    """Forward passes of one optimiser step (released)."""

    max_steps: int = -1
    """Optimiser steps in place of ``epochs``; -1 leaves it to them."""

    max_tokens: int = 1024
    """Tokens of prompt and completion; longer rows are left out, and counted (released)."""

    warmup_steps: int = 0
    weight_decay: float = 0.01
    clip: float = 1.0
    lora_rank: int | None = 16
    """Rank of an adapter on all linear layers, merged at the end; None trains every weight (released)."""

    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass: less memory, about a fifth slower."""

    save_steps: int = 50
    """Optimiser steps between checkpoints from which a killed training goes on."""

    seed: int = 0

    def __post_init__(self) -> None:
        at_least(self, batch_size=1, accumulation=1, max_tokens=8, warmup_steps=0, lora_rank=1, save_steps=1)
        within(self, ("learning_rate", "epochs", "clip"), 0)
        if self.max_steps != -1 and self.max_steps < 1:
            raise UsageError(f"max_steps must be 1 or more, or -1 for none, got {self.max_steps}.")


@dataclass(frozen=True, kw_only=True)
class ReconstructionConfig(StageConfig):
    """Stage 1, AR: supervised tuning on texts behind the attributes that they satisfy, equation 1."""

    learning_rate: float = 2e-4
    """For an adapter; the released full tuning of a model with 3 billion parameters took 6e-6."""

    epochs: float = 3
    """Released."""


@dataclass(frozen=True, kw_only=True)
class PreferenceConfig(StageConfig):
    """Stage 2, GPO: direct preference optimisation over combinations that no text had, equation 3."""

    learning_rate: float = 5e-5
    """For an adapter; the released full tuning took 3e-6."""

    epochs: float = 1
    beta: float = 0.1
    """Released."""

    sft_weight: float = 0.0
    """Weight of the chosen response's negative log-likelihood beside the preference loss: 0.1 to 1 where both
    responses lose likelihood, as they may with long texts."""

    def __post_init__(self) -> None:
        super().__post_init__()
        within(self, ("beta",), 0)
        if not 0 <= self.sft_weight < math.inf:
            raise UsageError(f"sft_weight must be 0 or more, got {self.sft_weight}.")
