"""By what texts can be told apart without a judge: lengths, shapes, marks and turns of phrase, each a number a text.

An axis reads a number off a text, or says nothing of it. What a word of a language is needed for holds for English,
and where the rule knows more languages it says so.
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

from armillary.attributes import text_rules
from armillary.attributes.english import PRONOUNS
from armillary.attributes.kinds.formats import BULLET, HEADING, HIGHLIGHT, NUMBERED, TABLE, URL
from armillary.attributes.refusals import refuses
from armillary.attributes.text_stats import TextStats

SHARE = "share of texts"

_HEDGES = re.compile(
    r"\b(?:may|might|could|perhaps|maybe|possibly|probably|presumably|likely|unlikely|seems?|seemed|appears?|appeared|"
    r"suggests?|generally|typically|usually|often|sometimes|somewhat|rather|fairly|relatively|apparently|arguably|"
    r"roughly|approximately|i (?:think|believe|guess|suppose)|in my opinion|to some extent|it depends|"
    r"not (?:sure|certain)|vielleicht|möglicherweise|wahrscheinlich|vermutlich|eventuell|ungefähr|peut-être|"
    r"probablement|sans doute|environ|quizás?|tal vez|posiblemente|probablemente|aproximadamente)\b"
)
"""Words that take a claim back a little, in English, German, French and Spanish."""

_PLAIN_SIGNS = frozenset("#*0123456789\u00a9\u00ae\u2122")
"""Signs that have an emoji's form only where a text asks for it."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One number that is read off a text."""

    name: str
    meaning: str
    """What is counted, in a sentence."""

    read: Callable[[TextStats], float | None]
    """None where the axis says nothing of the text."""

    unit: str = SHARE
    """``SHARE`` where 0 or 1 is read off each text."""

    @property
    def share(self) -> bool:
        """Whether each text has it or has it not."""
        return self.unit == SHARE


def _has(rule: Callable[[str], bool]) -> Callable[[TextStats], float]:
    return lambda stats: float(rule(stats.given))


def _finds(pattern: re.Pattern[str], least: int = 1) -> Callable[[TextStats], float]:
    return lambda stats: float(sum(1 for _ in pattern.finditer(stats.unfenced)) >= least)


def _emoji(text: str) -> bool:
    return any(
        (unicodedata.category(sign) == "So" and ord(sign) >= 0x2190) or 0x1F000 <= ord(sign) <= 0x1FAFF
        for sign in text
        if sign not in _PLAIN_SIGNS
    )


def _hedges(stats: TextStats) -> float | None:
    """Hedging words in 100."""
    if not stats.words:
        return None
    small = stats.text.casefold().replace("\u2019", "'")
    return 100 * sum(1 for _ in _HEDGES.finditer(small)) / len(stats.words)


def _questions(stats: TextStats) -> float:
    return float(
        sum(
            stats.text[start:end].rstrip("\"'\u201d\u00bb)*").endswith(("?", "\uff1f"))
            for start, end in stats.sentences
        )
    )


def _a_sentence(stats: TextStats) -> float | None:
    return len(stats.words) / len(stats.sentences) if stats.sentences and stats.words else None


def _speaks_to_the_reader(stats: TextStats) -> float:
    return float(not PRONOUNS["second"].isdisjoint(stats.counts))


AXES: tuple[Axis, ...] = (
    Axis(name="words", meaning="Words of a text.", read=lambda stats: float(len(stats.words)), unit="words"),
    Axis(name="sentences", meaning="Sentences of a text.", read=lambda stats: float(len(stats.sentences)),
         unit="sentences"),
    Axis(name="words a sentence", meaning="Mean length of its sentences.", read=_a_sentence, unit="words"),
    Axis(name="paragraphs", meaning="Blocks between blank lines.", read=lambda stats: float(len(stats.paragraphs)),
         unit="paragraphs"),
    Axis(name="letters a word", meaning="Mean length of its words.", unit="letters",
         read=lambda stats: stats.letters / len(stats.words) if stats.words else None),
    Axis(name="list", meaning="Two items of a list or more, with signs or numbers.", read=_has(text_rules.has_list)),
    Axis(name="bullets", meaning="An item with a bullet.", read=_finds(BULLET)),
    Axis(name="numbered items", meaning="Two numbered items or more.", read=_finds(NUMBERED, 2)),
    Axis(name="headings", meaning="A heading in markdown.", read=_finds(HEADING)),
    Axis(name="bold or italic", meaning="Words between stars.", read=_finds(HIGHLIGHT)),
    Axis(name="code", meaning="A fenced block of code.", read=_has(text_rules.has_code_block)),
    Axis(name="tables", meaning="A table in markdown.", read=_finds(TABLE)),
    Axis(name="links", meaning="An http or https address.", read=_finds(URL)),
    Axis(name="questions", meaning="Sentences that end with a question mark.", read=_questions, unit="questions"),
    Axis(name="question at the end", meaning="The text ends with one.", read=_has(text_rules.ends_with_question)),
    Axis(name="exclamation marks", meaning="How many there are.", unit="marks",
         read=lambda stats: float(stats.characters["!"] + stats.characters["\uff01"])),
    Axis(name="refusal", meaning="It begins by declining (four languages; attributes.refusals has its errors).",
         read=_has(refuses)),
    Axis(name="hedging", meaning="Words that take a claim back a little (four languages).", read=_hedges,
         unit="words in 100"),
    Axis(name="apology", meaning="A word of apology (four languages).", read=_has(text_rules.apologises)),
    Axis(name="first person", meaning="I, me, my (four languages).", read=_has(text_rules.speaks_of_itself)),
    Axis(name="second person", meaning="You, your (English).", read=_speaks_to_the_reader),
    Axis(name="emoji", meaning="A pictograph.", read=_has(_emoji)),
    Axis(name="goes in circles", meaning="Four words in a row that stand there three times.",
         read=_has(text_rules.goes_in_circles)),
    Axis(name="ends properly", meaning="With a mark as a sentence, a quotation or a block does.",
         read=lambda stats: None if stats.is_empty else float(text_rules.ends_whole(stats.given))),
    Axis(name="empty", meaning="Nothing but white space.", read=lambda stats: float(stats.is_empty)),
)  # fmt: skip
"""All axes but that of the language, which has as many values as there are languages."""
