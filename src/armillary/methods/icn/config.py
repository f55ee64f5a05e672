"""Settings of in-context navigation; importable without torch."""

from dataclasses import dataclass
from typing import Literal

from armillary.errors import UsageError
from armillary.runs.settings import at_least


@dataclass(frozen=True, kw_only=True)
class ExplorationConfig:
    """How answers are looked for, whatever their number. Defaults are those of the official code unless tagged."""

    per_round: int = 10
    """First tokens taken, each for an answer, before the list is put into the context again."""

    navigate: bool = True
    """False leaves the context as it was: the static ranking of the first prompt, the baseline at equal budget."""

    continue_from: Literal["base", "navigated"] = "base"
    """Which prompt an answer is continued from once its first token is chosen; "base" is the official way."""

    chat_template: bool = True
    """Ask through the model's chat template, where it has one (ours); off is the official plain prompt."""

    explored_by: Literal["string", "normalised"] = "string"
    """When a first token counts as explored: the same string (official), or the same up to case and spaces (ours)."""

    last: int | None = None
    """Only so many of the latest answers stand in the context; None lists all (official)."""

    batch_size: int = 8
    """Instructions navigated together (ours); changes speed and memory, not results."""

    def __post_init__(self) -> None:
        at_least(self, per_round=1, batch_size=1, last=1)


@dataclass(frozen=True, kw_only=True)
class NavigationConfig(ExplorationConfig):
    """How many answers are looked for, and how."""

    rounds: int = 10
    """Times the explored answers are put into the context and the next first tokens are ranked; rounds x per_round
    answers come out."""

    max_new_tokens: int = 64
    """Length of one answer, first token included."""

    pool: int | None = None
    """Only this many top ranks of each round are looked at (100 for chains of thought); None looks at all (ours)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, rounds=1, max_new_tokens=1, pool=1)
        if self.pool is not None and self.pool < self.per_round:
            raise UsageError(f"pool must hold at least per_round = {self.per_round} tokens, got {self.pool}.")

    @property
    def budget(self) -> int:
        """Answers that come out for one instruction."""
        return self.rounds * self.per_round


def check_room(config: NavigationConfig, positions: int, prompt_tokens: int, item_tokens: int) -> None:
    """UsageError, saying how many answers fit, where a full list could outgrow the model's positions.

    ``prompt_tokens`` is the length of the longest first prompt; an answer takes up to ``max_new_tokens`` and its
    marks ``item_tokens``.
    """
    listed = min(config.budget, config.last or config.budget) if config.navigate else 0
    each = config.max_new_tokens + item_tokens
    if prompt_tokens + listed * each + config.max_new_tokens > positions:
        fits = max(0, (positions - prompt_tokens - config.max_new_tokens) // each)
        raise UsageError(
            f"{config.budget} answers of up to {config.max_new_tokens} tokens don't fit into this model's {positions} "
            f"positions beside a prompt of {prompt_tokens}: {fits} fit; ask for fewer or shorter answers, or let "
            "only the last of them stand in the context."
        )
