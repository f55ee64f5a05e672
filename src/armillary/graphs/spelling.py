"""A text as names are looked for in it: composed letters, plain spaces, quotes and hyphens, and where words meet.

What stands at each place of the folded text is kept, so that offsets are always those of the text as it was given.
"""

import unicodedata
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_FOLDED = {
    **dict.fromkeys("\u2018\u2019\u02bc", "'"),
    **dict.fromkeys("\u2010\u2011", "-"),
    **dict.fromkeys("\t\n\v\f\r\x85\xa0\u2007\u2009\u202f\u3000", " "),
    "\u0130": "I",  # the one letter whose lower case is two characters long
}
"""Signs that writers take for each other; one for one, so that no place moves."""

_UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x3040, 0x30FF),  # Hiragana, Katakana
    (0x3400, 0x4DBF),  # Han, extension A
    (0x4E00, 0x9FFF),  # Han
    (0xF900, 0xFAFF),  # Han, compatibility
    (0x20000, 0x3FFFF),  # Han, further extensions
)
"""Code points of scripts that write words without spaces: any place between two of them may part words."""

_OTHER, _WORD, _FREE, _MARK = 1, 2, 3, 4
_kinds = np.zeros(0x110000, np.uint8)  # 0: not met yet; filled for the characters that come


@dataclass(frozen=True, eq=False)
class FoldedText:
    """A text with folded spelling; character ``i`` of it stands for ``starts[i]`` to ``ends[i]`` of the given one."""

    text: str
    starts: NDArray[np.int64] | None
    ends: NDArray[np.int64] | None
    """None where places are the same in both."""

    def given(self, start: int, end: int) -> tuple[int, int]:
        """The span of the given text for a span that is not empty."""
        if self.starts is None or self.ends is None:
            return start, end
        return int(self.starts[start]), int(self.ends[end - 1])


def folded(text: str) -> FoldedText:
    """The text in Unicode's composed form (NFC), its spaces, apostrophes and hyphens made plain."""
    if unicodedata.is_normalized("NFC", text):
        return FoldedText(_plain(text), None, None)
    pieces, starts, ends = [], [], []
    begin = 0
    for end, follower in enumerate((*text[1:], ""), 1):
        # A combining mark, or a vowel or final of Hangul, may melt into what stands before it.
        if follower and ("\u1160" <= follower <= "\u11ff" or unicodedata.category(follower)[0] == "M"):
            continue
        piece = unicodedata.normalize("NFC", text[begin:end])
        pieces.append(piece)
        starts += [begin] * len(piece)
        ends += [end] * len(piece)
        begin = end
    return FoldedText(_plain("".join(pieces)), np.array(starts, np.int64), np.array(ends, np.int64))


def _plain(text: str) -> str:
    for sign, plain in _FOLDED.items():  # looking for each is several times quicker than one translation
        if sign in text:
            text = text.replace(sign, plain)
    return text


def word_edges(text: str) -> NDArray[np.bool_]:
    """[characters + 1] Where a word may begin or end: not between two characters of one word.

    Letters, digits, the low line and combining marks make words, in every script; in scripts that write without
    spaces each letter is a word of its own.
    """
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    kinds = _kinds[codes]
    if not kinds.all():
        for code in np.unique(codes[kinds == 0]).tolist():
            _kinds[code] = _kind_of(code)
        kinds = _kinds[codes]
    left, right = kinds[:-1], kinds[1:]
    edges = np.ones(len(text) + 1, np.bool_)
    edges[1:-1] = (right != _MARK) & ~((right == _WORD) & ((left == _WORD) | (left == _MARK)))
    return edges


EDGE = "\uffff"
"""No character of Unicode: stands where words begin and end, so that names with it at both ends match whole words."""


def with_edges(text: str) -> tuple[str, NDArray[np.int64]]:
    """The text with ``EDGE`` at every place of ``word_edges``, and which character of ``text`` each of its characters
    is (of an edge undefined)."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    edges = word_edges(text)
    places = np.arange(len(codes)) + np.cumsum(edges[:-1])
    marked = np.full(len(codes) + np.count_nonzero(edges), ord(EDGE), np.uint32)
    marked[places] = codes
    origins = np.zeros(len(marked), np.int64)
    origins[places] = np.arange(len(codes))
    return marked.tobytes().decode("utf-32-le", "surrogatepass"), origins


def _kind_of(code: int) -> int:
    character = chr(code)
    if unicodedata.category(character)[0] == "M":
        return _MARK
    if not (character.isalnum() or character == "_"):
        return _OTHER
    return _FREE if any(first <= code <= last for first, last in _UNSPACED) else _WORD
