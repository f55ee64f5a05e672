"""Texts that are shipped with this package: sentences of an interface in four languages, and WordNet's definitions.

tools/interface_texts.py and tools/wordnet_glosses.py write them, and say how.
"""

import json
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any

from armillary.data.capability_pieces import Document
from armillary.data.sources import Source

_NAMES = {"fr": "French", "de": "German", "es": "Spanish"}


@cache
def _interface() -> tuple[dict[str, Any], ...]:
    text = (files("armillary.data") / "written" / "interface_texts.jsonl").read_text(encoding="utf-8")
    return tuple(json.loads(line) for line in text.splitlines())


def interface(language: str) -> Iterator[Document]:
    """Sentences of Home Assistant in "en", "fr", "de" or "es", a document an integration."""
    for line in _interface():
        if line[language]:
            yield Document(line["document"], tuple(line[language]))


def translations() -> Iterator[Document]:
    """Sentences of Home Assistant with their translation, "English: .." and "French: .." on two lines."""
    for line in _interface():
        pairs = tuple(f"English: {source}\n{_NAMES[one]}: {text}" for one, source, text in line["pairs"])
        if pairs:
            yield Document(line["document"], pairs)


def definitions() -> Iterator[Document]:
    """Words of WordNet with their definitions, a document a synset."""
    text = (files("armillary.data") / "written" / "wordnet_glosses.tsv").read_text(encoding="utf-8")
    for line in text.splitlines():
        word, _, gloss = line.partition("\t")
        yield Document(line, (f"{word}: {gloss}",))


def interface_source() -> Source:
    """The entry of the sentences of Home Assistant."""
    return Source(
        name="Home Assistant: texts of its interface and their translations",
        package="armillary",
        version="homeassistant 2026.2.3",
        licence="Apache-2.0",
        url="https://pypi.org/project/homeassistant",
    )


def definitions_source() -> Source:
    """The entry of WordNet's definitions."""
    return Source(
        name="WordNet: definitions",
        package="armillary",
        version="3.0",
        licence="WordNet 3.0 licence",
        url="https://wordnet.princeton.edu",
    )
