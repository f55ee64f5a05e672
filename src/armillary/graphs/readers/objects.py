"""Triples out of objects of other libraries and the data sets that they carry: networkx and PyKEEN."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from armillary.errors import UsageError
from armillary.graphs.columns import Triple
from armillary.graphs.readers.tables import table_triples


class DirectedGraph(Protocol):
    """What is asked of a graph of networkx: DiGraph or MultiDiGraph."""

    def is_directed(self) -> bool: ...

    def is_multigraph(self) -> bool: ...

    def edges(self, *, data: bool) -> Iterable[tuple[object, object, Mapping[str, object]]]: ...


def networkx_triples(graph: DirectedGraph, relation: str = "relation") -> Iterator[Triple]:
    """The edges of a directed graph of networkx, whose attribute ``relation`` names the relation; of a multigraph the
    edge's key, if it is text and there is no such attribute. Nodes are texts, or whole numbers, which are written out.

    Raises:
        UsageError: the graph is undirected, an edge has no relation, or a node is something else.
    """
    if not graph.is_directed():
        raise UsageError("the graph is undirected, but a fact has a head and a tail; give a DiGraph or MultiDiGraph.")
    keys: Iterable[object] = ()
    if graph.is_multigraph():
        keys = (edge[2] for edge in graph.edges(keys=True))  # type: ignore[call-arg]
    named = iter(keys)
    for head, tail, attributes in graph.edges(data=True):
        kind = attributes.get(relation, next(named, None))
        if not isinstance(kind, str) or not kind:
            raise UsageError(
                f"the edge from {head!r} to {tail!r} has no text as its attribute {relation!r}; name the attribute "
                "that holds the relation."
            )
        yield _node(head), kind, _node(tail)


def _node(node: object) -> str:
    if isinstance(node, bool) or not isinstance(node, str | int) or node == "":
        raise UsageError(f"the node {node!r} is of type {type(node).__name__}; name nodes by text or whole numbers.")
    return str(node)


class LabelledTriples(Protocol):
    """What is asked of a TriplesFactory of PyKEEN."""

    @property
    def mapped_triples(self) -> "Rows": ...

    @property
    def entity_id_to_label(self) -> Mapping[int, str]: ...

    @property
    def relation_id_to_label(self) -> Mapping[int, str]: ...


class Rows(Protocol):
    """A tensor of whole numbers, [triples, 3]."""

    def tolist(self) -> list[list[int]]: ...


def factory_triples(factory: LabelledTriples) -> Iterator[Triple]:
    """The triples of a TriplesFactory of PyKEEN under their labels: head, relation and tail."""
    entities, relations = factory.entity_id_to_label, factory.relation_id_to_label
    for head, relation, tail in factory.mapped_triples.tolist():
        yield entities[head], relations[relation], entities[tail]


PYKEEN_PARTS = ("train", "valid", "test")


def pykeen_triples(name: str, parts: Sequence[str] = PYKEEN_PARTS) -> Iterator[Triple]:
    """A data set that PyKEEN carries in its package (nations, kinships, umls), read without importing PyKEEN.

    Raises:
        UsageError: the package pykeen is not installed, or carries no data set or part of that name.
    """
    spec = find_spec("pykeen")
    if spec is None or not spec.submodule_search_locations:
        raise UsageError("this needs the package pykeen, which is not installed: pip install pykeen.")
    folder = Path(spec.submodule_search_locations[0]) / "datasets"
    carried = sorted(path.parent.name for path in folder.glob("*/train.txt"))
    if name not in carried:
        raise UsageError(f"PyKEEN carries no data set {name!r}; it carries {', '.join(carried)}.")
    if unknown := [part for part in parts if part not in PYKEEN_PARTS]:
        raise UsageError(f"a data set has no part {unknown[0]!r}; its parts are {', '.join(PYKEEN_PARTS)}.")
    for part in parts:
        yield from table_triples(folder / name / f"{part}.txt", separator="\t")
