"""Which generated answers are right: fixed rules, no judge.

An answer counts as right where it *says* the expected one, so that a model that learns to answer longer or shorter
does not gain or lose by its manner alone.
"""

import re
import unicodedata

from armillary.diff.prompts import Prompt

_NUMBER_WORDS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
)
_NUMBERS = {word: str(number) for number, word in enumerate(_NUMBER_WORDS)}
_GROUPED = re.compile(r"(?<=\d)[,'\u2019\u00a0\u202f](?=\d{3}(?!\d))")
_WORD = re.compile(r"(?:(?<!\d\s)(?<![\w)])-)?\d+(?:[.,]\d+)?|\w+|[^\w\s]")
"""A number with its sign (no minus between two numbers), a word, or a mark."""

_SIGNS = {"-", "+", "/", "*", "=", "%", "<", ">"}
"""Signs that may be the whole of an answer; every other mark is passed over."""


def is_right(prompt: Prompt, answer: str) -> bool | None:
    """Whether the answer says what is expected; None where the prompt doesn't tell.

    With choices: the first of them that is named is the right one. Without: the expected words stand in the answer in
    a row. Case, accents, marks and thousands separators don't count; numbers up to twenty may be written as words.
    """
    if prompt.answer is None:
        return None
    given = _words(answer)
    expected = _first(_words(prompt.answer), given)
    if expected is None or prompt.choices is None:
        return expected is not None
    # Where one choice begins like another ("yes", "yes and no"), the longer one is what was named.
    named = [
        (place, -len(words), choice)
        for choice in prompt.choices
        if (place := _first(words := _words(choice), given)) is not None
    ]
    return min(named)[2] == prompt.answer


def _words(text: str) -> list[str]:
    """Words and numbers in one spelling."""
    plain = unicodedata.normalize("NFKD", _GROUPED.sub("", text)).casefold().replace("\u2212", "-")
    plain = "".join(sign for sign in plain if not unicodedata.combining(sign))
    words = [word for word in _WORD.findall(plain) if word[-1].isalnum() or word in _SIGNS]
    words = [_NUMBERS.get(word, word) for word in words]
    alone = [word for word in words if word not in _SIGNS]
    return alone or words


def _first(wanted: list[str], words: list[str]) -> int | None:
    """Where the wanted words first stand in a row."""
    size = len(wanted)
    return next((at for at in range(len(words) - size + 1) if words[at : at + size] == wanted), None) if size else None
