"""What navigation finds, as plain data."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

Judge = Callable[[str], int | None]
"""Which correct answer a text means (a number), or None where it means none."""


@dataclass(frozen=True, kw_only=True)
class Answer:
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
    """Index of the first answer with the same text (up to case and spaces); None for the first."""


@dataclass(frozen=True, kw_only=True)
class ListScore:
    """Answers against the correct ones."""

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
    """All answers to one instruction, in the order found."""

    instruction: str
    answers: tuple[Answer, ...]
    invalid: int
    """Top-ranked tokens passed over because they can't begin an answer."""

    read_tokens: int
    """Prompt tokens that the model read for the batch this instruction was in."""

    @property
    def texts(self) -> list[str]:
        """The answers in order."""
        return [answer.text for answer in self.answers]

    @property
    def distinct(self) -> list[str]:
        """The answers without repetitions."""
        return [answer.text for answer in self.answers if answer.duplicate_of is None]

    def score(self, judge: Judge) -> ListScore:
        """How many answers the judge accepts."""
        return score(self.texts, judge)


def score(texts: Sequence[str], judge: Judge) -> ListScore:
    """Texts against a judge."""
    correct = [answer for answer in map(judge, texts) if answer is not None]
    return ListScore(answers=len(texts), correct=len(correct), distinct_correct=len(set(correct)))


def first_occurrences(texts: Sequence[str]) -> list[int | None]:
    """For each text the index of the first equal one (up to case and spaces), None for the first itself."""
    first: dict[str, int] = {}
    occurrences: list[int | None] = []
    for index, text in enumerate(texts):
        key = " ".join(text.casefold().split())
        occurrences.append(first.get(key))
        first.setdefault(key, index)
    return occurrences


@dataclass(frozen=True, kw_only=True)
class Diversity:
    """How different texts are from one another, by whole words, case folded; 0 for sets without words or pairs."""

    distinct_1: float
    """Different words over words (Li and others, 2016)."""

    distinct_2: float
    """Different pairs of neighbouring words over such pairs."""

    overlap: float
    """Mean over pairs of texts of the Jaccard overlap of their word pairs: lower is more diverse (ours)."""

    valid: float
    """Share of texts that are a sentence by ``is_sentence``."""


def diversity(texts: Sequence[str]) -> Diversity:
    """The measures of these texts."""
    words = [_words(text) for text in texts]
    ones = [word for text in words for word in text]
    twos = [list(pairwise(text)) for text in words]
    all_twos = [pair for text in twos for pair in text]
    overlaps = [_share(len(set(a) & set(b)), len(set(a) | set(b))) for a, b in combinations(twos, 2)]
    return Diversity(
        distinct_1=_share(len(set(ones)), len(ones)),
        distinct_2=_share(len(set(all_twos)), len(all_twos)),
        overlap=_share(sum(overlaps), len(overlaps)),
        valid=_share(sum(map(is_sentence, texts)), len(texts)),
    )


def is_sentence(text: str) -> bool:
    """Four words or more, most of the characters letters, ended by a mark (our rule: form, not meaning)."""
    letters = sum(letter.isalpha() or letter.isspace() for letter in text)
    return len(_words(text)) >= 4 and letters >= 0.8 * len(text) and text.rstrip()[-1:] in {".", "!", "?"}


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
