"""Each kind at its boundary: what just holds, and what just does not."""

import pytest

from armillary.attributes.kinds.catalogue import Catalogue
from armillary.attributes.wording import Value
from armillary.errors import UsageError

CATALOGUE = Catalogue.default()
FIVE = "One two three. Four five."
PARAGRAPHS = "Red fox here.\n\nBlue cat there now.\n \nLast"
LIST = "Items:\n- one\n* two\n+ three\n---\n- "
FENCED = "```python\n# no heading\n- no item\n```"

CASES: list[tuple[str, dict[str, Value], str, str]] = [
    ("word_count", {"lo": 5, "hi": 6}, FIVE, "One two three four."),
    ("word_count", {"hi": 5}, FIVE, FIVE + " Six."),
    ("word_count", {"lo": 2}, "well-known don't", "well-known"),
    ("sentence_count", {"k": 2}, FIVE, "One. Two. Three."),
    ("sentence_count", {"k": 1}, "U.S. economy grew 3.5 %.", "Growth was 3. It fell."),
    ("sentence_count", {"lo": 2, "hi": 3}, 'He said "No." Then he left.', "He left."),
    ("sentence_count", {"k": 2}, "Dr. Smith came, e.g. late. He left!", "Dr. Smith came late."),
    ("sentence_count", {"hi": 3}, "# Title\nText goes on.\n- item", "A. b\n- c\n- d\n- e\n- f"),
    ("paragraph_count", {"k": 3}, PARAGRAPHS, "Red.\nBlue.\n\nLast."),
    ("paragraph_count", {"k": 2, "separator": "***"}, "One\n***\nTwo", "One\n***\n***\nTwo"),
    ("char_count", {"hi": 5}, " abcde\r\n", "abcdef"),
    ("char_count", {"hi": 4}, "cafe\u0301", "cafes"),
    ("sentence_length_avg", {"lo": 2.5, "hi": 3.0}, FIVE, "One two. Three four."),
    ("sentence_length_max", {"k": 3}, FIVE, "One two three four. Five."),
    ("paragraph_words", {"i": 2, "lo": 4, "hi": 4}, PARAGRAPHS, "Red fox here.\n\nBlue cat there."),
    ("paragraph_words", {"i": 3, "lo": 1, "hi": 1}, PARAGRAPHS, "One.\n\nTwo."),
    ("keyword_include", {"w": "art"}, "Modern ART, they say.", "We start with artful parts."),
    ("keyword_include", {"w": "machine learning"}, "Machine\n  learning works.", "machine, learning"),
    ("keyword_include", {"w": "c++ (98)"}, "Old C++ (98) code.", "Old c (98) code."),
    ("keyword_include", {"w": ".*"}, "a .* b", "anything"),
    ("keyword_include", {"words": ("one", "five")}, FIVE, "One two."),
    ("keyword_include", {"w": "caf\u00e9"}, "Cafe\u0301 noir", "cafeteria"),
    ("keyword_count", {"w": "one", "rel": "=", "k": 2}, "One, one.", "One, one, one."),
    ("keyword_count", {"w": "one", "rel": ">=", "k": 2}, "One, one, one.", "One, ones."),
    ("keyword_count", {"w": "one", "rel": "<=", "k": 1}, "One, ones.", "One, one."),
    ("keyword_exclude", {"words": ("art", "end")}, "We start to bend.", "The end."),
    ("keyword_order", {"words": ("two", "five")}, FIVE, "Five, two, five."),
    ("number_include", {"n": 12}, "It has 12 parts.", "It has 12.5 parts, x12, and 1,012."),
    ("starts_with", {"phrase": "One Two"}, '"one two" three', "One. Three"),
    ("ends_with", {"phrase": "four five"}, FIVE.upper(), FIVE + " six"),
    ("ends_with", {"phrase": "!!!"}, "So it is!!!", "So it is!"),
    ("starts_with", {"phrase": "\u4f60\u597d"}, "\u4f60\u597d\u4e16\u754c", "\u4e16\u754c\u4f60\u597d"),
    ("paragraph_starts", {"i": 2, "w": "Blue"}, PARAGRAPHS, "Blue\n\nRed"),
    ("paragraph_starts", {"i": 2, "w": "blue", "k": 3}, PARAGRAPHS, "Red.\n\nBlue."),
    ("sentence_contains", {"i": 2, "w": "five"}, FIVE, "Five one. Four."),
    ("punctuation_exclude", {"marks": (",", "?")}, FIVE, "One, two."),
    ("punctuation_count", {"mark": ".", "rel": "=", "k": 2}, FIVE, "One."),
    ("question_ending", {}, "Is it?\n", "Is it?!"),
    ("casing", {"case": "upper"}, "ALL 3 OF IT.", "ALL OF it."),
    ("casing", {"case": "lower"}, "all 3 of it.", "123"),
    ("casing", {"case": "title_headings"}, "# The Rest of It\ntext", "# The rest of It\ntext"),
    ("caps_words", {"rel": "=", "k": 1}, "I use UTF-8 here", "I USE UTF-8"),
    ("letter_count", {"letter": "E", "rel": ">=", "k": 3}, "Eel e", "eel"),
    ("letter_count", {"letter": "e", "rel": "<=", "k": 2}, "eel", "Eel e"),
    ("quoted", {}, '"All of it."', '"All" of it.'),
    ("quoted", {"k": 2}, 'He said "yes" and \u201cno\u201d.', 'He said "yes" and "'),
    ("bullet_count", {"k": 3}, LIST, LIST + "four"),
    ("bullet_count", {"k": 0}, FENCED, "- item"),
    ("numbered_list", {"k": 2}, "1. One\n2) Two", "1. One\n3. Two"),
    ("headings", {}, "<<A title>>\ntext", "<< >>\ntext"),
    ("headings", {"k": 1}, "# One\n#hash\n" + FENCED, "# One\n## Two"),
    ("headings", {"k": 1, "level": 2}, "# One\n## Two", "## One\n## Two"),
    ("highlights", {"k": 1}, "A **bold *and* more** one", "5 * 3 * 2 and 2*3*4"),
    ("highlights", {"k": 2}, "*one* and **two**", "**one *in* it**"),
    ("json_format", {}, '```json\n{"a": [1, 2]}\n```', '{"a": [1, 2,]}'),
    ("json_format", {"keys": ("a", "b")}, '{"a": 1, "b": "x\ty"}', '{"a": 1}'),
    ("code_or_table", {"what": "code", "k": 1}, FENCED, "`inline` ```"),
    ("code_or_table", {"what": "table", "k": 1}, "| a | b |\n|---|:-:|\n| 1 | 2 |", "| a | b |\n| 1 | 2 |"),
    ("hyperlink", {"k": 1}, "See https://example.org/a?b=1.", "See http:// and example.org."),
    ("placeholders", {"k": 1}, "Dear [name],", "See [text](http://a.b), [1] and [x] done."),
    ("sections", {"label": "Section", "k": 2}, "Section 1\na\n## SECTION 2: b", "Section 1\na\nSection 3\nb"),
    ("postscript", {"marker": "P.S."}, "Text.\n\nP.S. More.", "Text with P.S. within."),
    ("postscript", {"marker": "P.P.S."}, "Text.\nP.P.S More.", "Text.\nP.S. More."),
    ("readability", {"lo": -1.5, "hi": -1.4}, "The cat sat on the mat. " * 5, "The cat sat on the mat. " * 4),
    ("lexical_richness", {"lo": 0.02, "hi": 0.02}, "word " * 60, "word " * 49),
    ("word_length_avg", {"lo": 3.0, "hi": 3.0}, "one two", "one three"),
    ("function_word_ratio", {"lo": 0.5, "hi": 0.5}, "the cat", "the cat sat"),
    ("person", {"person": "first", "use": "some"}, "We can.", "You can."),
    ("person", {"person": "second", "use": "none"}, "We can.", "You\u2019ll see."),
    ("language", {"code": "de"}, "Das ist nicht der Hund.", "This is not the dog."),
    ("constrained_response", {"options": ("My answer is no.", "My answer is yes.")}, "My answer is yes.", "Maybe."),
    ("two_responses", {}, "One\n******\nTwo", "One\n******\nOne"),
    ("two_responses", {"separator": "##"}, "One ## Two", "One ## Two ## Three"),
    ("repeat_prompt", {"prompt": "Say it."}, "say it. Yes.", "Yes. Say it."),
    ("key_sentences", {"k": 1, "sentences": ("It is.", "It was.")}, "So\nit is. It\nwas.", "It is not."),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "params", "meets", "fails"), CASES)
