"""From documents to pieces of about 110 words, each document in one split only, and no sentence in two documents."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

Split = Literal["score", "calibrate", "test"]
Packing = Literal["within", "across", "whole"]

LEAST, WORDS, MOST = 85, 110, 140
"""Words of a piece: no fewer, about, and no more. Code counts lines instead (``readers.LINES``)."""

SHARES: dict[Split, int] = {"score": 2, "calibrate": 1, "test": 1}
"""Half of the words score, a quarter calibrate, a quarter test."""

SHINGLE = 8
"""A run of so many words counts as copied where another document has it; of a shorter unit, the whole."""


@dataclass(frozen=True)
class Document:
    """What is never divided between splits: a source file, a country, a quotation, a template of problems."""

    id: str
    """Its name; the documents are dealt to the splits in the order of the hashes of their names."""

    units: tuple[str, ...]
    """Sentences, entries or windows in order: what a piece is built of and never cuts without need."""


def hash_of(text: str) -> int:
    """A number from 0 to 2^64 - 1 that is the same on every machine."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])


def sentences(text: str) -> tuple[str, ...]:
    """The sentences of a paragraph, on one line each; an abbreviation may end one too early."""
    return tuple(re.split(r"(?<=[.!?;:])\s+(?=[A-Z\"“(])", " ".join(text.split())))


def dealt(documents: Iterable[Document]) -> dict[Split, list[Document]]:
    """The documents of each split, in the order of the hashes of their names, and what they hold that no earlier has.

    A document goes to the split that is then shortest of its share: few documents of unequal length would be dealt
    too unevenly by their hashes alone. A unit with a run of ``SHINGLE`` words that an earlier document has is left
    out, so that no such run is in two splits.
    """
    documents_of: dict[Split, list[Document]] = {split: [] for split in SHARES}
    words = dict.fromkeys(SHARES, 0)
    for document in _fresh(sorted(documents, key=lambda document: hash_of(document.id))):
        split = min(SHARES, key=lambda name: words[name] / SHARES[name])
        documents_of[split].append(document)
        words[split] += sum(len(unit.split()) for unit in document.units)
    return documents_of


def pieces(documents: Iterable[Document], packing: Packing, joiner: str) -> dict[Split, tuple[str, ...]]:
    """The pieces of each split, in a fixed order.

    ``within``: a piece holds units of one document; ``across``: of several documents of its split, for those that are
    shorter than a piece; ``whole``: each unit is a piece.
    """
    pieces_of: dict[Split, tuple[str, ...]] = {}
    for split, own in dealt(documents).items():
        runs = [list(document.units) for document in own]
        if packing == "across":
            runs = [[unit for run in runs for unit in run]]
        made = (run if packing == "whole" else _packed(run, joiner) for run in runs)
        pieces_of[split] = tuple(dict.fromkeys(piece for run in made for piece in run))
    return pieces_of


def _fresh(documents: Iterable[Document]) -> Iterator[Document]:
    """The documents that have something of their own, less what an earlier one has, and less repetitions."""
    known: set[int] = set()
    for document in documents:
        runs = {unit: shingles(unit) for unit in document.units}
        kept = tuple(unit for unit, own in runs.items() if known.isdisjoint(own))
        known.update(*runs.values())
        if kept:
            yield Document(document.id, kept)


def shingles(unit: str) -> set[int]:
    """Hashes of its runs of ``SHINGLE`` words, without punctuation and capitals; of all words of a shorter one."""
    words = re.findall(r"\w+", unit.lower()) or [unit]
    return {hash_of(" ".join(words[at : at + SHINGLE])) for at in range(max(1, len(words) - SHINGLE + 1))}


def _packed(units: Iterable[str], joiner: str) -> Iterator[str]:
    """Units in a row until there are ``WORDS`` words.

    Running prose (joined by spaces) may be cut inside a sentence where it would get too long; an entry may not, and
    one that is too long for a piece is left out, as is what stays below ``LEAST`` words.
    """
    piece: list[str] = []
    count = 0
    for unit in units:
        words = unit.split()
        if count + len(words) > MOST:
            if joiner == " " and count < LEAST:
                piece.append(" ".join(words[: WORDS - count]))
                count = WORDS
                words = []
            if count >= LEAST:
                yield joiner.join(piece)
            piece, count = [], 0
            if not words:
                continue
            unit = " ".join(words[:MOST]) if joiner == " " else unit
            words = words[:MOST] if joiner == " " else words
            if len(words) > MOST:
                continue
        piece.append(unit)
        count += len(words)
        if count >= WORDS:
            yield joiner.join(piece)
            piece, count = [], 0
    if count >= LEAST:
        yield joiner.join(piece)
