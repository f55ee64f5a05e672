"""Names found in texts: which, where, and which are left alone."""

import re
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from armillary.errors import UsageError
from armillary.graphs import KnowledgeGraph, Lexicon, Mention, NameRules

pytest.importorskip("ahocorasick")

NAMES = [
    "France", "Paris", "New York", "York", "Guinea", "Guinea-Bissau", "Jordan", "Nice", "May", "US", "us",
    "C\u00f4te d'Ivoire", "\u4e2d\u56fd", "hot dog", "dog", "Georgia", "Turkey", "South America", "America",
    "\u0130zmir", "Asia",
]  # fmt: skip
LEXICON = Lexicon([*((name, name) for name in NAMES), ("Georgia", "Georgia (state)"), ("domestic dog", "dog")])


def linked(text: str, lexicon: Lexicon = LEXICON) -> list[str]:
    return [text[mention.start : mention.end] for mention in lexicon.link(text)]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Paris is in France's north; Parisian, not PARIS.", ["Paris", "France"]),
        ("New York, York and NewYork", ["New York", "York"]),
        ("Guinea-Bissau and Guinea-based", ["Guinea-Bissau", "Guinea"]),  # the longest; a hyphen parts words
        ("A Domestic dog, hot dogs, HOT DOG", ["Domestic dog", "HOT DOG"]),  # no capital: found in any case
        ("new york and france", []),  # proper names as they are written
        (
            "C\u00f4te d\u2019Ivoire and C\u00f4te\u00a0d'Ivoire",
            ["C\u00f4te d\u2019Ivoire", "C\u00f4te\u00a0d'Ivoire"],
        ),
        ("New\nYork", ["New\nYork"]),
        ("New  York", ["York"]),  # two spaces are not one
        ("\u6211\u5728\u4e2d\u56fd\u7684Paris", ["\u4e2d\u56fd", "Paris"]),  # scripts without spaces
        ("\u0130zmir", ["\u0130zmir"]),
        ("", []),
        ("nothing", []),
    ],
)
def test_the_longest_names_at_word_boundaries(text: str, names: list[str]) -> None:
    assert linked(text) == names


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("May I go in May?", []),  # months never
        ("Nice weather. Nice! \u201cNice.\u201d\n- Nice", []),  # where a sentence or an item begins
        ("They like Nice, and Nice likes them.", ["Nice", "Nice"]),
        ("Turkey borders Syria.", ["Turkey"]),
        ("Michael Jordan met Jordan Peterson.", []),  # part of a longer name
        ("In Jordan we met. Jordan is dry, as Jordan The First said of Jordan.", ["Jordan"] * 4),
        ("Tell us: the US.", ["US"]),  # grammar in lower case, a name in capitals
        ("South America, Central America and America", ["South America", "America"]),
        ("East Asia, Southeast Asia.", ["Asia", "Asia"]),  # a given name, too, and hardly ever meant as one
    ],
)
def test_common_words_are_names_only_where_they_must_be(text: str, names: list[str]) -> None:
    assert linked(text) == names


def test_what_is_held_back_is_told_and_can_be_asked_for() -> None:
    assert LEXICON.held_back == {"May": "a month or a day of the week", "us": "a word of grammar"}
    anyway = Lexicon(
        [(name, name) for name in ("May", "Nice", "Jordan", "X")], linked_anyway=["May", "Nice", "Jordan"]
    )
    assert anyway.held_back == {"X": "one character"}
    assert linked("May said: Nice Jordan. Nice.", anyway) == ["May", "Nice", "Jordan", "Nice"]
    plain = Lexicon([("Mai", "Mai"), ("May", "May")], rules=NameRules(calendar=frozenset(["mai"])))
    assert linked("Mai May", plain) == ["May"]


