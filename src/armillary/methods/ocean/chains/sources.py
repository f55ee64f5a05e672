"""The verdict on each step of a chain by given passages: do the names and figures of the step stand together in one?

What is compared is exact: names as whole words whatever their case and accents, or the same entity where a lexicon
links both; figures by value (1,200 is 1200 and 1.2 thousand; 5 % is no 5). A step that holds the right names and
figures in the wrong relation is not found out; a step without any can only be compared by vectors, which says that it
is about the same, and never that it is true.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from armillary.attributes.sentences import sentence_spans
from armillary.data.rows import read_rows, text_of
from armillary.errors import UsageError
from armillary.files import paragraphs, read_text
from armillary.graphs import ENGLISH, Lexicon
from armillary.methods.ocean.rows import Span

SourceAnswer = Literal["supported", "unsupported", "unknown"]

_SCALES = {"thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_WORDS = dict(
    zip(
        ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"],
        range(13),
        strict=True,
    )
)
_FIGURE = re.compile(
    r"(?<![\w.,])[-\u2212]?(?P<digits>\d{1,3}(?:[,\u202f\u00a0]\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)(?:st|nd|rd|th|s)?"
    rf"(?:\s*(?P<percent>%|per\s?cent\b))?(?:\s+(?P<scale>{'|'.join(_SCALES)})\b)?(?!\w)"
    rf"|\b(?P<word>{'|'.join(_WORDS)})\b(?:\s+(?P<times>{'|'.join(_SCALES)})\b)?",
    re.IGNORECASE,
)
_NAME = re.compile(
    r"[^\W\d_a-z][\w'\u2019.-]*\w(?:\s+(?:(?:of|de|da|la|del|von|van)\s+(?:the\s+)?)?[^\W\d_a-z][\w'\u2019-]*)*"
)
_POSSESSIVE = re.compile(r"['\u2019]s$")


class TextEncoder(Protocol):
    """Gives texts vectors, as sentence-transformers does."""

    def encode(self, texts: Sequence[str], /) -> NDArray[np.floating]:
        """One row a text, [n, d]."""
        ...


@dataclass(frozen=True, kw_only=True)
class SourceVerdict:
    """What the passages say about one step."""

    step: str
    verdict: SourceAnswer
    present: tuple[Span, ...]
    """Characters of the names and figures that stand in the nearest passage."""

    missing: tuple[Span, ...]
    """Of those that do not."""

    passage: str
    """The passage that holds most of them; empty where none holds any."""

    similarity: float | None
    """Greatest cosine of the step and a sentence of the passages; None without an encoder."""

    reason: str


@dataclass(frozen=True)
class _Item:
    """A name or a figure of a step."""

    span: Span
    keys: frozenset[object]
    """Any of them, in a passage, is it."""

    certain: bool = True
    """False for a word that may have its capital from beginning a sentence: it counts only where it is found."""


@dataclass(frozen=True)
class _Passage:
    text: str
    words: str
    """In plain letters, with a blank at each end."""

    keys: frozenset[object]


@dataclass(eq=False)
class Passages:
    """Passages that chains should rest on; those with a prompt for the chains of this prompt alone."""

    rows: Sequence[tuple[str | None, str]]
    """Pairs (prompt or None, passage)."""

    lexicon: Lexicon | None = None
    encoder: TextEncoder | None = None
    like: float = 0.7
    """Cosine from which a step without names and figures counts as supported."""

    _read: dict[str | None, list[_Passage]] = field(default_factory=dict, repr=False)
    _vectors: dict[str | None, NDArray[np.float64]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if not self.rows:
            raise UsageError("there is no passage; give rows with a text and, where it is for one prompt, a prompt.")
        if not 0 < self.like <= 1:
            raise UsageError(f"like must be a cosine above 0 and at most 1, got {self.like}.")
        for prompt, text in self.rows:
            items = _items(text, self.lexicon)
            keys = frozenset(key for item in items for key in item.keys)
            self._read.setdefault(prompt, []).append(_Passage(text, f" {_plain(text)} ", keys))

    def check(self, steps: Sequence[str], prompt: str = "") -> tuple[SourceVerdict, ...]:
        """A verdict for each step: supported where all names and figures stand in one passage, unsupported where they
        don't, unknown where a step has none and no sentence is ``like`` it."""
        own = [*self._read.get(prompt, []), *self._read.get(None, [])]
        near = self._nearness(steps, prompt)
        return tuple(self._judged(step, own, near[place]) for place, step in enumerate(steps))

    def _judged(self, step: str, passages: Sequence[_Passage], similarity: float | None) -> SourceVerdict:
        items = _items(step, self.lexicon)
        best, inside = None, list[_Item]()
        for passage in passages:
            here = [item for item in items if _stands(item, step, passage)]
            if best is None or len(here) > len(inside):
                best, inside = passage, here
        missing = [item for item in items if item.certain and item not in inside]
        verdict: SourceAnswer = "unknown"
        if not passages:
            reason = "there is no passage for this prompt"
        elif missing:
            verdict = "unsupported"
            names = ", ".join(step[slice(*item.span)] for item in missing)
            anywhere = all(any(_stands(item, step, passage) for passage in passages) for item in missing)
            reason = f"in the nearest passage is no {names}" if anywhere else f"in no passage is {names}"
        elif inside:
            verdict, reason = "supported", "all its names and figures stand in one passage"
        elif similarity is not None and similarity >= self.like:
            verdict, reason = "supported", f"a sentence of the passages is like it (cosine {similarity:.2f})"
        else:
            reason = "it has no name or figure to look for"
        return SourceVerdict(
            step=step,
            verdict=verdict,
            present=tuple(item.span for item in inside),
            missing=tuple(item.span for item in missing),
            passage=best.text if best is not None and inside else "",
            similarity=similarity,
            reason=reason,
        )

    def _nearness(self, steps: Sequence[str], prompt: str) -> list[float | None]:
        if self.encoder is None or not steps:
            return [None] * len(steps)
        tables = [self._encoded(key) for key in (prompt, None) if key in self._read]
        if not tables:
            return [None] * len(steps)
        cosines = _unit(self.encoder.encode(list(steps))) @ np.concatenate(tables).T
        return [float(row.max()) for row in cosines]

    def _encoded(self, key: str | None) -> NDArray[np.float64]:
        assert self.encoder is not None
        if key not in self._vectors:
            texts = [passage.text for passage in self._read[key]]
            sentences = [text[start:end] for text in texts for start, end in sentence_spans(text) or [(0, len(text))]]
            self._vectors[key] = _unit(self.encoder.encode(sentences))
        return self._vectors[key]


