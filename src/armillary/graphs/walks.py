"""Random paths over a graph, drawn by the million: uniform or degree-aware, of any relations or of named ones a hop.

A path starts at an entity drawn uniformly among those with a fact that the first hop allows, and takes one of the
allowed facts of where it stands at each hop. A walk that ends too early, or would meet an entity twice, is dropped
whole and another drawn, as the paper's walks are (arXiv 2410.23703; no loop, and the last entity is not the first).
The law of a path is therefore the product of its draws, given that it arrives:

    P(e0, r1, e1, ...) = c / |starts| * prod_k w(e_k) / sum of w over the allowed facts of e_{k-1}

with w = 1, or with w(e) = 1 / (facts whose tail is e) where walks are degree-aware, so that hubs are met less often.
"""

import difflib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from armillary.errors import InsufficientSamplesError, UsageError
from armillary.graphs.columns import Triple
from armillary.graphs.names import Names
from armillary.graphs.triples import KnowledgeGraph

CHUNK = 1 << 18
"""Walks that are drawn together: 10 MB of draws at three hops, and long enough for NumPy to be quick."""

TRIES, FREE_TRIES = 1000, 100_000
"""Walks that are drawn at most: so many for each path that is wanted, and so many besides. Where fewer than one in a
thousand arrives, the graph has hardly any such path, and waiting longer would not help."""

