"""One analysis of a text, shared by all checks: each part is computed when it is first asked for, and once.

The text is normalised (NFC, line ends to one newline, outer white space gone); places are told in the text as given.
"""

import json
import re
import unicodedata
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

from armillary.attributes.characters import beyond_ascii, combining, holds_combining, script_of, unspaced
from armillary.attributes.languages import language_of
from armillary.attributes.sentences import sentence_spans
from armillary.attributes.syllables import syllables_of

WordMode = Literal["plain", "whitespace", "ifeval"]
"""Words: runs of letters and digits with inner apostrophes and hyphens; pieces between white space, as UltraGen's code
counts; runs of word characters, as IFEval's code counts."""

Tokenizer = Callable[[str], Iterable[str]]
"""Words of a text in their order, each as it stands there: for scripts without spaces."""

Pair = tuple[int, int]
"""First character and the one behind the last, in the normalised text."""

MOST_SPANS = 30
"""Places that a verdict tells at most: more marks on a page than this say nothing further."""

_JOINERS = "'\u2019\u2010\u2011-"
_PATTERNS = {
    "plain": re.compile(rf"[^\W_]+(?:[{_JOINERS}][^\W_]+)*"),
    "whitespace": re.compile(r"\S+"),
    "ifeval": re.compile(r"\w+"),
}
_FENCED = re.compile(r"^[^\S\n]*```[^\n]*\n(?:.*?\n)??[^\S\n]*```[^\S\n]*$", re.DOTALL | re.MULTILINE)
_ONE_FENCE = re.compile(r"```[^\n`]*\n(.*)\n[^\S\n]*```", re.DOTALL)
NOT_JSON = object()
_BLANK_LINES = re.compile(r"\n[^\S\n]*\n\s*")
_NOT_LINE_END = re.compile(r"[^\n]")
_LINE_END = re.compile("\r\n?")
_SPACE = re.compile(r"\s+")
_NO_WORD_GOES_ON = r"(?![^\W_]|['-][^\W_])"
_ASCII_WORDS = "".join(chr(code) if chr(code).isalnum() or chr(code) in _JOINERS else " " for code in range(128))
"""Every character of ASCII that stands in no word made a blank."""

_SHAPES = bytes(
    ord("-") if chr(code) in _JOINERS else ord("a") if code > 127 or chr(code).isalnum() else ord(" ")
    for code in range(256)
)
"""Letters and digits as "a", what joins them as "-", all else as a blank; each byte beyond ASCII is of a letter."""

_JOINT = re.compile(rb"a-(?=a)")
_CURLY = str.maketrans("\u2019\u2010\u2011", "'--")


@dataclass(frozen=True, kw_only=True)
class Span:
    """Characters ``start`` to ``end`` (not included) of the response as it was given."""

    start: int
    end: int


