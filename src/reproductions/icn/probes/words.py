"""Probes of things that have common nouns: classes of WordNet, and the chemical elements."""

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TypeVar

from armillary.data.sources import DataSource, own_source
from armillary.data.texts.wordnet import PACKAGE
from armillary.records.plain import decode
from reproductions.icn.probes.probe import KnowledgeProbe, begins_with, family

WORDNET_NOTE = "What lies below the class in WordNet 3.0, with general terms in between and words of rare senses."

WORDNET = DataSource(
    name="WordNet: nouns by class",
    package=PACKAGE.name,
    version=PACKAGE.version,
    licence="WordNet 3.0 licence",
    url="https://wordnet.princeton.edu",
)

Kind = TypeVar("Kind")


@dataclass(frozen=True, kw_only=True)
class WordNetClass:
    """An entry of ``wordnet_classes.toml``."""

    below: list[str]
    """The synsets that it lies below, by lemma, part of speech and number of the sense."""

    synsets: dict[str, list[str]] | list[str]
    """Offset of a synset -> its lemmas; of a restriction the offsets alone."""

    base: str | None = None
    """The class that it restricts."""


@dataclass(frozen=True, kw_only=True)
class Elements:
    """``elements.toml``."""

    elements: list[list[str]]
    """Spellings of each, in the order of the periodic table."""

    no_metals: list[str]


def _read(kind: type[Kind], name: str) -> Kind:
    """A shipped TOML file."""
    text = (files("reproductions.icn.probes") / name).read_text(encoding="utf-8")
    return decode(kind, tomllib.loads(text), name)


@cache
def elements() -> Elements:
    """The chemical elements."""
    return _read(Elements, "elements.toml")


def wordnet_builders() -> dict[str, Callable[[], KnowledgeProbe]]:
    """The classes of WordNet, each base with its restrictions; a member's key is the offset of its synset."""
    classes = _read(dict[str, WordNetClass], "wordnet_classes.toml")
    builders: dict[str, Callable[[], KnowledgeProbe]] = {}
    for words, entry in classes.items():
        if isinstance(entry.synsets, dict):
            members = {offset: tuple(lemmas) for offset, lemmas in entry.synsets.items()}
            restrictions = {name: other for name, other in classes.items() if other.base == words}
            builders |= family(
                words,
                lambda members=members: members,  # type: ignore[misc]
                {name: frozenset(other.synsets).__contains__ for name, other in restrictions.items()},
                source=lambda: (WORDNET,),
                note=WORDNET_NOTE,
            )
    return builders


BUILDERS: dict[str, Callable[[], KnowledgeProbe]] = {
    **wordnet_builders(),
    **family(
        "chemical elements",
        lambda: {names[0]: tuple(names) for names in elements().elements},
        {
            "chemical elements that are metals": lambda element: element not in elements().no_metals,
            "chemical elements that begin with C": begins_with("C"),
        },
        source=lambda: (own_source("the chemical elements"),),
        note="The 118 elements by name; symbols don't count. Metalloids are no metals.",
    ),
}
