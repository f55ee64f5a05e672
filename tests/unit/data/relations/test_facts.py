"""The packaged facts as triples."""

from armillary.data.relations.facts import BORDERS, CAPITAL, COUNTRY, geography_facts, geography_names
from armillary.graphs import KnowledgeGraph


def test_facts_about_countries() -> None:
    graph = KnowledgeGraph.of(geography_facts())
    assert graph.duplicates == graph.self_loops == 0 and len(graph) > 3500
    assert graph.tails("France", CAPITAL) == ("Paris",) and graph.tails("Paris", COUNTRY) == ("France",)
    assert graph.tails("Bolivia", "continent") == ("South America",)
    assert "German" in graph.tails("Switzerland", "official language") and "yen" in graph.tails("Japan", "currency")
    assert set(graph.tails("Portugal", BORDERS)) == {"Spain"}
    assert graph.relations_between("Singapore", "Singapore (city)") == (CAPITAL,)
    assert graph.tails("Bogot\u00e1", COUNTRY) == ("Colombia",) and "Bogota" not in graph.entities


def test_borders_are_mutual() -> None:
    graph = KnowledgeGraph.of(geography_facts())
    one_way = [fact for fact in graph if fact[1] == BORDERS and not graph.has(fact[2], BORDERS, fact[0])]
    assert one_way == []


def test_every_capital_lies_in_its_country_alone() -> None:
    graph = KnowledgeGraph.of(geography_facts())
    capitals = [(country, capital) for country, relation, capital in graph if relation == CAPITAL]
    assert len(capitals) > 240
    assert [pair for pair in capitals if graph.tails(pair[1], COUNTRY) != (pair[0],)] == []
    assert graph.tails("Bermuda", CAPITAL) == ("Hamilton (Bermuda)",) and graph.tails("Hamilton", COUNTRY) == (
        "Canada",
    )


def test_further_names_are_of_what_the_facts_link() -> None:
    graph, names = KnowledgeGraph.of(geography_facts()), set(geography_names())
    assert {entity for entity, _ in names} <= set(graph.entities)
    assert {
        ("United States", "USA"),
        ("Bogot\u00e1", "Bogota"),
        ("Singapore (city)", "Singapore"),
        ("Hamilton (Bermuda)", "Hamilton"),
    } <= names
    assert all(entity != name for entity, name in names)
