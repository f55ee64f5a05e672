"""The terminal's form: findings first, every word inside the width, no control code of a model."""

import io
from collections.abc import Callable
from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.console import Console

from armillary.records import Finding, RunRecord
from armillary.report.terminal import render_terminal, summary


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


def test_a_verdict_is_a_few_plain_lines_and_findings_without_words_are_three(
    make_record: Callable[..., RunRecord], hostile: str
) -> None:
    record = make_record()
    assert summary(record) == ["1. first plain words", "2. second plain words"]
    long = Finding(text="word " * 30, interest=0.9, section="", label="not seen", basis="floor 0.02")
    lines = summary(replace(record, findings=[long, replace(long, text=hostile, label="where")]), width=60)
    assert lines[0].startswith("not seen  word word") and lines[1].startswith("          word")
    assert "          floor 0.02" in lines and all(len(line) <= 60 for line in lines[:4])
    assert not {"\x00", "\u202e"} & set("".join(lines))