def test_at_the_boundary(kind: str, params: dict[str, Value], meets: str, fails: str) -> None:
    attribute = CATALOGUE.kind(kind).attribute(params)
    assert CATALOGUE.check(attribute, meets).satisfied is True, CATALOGUE.check(attribute, meets)
    assert CATALOGUE.check(attribute, fails).satisfied is False, CATALOGUE.check(attribute, fails)
    assert CATALOGUE.parse(attribute.text) == attribute
    assert CATALOGUE.check(attribute, " \n").satisfied is CATALOGUE.kind(kind).negative(params)


def test_every_kind_has_a_boundary() -> None:
    plugged = {kind.id for kind in CATALOGUE.kinds.values() if kind.missing}
    assert {kind for kind, *_ in CASES} == set(CATALOGUE.kinds) - plugged
    assert plugged == {"pos_ratio", "named_entity"}


def test_one_more_keyword_breaks_the_exact_count_but_not_the_inclusion() -> None:
    text = "The kernel and the kernel."
    exact = CATALOGUE.kind("keyword_count").attribute({"w": "kernel", "rel": "=", "k": 2})
    included = CATALOGUE.kind("keyword_include").attribute({"w": "kernel"})
    assert [CATALOGUE.check(each, text).satisfied for each in (exact, included)] == [True, True]
    assert [CATALOGUE.check(each, text + " Kernel.").satisfied for each in (exact, included)] == [False, True]


@pytest.mark.parametrize(
    ("kind", "params", "message"),
    [
        ("word_count", {"lo": 3, "hi": 2}, "lo=3 is above hi=2"),
        ("word_count", {"lo": -1}, "whole number of at least 0"),
        ("word_count", {"least": 3}, "takes hi or hi, lo or lo; the given parameters were least"),
        ("paragraph_words", {"i": 0, "lo": 1, "hi": 2}, "at least 1"),
        ("keyword_include", {"w": "  "}, "not blank"),
        ("keyword_count", {"w": "a", "rel": "<", "k": 1}, "one of =, >=, <="),
        ("keyword_exclude", {"words": ()}, "list of texts"),
        ("readability", {"lo": 1.0, "hi": float("inf")}, "finite"),
        ("no_such_kind", {}, "no attribute is of kind 'no_such_kind'"),
    ],
)
def test_bad_parameters_are_told_in_a_sentence(kind: str, params: dict[str, Value], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        CATALOGUE.kind(kind).attribute(params)
    assert issubclass(UsageError, ValueError)
