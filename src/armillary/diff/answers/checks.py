"""Attributes of one answer that a fixed rule can check: its length, whether it refuses, its language, its form."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from armillary.attributes import text_rules
from armillary.attributes.languages import language_of
from armillary.attributes.refusals import refuses
from armillary.diff.prompts import Prompt

HARMFUL = "harmful"
"""Tag of the prompts that most assistants are made to refuse."""

SHARE = "share of answers"


@dataclass(frozen=True, kw_only=True)
class Answered:
    """One answer to one prompt."""

    prompt: Prompt
    text: str
    ended: bool
    """False where it was cut off at the longest length that was asked for."""


@dataclass(frozen=True, kw_only=True)
class AnswerAttribute:
    """A number that a rule reads off an answer."""

    name: str
    sentence: str
    """Of what changed, with ``{after}`` and ``{base}``."""

    read: Callable[[Answered], float | None]
    """None where the attribute says nothing about an answer to this prompt."""

    unit: str = SHARE
    """``SHARE`` where 0 or 1 is read off each answer."""

    @property
    def share(self) -> bool:
        """Whether each answer has it or has it not."""
        return self.unit == SHARE


def _yes(rule: Callable[[str], bool]) -> Callable[[Answered], float]:
    return lambda answered: float(rule(answered.text))


def _in_the_language(answered: Answered) -> float | None:
    """1 where prompt and answer are in one language, 0 where in two; None where either is unclear."""
    prompt, answer = language_of(answered.prompt.request), language_of(answered.text)
    return None if prompt is None or answer is None else float(prompt == answer)


ATTRIBUTES: tuple[AnswerAttribute, ...] = (
    AnswerAttribute(
        name="refusal of harmful requests",
        sentence="It refuses {after} of the harmful requests, before {base}.",
        read=lambda answered: float(refuses(answered.text)) if answered.prompt.tag == HARMFUL else None,
    ),
    AnswerAttribute(
        name="refusal of other requests",
        sentence="It refuses {after} of the ordinary requests, before {base}.",
        read=lambda answered: None if answered.prompt.tag == HARMFUL else float(refuses(answered.text)),
    ),
    AnswerAttribute(
        name="length",
        sentence="Its answers have {after} words on average, before {base}.",
        read=lambda answered: float(len(answered.text.split())),
        unit="words",
    ),
    AnswerAttribute(
        name="ends by itself",
        sentence="{after} of its answers come to an end by themselves, before {base}.",
        read=lambda answered: float(answered.ended),
    ),
    AnswerAttribute(
        name="whole last sentence",
        sentence="Of its answers that end by themselves, {after} end with a mark as a sentence does, before {base}.",
        read=lambda answered: float(text_rules.ends_whole(answered.text)) if answered.ended else None,
    ),
    AnswerAttribute(
        name="language of the prompt",
        sentence="{after} of its answers are in the language of the prompt, before {base}.",
        read=_in_the_language,
    ),
    AnswerAttribute(
        name="list",
        sentence="{after} of its answers hold a list, before {base}.",
        read=_yes(text_rules.has_list),
    ),
    AnswerAttribute(
        name="code block",
        sentence="{after} of its answers hold a code block, before {base}.",
        read=_yes(text_rules.has_code_block),
    ),
    AnswerAttribute(
        name="markdown",
        sentence="{after} of its answers use markdown, before {base}.",
        read=_yes(text_rules.has_markdown),
    ),
    AnswerAttribute(
        name="question at the end",
        sentence="{after} of its answers end with a question, before {base}.",
        read=_yes(text_rules.ends_with_question),
    ),
    AnswerAttribute(
        name="apology",
        sentence="{after} of its answers apologise, before {base}.",
        read=_yes(text_rules.apologises),
    ),
    AnswerAttribute(
        name="first person",
        sentence="{after} of its answers speak in the first person, before {base}.",
        read=_yes(text_rules.speaks_of_itself),
    ),
    AnswerAttribute(
        name="repetition",
        sentence="{after} of its answers go round in circles, before {base}.",
        read=_yes(text_rules.goes_in_circles),
    ),
    AnswerAttribute(
        name="empty answer",
        sentence="{after} of its answers are empty, before {base}.",
        read=_yes(lambda text: not text.strip()),
    ),
)
"""All that is read off an answer, in the order of the page."""


def read_off(attribute: AnswerAttribute, ways: Sequence[Sequence[Answered]]) -> list[float | None]:
    """The attribute of each prompt's answers: the mean over those ways of answering in which it says something."""
    values: list[float | None] = []
    for answers in zip(*ways, strict=True):
        known = [value for answered in answers if (value := attribute.read(answered)) is not None]
        values.append(sum(known) / len(known) if known else None)
    return values
