"""Which answers have the form of an answer, told without a judge, and which stand in a packaged list of their class.

Form says nothing of truth: an answer that is kept may be wrong, and only a closed list says that some are right.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from armillary.data.relations import places
from armillary.methods.icn.result import Answer, is_sentence

Form = Literal["name", "sentence", "any"]
"""What an answer looks like: a short name, a sentence, or (under a user's own template) whatever it likes."""

MOST_WORDS = 6
"""Words of a name at most: "The Democratic Republic of the Congo" has six."""

PERSONS = {*re.findall(r"\w+", "i my me we our you your he she they it there here this these those sure please")}
"""Words that begin a sentence about the speaker, the reader or something said before, and no name in a list."""

VERBS = {*re.findall(r"\w+", "is are was were am has have had can could will would should do does")}

NUMBERS = {"number", "numbers", "primes", "squares", "digits", "years", "dates", "times"}
"""Words of a prompt whose answers may have no letter."""

CLASSES: dict[str, Callable[[], Iterable[Iterable[str]]]] = {
    "capitals": lambda: [places.capitals()],
    "cities": lambda: [places.cities()],
    "countries": lambda: places.country_names().values(),
    "languages": lambda: places.country_languages().values(),
    "continents": lambda: places.country_continents().values(),
    "currencies": lambda: places.country_currencies().values(),
}
"""Classes of which the package has a closed list, by the noun that a prompt names them with."""


@dataclass(frozen=True, kw_only=True)
class Checked:
    """Answers with what was cut, in the order found."""

    reasons: tuple[str | None, ...]
    """Why each answer is cut; None for those that are kept."""

    listed: tuple[bool, ...] | None
    """Whether each is in the packaged list of its class; None where there is no such list."""

    kind: str
    """The class of that list."""


def checked(prompt: str, answers: Sequence[Answer], form: Form) -> Checked:
    """Every answer to one prompt. An answer that repeats a kept one is cut as well."""
    kind, names = class_list(prompt) if form == "name" else ("", None)
    return Checked(
        reasons=tuple(reason(prompt, answer, form) for answer in answers),
        listed=None if names is None else tuple(_folded(answer.text) in names for answer in answers),
        kind=kind,
    )


def reason(prompt: str, answer: Answer, form: Form) -> str | None:
    """Why one answer is cut, None where it isn't; the first of several reasons."""
    words = answer.text.split()
    first = re.split(r"['\u2019]", words[0].casefold().strip(",.!?"))[0] if words else ""
    if not _folded(answer.text):
        return "has no word"
    if answer.duplicate_of is not None:
        return "same as an earlier one"
    if form == "any":
        return None
    if form == "sentence":
        return None if is_sentence(answer.text) else "no whole sentence"
    if not re.search(r"[^\W\d_]", answer.text) and not NUMBERS & {*_folded(prompt).split()}:
        return "has no letter"
    if not answer.complete:
        return "cut off before its end"
    if first in PERSONS or re.search(r"\b(I|we|you)['\u2019](m|re|ve|ll|d)\b", answer.text):
        return "speaks of itself, the reader or the list"
    if len(words) > MOST_WORDS or (len(words) > 2 and (answer.text[-1] in ".!?" or VERBS & {*words[1:]})):
        return "a sentence, not a name"
    if {*_folded(answer.text).split()} <= {*_folded(prompt).split()}:
        return "repeats the prompt"
    return None


def class_list(prompt: str) -> tuple[str, frozenset[str] | None]:
    """``(noun, names)`` of the class that a prompt asks for; ``("", None)`` where the package has no list of it.

    "European countries" are looked up among countries.
    """
    noun = next((word for word in _folded(prompt).split() if word in CLASSES), "")
    return (noun, frozenset(_folded(name) for names in CLASSES[noun]() for name in names)) if noun else ("", None)


def _folded(text: str) -> str:
    """Words in lower case without articles and marks."""
    return " ".join(word for word in re.findall(r"\w+", text.casefold()) if word not in {"the", "a", "an"})
