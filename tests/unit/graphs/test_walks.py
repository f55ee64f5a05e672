"""Random paths: their law against enumeration, their seeds, and the graphs that have none."""

from collections import Counter
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import pytest
from scipy import stats

from armillary.errors import InsufficientSamplesError, UsageError
from armillary.graphs import KnowledgeGraph, Paths, Triple, random_walks

FACTS: list[Triple] = [
    ("a", "r", "b"),
    ("a", "s", "b"),  # twice as likely as another
    ("a", "r", "c"),
    ("b", "r", "a"),
    ("b", "s", "c"),
    ("b", "s", "d"),
    ("c", "r", "c"),  # a loop
    ("c", "s", "d"),
    ("c", "r", "e"),
    ("d", "s", "b"),
    ("d", "r", "f"),  # f is a dead end
    ("e", "s", "c"),
    ("e", "r", "a"),
]
GRAPH = KnowledgeGraph.of(FACTS)


def law(
    hops: int, allowed: Callable[[int, str], bool], weight: Callable[[str], float]
) -> dict[tuple[Triple, ...], float]:
    """Every path with its probability, by the definition: draw, and draw anew where a walk does not arrive."""
    starts = sorted({head for head, relation, _ in FACTS if allowed(0, relation)})
    walks: list[tuple[tuple[Triple, ...], str, float]] = [((), start, 1 / len(starts)) for start in starts]
    for hop in range(hops):
        longer = []
        for path, at, probability in walks:
            steps = [fact for fact in FACTS if fact[0] == at and allowed(hop, fact[1])]
            total = sum(weight(fact[2]) for fact in steps)
            longer += [((*path, fact), fact[2], probability * weight(fact[2]) / total) for fact in steps]
        walks = longer
    arrived = {
        path: probability
        for path, _, probability in walks
        if len({path[0][0], *(fact[2] for fact in path)}) == hops + 1
    }
    total = sum(arrived.values())
    return {path: probability / total for path, probability in arrived.items()}


def fit(paths: Paths, expected: dict[tuple[Triple, ...], float]) -> float:
    """p of chi-squared that the paths follow the law; 0 where one is impossible."""
    rows = np.concatenate([paths.entities, paths.relations], 1)
    counts = Counter(map(tuple, rows.tolist()))
    keys = {path: numbered(path) for path in expected}
    if set(counts) - set(keys.values()):
        return 0.0
    wanted = np.array(list(expected.values())) * len(paths)
    return float(stats.chisquare([counts[keys[path]] for path in expected], wanted).pvalue)


def numbered(path: tuple[Triple, ...]) -> tuple[int, ...]:
    entities = GRAPH.entities.ids_of([path[0][0], *(fact[2] for fact in path)])
    return (*entities.tolist(), *GRAPH.relations.ids_of(fact[1] for fact in path).tolist())


LIKELY = 1e-4
"""p above which a law is taken as met: 14 samples are tried, and an other law comes out below 1e-6."""


def hubs(tail: str) -> float:
    return 1 / sum(fact[2] == tail for fact in FACTS)


@pytest.mark.parametrize("hops", [1, 2, 3])
def test_the_law_is_that_of_the_definition(hops: int) -> None:
    uniform, aware = law(hops, lambda hop, relation: True, lambda tail: 1.0), law(hops, lambda *_: True, hubs)
    drawn = random_walks(GRAPH, 6000, hops, seed=hops)
    assert fit(drawn, uniform) > LIKELY
    avoiding = random_walks(GRAPH, 6000, hops, seed=hops, degree_aware=True)
    assert fit(avoiding, aware) > LIKELY
    assert fit(avoiding, uniform) < 1e-6 and fit(drawn, aware) < 1e-6  # the test tells the two laws apart


@pytest.mark.parametrize("aware", [False, True])
@pytest.mark.parametrize("typed", [["s", "r"], [("r", "s"), "s"], [None, "r"], ["s", None]])
def test_typed_hops_take_what_they_may(typed: list[Any], aware: bool) -> None:
    def allowed(hop: int, relation: str) -> bool:
        return typed[hop] is None or relation in typed[hop]

    drawn = random_walks(GRAPH, 3000, 2, 0, typed=typed, degree_aware=aware)
    assert fit(drawn, law(2, allowed, hubs if aware else lambda tail: 1.0)) > LIKELY


