"""Which pairs exclude each other, which only look so, and what is kept."""

import pytest

from armillary.attributes.attribute import Attribute, soft
from armillary.attributes.conflicts import conflicts, repaired
from armillary.attributes.kinds.catalogue import Catalogue
from armillary.attributes.wording import Value

CATALOGUE = Catalogue.default()


def made(kind: str, **params: Value) -> Attribute:
    return CATALOGUE.kind(kind).attribute(params)


EXCLUSIVE = [
    (made("word_count", hi=10), made("word_count", lo=11)),
    (made("word_count", hi=3), made("sentence_count", lo=4)),
    (made("sentence_count", k=2), made("paragraph_count", k=3)),
    (made("word_count", hi=3), made("bullet_count", k=4)),
    (made("word_count", hi=3), made("keyword_count", w="machine learning", rel=">=", k=2)),
    (made("char_count", hi=10), made("word_count", lo=11)),
    (made("paragraph_count", k=2), made("paragraph_starts", i=3, w="So")),
    (made("sentence_count", k=2), made("sentence_contains", i=3, w="so")),
    (made("sentence_length_avg", lo=10, hi=12), made("sentence_length_max", k=9)),
    (made("keyword_include", w="tests"), made("keyword_exclude", words=("test",))),
    (made("starts_with", phrase="Testing it"), made("keyword_exclude", words=("test",))),
    (made("keyword_count", w="a", rel="=", k=2), made("keyword_count", w="A", rel="=", k=3)),
    (made("keyword_order", words=("one", "two")), made("keyword_order", words=("two", "one"))),
    (made("casing", case="lower"), made("caps_words", rel=">=", k=1)),
    (made("casing", case="lower"), made("casing", case="upper")),
    (made("casing", case="upper"), made("json_format", keys=("name",))),
    (made("json_format"), made("bullet_count", k=1)),
    (made("json_format"), made("starts_with", phrase="So")),
    (made("quoted"), made("question_ending")),
    (made("ends_with", phrase="the end."), made("question_ending")),
    (made("ends_with", phrase="the end"), made("ends_with", phrase="an end")),
    (made("punctuation_exclude", marks=(":",)), made("hyperlink", k=1)),
    (made("punctuation_exclude", marks=('"',)), made("quoted", k=1)),
    (made("punctuation_exclude", marks=("?",)), made("question_ending")),
    (made("punctuation_exclude", marks=(",",)), made("punctuation_count", mark=",", rel=">=", k=1)),
    (made("paragraph_starts", i=1, w="So"), made("starts_with", phrase="Then")),
    (made("paragraph_starts", i=2, w="So"), made("paragraph_starts", i=2, w="Then")),
    (made("person", person="first", use="none"), made("person", person="first", use="some")),
    (made("person", person="first", use="none"), made("starts_with", phrase="I am")),
    (made("language", code="en"), made("language", code="de")),
    (made("language", code="en"), made("keyword_include", w="\u0441\u043b\u043e\u0432\u043e")),
    (made("headings", k=1), made("headings", k=2)),
]
COMPATIBLE = [
    (made("word_count", lo=10), made("word_count", hi=10)),
    (made("sentence_count", k=3), made("paragraph_count", k=3)),
    (made("word_count", hi=4), made("keyword_count", w="machine learning", rel="<=", k=9)),
    (made("keyword_include", w="start"), made("keyword_exclude", words=("art",))),
    (made("casing", case="lower"), made("starts_with", phrase="LOUD")),
    (made("casing", case="upper"), made("casing", case="title_headings")),
    (made("json_format"), made("bullet_count", k=0)),
    (made("ends_with", phrase="the end?"), made("question_ending")),
    (made("paragraph_starts", i=1, w="so"), made("starts_with", phrase="So it is")),
    (made("language", code="ru"), made("keyword_include", w="Linux")),
    (made("language", code="ru"), made("keyword_include", w="\u0441\u043b\u043e\u0432\u043e")),
    (made("quoted"), made("ends_with", phrase="the end")),
    (made("headings", k=1), made("headings", k=2, level=2)),
    (made("keyword_order", words=("one", "two")), made("keyword_order", words=("two", "three"))),
]


@pytest.mark.parametrize(("first", "second"), EXCLUSIVE)
def test_found_in_either_order(first: Attribute, second: Attribute) -> None:
    for pair in ((first, second), (second, first)):
        (conflict,) = conflicts(pair)
        assert (conflict.a, conflict.b) == pair
        assert conflict.reason


@pytest.mark.parametrize(("first", "second"), COMPATIBLE)
def test_not_found_where_a_text_has_both(first: Attribute, second: Attribute) -> None:
    assert conflicts([first, second, soft("It is about the sea.")]) == []


def test_words_that_must_stand_there_are_summed() -> None:
    keywords = [made("keyword_include", w=word) for word in ("red fox", "blue cat", "fox")]
    assert conflicts([made("word_count", hi=4), *keywords]) == []
    (conflict,) = conflicts([made("word_count", hi=3), *keywords])
    assert "4 or more" in conflict.reason


def test_repair_drops_the_lower_priority_and_is_the_same_each_time() -> None:
    form, style = made("json_format"), made("punctuation_exclude", marks=(":", ","))
    start, include = made("starts_with", phrase="So it"), made("keyword_include", w="so")
    excluded = made("keyword_exclude", words=("so",))
    attributes = [style, excluded, start, made("json_format", keys=("a",)), include, form, soft("Be kind.")]
    kept = repaired(attributes)
    assert [each.kind for each in kept] == ["keyword_exclude", "json_format", "json_format", "soft"]
    assert conflicts(kept) == []
    assert repaired(attributes) == kept
    assert repaired(kept) == kept
