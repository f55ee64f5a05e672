"""Progress on stderr: moving bars in a terminal, a plain line now and then elsewhere (a log, a pipe)."""

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    Task,
    TaskID as RichTask,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from armillary.progress import Reporter, TimeLeft, reporting

LINE_EVERY = 15.0
"""Seconds between two plain lines of one task: rare enough for a log, often enough to see that it lives."""


@contextmanager
def progress_shown() -> Iterator[None]:
    """Inside the block, long work shows on stderr how far it is, and what it has found so far.

    In a terminal this is gone with the block, after which the result tells; only where an error or Ctrl-C ends the
    block do the findings so far stay.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        with reporting(PlainLines()):
            yield
        return
    progress = LiveBars(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        Amount(),
        Left(),
        console=console,
        redirect_stdout=False,  # stdout is the result's
        transient=True,
    )
    try:
        with progress, reporting(TerminalBars(progress)):
            yield
    finally:
        if progress.findings is not None:
            console.print(progress.findings)


class LiveBars(Progress):
    """Bars, with the findings so far above them."""

    findings: RenderableType | None = None

    def get_renderables(self) -> Iterable[RenderableType]:
        """What is drawn, from the top."""
        for task in self.tasks:
            whole = _whole(task)
            if whole is not None:
                self.update(task.id, completed=whole.done)
        if self.findings is not None:
            yield self.findings
        yield from super().get_renderables()


class Amount(MofNCompleteColumn):
    """How much of a task is done: "3/10", of planned work in per cent."""

    def render(self, task: Task) -> Text:
        """The column of one task."""
        whole = _whole(task)
        return super().render(task) if whole is None else Text(f"{whole.done:.0%}", style="progress.download")


class Left(TimeRemainingColumn):
    """The time left of a task, of planned work the time left of all of it."""

    def render(self, task: Task) -> Text:
        """The column of one task."""
        whole = _whole(task)
        return super().render(task) if whole is None else Text(in_all(whole), style="progress.remaining")


def _whole(task: Task) -> TimeLeft | None:
    whole = task.fields.get("whole")
    return whole if isinstance(whole, TimeLeft) else None


def in_all(whole: TimeLeft) -> str:
    """ "about 3 min left in all"; empty while the pace is not known."""
    from armillary.report.wording import duration

    left = whole.left()
    return "" if left is None else f"about {duration(left)} left in all"


@dataclass
class RunningTask:
    """One running task of either reporter."""

    label: str
    total: int | None
    outermost: bool
    done: int = 0
    begun: float = field(default_factory=lambda: time.monotonic())
    printed: float = field(default_factory=lambda: time.monotonic())

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.begun

    def finished_line(self) -> str:
        """ "Reading the model: 12 s" """
        return f"{self.label}: {self.seconds:.0f} s"

    def progress_line(self) -> str:
        """How far the task is, and how long it will take at this pace."""
        if not self.total:
            return f"{self.label}: {self.done} after {self.seconds:.0f} s"
        left = self.seconds / self.done * (self.total - self.done) if self.done else 0.0
        return f"{self.label}: {self.done} of {self.total}, about {left:.0f} s left"


class TerminalBars(Reporter):
    """Bars of a terminal; a finished outermost task leaves one line behind, so that the eye sees what was done."""

    def __init__(self, progress: LiveBars) -> None:
        self._progress = progress
        self._tasks: dict[int, RunningTask] = {}

    def start(self, label: str, total: int | None) -> int:
        return self._started(label, self._progress.add_task(label, total=total))

    def plan(self, label: str, whole: TimeLeft) -> int:
        return self._started(label, self._progress.add_task(label, total=1.0, whole=whole))

    def advance(self, task: int, steps: int) -> None:
        self._progress.advance(RichTask(task), steps)

    def stop(self, task: int) -> None:
        known = self._tasks.pop(task)
        self._progress.remove_task(RichTask(task))
        if known.outermost and known.seconds >= 1:
            self._progress.console.print(known.finished_line(), style="dim", markup=False, highlight=False)

    def found(self, heading: str, findings: Sequence[tuple[str, str]]) -> None:
        self._progress.findings = found_table(heading, findings) if heading else None
        self._progress.refresh()

    def _started(self, label: str, number: int) -> int:
        self._tasks[number] = RunningTask(label, None, outermost=not self._tasks)
        return number


def found_table(heading: str, findings: Sequence[tuple[str, str]]) -> Table:
    """The heading, and a row for each finding: the words of a model are text in it, never markup or control codes."""
    from armillary.report.wording import visible

    rows = Table.grid(padding=(0, 2))
    rows.add_column(no_wrap=True)
    rows.add_column(ratio=1, overflow="fold")
    for word, sentence in findings:
        rows.add_row(Text(word), Text(visible(sentence)))
    table = Table.grid()
    table.add_row(Text(heading, style="dim"))
    table.add_row(rows)
    return table


class PlainLines(Reporter):
    """Plain lines: when an outermost task ends, and every ``LINE_EVERY`` seconds before, with what is newly found."""

    def __init__(self) -> None:
        self._tasks: dict[int, RunningTask] = {}
        self._count = 0
        self._wholes: dict[int, TimeLeft] = {}
        self._heading = ""
        self._findings: list[tuple[str, str]] = []
        self._told: set[tuple[str, str]] = set()

    def start(self, label: str, total: int | None) -> int:
        self._count += 1
        self._tasks[self._count] = RunningTask(label, total, outermost=not self._tasks)
        return self._count

    def plan(self, label: str, whole: TimeLeft) -> int:
        number = self.start(label, None)
        self._wholes[number] = whole
        return number

    def advance(self, task: int, steps: int) -> None:
        known = self._tasks[task]
        known.done += steps
        if time.monotonic() - known.printed >= LINE_EVERY:
            known.printed = time.monotonic()
            left = [in_all(whole) for whole in self._wholes.values()]
            _to_log("; ".join(filter(None, (known.progress_line(), *left))))
            self._tell_new()

    def stop(self, task: int) -> None:
        known = self._tasks.pop(task)
        self._wholes.pop(task, None)
        if known.outermost and known.seconds >= 1:
            _to_log(known.finished_line())

    def found(self, heading: str, findings: Sequence[tuple[str, str]]) -> None:
        self._heading, self._findings = heading, [*findings]
        if any(number in self._wholes and one.seconds >= LINE_EVERY for number, one in self._tasks.items()):
            self._tell_new()

    def _tell_new(self) -> None:
        """Those that no line has told yet: a log can't take any back."""
        new = [finding for finding in self._findings if finding not in self._told]
        self._told.update(new)
        if new:
            from armillary.report.wording import visible

            _to_log(self._heading, *(f"  {word}  {visible(sentence)}" for word, sentence in new))


def _to_log(*lines: str) -> None:
    print(*lines, sep="\n", file=sys.stderr, flush=True)