def test_ambiguity_is_told_not_guessed() -> None:
    assert LEXICON.link("to Georgia") == [Mention(3, 10, ("Georgia", "Georgia (state)"))]
    assert LEXICON.ambiguous == {"Georgia": ("Georgia", "Georgia (state)")}
    cased = Lexicon([("Polish", "Poland"), ("polish", "varnish"), ("POLISH", "acronym")])
    assert [mention.entities for mention in cased.link("Polish polish POLISH pOlish")] == [
        ("Poland", "varnish"), ("varnish",), ("acronym", "varnish"), ("varnish",),
    ]  # fmt: skip
    assert cased.ambiguous == {"Polish": ("Poland", "varnish"), "POLISH": ("acronym", "varnish")} and len(cased) == 1


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_places_are_those_of_the_text_as_it_was_given(form: str) -> None:
    names = ["S\u00e3o Tom\u00e9", "\uc11c\uc6b8", "Bogot\u00e1", "cafe"]
    lexicon = Lexicon([(unicodedata.normalize(other, name), name) for name in names for other in ("NFC", "NFD")])
    text = unicodedata.normalize(form, "caf\u00e9 in S\u00e3o Tom\u00e9, \uc11c\uc6b8, Bogot\u00e1.")  # type: ignore[arg-type]
    mentions = lexicon.link(text)
    spans = [text[mention.start : mention.end] for mention in mentions]
    assert [unicodedata.normalize("NFC", span) for span in spans] == names[:3]
    assert [mention.entities for mention in mentions] == [(name,) for name in names[:3]]
    assert all(unicodedata.is_normalized(form, span) for span in spans)  # type: ignore[arg-type]


def test_a_graph_is_linked_by_names_and_aliases() -> None:
    graph = KnowledgeGraph.of([("Q90", "P17", "Q142"), ("Q142", "P36", "Q90")])
    aliases = [("Q90", "Paris"), ("Q90", "City of Light"), ("Q142", "France"), ("Q64", "Berlin")]
    lexicon = Lexicon.of(graph, aliases, own_names=False)
    assert lexicon.link("City of Light, Q142, Berlin") == [Mention(0, 13, ("Q90",))]
    grouped = {"Q90": ["Paris", "City of Light"], "Q142": ["France"], "Q64": ["Berlin"]}
    assert Lexicon.of(graph, grouped).link("Q142: Paris") == [Mention(0, 4, ("Q142",)), Mention(6, 11, ("Q90",))]


def test_against_a_plain_search() -> None:
    """The same mentions as a pattern of all names, the longest first, gives for names that no rule touches."""
    rng = np.random.default_rng(0)
    letters = np.array(list("ab c"))
    drawn = {"".join(rng.choice(letters, size=rng.integers(2, 6))).strip() for _ in range(150)}
    names = sorted(name for name in drawn if len(name) > 1 and "  " not in name and name not in ("a", "ac"))
    lexicon = Lexicon([(name, name) for name in names], rules=NameRules(function_words=frozenset()))
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(sorted(names, key=lambda name: -len(name)))})(?!\w)")
    for _ in range(50):
        text = "".join(rng.choice(letters, size=60))
        assert [(m.start, m.end, m.entities) for m in lexicon.link(text)] == [
            (*match.span(), (match[0],)) for match in pattern.finditer(text)
        ]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(["Paris", "New York", "Guinea-Bissau", "Bogota", "hot dog"]), max_size=6))
def test_names_written_are_names_read(names: list[str]) -> None:
    lexicon = Lexicon([(name, name) for name in ("Paris", "New York", "Guinea-Bissau", "Bogota", "hot dog", "dog")])
    assert [mention.entities[0] for mention in lexicon.link("; ".join(names))] == names


def test_wrong_names_are_refused() -> None:
    with pytest.raises(UsageError, match="the entity 'x' has the name '  '"):
        Lexicon([("  ", "x")])
    with pytest.raises(UsageError, match="no entity has a name that may be linked"):
        Lexicon([("May", "May")])
