"""Steps in two orders: what moved says so in words, what is left out is counted, and nothing is let through."""

import re
from collections.abc import Callable
from html import unescape

import pytest

from armillary.errors import UsageError
from armillary.records import Figure
from armillary.records.sections import Bars, OrderPair, OrderPairs, PlacedStep
from armillary.report.step_orders import markup

PAIR = OrderPair(
    title="line 3",
    before=[PlacedStep(text="a = b", place=1, other=2, moved=True, note="needs step 2, 1 below"),
            PlacedStep(text="b = 1", place=2, other=1), PlacedStep(skipped=1)],
    after=[PlacedStep(text="b = 1", place=1, other=2), PlacedStep(text="a = b", place=2, other=1, moved=True),
           PlacedStep(skipped=1)],
)  # fmt: skip


def test_what_moved_is_marked_in_both_orders() -> None:
    data = OrderPairs(rows=[PAIR], before_name="as written", after_name="proposed")
    shown = markup(Figure(title="t", alt="steps", data=data))
    columns = re.findall(r'<p class="side">(.*?)</p>\s*<ol>(.*?)</ol>', shown, re.DOTALL)
    assert [name for name, _ in columns] == ["as written", "proposed"]
    words = [re.sub(r"\s+", " ", re.sub(r"<.*?>", " ", steps)).strip() for _, steps in columns]
    assert words == [
        "1 a = b needs step 2, 1 below · moved to 2 2 b = 1 1 more step",
        "1 b = 1 2 a = b moved from 1 1 more step",
    ]
    assert [steps.count('class="moved"') for _, steps in columns] == [1, 1]
    assert "Prompt" not in shown


def test_hostile_words_stay_words(make_figures: Callable[[str, bool], list[Figure]], hostile: str) -> None:
    shown = markup(next(made for made in make_figures(hostile, False) if made.kind == "orders"))
    assert "<script>" not in shown and "<img" not in shown and not {"\x00", "\u202e", "\u2028", "\ud800"} & set(shown)
    assert "<script>alert(1)</script>" in unescape(shown)


def test_another_kind_is_refused() -> None:
    with pytest.raises(UsageError, match="of kind 'bars', not 'orders'"):
        markup(Figure(title="t", alt="a", data=Bars(labels=["a"], values=[1.0])))
