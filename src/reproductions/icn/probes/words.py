"""Probes of things that have common nouns: classes of WordNet, and the chemical elements."""

import tomllib
from collections.abc import Callable
from functools import cache, partial
from importlib.resources import files
from typing import Any

from armillary.data.sources import DataSource, own_source
from armillary.data.texts.wordnet import PACKAGE
from reproductions.icn.probes.probe import KnowledgeProbe, begins_with, family

WORDNET_NOTE = "What lies below the class in WordNet 3.0, with general terms in between and words of rare senses."

WORDNET = DataSource(
    name="WordNet: nouns by class",
    package=PACKAGE.name,
    version=PACKAGE.version,
    licence="WordNet 3.0 licence",
    url="https://wordnet.princeton.edu",
)


@cache
def _file(name: str) -> dict[str, Any]:
    """A shipped TOML file."""
    return tomllib.loads((files("reproductions.icn.probes") / name).read_text(encoding="utf-8"))


def wordnet_builders() -> dict[str, Callable[[], KnowledgeProbe]]:
    """The classes of ``wordnet_classes.toml``, each base with its restrictions; a member's key is its synset."""
    classes = _file("wordnet_classes.toml")
    builders: dict[str, Callable[[], KnowledgeProbe]] = {}
    for words, entry in classes.items():
        if "base" not in entry:
            builders |= family(
                words,
                partial(_members, words),
                {
                    narrower: frozenset(other["synsets"]).__contains__
                    for narrower, other in classes.items()
                    if other.get("base") == words
                },
                source=lambda: (WORDNET,),
                note=WORDNET_NOTE,
            )
    return builders


def _members(words: str) -> dict[str, tuple[str, ...]]:
    """Offset of a synset -> its lemmas."""
    return {synset: tuple(lemmas) for synset, lemmas in _file("wordnet_classes.toml")[words]["synsets"].items()}


@cache
def element_spellings() -> dict[str, tuple[str, ...]]:
    """Name of a chemical element -> its spellings, in the order of the periodic table; symbols are none."""
    return {names[0]: tuple(names) for names in _file("elements.toml")["elements"]}


def is_metal(element: str) -> bool:
    """False for nonmetals and metalloids."""
    return element not in _file("elements.toml")["no_metals"]


BUILDERS: dict[str, Callable[[], KnowledgeProbe]] = {
    **wordnet_builders(),
    **family(
        "chemical elements",
        element_spellings,
        {
            "chemical elements that are metals": is_metal,
            "chemical elements that begin with C": begins_with("C"),
        },
        source=lambda: (own_source("the chemical elements"),),
        note="The 118 elements by name; symbols don't count. Metalloids are no metals.",
    ),
}
