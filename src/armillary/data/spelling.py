"""The normal form in which two spellings of one name are equal: case, accents, punctuation, articles and plurals."""

import re
import unicodedata
from functools import cache

ARTICLES = frozenset({"the", "a", "an"})

LETTERS = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "\u0131": "i", "ħ": "h"}
    | dict.fromkeys("'`\u00b4\u2018\u2019\u02bb\u02bc\u02be\u02bf\u2032", "")
    | {"&": " and "}
)
"""Letters that Unicode doesn't take apart into base and accent, apostrophes of all shapes, which join, and "and"."""

INITIAL = re.compile(r"(?<!\w)(\w)\.")
"""One letter and a dot, which is dropped so that "U.S." and "US" are equal."""

WORD = re.compile(r"[^\W_]+")

IRREGULAR = {
    **{"children": "child", "feet": "foot", "geese": "goose", "lice": "louse", "mice": "mouse", "oxen": "ox"},
    **{"teeth": "tooth", "cacti": "cactus", "fungi": "fungus", "octopi": "octopus"},
    **{"calves": "calf", "dwarves": "dwarf", "elves": "elf", "halves": "half", "hooves": "hoof", "knives": "knife"},
    **{"leaves": "leaf", "loaves": "loaf", "scarves": "scarf", "shelves": "shelf", "thieves": "thief"},
    **{"wharves": "wharf", "wives": "wife", "wolves": "wolf"},
    **{"emus": "emu", "gnus": "gnu", "kiwis": "kiwi", "okapis": "okapi", "skis": "ski", "taxis": "taxi"},
    **{"tutus": "tutu", "wapitis": "wapiti", "zebus": "zebu"},
    "saint": "st",
}
"""Plurals that no rule below finds, and the one word that is abbreviated in most names of places."""


def normalised(text: str) -> str:
    """Text in lower case without accents, punctuation, articles and plurals, words joined by one space; "" for none.

    Two names are meant to be the same when their normal forms are equal. The form itself is no English ("buses" and
    "bus" both give "buse"): it is for comparison, never for showing. ``normalised(normalised(x)) == normalised(x)``.
    """
    for _ in range(2):  # taking a letter apart can leave one that still has a lower case
        text = unicodedata.normalize("NFKD", text.casefold())
    text = "".join(letter for letter in text if not unicodedata.combining(letter)).translate(LETTERS)
    folded = (_without_plural(word) for word in WORD.findall(INITIAL.sub(r"\1", text)))
    return " ".join(word for word in folded if word not in ARTICLES)


@cache
def _without_plural(word: str) -> str:
    """The form that a word shares with its plural; repeated until nothing changes, so that the form is its own."""
    while (folded := _folded(word)) != word:
        word = folded
    return word


def _folded(word: str) -> str:
    """One step. Each rule is applied to singular and plural alike, since which of the two a word is can't be told."""
    if word in IRREGULAR:
        return IRREGULAR[word]
    if word.endswith("men"):
        return f"{word[:-3]}man"  # firemen
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]  # but not glass, cactus, iris
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return f"{word}e"  # bus like buses, which has lost its s; so does horse, like horses
    if len(word) > 3 and word.endswith("ie"):
        return f"{word[:-2]}y"  # berries and berry; collies and collie
    if len(word) > 4 and word.endswith("oe"):
        return word[:-1]  # potatoes and potato; canoes and canoe
    return word
