"""Triples as sorted columns of numbers, gathered from a stream: what a graph is in memory and on the disk."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count, islice

import numpy as np
from numpy.typing import NDArray

from armillary.errors import UsageError
from armillary.graphs.names import Names

Triple = tuple[str, str, str]
"""Head, relation and tail: the contract by which graphs come in, an iterable of these."""

BATCH = 1 << 12
"""Triples that are numbered at once: more no longer fit the processor's cache, which costs a quarter of the time."""

SLICE = 1 << 22
"""Sorted keys that are taken apart at once: 32 MB of them, so that no second copy of all is ever held."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Columns:
    """Distinct triples in the order of head, relation and tail; those of head ``h`` are ``offsets[h]`` to
    ``offsets[h + 1]``."""

    entities: Names
    relations: Names
    offsets: NDArray[np.int64]
    """[entities + 1]"""

    edge_relations: NDArray[np.int32]
    """[triples]"""

    edge_tails: NDArray[np.int32]
    """[triples]"""

    duplicates: int
    """Triples that were given again and are held once."""

    self_loops: int
    """Distinct triples whose head is their tail; they are held, and no walk takes one."""

    def arrays(self) -> dict[str, NDArray[np.uint8] | NDArray[np.int32] | NDArray[np.int64]]:
        """All arrays by the names of their files."""
        return {
            "entities": self.entities.blob,
            "entity_offsets": self.entities.offsets,
            "relations": self.relations.blob,
            "relation_offsets": self.relations.offsets,
            "offsets": self.offsets,
            "edge_relations": self.edge_relations,
            "edge_tails": self.edge_tails,
        }


class _Numbering:
    """Names met so far, with provisional numbers in the order of their first appearance."""

    def __init__(self) -> None:
        self.numbers: defaultdict[str, int] = defaultdict(count().__next__)

    def of(self, names: tuple[str, ...]) -> NDArray[np.int32]:
        return np.fromiter(map(self.numbers.__getitem__, names), np.int32, len(names))

    def settled(self) -> tuple[Names, NDArray[np.int32]]:
        """The sorted names, and the rank of each provisional number; forgets the names."""
        ordered = sorted(self.numbers)
        ranks = np.empty(len(ordered), np.int32)
        ranks[self.of(tuple(ordered))] = np.arange(len(ordered), dtype=np.int32)
        self.numbers.clear()  # before the block is made: millions of names would be held twice
        return Names.of_sorted(ordered), ranks


def gathered(triples: Iterable[Triple]) -> Columns:
    """The columns of a stream, which is read once and in batches.

    A distinct name costs about 150 bytes while the stream is read, a triple 12, and then 8 while all are sorted.

    Raises:
        UsageError: something is no triple of texts, a name is empty, or there is no triple at all; the sentence
            says which one, counted from 1.
    """
    entities, relations = _Numbering(), _Numbering()
    batches: list[tuple[NDArray[np.int32], ...]] = []
    stream, total = iter(triples), 0
    while batch := list(islice(stream, BATCH)):
        heads, kinds, tails = _texts(batch, total)
        batches.append((entities.of(heads), relations.of(kinds), entities.of(tails)))
        total += len(batch)
    if not total:
        raise UsageError("a graph needs at least one triple of head, relation and tail; there is none.")
    entity_names, entity_ranks = entities.settled()
    relation_names, relation_ranks = relations.settled()
    ranks = (entity_ranks, relation_ranks, entity_ranks)
    head_ids, relation_ids, tail_ids = (
        np.concatenate([rank[batch[part]] for batch in batches]) for part, rank in enumerate(ranks)
    )
    batches.clear()
    return sorted_columns(entity_names, relation_names, head_ids, relation_ids, tail_ids)


def _texts(batch: list[Triple], before: int) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    try:
        heads, kinds, tails = zip(*batch, strict=True)
        fine = set(map(type, batch)) <= {tuple, list}  # text of three letters would come apart, too
        fine = fine and all(set(map(type, names)) == {str} and "" not in names for names in (heads, kinds, tails))
    except (TypeError, ValueError):
        fine, heads, kinds, tails = False, (), (), ()
    if fine:
        return heads, kinds, tails
    for number, triple in enumerate(batch, before + 1):
        given: object = triple  # what the types promise is what is being checked
        parts: tuple[object, ...] = tuple(given) if isinstance(given, list | tuple) else (given,)
        if len(parts) != 3 or any(not isinstance(part, str) or not part for part in parts):
            raise UsageError(
                f"triple {number} is {triple!r:.120}; give head, relation and tail as three texts that are not empty."
            )
    # What remains is text of a type derived from str, as NumPy's or rdflib's: plain text serves the tables better.
    heads, kinds, tails = zip(*(tuple(map(str, triple)) for triple in batch), strict=True)
    return heads, kinds, tails


def sorted_columns(
    entities: Names,
    relations: Names,
    heads: NDArray[np.int32],
    kinds: NDArray[np.int32],
    tails: NDArray[np.int32],
) -> Columns:
    """The columns of numbered triples in any order, duplicates among them.

    Head, relation and tail become one whole number where 63 bits are enough for it, since one column sorts in place.
    """
    self_loops_seen = heads == tails
    many, kinds_count = len(entities), len(relations)
    if many * kinds_count * many < 1 << 63:
        keys = heads.astype(np.int64)
        keys *= kinds_count
        keys += kinds
        keys *= many
        keys += tails
        keys.sort()
        first = np.empty(len(keys), np.bool_)
        first[0] = True
        np.not_equal(keys[1:], keys[:-1], out=first[1:])
        duplicates = len(keys) - int(np.count_nonzero(first))
        keys = keys[first] if duplicates else keys
        offsets = np.searchsorted(keys, np.arange(many + 1, dtype=np.int64) * (kinds_count * many))
        edge_relations, edge_tails = np.empty(len(keys), np.int32), np.empty(len(keys), np.int32)
        for start in range(0, len(keys), SLICE):
            pair = keys[start : start + SLICE] % (kinds_count * many)
            edge_relations[start : start + SLICE] = pair // many
            edge_tails[start : start + SLICE] = pair % many
    else:
        order = np.lexsort((tails, kinds, heads))
        heads, kinds, tails = heads[order], kinds[order], tails[order]
        first = np.ones(len(heads), np.bool_)
        first[1:] = (heads[1:] != heads[:-1]) | (kinds[1:] != kinds[:-1]) | (tails[1:] != tails[:-1])
        duplicates = len(heads) - int(np.count_nonzero(first))
        edge_relations, edge_tails = kinds[first], tails[first]
        offsets = np.searchsorted(heads[first], np.arange(many + 1))
    self_loops = 0
    if self_loops_seen.any():
        counts = np.diff(offsets)
        self_loops = int(np.count_nonzero(np.repeat(np.arange(many, dtype=np.int32), counts) == edge_tails))
    return Columns(
        entities=entities,
        relations=relations,
        offsets=offsets.astype(np.int64, copy=False),
        edge_relations=edge_relations,
        edge_tails=edge_tails,
        duplicates=duplicates,
        self_loops=self_loops,
    )
