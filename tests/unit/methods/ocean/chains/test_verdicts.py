"""Verdicts by lookup, with entities marked by hand, so that the extra for linking is not needed."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from armillary.errors import UsageError
from armillary.graphs import KnowledgeGraph, Lexicon, Mention
from armillary.methods.ocean.chains.phrases import GEOGRAPHY, WORDNET, Phrases, compiled, relation_words, spoken
from armillary.methods.ocean.chains.verdicts import ChainChecker, StepVerdict

FACTS = [
    ("France", "capital", "Paris"), ("Spain", "capital", "Madrid"), ("Italy", "capital", "Rome"),
    ("Paris", "country", "France"), ("Lyon", "country", "France"), ("Madrid", "country", "Spain"),
    ("Rome", "country", "Italy"),
    ("France", "continent", "Europe"), ("Spain", "continent", "Europe"), ("Italy", "continent", "Europe"),
    ("France", "borders", "Spain"), ("France", "borders", "Italy"), ("Spain", "borders", "France"),
    ("Italy", "borders", "France"),
    ("France", "currency", "euro"), ("Spain", "currency", "euro"), ("Italy", "currency", "lira"),
    ("Ada", "birthPlace", "London"), ("Bob", "birthPlace", "Leeds"), ("Ada", "P36", "Bob"),
    ("Ada", "knows", "Bob"), ("Ada", "knows", "Cy"), ("Bob", "knows", "Cy"), ("Bob", "knows", "Ada"),
]  # fmt: skip
GRAPH = KnowledgeGraph.of(FACTS)
NAMES = {name: (name,) for name in GRAPH.entities} | {"Paris-or-Rome": ("Paris", "Rome")}


class HandLexicon:
    """Finds the names of the little graph, the longest first, as whole words."""

    pattern = re.compile("|".join(rf"\b{re.escape(name)}\b" for name in sorted(NAMES, key=len, reverse=True)))

    def link(self, text: str) -> list[Mention]:
        return [Mention(*match.span(), NAMES[match[0]]) for match in self.pattern.finditer(text)]


def checker(complete: frozenset[str] = frozenset()) -> ChainChecker:
    patterns = {name: own for name, own in GEOGRAPHY.items() if name in GRAPH.relations}
    return ChainChecker(GRAPH, cast(Lexicon, HandLexicon()), Phrases(patterns=patterns, complete=complete))


def verdict(step: str, complete: frozenset[str] = frozenset()) -> StepVerdict:
    return checker(complete).check([step])[0]


@pytest.mark.parametrize(
    "step",
    [
        "The capital of France is Paris.",
        "So the capital city of France is called Paris!",
        "Paris is also the capital and largest city of France.",
        "France's capital is **Paris**.",
        "Paris, the capital of France, is old.",
        "Lyon is a beautiful old city in southern France",
        "France is a country located in Western Europe.",
        "The currency of France is the so called euro.",
        "France shares a land border with Spain.",
        "France borders Spain and Italy.",
        "Ada's birth place is London.",
        "The birth place of Ada is London.",
        "Ada knows Bob.",
        "It is said that Ada was here. The capital of Spain is Madrid.",
        "The capital of France is Paris-or-Rome.",
    ],
)
def test_facts_that_are_stated_are_supported(step: str) -> None:
    made = verdict(step)
    assert made.verdict == "supported", made.reason
    assert made.facts and all(fact in GRAPH for fact in made.facts)


@pytest.mark.parametrize(
    ("step", "against"),
    [
        ("The capital of France is Lyon.", ("France", "capital", "Paris")),
        ("Rome is the capital of France.", ("France", "capital", "Paris")),
        ("Paris is in Spain.", ("Paris", "country", "France")),
        ("France is in Europe. The capital of France is Rome.", ("France", "capital", "Paris")),
        ("The birth place of Ada is Leeds.", ("Ada", "birthPlace", "London")),
        ("The capital of Spain is Paris-or-Rome.", ("Spain", "capital", "Madrid")),
    ],
)
def test_another_tail_of_a_relation_with_one_is_contradicted(step: str, against: tuple[str, str, str]) -> None:
    made = verdict(step)
    assert made.verdict == "contradicted", made.reason
    assert against in made.facts and against[2] in made.reason
    assert all(fact in GRAPH for fact in made.facts)


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        ("Nobody is here.", "no entity"),
        ("Paris lies in the Spain Basin, near the Gulf of Italy.", "one entity"),
        ("The capital is Paris.", "one entity"),
        ("The capital of France is not Rome.", "denies"),
        ("Is Rome the capital of France?", "denies"),
        ("Rome was the capital of France.", "denies"),
        ("The capital of France may be Rome.", "denies"),
        ("Spain has a commercial capital: Rome.", "no statement"),
        ("Paris is in Europe.", "no statement"),
        ("Paris and France.", "links what is named"),
        ("Spain borders Italy.", "there can be several"),
        ("Cy knows Ada.", "links what is named"),
    ],
)
def test_what_is_not_stated_or_not_closed_is_unknown(step: str, reason: str) -> None:
    made = verdict(step)
    assert made.verdict == "unknown"
    assert reason in made.reason


def test_a_relation_told_to_be_complete_contradicts_by_many_tails() -> None:
    made = verdict("Spain borders Italy.", frozenset({"borders"}))
    assert (made.verdict, made.facts) == ("contradicted", (("Spain", "borders", "France"),))
    listed = verdict("France borders Spain and Paris.", frozenset({"borders"}))
    assert listed.verdict == "supported"  # Paris is of no kind that is bordered


def test_a_relation_without_words_needs_no_more_than_the_fact() -> None:
    assert verdict("Ada, or P, of Bob").facts == (("Ada", "P36", "Bob"),)


def test_every_fact_said_by_any_of_its_patterns_is_supported_and_every_false_capital_is_not() -> None:
    for head, relation, tail in FACTS[:17]:
        for pattern in GEOGRAPHY[relation]:
            step = spoken(pattern).replace("{head}", head).replace("{tail}", tail)
            assert (head, relation, tail) in verdict(step).facts, step
    for head, _, tail in FACTS[:3]:
        for pattern in GEOGRAPHY["capital"]:
            for other in {"Paris", "Madrid", "Rome", "Lyon"} - {tail}:
                step = spoken(pattern).replace("{head}", head).replace("{tail}", other)
                assert verdict(step).verdict == "contradicted", step


def test_spans_of_the_user_are_linked_by_their_own_text() -> None:
    step = "the capital of France is Paris, says Madrid"
    made = checker().check([step], [[(15, 21), (25, 30)]])[0]
    assert made.verdict == "supported" and [step[m.start : m.end] for m in made.mentions] == ["France", "Paris"]
    unlinked = checker().check([step], [[(0, 3), (25, 30)]])[0]
    assert unlinked.verdict == "unknown" and unlinked.mentions[0].entities == ()
    with pytest.raises(UsageError, match="entity_spans must have a list for each of the 1 steps; got 2"):
        checker().check([step], [[], []])


def test_patterns_of_wordnet_and_names_of_relations() -> None:
    assert all(compiled(text) for own in WORDNET.values() for text in own)
    assert relation_words("birthPlace") == "birth place" and relation_words("http://x.org/p#born_in") == "born in"
    assert relation_words("P36") == ""
    assert spoken("the [official ]capital of {head} (is|are)* {tail}") == "The capital of {head} is {tail}."


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[patterns]\ncapital = ['{tail} of']", "must have {head} and {tail} once each"),
        ("[patterns]\ncapital = ['{head} (is {tail}']", "brackets that do not close"),
        ("[patterns]\ncapital = []", "must be a list of texts"),
        ("complete = 'capital'", "complete must be a list of relations"),
        ("pattern = 1", "has the key 'pattern'"),
        ("patterns = 1", "patterns must be a table"),
        ("patterns", "is not valid TOML"),
    ],
)
def test_wrong_patterns_are_refused_in_a_sentence(tmp_path: Path, text: str, error: str) -> None:
    file = tmp_path / "p.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=re.escape(error)):
        Phrases.read(file)


def test_patterns_are_read(tmp_path: Path) -> None:
    file = tmp_path / "p.toml"
    file.write_text("complete = ['knows']\n[patterns]\nknows = ['{head} has met {tail}']")
    made = ChainChecker(GRAPH, cast(Any, SimpleNamespace(link=HandLexicon().link)), Phrases.read(file))
    assert [one.verdict for one in made.check(["Ada has met Bob.", "Cy has met Bob.", "Bob has met London."])] == [
        "supported", "unknown", "unknown",
    ]  # fmt: skip
