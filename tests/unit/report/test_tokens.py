"""Coloured tokens: the shade follows the value, words of a model stay words, and the strongest show without colour."""

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from armillary import report
from armillary.errors import UsageError
from armillary.records import Figure, RunRecord
from armillary.records.sections import Bars, TokenRow, Tokens
from armillary.report.drawing import svg
from armillary.report.html import render_html
from armillary.report.tokens import STEPS, markup, shade


def figure(*rows: TokenRow, limit: float = 2.0) -> Figure:
    data = Tokens(rows=[*rows], limit=limit, low_name="A prefers", high_name="B prefers")
    return Figure(title="T", alt="texts", data=data)


def row(tokens: list[str], values: list[float | None]) -> TokenRow:
    return TokenRow(label="D = 1", note="from A", tokens=tokens, values=values)


class Marks(HTMLParser):
    """Class, title and text of every mark inside a row's text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[list[str]] = []
        self.in_text = self.open = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.in_text = named.get("class") == "text" if tag == "p" else self.in_text
        self.open = tag == "span" and self.in_text
        if self.open:
            self.found.append([named.get("class") or "", named["title"] or "", ""])

    def handle_endtag(self, tag: str) -> None:
        self.open = False

    def handle_data(self, data: str) -> None:
        if self.open:
            self.found[-1][2] += data


def test_marks_tell_value_and_shade() -> None:
    found = Marks(markup(figure(row([" the", "\n", "<b>", ""], [-2.0, 0.1, 1.0, None])))).found
    assert found == [
        ["l4", "\N{MINUS SIGN}2.00", " the"],
        ["", "+0.100", "␊"],
        ["h2", "+1.00", "<b>"],
        ["", "\N{EN DASH}", "\N{EMPTY SET}"],
    ]


def test_shades_are_symmetric_and_bounded() -> None:
    for value in (0.0, 0.2, 0.3, 1.0, 1.9, 7.0):
        high, low = shade(value, 2.0), shade(-value, 2.0)
        assert high.replace("h", "l") == low
    assert shade(0.2, 2.0) == "" and shade(0.3, 2.0) == "h1" and shade(7.0, 2.0) == f"h{STEPS}"
    steps = [int(shade(value / 50, 2.0)[1:] or 0) for value in range(101)]
    assert steps == sorted(steps) and set(steps) == set(range(STEPS + 1))


def test_the_style_sheet_has_every_shade_and_underlines_the_strongest() -> None:
    style = (Path(report.__file__).parent / "page.css").read_text("utf-8")
    for side in "lh":
        for step in range(1, STEPS + 1):
            assert re.search(rf"\.tokens \.{side}{step}[ ,].*\{{ background", style), f"{side}{step}"
        assert re.search(rf"\.tokens \.{side}{STEPS} \{{ text-decoration: underline", style)


def test_hostile_tokens_stay_words(make_figures: Callable[[str, bool], list[Figure]], hostile: str) -> None:
    told = markup(make_figures(hostile, False)[4])
    assert "<script>" not in told and "<img" not in told and not {"\x00", "\u202e", "\u2028", "\ud800"} & set(told)
    assert "{{7*7}}" in told and "<script>alert(1)</script>" in Marks(told).found[0][2]


def test_the_page_shows_coloured_tokens(make_record: Callable[..., RunRecord]) -> None:
    page = render_html(make_record())
    assert '<figure class="tokens">' in page and page.count('class="l4" title="\N{MINUS SIGN}2.00"') == 1


def test_broken_data_gets_one_sentence() -> None:
    with pytest.raises(UsageError, match="1 tokens but 2 values"):
        row(["a"], [1.0, 2.0])
    with pytest.raises(UsageError, match="limit of coloured tokens must be above 0"):
        figure(row(["a"], [1.0]), limit=0.0)
    given = {"rows": [{"label": "x", "tokens": ["a"]}], "limit": 1, "low_name": "", "high_name": ""}
    with pytest.raises(UsageError, match=r"rows\[0\] lacks values"):
        Figure.from_plain({"kind": "tokens", "title": "T", "data": given}, "The figure")
    with pytest.raises(UsageError, match="is of kind 'bars'"):
        markup(Figure(title="B", alt="", data=Bars(labels=[], values=[])))


def test_coloured_tokens_are_no_drawing() -> None:
    with pytest.raises(UsageError, match="is text and not a drawing"):
        svg(figure(row(["a"], [1.0])))
    assert "0 rows" not in markup(figure())
