"""What navigation finds, as plain data."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

Judge = Callable[[str], int | None]
"""Which correct answer a text means (a number), or None where it means none."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One answer."""

    text: str
    token: int
    """Id of its first token."""

    tokens: tuple[int, ...]
    """All its tokens, the one that ended it included."""

    token_text: str
    rank: int
    """Rank of the first token in the ranking it was chosen from, from 1."""

    round: int
    """From 0."""

    logit: float
    logprob: float
    """Log-probability of the first token under the prompt of its round, nats."""

    complete: bool
    """False where the answer was cut off before its stop text."""

    duplicate_of: int | None
    """Place of the first finding with the same text (up to case and spaces); None for the first."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """Findings against the correct answers."""

    answers: int
    correct: int
    distinct_correct: int
    """Different correct answers found; what precision hides where answers repeat."""

    @property
    def precision(self) -> float:
        """Correct answers, repeated ones included, over answers; 0 for none."""
        return self.correct / self.answers if self.answers else 0.0


@dataclass(frozen=True, kw_only=True)
class Exploration:
    """All findings of one instruction, in the order found."""

    instruction: str
    findings: tuple[Finding, ...]
    invalid: int
    """Top-ranked tokens passed over because they can't begin an answer."""

    read_tokens: int
    """Prompt tokens that the model read for the batch this instruction was in."""

    @property
    def texts(self) -> list[str]:
        """The answers in order."""
        return [finding.text for finding in self.findings]

    @property
    def distinct(self) -> list[str]:
        """The answers without repetitions."""
        return [finding.text for finding in self.findings if finding.duplicate_of is None]

    def score(self, judge: Judge) -> Score:
        """How many answers the judge accepts."""
        return score(self.texts, judge)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return asdict(self)


def score(texts: Sequence[str], judge: Judge) -> Score:
    """Texts against a judge."""
    meant = [judge(text) for text in texts]
    correct = [answer for answer in meant if answer is not None]
    return Score(answers=len(meant), correct=len(correct), distinct_correct=len(set(correct)))


def first_places(texts: Sequence[str]) -> list[int | None]:
    """For each text the place of the first equal one (up to case and spaces), None for the first itself."""
    places: dict[str, int] = {}
    out: list[int | None] = []
    for index, text in enumerate(texts):
        key = " ".join(text.casefold().split())
        out.append(places.get(key))
        places.setdefault(key, index)
    return out