class TextStats:
    """What is known of one text. ``language`` (an ISO code) is that of its words, where the caller knows it."""

    def __init__(
        self,
        text: str,
        *,
        words: WordMode = "plain",
        tokenizer: Tokenizer | None = None,
        language: str | None = None,
    ) -> None:
        if not isinstance(text, str):
            raise TypeError(f"a text is a str, not {type(text).__name__}.")
        self.given = text
        self.language = language
        self._mode, self._cut = words, tokenizer
        self._whole = text if text.isascii() and "\r" not in text else _normalised(text)
        self.text = self._whole.strip()
        self.is_empty = not self.text
        self._places: dict[str, list[Pair]] = {}
        self.shared: dict[object, object] = {}
        """What several kinds read off the text and only they understand."""

        self.matches: dict[re.Pattern[str], list[re.Match[str]]] = {}
        """Where patterns stand, for the kinds that look for them."""

    @cached_property
    def is_ascii(self) -> bool:
        """Whether every character is of ASCII."""
        return self.text.isascii()

    # Words

    @cached_property
    def pairs(self) -> list[Pair]:
        """Where each word stands."""
        if self._cut is not None:
            return _located(self._cut(self.text), self.text)
        return [match.span() for match in self._pattern.finditer(self.text)]

    @cached_property
    def words(self) -> list[str]:
        """The words as written, in order."""
        if self._cut is not None:
            return [self.text[start:end] for start, end in self.pairs]
        return self._cut_out(self.text)

    @cached_property
    def folded(self) -> list[str]:
        """The words without regard to case and to the form of apostrophes and hyphens, in order."""
        if self.is_ascii and self._cut is None:
            return self._cut_out(self.caseless)
        if self._aligned is not None:
            return self._pattern.findall(self._aligned)
        return [fold(word) for word in self.words]

    @cached_property
    def word_count(self) -> int:
        """How many words there are, which can be had without cutting them out."""
        if self._aligned is None or "folded" in self.__dict__:
            return len(self.folded)
        outline = self.text
        for sign in set(beyond_ascii(outline)):
            joins = sign in _JOINERS
            if joins or not sign.isalnum():
                outline = outline.replace(sign, "-" if joins else " ")
        # A letter as one byte or several: they stay together, and no space stands in them.
        shape = outline.encode("utf-8", "surrogatepass").translate(_SHAPES)
        return len(shape.replace(b"-", b" ").split()) - len(_JOINT.findall(shape))

    def _cut_out(self, text: str) -> list[str]:
        if self._mode != "plain" or not self.is_ascii:
            return self._pattern.findall(text)
        # Four times as fast as the pattern, which looks only at pieces with a joiner.
        words: list[str] = []
        for piece in text.translate(_ASCII_WORDS).split():
            if piece.isalnum():
                words.append(piece)
            else:
                words += self._pattern.findall(piece)
        return words

    @cached_property
    def caseless(self) -> str:
        """The text without regard to case."""
        return self.text.lower() if self.is_ascii else self.text.casefold()

    @cached_property
    def _aligned(self) -> str | None:
        """The text folded as its words are, where every character has kept its place; None where not, or where words
        are not those of the mode "plain"."""
        if self._cut is not None or self._mode != "plain" or self.words_unknown:
            return None
        if self.is_ascii:
            return self.caseless
        if holds_combining(self.text):
            return None
        folded = self.caseless
        for curly, plain in zip("\u2019\u2010\u2011", "'--", strict=True):
            folded = folded.replace(curly, plain)  # many times as fast as one translation
        # Folding a character makes one of it or more: none more where the whole is no longer.
        return folded if len(folded) == len(self.text) and unicodedata.is_normalized("NFC", folded) else None

    @cached_property
    def counts(self) -> Counter[str]:
        """How often each folded word occurs."""
        return Counter(self.folded)

    @cached_property
    def positions(self) -> dict[str, list[int]]:
        """At which places among the words each folded word stands."""
        positions: dict[str, list[int]] = {}
        for place, word in enumerate(self.folded):
            positions.setdefault(word, []).append(place)
        return positions

    @cached_property
    def words_unknown(self) -> bool:
        """Whether a good part of the letters is of a script without spaces and no tokenizer is given."""
        return self._cut is None and not self.is_ascii and unspaced(self.text)

    @cached_property
    def foreign(self) -> str | None:
        """The language it is clearly written in, if that is not English and the caller named none."""
        return self.detected if self.language is None and self.detected != "English" else None

    @cached_property
    def detected(self) -> str | None:
        """The language that the rule of ``languages.language_of`` sees."""
        return language_of(self.text)

    @cached_property
    def script(self) -> str:
        """The script of most of its letters; see ``characters.script_of``."""
        return script_of(self.text)

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        if self._mode == "plain" and not self.is_ascii and holds_combining(self.text):
            letter = rf"[^\W_](?:[^\W_]|{combining().pattern})*"
            return re.compile(rf"{letter}(?:[{_JOINERS}]{letter})*")
        return _PATTERNS[self._mode]

    # Larger pieces

    @cached_property
    def paragraphs(self) -> list[Pair]:
        """Blocks between blank lines."""
        cuts = [match.span() for match in _BLANK_LINES.finditer(self.text)]
        starts, ends = [0, *(end for _, end in cuts)], [*(start for start, _ in cuts), len(self.text)]
        return list(zip(starts, ends, strict=True)) if self.text else []

    @cached_property
    def lines(self) -> list[str]:
        """The lines, blank ones included."""
        return self.text.split("\n")

    @cached_property
    def sentences(self) -> list[Pair]:
        """Sentences that hold a letter or a digit; see ``sentences.sentence_spans``."""
        return sentence_spans(self.text)

    def words_of(self, phrase: str) -> list[str]:
        """The folded words of another text, found as those of this one are."""
        return _folded_words(phrase, self._mode, self._cut)

    def last_words(self, count: int) -> list[str]:
        """The last ``count`` folded words: ``folded[-count:]``, for which only the end is read."""
        if self._aligned is None or "folded" in self.__dict__:
            return self.folded[-count:]
        # Words are shorter than this by far; where they are not, all are read.
        start = self._aligned.rfind(" ", 0, max(0, len(self._aligned) - 50 * count)) + 1
        words = self._pattern.findall(self._aligned, start)
        return words[-count:] if len(words) >= count else self.folded[-count:]

    def words_from(self, start: int, count: int) -> list[Pair]:
        """The first ``count`` words that begin there or behind it, where no word lies across ``start``."""
        if self._cut is not None:
            return [pair for pair in self.pairs if pair[0] >= start][:count]
        return [match.span() for match, _ in zip(self._pattern.finditer(self.text, start), range(count), strict=False)]

    @cached_property
    def line_starts(self) -> list[int]:
        """Where each line begins."""
        starts, end = [0], self.text.find("\n")
        while end >= 0:
            starts.append(end + 1)
            end = self.text.find("\n", end + 1)
        return starts

    def words_within(self, pair: Pair) -> range:
        """Places of the words that begin within these characters."""
        starts = self._word_starts
        return range(bisect_left(starts, pair[0]), bisect_left(starts, pair[1]))

    @cached_property
    def _word_starts(self) -> list[int]:
        return [start for start, _ in self.pairs]

    @cached_property
    def sentence_lengths(self) -> list[int]:
        """Words of each sentence."""
        return [len(self.words_within(pair)) for pair in self.sentences]

    # Forms

    @cached_property
    def unfenced(self) -> str:
        """The text with what stands in fenced code made blanks: places stay, and lines of code are no headings."""
        return _FENCED.sub(_blanked, self.text) if "```" in self.text else self.text

    @cached_property
    def fences(self) -> list[Pair]:
        """Where fenced blocks of code stand."""
        return [match.span() for match in _FENCED.finditer(self.text)] if "```" in self.text else []

    @cached_property
    def json(self) -> object:
        """What the text is as JSON (one fence around it is taken off; control characters pass); else ``NOT_JSON``."""
        fenced = _ONE_FENCE.fullmatch(self.text) if self.text.startswith("```") else None
        body = fenced[1] if fenced else self.text
        if not body.strip() or body.strip()[0] not in '{["-0123456789tfnIN':
            return NOT_JSON
        try:
            return json.loads(body, strict=False)
        except (ValueError, RecursionError):
            return NOT_JSON

    @property
    def is_document(self) -> bool:
        """Whether the text is an object or a list of JSON, of which words and lines are no prose."""
        return isinstance(self.json, dict | list)

    # Characters

    @cached_property
    def characters(self) -> Counter[str]:
        """How often each character occurs, without regard to case."""
        return Counter(self.caseless)

    @cached_property
    def letters(self) -> int:
        """How many letters there are."""
        return sum(count for sign, count in self.characters.items() if sign.isalpha())

    @cached_property
    def syllables(self) -> int:
        """Syllables of all words, by the rule for English."""
        return sum(syllables_of(word) * count for word, count in self.counts.items())

    # Keywords

    def find(self, keyword: str) -> list[Pair]:
        """Where the keyword stands as whole words, without regard to case, its words apart by any white space."""
        if keyword not in self._places:
            self._places[keyword] = self._matches(keyword)
        return self._places[keyword]

    def count(self, keyword: str) -> int:
        """How often the keyword stands there: ``len(find(keyword))``, looked up where it is one word."""
        if "counts" in self.__dict__ and keyword.isascii() and keyword.isalpha() and not self.words_unknown:
            return self.counts[keyword.lower()]
        return len(self.find(keyword))

    def _matches(self, keyword: str) -> list[Pair]:
        pieces, words, pattern = _cut_up(keyword, self._mode, self._cut)
        if self.words_unknown or not words:
            # To a pattern that ignores case a dotless i is an i, too.
            dotless = "\u0131" in self.caseless or "i\u0307" in self.caseless
            if keyword.isascii() and not dotless and not all(piece.lower() in self.caseless for piece in pieces):
                return []
            return [match.span() for match in (_sought(pieces) if words else pattern).finditer(self.text)]
        if self._aligned is not None:
            # A search for letters as they stand, which needs no list of all words.
            if words[0] not in self._aligned:
                return []
            return [(match.start(), match.end(len(words) > 1)) for match in pattern.finditer(self._aligned)]
        run, pairs, folded = len(words), self.pairs, self.folded
        if run == 1:
            return [pairs[place] for place in self.positions.get(words[0], ())]
        return [
            (pairs[place][0], pairs[place + run - 1][1])
            for place in self.positions.get(words[0], ())
            if folded[place : place + run] == words
            and all(self.text[pairs[at][1] : pairs[at + 1][0]].isspace() for at in range(place, place + run - 1))
        ]

    def spans(self, pairs: Iterable[Pair]) -> tuple[Span, ...]:
        """The first ``MOST_SPANS`` of these places, in the text as given."""
        kept = [pair for pair, _ in zip(pairs, range(MOST_SPANS), strict=False)]
        if self._whole is self.given:
            lead = self._lead
            return tuple(Span(start=start + lead, end=end + lead) for start, end in kept)
        begins = self._origins
        return tuple(Span(start=begins[start], end=begins[end]) for start, end in kept)

    @cached_property
    def _lead(self) -> int:
        return len(self._whole) - len(self._whole.lstrip())

    @cached_property
    def _origins(self) -> list[int]:
        """For each character of the normalised text, and its end, the place in the given text where it began."""
        origins: list[int] = []
        for match in _clusters().finditer(self.given):
            origins += [match.start()] * len(_composed(match[0]))
        return [*origins, len(self.given)][self._lead :]


