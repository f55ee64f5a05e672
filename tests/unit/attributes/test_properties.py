"""Of any text: what is derived holds of it, is stated in words that are read back exactly, and never conflicts."""

import string

import pytest
from hypothesis import example, given, settings, strategies as st

from armillary.attributes.attribute import Attribute
from armillary.attributes.conflicts import conflicts
from armillary.attributes.kinds.catalogue import Catalogue
from armillary.attributes.round_trip import round_trip
from armillary.attributes.text_stats import TextStats, fold
from armillary.attributes.wording import NUMBER, RELATION, TEXT, TEXTS, Form, Value

CATALOGUE = Catalogue.default()

# Pieces of which texts with every form are put together, beside any characters at all.
WORDS = [
    "the",
    "Cat",
    "sat on",
    "it's",
    "well-known",
    "KERNEL",
    "kernel",
    "I ",
    "you ",
    "they ",
    "not ",
    "nicht der die ",
]
MARKS = [
    "e.g.",
    "U.S.",
    "Dr. No",
    "3.5",
    "12",
    "1,000",
    "?",
    ".",
    "!",
    ", ",
    "; ",
    ": ",
    "\u2026 ",
    "(",
    ")",
    " \u2014 ",
    '"',
]
FORMS = [
    "\n", "\n\n", "\r\n", "\n- ", "\n* ", "\n1. ", "\n2) ", "\n# ", "\n## ", "**", "*", "```\n", "\n```\n", "[name]",
    "[a](http://b.c)", "https://example.org/x", "P.S. ", "\n\nP.P.S. ", "\nSection 1 ", "\nSection 2 ", "<<A title>>",
    "| a | b |\n|---|---|\n", '{"a": 1}', "[1]", "******", "***", "_", "a_b",
]  # fmt: skip
SIGNS = [
    "\u2026 ", "\u201c", "\u201d",
    "cafe\u0301", "\u00c9", "\u01c5", "\u0130", "\u00df", "\u4f60\u597d\u3002", "\u3053\u3093",
    "\u0441\u043b\u043e\u0432\u043e ", "\u05e9\u05dc\u05d5\u05dd ", "\u0e20\u0e32",
    "\u0939\u093f\u0928\u094d\u0926\u0940 ", "\x00", "\x85", "\u2028", "\u200d",
]  # fmt: skip
PIECES = st.sampled_from([*WORDS, *MARKS, *FORMS, *SIGNS])
TEXTS_OF_PIECES = st.lists(PIECES | st.text(max_size=3), min_size=1, max_size=40).map(" ".join) | st.lists(
    PIECES, min_size=1, max_size=60
).map("".join)


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=80) | TEXTS_OF_PIECES, st.integers(0, 3))
@example('{"\\u0041": 1, "b": [true]}', 0)
@example('"Quoted as a whole?"', 0)
@example("A\u0386\u0386\u0386\u3041", 0)
@example("***\n\nOne.\n\n***", 0)
@example("\u0130\u0130 \u0130\u0130 i\u0307i\u0307", 0)
def test_derived_holds_is_read_back_and_never_conflicts(text: str, seed: int) -> None:
    trip = round_trip([text], seed=seed)
    assert trip.unmet == ()
    assert trip.misread == ()
    assert [(pair.reason, pair.a.text, pair.b.text) for pair in trip.conflicting] == []


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=60) | TEXTS_OF_PIECES)
def test_places_are_places_of_the_text_as_given(text: str) -> None:
    stats = TextStats(text)
    for pair, span in zip(stats.pairs, stats.spans(stats.pairs), strict=False):
        given_piece = text[span.start : span.end]
        assert TextStats(given_piece).text == TextStats(stats.text[slice(*pair)]).text
    assert stats.counts == TextStats(stats.text).counts


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="aA-'\u2019 _\n\u00e9\u00df\u0130\u017f.", max_size=40) | TEXTS_OF_PIECES)
@example("a a a-a a--a 'a' a'a")
@example("the the a_b \u0e20\u0e32")
@example("\u017fun Sun SUN stra\u00dfe")
def test_what_is_searched_for_is_what_cutting_out_all_words_finds(text: str) -> None:
    cut = TextStats(text)
    words = [fold(cut.text[slice(*pair)]) for pair in cut.pairs]
    assert TextStats(text).word_count == len(words)
    assert TextStats(text).folded == words
    assert TextStats(text).last_words(2) == words[-2:]
    assert TextStats(text).words_from(0, 2) == cut.pairs[:2]
    if cut.words_unknown:
        return
    for run in (1, 2):
        for place in range(min(len(words) - run + 1, 5)):
            wanted = words[place : place + run]
            if TextStats(" ".join(wanted)).words_unknown:
                continue  # of a script without spaces: sought as it stands, among other letters too
            places = [
                (cut.pairs[at][0], cut.pairs[at + run - 1][1])
                for at in range(len(words) - run + 1)
                if words[at : at + run] == wanted
                and all(cut.text[cut.pairs[k][1] : cut.pairs[k + 1][0]].isspace() for k in range(at, at + run - 1))
            ]
            assert TextStats(text).find(" ".join(wanted)) == places
            assert TextStats(text).count(" ".join(wanted)) == len(places)


KEYWORDS = st.text(min_size=1, max_size=12).filter(str.strip) | st.text(
    alphabet='"\\ \n,.*+?()[]{}|^$a\u00e9', min_size=1, max_size=12
).filter(str.strip)


def values(form: Form) -> st.SearchStrategy[Value]:
    """Any value that the form accepts."""
    if form is NUMBER:
        return st.floats(allow_nan=False, allow_infinity=False)
    if form is TEXT:
        return KEYWORDS
    if form is TEXTS:
        return st.lists(KEYWORDS, min_size=1, max_size=4).map(tuple)
    if form.accepted.startswith("one of"):
        return st.sampled_from(form.accepted.removeprefix("one of ").split(", "))
    return st.integers(1, 10**9)


@pytest.mark.parametrize("name", sorted(CATALOGUE.kinds))
def test_any_parameters_are_read_back(name: str) -> None:
    kind = CATALOGUE.kinds[name]

    @settings(max_examples=12, deadline=None, database=None)
    @given(st.data())
    def reads_back(data: st.DataObject) -> None:
        for names in kind.wording.templates:
            params = {name: data.draw(values(kind.wording.forms[name])) for name in sorted(names)}
            if "lo" in params and "hi" in params:
                params["lo"], params["hi"] = sorted([params["lo"], params["hi"]])  # type: ignore[type-var]
            attribute = kind.attribute(params)
            assert "\n" not in attribute.text
            assert CATALOGUE.parse(attribute.text) == attribute
            assert Attribute.from_json(attribute.to_json()) == attribute
            assert conflicts([attribute]) == []
            if kind.missing is None:
                CATALOGUE.check(attribute, "Any text, with a word or 2.")

    reads_back()


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet=string.printable, max_size=60))
def test_no_sentence_breaks_the_parser(sentence: str) -> None:
    parsed = CATALOGUE.parse(sentence)
    assert parsed is None or CATALOGUE.render(parsed) == parsed.text


def test_relations_are_three() -> None:
    assert [RELATION.read(RELATION.write(value)) for value in ("=", ">=", "<=")] == ["=", ">=", "<="]


def test_a_keyword_of_two_scripts_is_found_after_an_underscore() -> None:
    assert TextStats("the a_b \u0e20\u0e32").find("b \u0e20\u0e32") == [(6, 10)]
    assert TextStats("the ab \u0e20\u0e32").find("b \u0e20\u0e32") == []