def read_passages(path: str) -> list[tuple[str | None, str]]:
    """Pairs (prompt or None, passage) of a file of rows with text (or passage) and, if wanted, prompt.

    Of plain text (.txt, .md) the blocks between blank lines, for chains of every prompt. UsageError for a file that is
    not there, can't be read or holds no passage, and naming the row for one without text.
    """
    if Path(path).suffix.lower() in (".txt", ".md"):
        blocks = paragraphs(read_text(path))
        if not blocks:
            raise UsageError(f"{path} holds no text; give passages with blank lines between them.")
        return [(None, block) for block in blocks]
    pairs = []
    for where, row in read_rows(path, ("text", "passage", "prompt"), "text and, if wanted, prompt"):
        text = text_of(row.get("text", row.get("passage")), "text", where)
        if not text or not text.strip():
            raise UsageError(f"{where} has no text; give the passage under text.")
        pairs.append((text_of(row.get("prompt"), "prompt", where), text))
    return pairs


def figures(text: str) -> list[tuple[Span, str]]:
    """Figures of a text with their values: "1.2 million" as "1200000", "5 %" as "5%"."""
    values = []
    for match in _FIGURE.finditer(text):
        groups: Mapping[str, str | None] = match.groupdict()
        scale = groups["scale"] or groups["times"]
        if groups["word"]:
            if not scale and groups["word"].lower() == "one":
                continue  # mostly no number: "one of the"
            value = Decimal(_WORDS[groups["word"].lower()])
        else:
            value = Decimal(re.sub(r"[,\u202f\u00a0]", "", groups["digits"] or ""))
        if scale:
            value *= 10 ** _SCALES[scale.lower()]
        sign = "-" if match[0][0] in "-\u2212" else ""
        values.append((match.span(), f"{sign}{value.normalize():f}{'%' if groups['percent'] else ''}"))
    return values


def _items(text: str, lexicon: Lexicon | None) -> list[_Item]:
    items = [_Item(span, frozenset({("figure", value)})) for span, value in figures(text)]
    linked = [] if lexicon is None else lexicon.link(text)
    for mention in linked:
        keys = frozenset(
            {("entity", entity) for entity in mention.entities} | {_plain(text[mention.start : mention.end])}
        )
        items.append(_Item((mention.start, mention.end), keys))
    starts = {start for start, _ in sentence_spans(text)}
    for match in _NAME.finditer(text):
        start, words = match.start(), match[0].split(" ")
        first = True
        while words and words[0].lower() in ENGLISH.function_words:
            start += len(words.pop(0)) + 1
            first = False
        name = _POSSESSIVE.sub("", " ".join(words)).rstrip(".")
        end = start + len(name)
        if not name or any(item.span[0] < end and start < item.span[1] for item in items):
            continue
        alone = first and len(words) == 1 and match.start() in starts
        items.append(_Item((start, end), frozenset({_plain(name)}), certain=not alone))
    return sorted(items, key=lambda item: item.span)


def _stands(item: _Item, step: str, passage: _Passage) -> bool:
    if item.keys & passage.keys:
        return True
    return any(isinstance(key, str) and key and f" {key} " in passage.words for key in item.keys)


def _plain(text: str) -> str:
    letters = unicodedata.normalize("NFKD", text.casefold())
    return " ".join(re.findall(r"\w+", "".join(letter for letter in letters if not unicodedata.combining(letter))))


def _unit(vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    table = np.asarray(vectors, np.float64)
    if table.ndim != 2 or not np.isfinite(table).all():
        raise UsageError(f"the encoder gave an array of shape {table.shape}; one finite row a text is needed.")
    unit: NDArray[np.float64] = table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-12)
    return unit
