"""Characters that the patterns of ``re`` don't name: combining marks, and scripts that write no spaces."""

import re
import unicodedata
from collections import Counter
from functools import cache

UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
"""Thai, Lao, Burmese, Khmer, Japanese syllables and Chinese characters, as ranges of a character class."""

_UNSPACED = re.compile(f"[{UNSPACED}]")
_ASCII = bytes(range(128))

SHARE = 0.2
"""Of the letters: with fewer of such a script among them, the words between spaces are still most of the text."""


@cache
def _marks() -> frozenset[str]:
    # Beyond the first two planes stand only variation selectors.
    codes = [code for code in range(0x300, 0x20000) if unicodedata.category(chr(code))[0] == "M"]
    return frozenset(map(chr, (*codes, 0x200C, 0x200D, *range(0xE0100, 0xE01F0))))


@cache
def combining() -> re.Pattern[str]:
    """Marks that belong to the letter before them, and the joiners that stand within words of some scripts."""
    ranges: list[list[int]] = []
    for code in sorted(map(ord, _marks())):
        if ranges and code == ranges[-1][1] + 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return re.compile("[" + "".join(f"{chr(first)}-{chr(last)}" for first, last in ranges) + "]")


def holds_combining(text: str) -> bool:
    """Whether a character of ``combining`` stands there: one look a character, where a search tries every range."""
    return not _marks().isdisjoint(beyond_ascii(text))


def beyond_ascii(text: str) -> str:
    """Its characters that are not of ASCII, in their order: few in most texts, and quickly found."""
    return text.encode("utf-8", "surrogatepass").translate(None, _ASCII).decode("utf-8", "surrogatepass")


def script_of(text: str) -> str:
    """The script of more than half its letters, by the first word of their Unicode names: "LATIN"; "" if of none."""
    if text.isascii():
        return "LATIN"
    letters = [letter for letter in text if letter.isalpha()]
    names = Counter(unicodedata.name(letter, "").partition(" ")[0] for letter in letters)
    # Japanese is written in three scripts, one of which is that of Chinese.
    names["CJK"] += names.pop("HIRAGANA", 0) + names.pop("KATAKANA", 0)
    return next((name for name, count in names.items() if count * 2 > len(letters)), "")


def unspaced(text: str) -> bool:
    """Whether more than ``SHARE`` of the letters is of a script that writes no spaces between words."""
    letters = len(_UNSPACED.findall(beyond_ascii(text)))
    return letters > 0 and letters > SHARE * sum(map(str.isalpha, text))
