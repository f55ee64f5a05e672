"""What is seen while work goes on: bars, the time left of all of it, and the findings so far."""

import io
import re
from collections.abc import Callable

import pytest
from rich.console import Console

from armillary.cli import bars
from armillary.progress import counted, found, piece, planned, reporting, track

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """A clock that goes on by so many seconds each time it is read."""

    def begin(step: int) -> None:
        clock = iter(range(0, 1_000_000, step))
        monkeypatch.setattr(bars.time, "monotonic", lambda: float(next(clock)))

    return begin


def test_plain_lines_tell_what_was_done(ticking: Callable[[int], None], capsys: Capture) -> None:
    ticking(3)
    with reporting(bars.PlainLines()):
        for _ in track(range(10), "Reading"):
            pass
    output = capsys.readouterr()
    lines = output.err.splitlines()
    assert output.out == "" and 3 <= len(lines) <= 8
    assert "of 10, about" in lines[0] and lines[-1].startswith("Reading: ")


def test_plain_lines_tell_the_time_left_in_all_and_each_finding_once(
    ticking: Callable[[int], None], capsys: Capture
) -> None:
    ticking(20)
    with reporting(bars.PlainLines()), planned("Diff", {"first": 5.0, "second": 5.0}):
        for _ in track(range(4), "first"):
            found("So far:", [("forgot", "It lost sums.")])
        found("So far:", [("learned", "It gained\x1b[2J tickets."), ("forgot", "It lost sums.")])
        with piece("second"):
            pass
    output = capsys.readouterr()
    assert output.out == ""
    lines = output.err.splitlines()
    assert lines.count("  forgot  It lost sums.") == 1 and lines.count("So far:") == 2
    assert "\x1b" not in output.err and any(line.startswith("  learned  It gained") for line in lines)
    assert sum("first: " in line and line.endswith("left in all") for line in lines) == 4


def test_a_short_run_tells_a_log_no_findings(capsys: Capture) -> None:
    with reporting(bars.PlainLines()), planned("Diff", {"first": 1.0}):
        found("So far:", [("forgot", "It lost sums.")])
    assert capsys.readouterr().err == ""


def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What ``progress_shown`` draws in a terminal of 100 columns."""
    drawn = io.StringIO()
    monkeypatch.setattr(bars, "Console", lambda **_: Console(file=drawn, force_terminal=True, width=100))
    return drawn


def test_bars_of_a_terminal_leave_a_line(ticking: Callable[[int], None], monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = terminal(monkeypatch)
    ticking(2)
    with bars.progress_shown(), counted("Outer [step]", None) as outer:
        for _ in track(range(3), "Inner"):
            outer.advance()
    last = screen(drawn.getvalue())
    assert any(line.startswith("Outer [step]: ") for line in last)
    assert not any("Inner" in line for line in last), "only outermost tasks leave a line"


def screen(drawn: str) -> list[str]:
    """The lines that stand in the terminal after all that was drawn: those that were wiped away are gone."""
    lines, row, column = [""], 0, 0
    for code, text in re.findall(r"(\x1b\[[?0-9;]*[A-Za-z]|\r|\n)|([^\x1b\r\n]+)", drawn):
        if code.endswith("A"):
            row -= int(code[2:-1])
        elif code == "\x1b[2K":
            lines[row] = ""
        elif code in ("\r", "\n"):
            column = 0
            row += code == "\n"
            lines += [""] * (row == len(lines))
        lines[row] = lines[row][:column].ljust(column) + text + lines[row][column + len(text) :]
        column += len(text)
    return lines


def test_findings_stand_above_the_bars_until_the_work_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = terminal(monkeypatch)
    with bars.progress_shown(), planned("Diff", {"first": 1.0, "second": 3.0}):
        with piece("first"):
            pass
        found("So far (1 of 2):", [("forgot", "It lost [bold]sums[/bold].")])
        found("So far (2 of 2):", [("learned", "It gained tickets.")])
        during = screen(drawn.getvalue())
        assert any("learned  It gained tickets." in line for line in during)
        assert not any("It lost" in line for line in during), "each time in place of what stood there"
        assert any("Diff" in line and "25%" in line for line in during)
    assert "forgot  It lost [bold]sums[/bold]." in drawn.getvalue()
    assert not any("gained" in line or "Diff" in line for line in screen(drawn.getvalue()))


def test_findings_stay_where_an_error_ends_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = terminal(monkeypatch)
    with pytest.raises(KeyboardInterrupt), bars.progress_shown(), planned("Diff", {"first": 1.0}):
        found("So far (1 of 2):", [("learned", "It gained tickets.")])
        raise KeyboardInterrupt
    last = screen(drawn.getvalue())
    assert sum("It gained tickets." in line for line in last) == 1 and "So far (1 of 2):" in "".join(last)


def test_the_time_left_is_told_in_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = terminal(monkeypatch)
    now = [0.0]
    monkeypatch.setattr(bars.time, "monotonic", lambda: now[0])
    with bars.progress_shown(), planned("Diff", {"first": 1.0, "second": 3.0}):
        with piece("first"):
            now[0] = 60.0
        found("So far:", [])
    assert "about 3 min 0 s left in all" in drawn.getvalue()
