"""Answers side by side: what differs is marked, what was said stays words, and the page can sort them."""

import re
from collections.abc import Callable
from html import unescape

import pytest

from armillary.errors import UsageError
from armillary.records import Figure, RunRecord
from armillary.records.sections import AnswerPair, AnswerPairs, Bars
from armillary.report.answers import END, FIRST, markup
from armillary.report.drawing import svg
from armillary.report.html import render_html


def pair(number: float | None, group: str = "sums", **changes: object) -> AnswerPair:
    values = {"prompt": "2 + 2?", "shared": "It is ", "before": ("4", "."), "after": ("5", "!"), "group": group}
    return AnswerPair(**{**values, **changes}, numbers=[number])  # type: ignore[arg-type]


def figure(*rows: AnswerPair) -> Figure:
    data = AnswerPairs(rows=[*rows], numbers=["KL"], before_name="old", after_name="new")
    return Figure(title="Flips", alt="answers", data=data)


def test_the_first_token_that_differs_is_marked_on_both_sides() -> None:
    shown = markup(figure(pair(0.5, change="right, now wrong", turn="worse", wanted="4")))
    assert re.findall(r'<p class="answer" dir="auto">(.*?)</p>', shown) == [
        "It is <mark>4</mark>.",
        "It is <mark>5</mark>!",
    ]
    assert '<span class="turn worse">\N{MULTIPLICATION X} right, now wrong</span>' in shown
    assert "Right is <b>4</b>" in shown and "KL <b>0.500</b>" in shown
    assert shown.index(">old<") < shown.index(">new<")


def test_an_answer_that_stops_is_told() -> None:
    assert f"<mark>{END}</mark>" in markup(figure(pair(None, after=("", ""))))


def test_each_pair_carries_what_it_is_sorted_by() -> None:
    shown = markup(figure(pair(0.25, "two\nlines"), pair(None, "sums")))
    assert re.findall(r'data-values="(.*?)"', shown, re.DOTALL) == ["two lines\n0.25", "sums\n"]
    assert re.findall(r'data-key="(.*?)">(.*?)<', shown) == [("", "as found"), ("0", "kind"), ("1", "KL")]
    ungrouped = markup(figure(pair(0.25, ""), pair(1.5, "")))
    assert re.findall(r'data-values="(.*?)"', ungrouped) == ["0.25", "1.5"]


def test_what_needs_scripts_is_hidden_without_them() -> None:
    many = markup(figure(*[pair(float(index)) for index in range(FIRST + 2)]))
    assert many.count("<article") == FIRST + 2 and "<article hidden" not in many
    assert re.search(rf'class="more" data-first="{FIRST}" hidden>Show all {FIRST + 2}<', many)
    assert re.search(r'class="sort" hidden', many)
    assert 'class="more"' not in markup(figure(pair(1.0))) and 'class="sort"' not in markup(figure(pair(1.0)))


def test_hostile_words_stay_words(make_figures: Callable[[str, bool], list[Figure]], hostile: str) -> None:
    shown = markup(make_figures(hostile, False)[5])
    assert "<script>" not in shown and "<img" not in shown and not {"\x00", "\u202e", "\u2028", "\ud800"} & set(shown)
    assert unescape(shown).count("<script>alert(1)</script>") > 5 and "{{7*7}}" in shown


def test_pairs_survive_the_record(make_record: Callable[..., RunRecord]) -> None:
    record = make_record()
    again = RunRecord.from_dict(record.to_dict())
    assert again.sections[0].figures[5].data == record.sections[0].figures[5].data
    assert '<figure class="answers">' in render_html(again)


def test_wrong_data_gets_one_sentence() -> None:
    with pytest.raises(UsageError, match="1 numbers but 2 numbers of answer pair 0"):
        AnswerPairs(rows=[AnswerPair(prompt="", shared="", before=("", ""), after=("", ""), numbers=[1, 2])],
                    numbers=["KL"])  # fmt: skip
    with pytest.raises(UsageError, match="is of kind 'bars'"):
        markup(Figure(title="B", alt="", data=Bars(labels=[], values=[])))
    with pytest.raises(UsageError, match="is text and not a drawing"):
        svg(figure(pair(1.0)))


def test_line_ends_stay_and_are_seen_where_they_differ() -> None:
    shown = markup(figure(pair(1.0, shared="a\nb\x00", before=("\n", "c"), after=(" d", ""))))
    assert '<p class="answer" dir="auto">a\nb␀<mark>␊\n</mark>c</p>' in shown
