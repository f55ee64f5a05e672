"""Facts to edit: what is asked, what is answered now and what shall be answered. Needs no torch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from armillary.errors import UsageError

CAPITAL = "The capital of {} is"
CAPITAL_PARAPHRASES = (
    "The capital city of {} is called",
    "The name of the capital of {} is",
    "The government of {} sits in its capital,",
)
"""Ours; the slot stands inside a sentence, so that a subject is never the first token."""

NEIGHBOURS = 10
"""Other countries that a fact is judged on: more tell smaller shares, and each is read with two answers."""


@dataclass(frozen=True, kw_only=True)
class Neighbour:
    """Another subject of the same question, whose answer an edit must not change."""

    subject: str
    answer: str


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One fact and its wanted new answer; a wrong one raises UsageError in one sentence.

    An answer follows its prompt after one space: "The capital of France is" and "Paris".
    """

    subject: str
    prompt: str
    """Text with one ``{}`` for the subject, without white space at its end."""

    target_true: str
    target_new: str
    paraphrases: tuple[str, ...] = ()
    """The same question in other words, each with one ``{}``."""

    neighbours: tuple[Neighbour, ...] = ()
    """Asked with ``prompt``."""

    def __post_init__(self) -> None:
        for text in (self.prompt, *self.paraphrases):
            if text.count("{}") != 1 or text != text.rstrip():
                raise UsageError(
                    f"a prompt needs exactly one {{}} for the subject and no white space at its end; got {text!r}."
                )
        answers = (neighbour.answer for neighbour in self.neighbours)
        for word in (self.subject, self.target_true, self.target_new, *answers):
            if not word or word != word.strip():
                raise UsageError(f"subjects and answers are text without white space around it; got {word!r}.")
        if self.target_new == self.target_true:
            raise UsageError(f"the new answer for {self.subject!r} is the old one, {self.target_true!r}.")
        if any(neighbour.subject == self.subject for neighbour in self.neighbours):
            raise UsageError(f"{self.subject!r} is its own neighbour; name other subjects.")
        if any(neighbour.answer == self.target_new for neighbour in self.neighbours):
            raise UsageError(
                f"a neighbour of {self.subject!r} is rightly answered {self.target_new!r}, the new answer itself, so "
                "it can't show whether the edit spreads; leave it out."
            )

    @classmethod
    def from_prompt(cls, prompt: str, subject: str, target_true: str, target_new: str) -> "Fact":
        """The fact of a written-out prompt, in which the subject stands once; UsageError otherwise."""
        if not subject or prompt.count(subject) != 1:
            raise UsageError(f"the subject {subject!r} must stand exactly once in the prompt {prompt!r}.")
        return cls(
            subject=subject, prompt=prompt.replace(subject, "{}"), target_true=target_true, target_new=target_new
        )


def capital_facts(
    count: int | None = None, *, seed: int = 0, countries: Sequence[str] | None = None
) -> tuple[Fact, ...]:
    """Facts "The capital of X is Y", each with the capital of another country as its new answer.

    Countries (of GeoNames, by their common names; all, or those given) are shuffled by ``seed`` and ``count`` of them
    taken; the new answer and the neighbours are drawn from the others. Left out are countries whose name shares a word
    with the capital, where the prompt gives the answer away. UsageError for more facts than there are,
    an unknown country, or a missing data package.
    """
    capitals = _capitals()
    unknown = [country for country in countries or () if country not in capitals]
    if unknown:
        raise UsageError(f"no capital is known for {unknown[0]!r}; known are countries such as {min(capitals)!r}.")
    names = sorted(countries or capitals)
    wanted = len(names) if count is None else count
    if not 1 <= wanted <= len(names):
        raise UsageError(f"count must be 1 to {len(names)}, the countries there are; got {count}.")
    generator = np.random.default_rng(seed)
    chosen = [names[index] for index in generator.permutation(len(names))[:wanted]]
    return tuple(_capital_fact(country, capitals, generator) for country in chosen)


def _capital_fact(country: str, capitals: dict[str, str], generator: np.random.Generator) -> Fact:
    others = [other for other in sorted(capitals) if other != country]
    drawn = [others[index] for index in generator.permutation(len(others))[: NEIGHBOURS + 1]]
    return Fact(
        subject=country,
        prompt=CAPITAL,
        target_true=capitals[country],
        target_new=capitals[drawn[0]],
        paraphrases=CAPITAL_PARAPHRASES,
        neighbours=tuple(Neighbour(subject=other, answer=capitals[other]) for other in drawn[1:]),
    )


def _capitals() -> dict[str, str]:
    """Country -> capital, each capital once."""
    from armillary.data.relations import places

    capitals: dict[str, str] = {}
    for country in places.countries().values():
        name, capital = country.names[0], country.capital
        shared = set(name.casefold().split()) & set(capital.casefold().split())
        if capital and not shared and capital not in capitals.values():
            capitals[name] = capital
    return capitals
