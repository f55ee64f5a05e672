"""WordNet as a graph: synsets linked by their pointers, read from the files of its database (manual page wndb(5)).

The folder is that of Debian's package ``wordnet-base`` (/usr/share/wordnet), of any other WordNet 3 distribution with
data.noun and index.noun, or what ``armillary.data.texts.wordnet.database`` fetches.
"""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Literal, get_args

from armillary.errors import UsageError
from armillary.graphs.columns import Triple
from armillary.graphs.readers.lines import streamed_lines

Part = Literal["noun", "verb", "adj", "adv"]
PARTS: tuple[Part, ...] = get_args(Part)

_LETTERS: Mapping[str, Part] = {"n": "noun", "v": "verb", "a": "adj", "s": "adj", "r": "adv"}
"""Letter of a synset's type -> part; "s" is an adjective beside another."""

_RELATIONS: Mapping[str, str] = {
    "!": "antonym",
    "@": "hypernym",
    "@i": "instance hypernym",
    "~": "hyponym",
    "~i": "instance hyponym",
    "#m": "member holonym",
    "#s": "substance holonym",
    "#p": "part holonym",
    "%m": "member meronym",
    "%s": "substance meronym",
    "%p": "part meronym",
    "=": "attribute",
    "+": "derivationally related form",
    ";c": "domain of topic",
    "-c": "member of topic",
    ";r": "domain of region",
    "-r": "member of region",
    ";u": "domain of usage",
    "-u": "member of usage",
    "*": "entailment",
    ">": "cause",
    "^": "also see",
    "$": "verb group",
    "&": "similar to",
    "<": "participle of verb",
    "\\": "pertainym",
}
"""Sign of a pointer -> relation, after the manual page wninput(5)."""

_Key = tuple[str, str]
"""Part and offset of a synset."""


def wordnet_triples(folder: str | Path, parts: Collection[Part] = PARTS) -> Iterator[Triple]:
    """Every pointer between two synsets of ``parts``; one between words counts as one between their synsets.

    A synset is named by its first word, its type and the number of that sense, as is usual: "dog.n.01". Several
    pointers of one kind between the words of two synsets give the same triple several times.

    Raises:
        UsageError: the folder lacks a file of the parts, or a line of one is no synset or word; it is named.
        StorageError: a file can't be read.
    """
    names = {key: name for key, name, _, _ in _synsets(Path(folder), parts)}
    for _, name, _, pointers in _synsets(Path(folder), parts):
        for relation, target in pointers:
            if target in names:
                yield name, relation, names[target]


def wordnet_names(folder: str | Path, parts: Collection[Part] = PARTS) -> Iterator[tuple[str, str]]:
    """Pairs (synset, word) for every word of every synset: ("dog.n.01", "domestic dog"). Raises as
    ``wordnet_triples``."""
    for _, name, words, _ in _synsets(Path(folder), parts):
        for word in words:
            yield name, word.replace("_", " ")


def _synsets(
    folder: Path, parts: Collection[Part]
) -> Iterator[tuple[_Key, str, tuple[str, ...], tuple[tuple[str, _Key], ...]]]:
    """Key, name, words and pointers of every synset."""
    if unknown := [part for part in parts if part not in PARTS]:
        raise UsageError(f"WordNet has no part {unknown[0]!r}; its parts are {', '.join(PARTS)}.")
    for part in parts:
        if missing := [name for name in (f"data.{part}", f"index.{part}") if not (folder / name).is_file()]:
            raise UsageError(f"{folder} holds no WordNet: {missing[0]} is missing.")
    for part in parts:
        senses = _senses(folder / f"index.{part}")
        for number, line in _entries(folder / f"data.{part}"):
            try:
                offset, type_, words, pointers = _synset(line)
                sense = senses[words[0].lower(), offset]
            except (ValueError, IndexError, KeyError):
                raise UsageError(f"line {number} of {folder / f'data.{part}'} is no synset: {line[:80]!r}.") from None
            yield (part, offset), f"{words[0].lower()}.{type_}.{sense:02d}", words, pointers


def _synset(line: str) -> tuple[str, str, tuple[str, ...], tuple[tuple[str, _Key], ...]]:
    """Offset, type, words and pointers of a line: offset, file, type, words in hexadecimal, (word, id) each, pointers,
    (sign, offset, type, words) each."""
    fields = line.partition(" | ")[0].split()
    count = int(fields[3], 16)
    words = tuple(word.partition("(")[0] for word in fields[4 : 4 + 2 * count : 2])  # "(a)": where an adjective stands
    first = 5 + 2 * count
    pointers = []
    for place in range(first, first + 4 * int(fields[first - 1]), 4):
        sign, target, letter, _ = fields[place : place + 4]
        pointers.append((_RELATIONS[sign], (_LETTERS[letter], target)))
    return fields[0], fields[2], words, tuple(pointers)


def _senses(path: Path) -> dict[_Key, int]:
    """(word, offset of a synset) -> which of the word's senses that is, from 1."""
    senses: dict[_Key, int] = {}
    for number, line in _entries(path):
        fields = line.split()
        try:
            offsets = fields[-int(fields[2]) :]
        except (ValueError, IndexError):
            raise UsageError(f"line {number} of {path} is no word with its senses: {line[:80]!r}.") from None
        for sense, offset in enumerate(offsets, 1):
            senses[fields[0], offset] = sense
    return senses


def _entries(path: Path) -> Iterator[tuple[int, str]]:
    """Lines without the licence at the head, each of whose lines begins with two spaces."""
    return ((number, line) for number, line in streamed_lines(path) if not line.startswith("  "))
