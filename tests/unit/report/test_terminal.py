"""The terminal's form: findings first, every word inside the width, no control code of a model."""

import io
from collections.abc import Callable

import pytest
from rich.cells import cell_len
from rich.console import Console

from armillary.records import RunRecord
from armillary.report.terminal import render_terminal


def printed(record: RunRecord, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(render_terminal(record))
    output = console.file
    assert isinstance(output, io.StringIO)
    return output.getvalue()


def test_findings_come_first_and_in_order(make_record: Callable[..., RunRecord]) -> None:
    text = printed(make_record(), 100)
    positions = [text.index(words) for words in ("first plain", "second plain", "undecided", "Measures")]
    assert positions == sorted(positions)
    assert "0.700 (0.600 to 0.800)" in text and "3 min 25 s" in text


@pytest.mark.parametrize("width", [30, 60, 120])
def test_hostile_words_stay_inside_the_width(make_record: Callable[..., RunRecord], hostile: str, width: int) -> None:
    text = printed(make_record(hostile + "[bold red]x[/]" + "y" * 300), width)
    assert max(map(cell_len, text.split("\n"))) <= width
    assert not {"\x00", "\u202e", "\x1b"} & set(text)


def test_markup_is_shown_as_it_is(make_record: Callable[..., RunRecord]) -> None:
    assert "[bold red]x[/]" in printed(make_record("[bold red]x[/]"), 120)
