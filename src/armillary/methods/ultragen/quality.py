"""Qualities of a text that need no judge and no model: repetition, variety, and nearness to a reference.

Satisfaction of attributes can be bought with a list of keywords; these numbers stand beside it so that it shows.
"""

from dataclasses import dataclass

from armillary.attributes.text_stats import TextStats


def _grams(text: str, n: int) -> list[tuple[str, ...]]:
    """Runs of ``n`` words of the text, in order."""
    words = TextStats(text).folded
    return [tuple(words[start : start + n]) for start in range(len(words) - n + 1)]


def repeated_ngrams(text: str, n: int = 4) -> float:
    """Share of the text's word n-grams that stood in it before: 0 where none is repeated, towards 1 for a loop.

    0 for a text of fewer than ``n`` words.
    """
    grams = _grams(text, n)
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def distinct(text: str, n: int = 2) -> float:
    """Different word n-grams as a share of all (distinct-n, Li and others 2016); 0 for a text without any."""
    grams = _grams(text, n)
    return len(set(grams)) / len(grams) if grams else 0.0


def word_f1(text: str, reference: str) -> float:
    """Harmonic mean of precision and recall of words, each counted as often as it stands in both texts."""
    own, wanted = TextStats(text).counts, TextStats(reference).counts
    shared = (own & wanted).total()
    return 2 * shared / (own.total() + wanted.total()) if shared else 0.0


@dataclass(frozen=True, kw_only=True)
class TextQuality:
    """One text's numbers, each between 0 and 1."""

    words: int
    repeated: float
    """Share of repeated 4-grams."""

    distinct_1: float
    distinct_2: float
    f1: float | None = None
    """Word F1 to the source text, where there is one."""


def quality_of(text: str, reference: str | None = None) -> TextQuality:
    """The numbers of a text; ``reference`` is the text that its attributes were derived from."""
    return TextQuality(
        words=len(TextStats(text).folded),
        repeated=repeated_ngrams(text),
        distinct_1=distinct(text, 1),
        distinct_2=distinct(text, 2),
        f1=None if reference is None else word_f1(text, reference),
    )
