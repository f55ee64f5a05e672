"""A knowledge graph: distinct facts (head, relation, tail) that are looked up by name or, in bulk, by number.

Facts stand in the order of head, relation and tail, so that the tails of a head and a relation lie side by side and
are reached by halving; memory-mapped, a graph of 20 million facts opens at once and costs what is touched.
"""

from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from armillary.graphs.columns import Columns, Triple, gathered
from armillary.graphs.names import Names
from armillary.graphs.store import array_digests, graph_digest, read_columns, write_columns


class KnowledgeGraph:
    """Distinct triples, in memory (``of``) or memory-mapped from a folder (``build``, ``open``).

    A name that the graph does not have is no error: no fact holds of it, and it has no tails.
    """

    def __init__(self, columns: Columns) -> None:
        """Of columns that are sorted already; ``of``, ``build`` and ``open`` make them."""
        self.columns = columns

    @classmethod
    def of(cls, triples: Iterable[Triple]) -> "KnowledgeGraph":
        """A graph in memory, of a stream that is read once. UsageError naming the first that is no triple of texts,
        and for no triple at all."""
        return cls(gathered(triples))

    @classmethod
    def build(cls, triples: Iterable[Triple], folder: str | Path) -> "KnowledgeGraph":
        """The same, written to a new folder and opened from there; the folder is whole or not there.

        Raises:
            UsageError: as ``of``.
            StorageError: the folder exists or can't be written.
        """
        write_columns(gathered(triples), Path(folder))
        return cls.open(folder)

    @classmethod
    def open(cls, folder: str | Path, *, verify: bool = False) -> "KnowledgeGraph":
        """The graph of a folder; sizes and the header's digest are always checked, all contents with ``verify``.

        Raises:
            StorageError: the folder holds no graph, or a damaged or incomplete one.
        """
        return cls(read_columns(Path(folder), verify=verify))

    @property
    def entities(self) -> Names:
        """Names of all heads and tails, numbered."""
        return self.columns.entities

    @property
    def relations(self) -> Names:
        """Names of all relations, numbered."""
        return self.columns.relations

    @property
    def duplicates(self) -> int:
        """Triples that were given again when the graph was made, and are held once."""
        return self.columns.duplicates

    @property
    def self_loops(self) -> int:
        """Facts that link an entity with itself; they are held, and no walk takes one."""
        return self.columns.self_loops

    @cached_property
    def digest(self) -> str:
        """Sixteen hex digits of what the graph holds: equal sets of triples have equal ones. Reads all of it."""
        return graph_digest(array_digests(self.columns))

    def __len__(self) -> int:
        return len(self.columns.edge_tails)

    def __repr__(self) -> str:
        counts = f"{len(self):,} triples, {len(self.entities):,} entities, {len(self.relations):,} relations"
        return f"KnowledgeGraph({counts})"

    def __iter__(self) -> Iterator[Triple]:
        """All facts as names, in the order of head, relation and tail."""
        for number, head in enumerate(self.entities):
            yield from self._facts_of(number, head)

    def __contains__(self, triple: object) -> bool:
        return isinstance(triple, tuple) and len(triple) == 3 and self.has(*triple)

    # By name.

    def has(self, head: str, relation: str, tail: str) -> bool:
        """Whether the graph holds this fact."""
        tail_id = self.entities.id_of(tail)
        tails = self._tails(head, relation)
        if tail_id is None or not len(tails):
            return False
        place = int(np.searchsorted(tails, tail_id))
        return place < len(tails) and int(tails[place]) == tail_id

    def tails(self, head: str, relation: str) -> tuple[str, ...]:
        """All tails of a head and a relation, sorted; none where either is unknown."""
        return tuple(self.entities[int(tail)] for tail in self._tails(head, relation))

    def heads(self, relation: str, tail: str) -> tuple[str, ...]:
        """All heads of a relation and a tail, sorted. The first call makes an index by tail of all facts, in memory:
        16 bytes a fact at its peak, 8 afterwards."""
        relation_id, tail_id = self.relations.id_of(relation), self.entities.id_of(tail)
        if relation_id is None or tail_id is None:
            return ()
        offsets, edges = self._by_tail
        own = np.asarray(edges[offsets[tail_id] : offsets[tail_id + 1]])
        own = own[self.columns.edge_relations[own] == relation_id]
        return tuple(self.entities[int(head)] for head in self.heads_of_edges(own))

    def relations_between(self, head: str, tail: str) -> tuple[str, ...]:
        """All relations that link a head with a tail, sorted."""
        head_id, tail_id = self.entities.id_of(head), self.entities.id_of(tail)
        if head_id is None or tail_id is None:
            return ()
        edges = slice(self.columns.offsets[head_id], self.columns.offsets[head_id + 1])
        kinds = self.columns.edge_relations[edges][self.columns.edge_tails[edges] == tail_id]
        return tuple(self.relations[int(kind)] for kind in kinds)

    def facts(self, head: str) -> tuple[Triple, ...]:
        """All facts of a head, in the order of relation and tail."""
        number = self.entities.id_of(head)
        return () if number is None else tuple(self._facts_of(number, head))

    # By number, in bulk.

    def edge_ranges(self, heads: ArrayLike, relations: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First place and the one after the last of the facts of each head and relation; equal where there are none.

        Numbers are whole numbers of ``entities`` and ``relations`` or -1 for an unknown one, of shapes that broadcast.
        """
        head_ids, kinds = np.broadcast_arrays(np.asarray(heads, np.int64), np.asarray(relations, np.int64))
        offsets = self.columns.offsets
        starts, stops = offsets[np.maximum(head_ids, 0)], offsets[np.maximum(head_ids, 0) + 1]
        stops = np.where(head_ids < 0, starts, stops)
        column = self.columns.edge_relations
        return first_places(column, starts, stops, kinds), first_places(column, starts, stops, kinds + 1)

    def has_ids(self, heads: ArrayLike, relations: ArrayLike, tails: ArrayLike) -> NDArray[np.bool_]:
        """Whether the graph holds each of many facts, given by numbers as in ``edge_ranges``."""
        starts, stops = self.edge_ranges(heads, relations)
        wanted = np.asarray(tails, np.int64)
        starts, stops, wanted = np.broadcast_arrays(starts, stops, wanted)
        places = first_places(self.columns.edge_tails, starts, stops, wanted)
        inside = places < stops
        there: NDArray[np.bool_] = self.columns.edge_tails[np.where(inside, places, 0)] == wanted
        return inside & there

    def tail_ids(self, head: int, relation: int) -> NDArray[np.int32]:
        """Numbers of the tails of a head and a relation, ascending."""
        edges = slice(self.columns.offsets[head], self.columns.offsets[head + 1])
        kinds = self.columns.edge_relations[edges]
        own = slice(np.searchsorted(kinds, relation), np.searchsorted(kinds, relation, "right"))
        return self.columns.edge_tails[edges][own]

    def heads_of_edges(self, edges: ArrayLike) -> NDArray[np.int64]:
        """Number of the head of each fact, by the fact's place."""
        return np.searchsorted(self.columns.offsets, np.asarray(edges), side="right") - 1

    @cached_property
    def out_degrees(self) -> NDArray[np.int64]:
        """[entities] facts of which each entity is the head."""
        return np.diff(self.columns.offsets)

    @cached_property
    def in_degrees(self) -> NDArray[np.int64]:
        """[entities] facts of which each entity is the tail. Reads all facts once."""
        return np.bincount(self.columns.edge_tails, minlength=len(self.entities))

    @cached_property
    def _by_tail(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        # A stable order keeps the facts of one tail in the order of their heads.
        edges = np.argsort(self.columns.edge_tails, kind="stable")
        return np.concatenate([[0], np.cumsum(self.in_degrees)]), edges

    def _tails(self, head: str, relation: str) -> NDArray[np.int32]:
        head_id, relation_id = self.entities.id_of(head), self.relations.id_of(relation)
        if head_id is None or relation_id is None:
            return np.empty(0, np.int32)
        return self.tail_ids(head_id, relation_id)

    def _facts_of(self, number: int, head: str) -> Iterator[Triple]:
        edges = slice(self.columns.offsets[number], self.columns.offsets[number + 1])
        for kind, tail in zip(self.columns.edge_relations[edges], self.columns.edge_tails[edges], strict=True):
            yield head, self.relations[int(kind)], self.entities[int(tail)]


def first_places(
    column: NDArray[np.int32], starts: NDArray[np.int64], stops: NDArray[np.int64], values: NDArray[np.int64]
) -> NDArray[np.int64]:
    """For each range of a column that ascends within it, the first place whose value is not below the given one.

    All ranges are halved together: as many steps as the longest one has binary digits.
    """
    low, high = np.array(starts), np.array(stops)
    while (unsettled := low < high).any():
        middle = np.where(unsettled, (low + high) // 2, 0)
        below = unsettled & (column[middle] < values)
        low = np.where(below, middle + 1, low)
        high = np.where(unsettled & ~below, middle, high)
    return low
