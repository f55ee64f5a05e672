"""Facts by name and by number, against plain sets of tuples."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from armillary.errors import UsageError
from armillary.graphs import KnowledgeGraph, Names, columns as columns_module

FACTS = [
    ("Paris", "capital of", "France"),
    ("Paris", "in", "France"),
    ("Paris", "in", "Europe"),
    ("France", "in", "Europe"),
    ("Paris", "in", "Europe"),
    ("Narcissus", "loves", "Narcissus"),
]


def test_the_facts_are_found_by_name() -> None:
    graph = KnowledgeGraph.of(FACTS)
    assert (len(graph), graph.duplicates, graph.self_loops) == (5, 1, 1)
    assert list(graph) == sorted(set(FACTS))
    assert list(graph.entities) == ["Europe", "France", "Narcissus", "Paris"]
    assert graph.tails("Paris", "in") == ("Europe", "France")
    assert graph.heads("in", "Europe") == ("France", "Paris")
    assert graph.relations_between("Paris", "France") == ("capital of", "in")
    assert graph.facts("France") == (("France", "in", "Europe"),)
    assert ("Paris", "in", "Europe") in graph and ("Europe", "in", "Paris") not in graph
    assert repr(graph) == "KnowledgeGraph(5 triples, 4 entities, 3 relations)"


def test_unknown_names_are_no_error() -> None:
    graph = KnowledgeGraph.of(FACTS)
    assert not graph.has("Paris", "in", "Atlantis") and not graph.has("Paris", "near", "France")
    assert graph.tails("Atlantis", "in") == graph.tails("Paris", "near") == graph.heads("near", "France") == ()
    assert graph.relations_between("Paris", "Atlantis") == graph.facts("Atlantis") == ()
    assert "Atlantis" not in graph.entities and "not a triple" not in graph
    assert graph.entities.ids_of(["Paris", "Atlantis"]).tolist() == [3, -1]


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=3)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(NAMES, NAMES, NAMES), min_size=1, max_size=30))
def test_it_is_the_set_of_its_triples_whatever_their_names(triples: list[tuple[str, str, str]]) -> None:
    graph = KnowledgeGraph.of(triples)
    assert list(graph) == sorted(set(triples))
    assert graph.duplicates == len(triples) - len(set(triples))
    assert graph.self_loops == len({triple for triple in triples if triple[0] == triple[2]})
    assert all(graph.has(*triple) for triple in triples)
    heads, relations = {triple[0] for triple in triples}, {triple[1] for triple in triples}
    for head in heads:
        for relation in relations:
            assert set(graph.tails(head, relation)) == {t for h, r, t in triples if (h, r) == (head, relation)}
            assert set(graph.heads(relation, head)) == {h for h, r, t in triples if (r, t) == (relation, head)}


def random_facts(count: int, entities: int, relations: int) -> tuple[list[tuple[str, str, str]], Any]:
    rng = np.random.default_rng(0)
    ids = np.stack(
        [rng.integers(entities, size=count), rng.integers(relations, size=count), rng.integers(entities, size=count)]
    )
    return [(f"e{h:03d}", f"r{r:03d}", f"e{t:03d}") for h, r, t in ids.T], ids


def test_many_facts_at_once_by_number() -> None:
    triples, (heads, relations, tails) = random_facts(2000, 60, 5)
    graph, held = KnowledgeGraph.of(triples), set(triples)
    other = [(head, relation, f"e{(int(tail[1:]) + 1) % 60:03d}") for head, relation, tail in triples[:200]]
    wanted = [*triples[:100], *other, ("e000", "r000", "x"), ("x", "r000", "e000"), ("e000", "x", "e000")]
    kinds = (graph.entities, graph.relations, graph.entities)
    ids = [names.ids_of(part) for names, part in zip(kinds, zip(*wanted, strict=True), strict=True)]
    answers = graph.has_ids(*ids).tolist()
    assert answers == [triple in held for triple in wanted] and 0 < sum(answers) < len(answers)
    starts, stops = graph.edge_ranges(np.arange(60)[:, None], np.arange(5))
    counts = np.zeros((60, 5), np.int64)
    for head, relation, _ in held:
        counts[int(head[1:]), int(relation[1:])] += 1
    assert (stops - starts).tolist() == counts.tolist()
    own = (heads == 3) & (relations == 2)
    assert graph.tail_ids(3, 2).tolist() == sorted(set(tails[own].tolist()))
    assert graph.out_degrees.tolist() == counts.sum(1).tolist()
    assert graph.in_degrees.tolist() == [sum(tail == name for _, _, tail in held) for name in graph.entities]


def test_order_of_the_stream_and_size_of_its_batches_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    triples, _ = random_facts(2000, 50, 4)
    graph = KnowledgeGraph.of(triples)
    monkeypatch.setattr(columns_module, "BATCH", 7)
    monkeypatch.setattr(columns_module, "SLICE", 11)
    other = KnowledgeGraph.of(reversed(triples))
    assert other.digest == graph.digest and list(other) == list(graph)
    assert KnowledgeGraph.of([*triples, ("e000", "r000", "new")]).digest != graph.digest


def test_numbers_too_large_for_one_key_sort_alike() -> None:
    """2^32 entities and relations would need it; the names are not looked at, so that few stand for many."""
    rng = np.random.default_rng(1)
    parts = [rng.integers(9, size=400, dtype=np.int32) for _ in range(3)]
    small = Names.of_sorted([str(number) for number in range(9)])

    class Many(Names):
        def __len__(self) -> int:
            return 1 << 31

    def sorted_by(relations: Names) -> Any:
        return columns_module.sorted_columns(small, relations, *parts)

    class More(Many):
        def __len__(self) -> int:
            return 1 << 60

    one, other = sorted_by(small), sorted_by(More(small.blob, small.offsets))
    assert one.offsets.tolist() == other.offsets.tolist() and one.duplicates == other.duplicates > 0
    assert one.edge_tails.tolist() == other.edge_tails.tolist() and one.self_loops == other.self_loops
    assert one.edge_relations.tolist() == other.edge_relations.tolist()


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (("a", "b"), r"triple 3 is \('a', 'b'\)"),
        (("a", "", "c"), "triple 3 is"),
        (("a", 1, "c"), "triple 3 is"),
        ("abc", "triple 3 is 'abc'"),
        (None, "triple 3 is None"),
        (("a", "b", "\ud800"), "half of a surrogate pair"),
    ],
)
def test_what_is_no_triple_is_named(bad: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        KnowledgeGraph.of([*FACTS[:2], bad, *FACTS[2:]])


def test_texts_of_other_types_become_plain_and_an_empty_stream_is_refused() -> None:
    graph = KnowledgeGraph.of([(np.str_("a"), "b", "c")])
    assert list(graph) == [("a", "b", "c")] and type(next(iter(graph))[0]) is str
    empty: Iterable[tuple[str, str, str]] = iter(())
    with pytest.raises(UsageError, match="at least one triple"):
        KnowledgeGraph.of(empty)


def test_names_are_a_sequence_in_the_order_of_their_bytes() -> None:
    names = sorted({"", "a", "é", "z", "中", "\U0001f600", "ab"})
    held = Names.of_sorted(names)
    assert list(held) == names and [held[number] for number in range(-len(names), 0)] == names
    assert [held.id_of(name) for name in names] == list(range(len(names)))
    assert held.id_of("\ud800") is None and 3 not in held
    with pytest.raises(IndexError):
        held[len(names)]
