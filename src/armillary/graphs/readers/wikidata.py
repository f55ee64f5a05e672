"""Wikidata5M as it is published: triplets of identifiers, and a file of names for each identifier.

"wikidata5m_transductive_train.txt" and its like hold a line ``Q22686<tab>P39<tab>Q11696`` a fact; the alias files
``wikidata5m_entity.txt`` and ``wikidata5m_relation.txt`` an identifier and its names, parted by tabs
(https://deepgraphlearning.github.io/project/wikidata5m; 4,594,485 entities, 822 relations, 20,614,279 facts).
"""

import re
from collections.abc import Iterator
from pathlib import Path

from armillary.errors import UsageError
from armillary.graphs.columns import Triple
from armillary.graphs.readers.lines import streamed_lines

_FACT = re.compile(r"(Q\d+)\t(P\d+)\t(Q\d+)", re.ASCII)
_NAMED = re.compile(r"[QP]\d+", re.ASCII)


def wikidata5m_triples(path: str | Path) -> Iterator[Triple]:
    """The facts of a file of triplets, as identifiers.

    Raises:
        UsageError: there is no such file, or a line is no triplet; it is named.
        StorageError: the file can't be read.
    """
    for number, line in streamed_lines(path):
        fact = _FACT.fullmatch(line.rstrip())
        if fact is None:
            raise UsageError(f"line {number} of {path} is {line!r:.80}; a fact is Q..., P... and Q... parted by tabs.")
        yield fact[1], fact[2], fact[3]


def wikidata5m_names(path: str | Path) -> Iterator[tuple[str, str]]:
    """Pairs (identifier, name) of a file of aliases, in their order; the empty names between two tabs are left out.

    Raises as ``wikidata5m_triples``.
    """
    for number, line in streamed_lines(path):
        identifier, *names = line.split("\t")
        identifier = identifier.strip()
        if not _NAMED.fullmatch(identifier):
            raise UsageError(
                f"line {number} of {path} begins with {identifier!r:.80}; it should be Q... or P..., a tab and names."
            )
        for name in names:
            if name.strip():
                yield identifier, name.strip()
