"""What is given wrong is told in a sentence; what is only unusual is read as it stands."""

import time
from collections.abc import Callable

import pytest

from armillary.attributes import Attribute, AttributeSet, Catalogue, TextStats
from armillary.errors import UsageError

CATALOGUE = Catalogue.default()


def of(kind: str, **params: str | int | tuple[str, ...] | list[str]) -> Attribute:
    """An attribute as a row of somebody else may hold it: nothing has looked at its parameters."""
    return Attribute(kind=kind, params=params, text="by hand")  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [None, 3, b"bytes", ["a", "list"]])
@pytest.mark.parametrize(
    "call",
    [
        CATALOGUE.derive,
        AttributeSet.from_text,
        lambda text: CATALOGUE.check(of("word_count", lo=1), text),
        AttributeSet(attributes=(of("word_count", lo=1),)).check,
    ],
)
def test_a_text_is_a_str(call: Callable[[object], object], wrong: object) -> None:
    with pytest.raises(TypeError, match=f"^a text is a str, not {type(wrong).__name__}.$"):
        call(wrong)


def test_a_blank_text_gives_nothing() -> None:
    with pytest.warns(UserWarning, match="the text is blank"):
        assert CATALOGUE.derive(" \r\n\t") == []
    with pytest.raises(UsageError, match="it is blank"):
        AttributeSet.from_text(" \r\n\t")


@pytest.mark.parametrize(
    ("attribute", "message"),
    [
        (of("word_count", lo=-5, hi=1), "word_count: lo is -5; accepted is a whole number of at least 0"),
        (of("word_count", lo="five"), "word_count: lo is 'five'"),
        (of("word_count"), "word_count takes hi or hi, lo or lo; the given parameters were none"),
        (of("keyword_include", word="fox"), "keyword_include takes w or words; the given parameters were word"),
        # Read letter by letter it would be met by nearly any text.
        (of("keyword_exclude", words="fox"), "words is 'fox'; accepted is a list of texts"),
        (of("rhyme"), "no attribute is of kind 'rhyme'"),
    ],
)
def test_parameters_are_looked_at_before_a_verdict(attribute: Attribute, message: str) -> None:
    for response in ("A fox.", ""):
        with pytest.raises(UsageError, match=message):
            CATALOGUE.check(attribute, response)


def test_a_list_is_as_good_as_a_tuple() -> None:
    assert CATALOGUE.check(of("keyword_exclude", words=["fox"]), "A fox.").satisfied is False
    listed = {"words": ["fox"]}
    assert CATALOGUE.kind("keyword_exclude").attribute(listed).params == {"words": ("fox",)}  # type: ignore[arg-type]


def test_other_wrong_arguments() -> None:
    with pytest.raises(UsageError, match=r"n is 4.5; it is a whole number"):
        AttributeSet.from_text("A fox.", n=4.5)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"it is a list of ids, as \['word_count'\]"):
        CATALOGUE.derive("A fox.", kinds="word_count")
    with pytest.raises(UsageError, match=r"an attribute is an object with kind, params and text, not \[\]"):
        Attribute.from_json([])  # type: ignore[arg-type]


def test_control_characters_stay_and_json_bears_them() -> None:
    stats = TextStats("a\x00fox\x07 ran")
    assert (stats.given, stats.words) == (stats.text, ["a", "fox", "ran"])
    (span,) = CATALOGUE.check(of("keyword_include", w="fox"), stats).spans
    assert stats.given[span.start : span.end] == "fox"
    assert CATALOGUE.check(of("json_format", keys=("a",)), '{"a": "x\x00\ny"}').satisfied is True
    assert CATALOGUE.check(of("json_format"), "[" * 100_000).satisfied is False


def test_words_from_right_to_left_are_words() -> None:
    arabic = "\u0627\u0644\u0633\u0644\u0627\u0645 \u0639\u0644\u064a\u0643\u0645."
    assert CATALOGUE.check(of("word_count", lo=2, hi=2), arabic).satisfied is True
    assert CATALOGUE.check(of("ends_with", phrase=arabic.split()[1]), arabic).satisfied is True


def test_a_million_characters_are_read() -> None:
    text = "Fox and hen.\n\n" * 71_429
    started = time.process_time()
    stats = CATALOGUE.stats(text)
    verdicts = [
        CATALOGUE.check(attribute, stats)
        for attribute in (
            of("char_count", lo=1_000_000),
            of("word_count", lo=214_287, hi=214_287),
            of("paragraph_count", k=71_429),
            of("keyword_count", w="hen", rel="=", k=71_429),
        )
    ]
    assert all(verdict.satisfied for verdict in verdicts)
    assert time.process_time() - started < 2
