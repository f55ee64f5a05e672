"""Numbers and text as a reader meets them."""

import math

import pytest
from hypothesis import given, strategies as st

from armillary.numerics.intervals import Interval
from armillary.report.wording import NOTHING, basis, duration, ends, moment, number, shortened, tick, visible


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.12345, "0.123"), (-0.031234, "-0.031"), (0.0012345, "0.00123"), (12.345, "12.3"), (1234.5, "1,234"),
        (0.0, "0"), (1e-7, "1.00e-7"), (2.5e9, "2.50e9"), (134515008, "134,515,008"), (0.9999, "1.000"),
        (1.0, "1.00"), (99.96, "100.0"), (-3, "-3"),
    ],
)  # fmt: skip
def test_three_digits(value: float | int, shown: str) -> None:
    assert number(value) == shown.replace("-", "\N{MINUS SIGN}")


@pytest.mark.parametrize(
    ("value", "limit", "shown"),
    [
        (0.00012, 1e-4, "1.20e-4"), (0.00010002, 1e-4, "0.00010002"),
        (0.05004, 0.05, "0.05004"), (0.05, 0.05, "0.050"), (0.9999, 1.0, "0.9999"),
        (-0.0504, -0.05, "-0.0504"), (1234.5, 1234.0, "1234.5"), (1 / 3, 0.2, "0.333"),
    ],
)  # fmt: skip
def test_a_number_is_shown_to_the_digits_that_decide(value: float, limit: float, shown: str) -> None:
    assert number(value, [limit]) == shown.replace("-", "\N{MINUS SIGN}")


@given(st.floats(-1e5, 1e5), st.floats(-1e5, 1e5))
def test_what_is_shown_lies_on_its_side_of_the_limit(value: float, limit: float) -> None:
    read = float(number(value, [limit]).replace("\N{MINUS SIGN}", "-").replace(",", ""))
    assert (read > limit) - (read < limit) == (value > limit) - (value < limit)


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_what_is_no_number_is_a_dash(value: float | None) -> None:
    assert number(value) == NOTHING


@pytest.mark.parametrize(("value", "shown"), [(0.25, "0.25"), (20_000.0, "20k"), (1.5e6, "1.5M"), (-3.0, "-3")])
def test_ticks_are_short(value: float, shown: str) -> None:
    assert tick(value) == shown.replace("-", "\N{MINUS SIGN}")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x00b\x1b[31m", "a␀b␛[31m"), ("a\u202eb", "a⟨U+202E⟩b"), ("\x85\u2028\u200b", "⟨U+0085⟩⟨U+2028⟩⟨U+200B⟩"),
        ("\ud800\ufffe", "\ufffd\ufffd"), ("grün 東京 👩‍👩‍👧 \ufffd", "grün 東京 👩‍👩‍👧 \ufffd"), ("a\tb\n", "a␉b␊"),
    ],
)  # fmt: skip
def test_nothing_hides(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(st.text())
def test_what_is_visible_stays_as_it_is_and_can_be_encoded(text: str) -> None:
    once = visible(text)
    once.encode()
    assert visible(once) == once


def test_intervals_name_both_ends_and_where_they_come_from() -> None:
    known = Interval(estimate=0.7, low=0.61, high=0.8, n=1000, how="bootstrap over 1,000 prompts")
    assert (ends(known), basis(known)) == ("0.610 to 0.800", "95% interval, bootstrap over 1,000 prompts")
    assert (ends(Interval(estimate=3.0, n=5)), basis(Interval(estimate=3.0, n=5))) == ("", "n = 5")


def test_times() -> None:
    assert [duration(s) for s in (42.3, 59.7, 185.0, 7800.0, math.nan)] == [
        "42 s",
        "1 min 0 s",
        "3 min 5 s",
        "2 h 10 min",
        NOTHING,
    ]
    assert moment("2026-07-01T12:30:00+02:00") == "1 July 2026, 10:30 UTC"
    assert moment("yesterday") == "yesterday"


def test_shortened_keeps_both_ends() -> None:
    assert shortened("abcdefghij", 7) == "abcd…ij"
    assert shortened("abc", 3) == "abc"