def test_a_seed_gives_the_same_paths_whatever_the_chunk() -> None:
    paths = random_walks(GRAPH, 200, 3, 7)
    for chunk in (7, 199, 10_000):
        other = random_walks(GRAPH, 200, 3, 7, chunk=chunk)
        assert np.array_equal(other.entities, paths.entities) and np.array_equal(other.relations, paths.relations)
        assert other.tries == paths.tries > 200
    fewer = random_walks(GRAPH, 20, 3, 7)
    assert np.array_equal(fewer.entities, paths.entities[:20]) and fewer.tries < paths.tries
    assert not np.array_equal(random_walks(GRAPH, 200, 3, 8).entities, paths.entities)


def test_paths_are_facts_in_a_row_without_loops() -> None:
    rng = np.random.default_rng(0)
    graph = KnowledgeGraph.of(
        (f"e{h}", f"r{r}", f"e{t}") for h, r, t in zip(*(rng.integers(n, size=900) for n in (80, 4, 80)), strict=True)
    )
    paths = random_walks(graph, 2000, 4, 0, degree_aware=True)
    assert paths.entities.shape == (2000, 5) and paths.relations.shape == (2000, 4) and len(paths) == 2000
    assert graph.has_ids(paths.entities[:, :-1], paths.relations, paths.entities[:, 1:]).all()
    ordered = np.sort(paths.entities, axis=1)
    assert (ordered[:, 1:] > ordered[:, :-1]).all()
    assert all(graph.has(*fact) for fact in paths[11]) and paths[11][0][2] == paths[11][1][0]


@pytest.mark.parametrize("starts", [["a"], ["a", "f", "e", "a"]])
def test_starts_may_be_named(starts: Collection[str]) -> None:
    paths = random_walks(GRAPH, 300, 1, 0, starts=starts)
    assert {path[0][0] for path in paths} == set(starts) - {"f"}  # nothing leads on from f
    counts = Counter(path[0][0] for path in paths)
    assert stats.chisquare(list(counts.values())).pvalue > LIKELY if len(counts) > 1 else counts["a"] == 300


def test_hubs_of_many_facts_are_drawn_evenly() -> None:
    """One head with many facts beside one with two: the cumulated weights of the first must not blur the second."""
    facts = [("hub", "r", f"t{number}") for number in range(5000)] + [("small", "r", "x"), ("small", "r", "y")]
    paths = random_walks(KnowledgeGraph.of(facts), 4000, 1, 0, degree_aware=True, starts=["small"])
    counts = Counter(path[0][2] for path in paths)
    assert stats.binomtest(counts["x"], 4000).pvalue > LIKELY


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"count": 0}, "count must be at least 1; got 0"),
        ({"hops": 0}, "hops must be at least 1"),
        ({"chunk": 0}, "chunk must be at least 1"),
        ({"typed": ["r"]}, "each of the 2 hops; got 1 entries"),
        ({"typed": "rs"}, "each of the 2 hops; got 'rs'"),
        ({"typed": ["r", "t"]}, "no relation 't'"),
        ({"typed": ["r", []]}, "allows no relation"),
        ({"starts": ["a", "z"]}, "no entity 'z'"),
    ],
)
def test_wrong_wishes_are_told(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        random_walks(GRAPH, **{"count": 1, "hops": 2, "seed": 0, **options})


def test_a_relation_that_is_nearly_one_is_suggested() -> None:
    graph = KnowledgeGraph.of([("a", "capital", "b")])
    with pytest.raises(UsageError, match="did you mean 'capital'"):
        random_walks(graph, 1, 1, 0, typed=["capitol"])


def test_graphs_without_such_paths_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("armillary.graphs.walks.FREE_TRIES", 500)
    with pytest.raises(InsufficientSamplesError, match="0 of 2 paths of 3 hops were met in 2,500 tries"):
        random_walks(KnowledgeGraph.of([("a", "r", "b"), ("b", "r", "a")]), 2, 3, 0, chunk=400)
    with pytest.raises(InsufficientSamplesError, match="no path can begin"):
        random_walks(GRAPH, 1, 1, 0, starts=["f"])