def fold(word: str) -> str:
    """The word without regard to case and to the form of apostrophes and hyphens."""
    return unicodedata.normalize("NFC", word.casefold()).translate(_CURLY)


def _blanked(match: re.Match[str]) -> str:
    return _NOT_LINE_END.sub(" ", match[0])


def _composed(cluster: str) -> str:
    return "\n" if cluster[0] == "\r" else unicodedata.normalize("NFC", cluster)


def _normalised(text: str) -> str:
    if unicodedata.is_normalized("NFC", text):
        return _LINE_END.sub("\n", text) if "\r" in text else text
    # Cluster by cluster, so that each character's origin is known.
    return "".join(_composed(match[0]) for match in _clusters().finditer(text))


def _clusters() -> re.Pattern[str]:
    marks = combining().pattern[1:-1]
    return re.compile(f"\r\n?|[^\r][{marks}\u1160-\u11ff]*", re.DOTALL)


# The keywords of a set are looked for in many responses; more sets than these hold are hardly in use at once.
@lru_cache(maxsize=16_384)
def _cut_up(keyword: str, mode: WordMode, tokenizer: Tokenizer | None) -> tuple[list[str], list[str], re.Pattern[str]]:
    """The pieces of a keyword between white space, and its folded words; none where the two are not the same; and what
    to look for in a text: folded as words are, where there are words, and else as it stands."""
    stats = TextStats(unicodedata.normalize("NFC", keyword).strip(), words=mode, tokenizer=tokenizer)
    pieces = _SPACE.split(stats.text)
    plain = not stats.words_unknown and stats.words == pieces
    return (pieces, stats.folded, _as_words(stats.folded)) if plain else (pieces, [], _sought(pieces))


