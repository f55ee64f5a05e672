"""What texts are like: each axis on a text that has it and on one that has not, and intervals that are those of "
"shares."""

import pytest

from armillary import attributes
from armillary.attributes.axes import AXES
from armillary.attributes.description import COLUMNS
from armillary.attributes.text_stats import TextStats
from armillary.errors import UsageError
from armillary.numerics.intervals import binomial

PLAIN = "The fog lay over the harbour. Nobody came."


@pytest.mark.parametrize(
    ("axis", "text", "value"),
    [
        ("words", "One two. Three.", 3), ("sentences", "One two. Three.", 2),
        ("words a sentence", "One two. Three.", 1.5),
        ("paragraphs", "One.\n\nTwo.", 2), ("letters a word", "One three.", 4), ("list", "- a\n- b", 1),
        ("list", "1. a\n2. b", 1), ("bullets", "* a thing", 1), ("numbered items", "1. a\n2. b", 1),
        ("numbered items", "1. a", 0), ("headings", "# Fog\n\nIt lay.", 1), ("bold or italic", "It is **so**.", 1),
        ("code", "```\nx\n```", 1), ("headings", "```\n# not one\n```", 0),
        ("tables", "| a | b |\n|---|---|\n| 1 | 2 |", 1),
        ("links", "See https://example.org/a.", 1), ("questions", "Who? Why? So.", 2),
        ("question at the end", "So. Who?", 1),
        ("exclamation marks", "No! No!!", 3), ("refusal", "I'm sorry, but I can't help with that.", 1),
        ("hedging", "Perhaps it may rain on us.", 100 * 2 / 6), ("apology", "I apologise.", 1),
        ("first person", "I went.", 1),
        ("second person", "You went.", 1), ("emoji", "Well done \U0001f389", 1), ("emoji", "1 * 2 # 3 \u00a9", 0),
        ("goes in circles", "on and on we go. " * 4, 1), ("ends properly", "It is", 0), ("empty", " \n", 1),
    ],
)  # fmt: skip
def test_axes(axis: str, text: str, value: float) -> None:
    chosen = next(each for each in AXES if each.name == axis)
    assert chosen.read(TextStats(text)) == pytest.approx(value)
    if chosen.share and value == 1:
        assert chosen.read(TextStats(PLAIN)) == 0


def test_shares_are_binomial_and_means_bootstrapped() -> None:
    description = attributes.describe([PLAIN] * 6 + ["- fog\n- rain"] * 2 + ["Die Katze ist nicht auf dem Dach."] * 2)
    row = description["list"]
    exact = binomial(2, 10)
    assert (row.value.estimate, row.value.low, row.value.high) == (0.2, exact.low, exact.high)
    words = description["words"].value
    assert words.estimate == pytest.approx((6 * 8 + 2 * 2 + 2 * 7) / 10)
    assert words.low is not None and words.high is not None and words.low < words.estimate < words.high
    assert description["language: English"].value.estimate == 0.6
    assert [each.axis for each in description.rows if each.axis.startswith("language")] == [
        "language: English", "language: German", "language: unclear",
    ]  # fmt: skip
    assert str(description["list"]) == "list: 20% [3%, 56%]" and "words: 6.6" in str(description)
    with pytest.raises(UsageError, match="no axis 'rhyme'"):
        description["rhyme"]


def test_what_nothing_can_be_said_of_is_left_out() -> None:
    axes = {row.axis for row in attributes.describe(["", " "]).rows}
    assert "hedging" not in axes and "ends properly" not in axes and "empty" in axes
    with pytest.raises(UsageError, match="at least one"):
        attributes.describe([])
    with pytest.raises(TypeError, match="letter by letter"):
        attributes.describe("text")


def test_as_a_frame() -> None:
    pytest.importorskip("pandas")
    frame = attributes.describe([PLAIN, "x"]).to_frame()
    assert tuple(frame.columns) == COLUMNS and len(frame) == len(attributes.describe([PLAIN, "x"]).rows)
