"""Graphs of networkx and of PyKEEN, whose own data sets are read where it is installed."""

from typing import Any

import pytest

from armillary.errors import UsageError
from armillary.graphs import KnowledgeGraph
from armillary.graphs.readers.objects import factory_triples, networkx_triples, pykeen_triples

nx = pytest.importorskip("networkx")


def test_edges_of_networkx() -> None:
    graph = nx.DiGraph()
    graph.add_edge("Paris", "France", relation="capital of")
    graph.add_edge(1, 2, relation="before")
    assert list(networkx_triples(graph)) == [("Paris", "capital of", "France"), ("1", "before", "2")]
    several = nx.MultiDiGraph()
    several.add_edge("a", "b", key="r")
    several.add_edge("a", "b", key="s", relation="t")
    several.add_edge("a", "c", kind="u")
    assert list(networkx_triples(several.subgraph(["a", "b"]))) == [("a", "r", "b"), ("a", "t", "b")]
    with pytest.raises(UsageError, match="the edge from 'a' to 'c' has no text as its attribute 'relation'"):
        list(networkx_triples(several))
    assert list(networkx_triples(several.subgraph(["a", "c"]), relation="kind")) == [("a", "u", "c")]


@pytest.mark.parametrize("node", [1.5, True, None, ""])
def test_wrong_graphs_are_told(node: Any) -> None:
    with pytest.raises(UsageError, match="undirected"):
        list(networkx_triples(nx.Graph()))
    if node is not None:  # networkx itself refuses it
        graph = nx.DiGraph()
        graph.add_edge(node, "b", relation="r")
        with pytest.raises(UsageError, match="name nodes by text or whole numbers"):
            list(networkx_triples(graph))


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("nations", (1992, 14, 55)),
        ("kinships", (10686, 104, 25)),
        ("umls", (6529, 135, 46)),
    ],
)
def test_the_data_sets_that_pykeen_carries(name: str, counts: tuple[int, int, int]) -> None:
    pytest.importorskip("pykeen.version")
    graph = KnowledgeGraph.of(pykeen_triples(name))
    assert (len(graph) + graph.duplicates, len(graph.entities), len(graph.relations)) == counts
    train = KnowledgeGraph.of(pykeen_triples(name, ["train"]))
    assert len(train) < len(graph) and all(fact in graph for fact in list(train)[:50])


def test_wrong_data_sets_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pykeen.version")
    with pytest.raises(UsageError, match="carries no data set 'wn18'; it carries kinships, nations, umls"):
        list(pykeen_triples("wn18"))
    with pytest.raises(UsageError, match="no part 'dev'; its parts are train, valid, test"):
        list(pykeen_triples("nations", ["dev"]))


def test_pykeen_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("armillary.graphs.readers.objects.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="needs the package pykeen"):
        list(pykeen_triples("nations"))


class Factory:
    """What PyKEEN's TriplesFactory hands out, with NumPy in place of torch."""

    def __init__(self) -> None:
        import numpy as np

        self.mapped_triples = np.array([[0, 0, 1], [1, 1, 0]])
        self.entity_id_to_label = {0: "a", 1: "b"}
        self.relation_id_to_label = {0: "r", 1: "s"}


def test_a_factory_of_pykeen() -> None:
    assert list(factory_triples(Factory())) == [("a", "r", "b"), ("b", "s", "a")]