@lru_cache(maxsize=16_384)
def _folded_words(phrase: str, mode: WordMode, tokenizer: Tokenizer | None) -> list[str]:
    return TextStats(phrase, words=mode, tokenizer=tokenizer).folded


def _as_words(words: Sequence[str]) -> re.Pattern[str]:
    """Folded words in a text folded alike, apart by white space; where there are several, group 1 ends with the last.

    The first word comes before what must not precede it, so that the search is for its letters.
    """
    first = re.escape(words[0])
    alone = rf"(?<![^\W_]{first})(?<![^\W_]['-]{first})"
    if len(words) == 1:
        return re.compile(first + alone + _NO_WORD_GOES_ON)
    # Looked ahead, so that places that overlap are found.
    others = r"\s+".join(map(re.escape, words[1:]))
    return re.compile(rf"{first}{alone}(?=(\s+{others}){_NO_WORD_GOES_ON})")


def _sought(pieces: Sequence[str]) -> re.Pattern[str]:
    """The keyword, literally, where no letter or digit stands before or behind it: an underscore parts words."""
    body = r"\s+".join(map(re.escape, pieces))
    before = r"(?<![^\W_])" if pieces[0][:1].isalnum() and not unspaced(pieces[0]) else ""
    behind = r"(?![^\W_])" if pieces[-1][-1:].isalnum() and not unspaced(pieces[-1]) else ""
    return re.compile(before + body + behind, re.IGNORECASE)


def _located(tokens: Iterable[str], text: str) -> list[Pair]:
    pairs, at = [], 0
    for token in tokens:
        start = text.find(token, at) if token.strip() else -1
        if start >= 0:
            at = start + len(token)
            pairs.append((start, at))
    return pairs
