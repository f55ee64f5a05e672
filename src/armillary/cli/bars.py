"""Progress on stderr: moving bars in a terminal, a plain line now and then elsewhere (a log, a pipe)."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.progress import TaskID as RichTask

from armillary.progress import Reporter, reporting

LINE_EVERY = 15.0
"""Seconds between two plain lines of one task: rare enough for a log, often enough to see that it lives."""


@contextmanager
def bars_shown() -> Iterator[None]:
    """Inside the block, long work tells on stderr how far it is."""
    console = Console(stderr=True)
    if not console.is_terminal:
        with reporting(Lines()):
            yield
        return
    progress = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        redirect_stdout=False,  # stdout is the result's
        transient=True,
    )
    with progress, reporting(Bars(progress)):
        yield


@dataclass
class Task:
    """One running task of either reporter."""

    label: str
    total: int | None
    outermost: bool
    done: int = 0
    begun: float = field(default_factory=lambda: time.monotonic())
    told: float = field(default_factory=lambda: time.monotonic())

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


class Bars(Reporter):
    """Bars of a terminal; a finished outermost task leaves one line behind, so that the eye sees what was done."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[int, Task] = {}

    def start(self, label: str, total: int | None) -> int:
        number = self._progress.add_task(label, total=total)
        self._tasks[number] = Task(label, total, outermost=not self._tasks)
        return number

    def advance(self, task: int, steps: int) -> None:
        self._progress.advance(RichTask(task), steps)

    def stop(self, task: int) -> None:
        known = self._tasks.pop(task)
        self._progress.remove_task(RichTask(task))
        if known.outermost and known.seconds >= 1:
            self._progress.console.print(known.finished_line(), style="dim", markup=False, highlight=False)


class Lines(Reporter):
    """Plain lines: when an outermost task begins and ends, and every ``LINE_EVERY`` seconds between."""

    def __init__(self) -> None:
        self._tasks: dict[int, Task] = {}
        self._count = 0

    def start(self, label: str, total: int | None) -> int:
        self._count += 1
        self._tasks[self._count] = Task(label, total, outermost=not self._tasks)
        return self._count

    def advance(self, task: int, steps: int) -> None:
        known = self._tasks[task]
        known.done += steps
        if time.monotonic() - known.told >= LINE_EVERY:
            known.told = time.monotonic()
            print(known.progress_line(), file=sys.stderr, flush=True)

    def stop(self, task: int) -> None:
        known = self._tasks.pop(task)
        if known.outermost and known.seconds >= 1:
            print(known.finished_line(), file=sys.stderr, flush=True)