Allowed = Sequence[str | Collection[str] | None]
"""For each hop a relation, several relations, or None for any."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Paths:
    """Paths of one length over a graph, as numbers of its entities and relations."""

    graph: KnowledgeGraph
    entities: NDArray[np.int32]
    """[paths, hops + 1] No entity twice in a path."""

    relations: NDArray[np.int32]
    """[paths, hops]"""

    tries: int
    """Walks drawn until the last of these arrived; the others ended too early or met an entity twice."""

    def __len__(self) -> int:
        return len(self.entities)

    def __getitem__(self, number: int) -> tuple[Triple, ...]:
        """The facts of one path, in order."""
        names = [self.graph.entities[int(entity)] for entity in self.entities[number]]
        kinds = [self.graph.relations[int(relation)] for relation in self.relations[number]]
        return tuple(zip(names, kinds, names[1:], strict=False))

    def __iter__(self) -> Iterator[tuple[Triple, ...]]:
        return (self[number] for number in range(len(self)))


def random_walks(
    graph: KnowledgeGraph,
    count: int,
    hops: int,
    seed: int,
    typed: Allowed | None = None,
    degree_aware: bool = False,
    *,
    starts: Collection[str] | None = None,
    chunk: int = CHUNK,
) -> Paths:
    """``count`` independent paths of ``hops`` facts; the law stands at the head of this file.

    ``typed`` names the relations that each hop may take, ``starts`` the entities that a path may begin at (all unless
    told). A seed gives the same paths whatever ``chunk`` is, which only bounds memory, and fewer of them are the first
    of more.

    Raises:
        UsageError: a count that is no positive number, a relation or start that the graph does not have, or another
            number of hops in ``typed``.
        InsufficientSamplesError: no path, or too few, were met in a thousand tries for each.
    """
    for name, value in (("count", count), ("hops", hops), ("chunk", chunk)):
        if value < 1:
            raise UsageError(f"{name} must be at least 1; got {value}.")
    steps = _steps(graph, hops, typed, degree_aware)
    first = _starts(graph, steps[0], starts)
    if not len(first):
        raise InsufficientSamplesError(
            "no path can begin: no entity that may be a start has a fact that the first hop allows."
        )
    generator = np.random.default_rng(seed)
    most = FREE_TRIES + TRIES * count
    kept: list[tuple[NDArray[np.int32], NDArray[np.int32]]] = []
    arrived, tries = 0, 0
    while arrived < count:
        if tries == most:
            raise InsufficientSamplesError(
                f"{arrived} of {count:,} paths of {hops} hops were met in {tries:,} tries: nearly every walk ends "
                "too early or meets an entity twice; ask for fewer hops, or allow more relations."
            )
        # A few more than are needed by what was seen so far. Rows of draws follow each other in one stream, so that
        # walk number n has the same draws however many are drawn together.
        likely = 1.1 * (count - arrived) * (tries + 1) / (arrived + 1) + 64
        draws = generator.random((min(chunk, most - tries, int(likely)), hops + 1))
        entities, relations, places = _walked(graph, steps, first, draws)
        wanted = min(len(places), count - arrived)
        kept.append((entities[:wanted], relations[:wanted]))
        arrived += wanted
        tries += int(places[wanted - 1]) + 1 if arrived == count else len(draws)
    return Paths(
        graph=graph,
        entities=np.concatenate([part for part, _ in kept]),
        relations=np.concatenate([part for _, part in kept]),
        tries=tries,
    )


@dataclass(frozen=True, eq=False)
class _Step:
    """What one hop may take: places of facts in the graph's columns, ascending, with their weights summed up."""

    offsets: NDArray[np.int64]
    allowed: NDArray[np.int64] | None
    """None for all."""

    sums: NDArray[np.float64] | None
    """Weights of the allowed facts, summed from the first on; None for equal ones."""

    def ranges(self, heads: NDArray[np.int32] | slice) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First and last-but-one-after among the allowed facts of each head."""
        starts, stops = self.offsets[:-1][heads], self.offsets[1:][heads]
        if self.allowed is None:
            return starts, stops
        return np.searchsorted(self.allowed, starts), np.searchsorted(self.allowed, stops)

    def taken(
        self, starts: NDArray[np.int64], stops: NDArray[np.int64], draws: NDArray[np.float64]
    ) -> NDArray[np.int64]:
        """The place of one fact of each range, none of which is empty."""
        if self.sums is None:
            places = starts + (draws * (stops - starts)).astype(np.int64)
        else:
            below = np.where(starts > 0, self.sums[np.maximum(starts, 1) - 1], 0.0)
            places = np.searchsorted(self.sums, below + draws * (self.sums[stops - 1] - below), side="right")
        places = np.clip(places, starts, stops - 1)  # rounding may lead one beyond
        return places if self.allowed is None else self.allowed[places]


def _steps(graph: KnowledgeGraph, hops: int, typed: Allowed | None, degree_aware: bool) -> list[_Step]:
    if typed is not None and (isinstance(typed, str) or len(typed) != hops):
        given = repr(typed) if isinstance(typed, str) else f"{len(typed)} entries"
        raise UsageError(f"typed must name the relations of each of the {hops} hops; got {given}.")
    ids = [_relation_ids(graph.relations, kinds) for kinds in (typed or [None] * hops)]
    columns = graph.columns
    made: dict[tuple[int, ...] | None, _Step] = {}
    for own in ids:
        if own not in made:
            allowed = None if own is None else np.flatnonzero(np.isin(columns.edge_relations, own))
            sums = None
            if degree_aware:
                tails = columns.edge_tails if allowed is None else columns.edge_tails[allowed]
                sums = np.cumsum(1.0 / graph.in_degrees[tails])
            made[own] = _Step(columns.offsets, allowed, sums)
    return [made[own] for own in ids]


def _relation_ids(relations: Names, kinds: str | Collection[str] | None) -> tuple[int, ...] | None:
    if kinds is None:
        return None
    names = (kinds,) if isinstance(kinds, str) else tuple(kinds)
    if not names:
        raise UsageError("a hop of typed allows no relation; give None where any will do.")
    ids = []
    for name in names:
        number = relations.id_of(name)
        if number is None:
            near = difflib.get_close_matches(name, list(relations), n=3, cutoff=0.5)
            hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"it has {len(relations)} others."
            raise UsageError(f"the graph has no relation {name!r}; {hint}")
        ids.append(number)
    return tuple(sorted(set(ids)))


def _starts(graph: KnowledgeGraph, step: _Step, starts: Collection[str] | None) -> NDArray[np.int32]:
    """Numbers of the entities a path may begin at, ascending, each once."""
    if starts is None:
        low, high = step.ranges(slice(None))
        return np.flatnonzero(low < high).astype(np.int32)
    names = sorted(set(starts))
    ids = np.sort(graph.entities.ids_of(names))
    if len(ids) and ids[0] < 0:
        unknown = next(name for name in names if name not in graph.entities)
        raise UsageError(f"the graph has no entity {unknown!r} for a path to start at.")
    low, high = step.ranges(ids)
    return ids[low < high]


def _walked(
    graph: KnowledgeGraph, steps: Sequence[_Step], first: NDArray[np.int32], draws: NDArray[np.float64]
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]:
    """Entities and relations of the walks that arrive, and which of the drawn ones these are, in order."""
    alive = np.arange(len(draws))
    entities = np.empty((len(draws), len(steps) + 1), np.int32)
    relations = np.empty((len(draws), len(steps)), np.int32)
    entities[:, 0] = first[np.minimum((draws[:, 0] * len(first)).astype(np.int64), len(first) - 1)]
    for hop, step in enumerate(steps):
        starts, stops = step.ranges(entities[:, hop])
        going = starts < stops
        alive, entities, relations = alive[going], entities[going], relations[going]
        edges = step.taken(starts[going], stops[going], draws[alive, hop + 1])
        relations[:, hop] = graph.columns.edge_relations[edges]
        entities[:, hop + 1] = graph.columns.edge_tails[edges]
        fresh = (entities[:, : hop + 1] != entities[:, hop + 1, None]).all(1)
        alive, entities, relations = alive[fresh], entities[fresh], relations[fresh]
    return entities, relations, alive
