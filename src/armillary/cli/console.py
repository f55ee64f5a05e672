"""Where errors become one sentence and an exit code, in one place for all commands."""

import _thread
import errno
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID as RichTask,
    TextColumn,
    TimeRemainingColumn,
)

from armillary.errors import ArmillaryError
from armillary.progress import Reporter, reporting

DEBUG = "ARMILLARY_DEBUG"
"""Environment variable that shows the whole trace of an error."""

INTERNAL, WRONG, STOPPED = 1, 2, 130


def print_note(*lines: str) -> None:
    """Write to stderr, where everything goes that isn't the result."""
    print(*lines, sep="\n", file=sys.stderr)


def guarded(run: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> int:
    """The exit code of ``run(arguments)``; an error becomes one sentence on stderr."""
    hook = sys.unraisablehook
    sys.unraisablehook = lambda lost: _stop_again(lost, hook)
    try:
        code = run(arguments)
        sys.stdout.flush()
        return code
    except SystemExit as stop:  # tyro's way of ending after --help (0) and after a wrong option (2)
        return stop.code if isinstance(stop.code, int) else WRONG
    except BrokenPipeError:
        # The reader (head, less) has gone: the rest of the output has no reader, and that is no error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except BaseException as error:
        if os.environ.get(DEBUG):
            traceback.print_exc()
        sentence, code = error_sentence(error)
        print_note(sentence)
        return code
    finally:
        sys.unraisablehook = hook


def _stop_again(lost: "sys.UnraisableHookArgs", otherwise: Callable[["sys.UnraisableHookArgs"], object]) -> None:
    # A Ctrl-C that arrives inside a finaliser or a weak reference's callback is dropped by Python: send it once more,
    # from another thread and a moment later, or it would arrive here and be dropped again.
    if issubclass(lost.exc_type, KeyboardInterrupt):
        timer = threading.Timer(0.05, _thread.interrupt_main)
        timer.daemon = True
        timer.start()
    else:
        otherwise(lost)


def error_sentence(error: BaseException) -> tuple[str, int]:
    """The sentence a user reads for ``error``, and the exit code."""
    if isinstance(error, ArmillaryError):
        return f"armillary: {error}", error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return "\narmillary: stopped; run the same command again to go on where it was.", STOPPED
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return (
            "armillary: there is not enough memory for this model; close other programs or take a smaller one.",
            WRONG,
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"armillary: there is no space left on the disk{_where(error)}; free some and run again.", WRONG
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return f"armillary: no permission to write or read{_where(error)}.", WRONG
    detail = " ".join(str(error).split())
    detail = detail if len(detail) <= 300 else detail[:300] + " ..."
    return (
        f"armillary: something unforeseen went wrong ({type(error).__name__}: {detail}); "
        f"run with {DEBUG}=1 for the whole trace.",
        INTERNAL,
    )


def _where(error: OSError) -> str:
    return f" ({error.filename})" if error.filename else ""


# Progress on stderr: moving bars in a terminal, a plain line now and then elsewhere (a log, a pipe).

LINE_EVERY = 15.0
"""Seconds between two plain lines of one task: rare enough for a log, often enough to see that it lives."""


@contextmanager
def progress_shown() -> Iterator[None]:
    """Inside the block, long work shows on stderr how far it is."""
    console = Console(stderr=True)
    if not console.is_terminal:
        with reporting(PlainLines()):
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
    with progress, reporting(TerminalBars(progress)):
        yield


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

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[int, RunningTask] = {}

    def start(self, label: str, total: int | None) -> int:
        number = self._progress.add_task(label, total=total)
        self._tasks[number] = RunningTask(label, total, outermost=not self._tasks)
        return number

    def advance(self, task: int, steps: int) -> None:
        self._progress.advance(RichTask(task), steps)

    def stop(self, task: int) -> None:
        known = self._tasks.pop(task)
        self._progress.remove_task(RichTask(task))
        if known.outermost and known.seconds >= 1:
            self._progress.console.print(known.finished_line(), style="dim", markup=False, highlight=False)


class PlainLines(Reporter):
    """Plain lines: when an outermost task begins and ends, and every ``LINE_EVERY`` seconds between."""

    def __init__(self) -> None:
        self._tasks: dict[int, RunningTask] = {}
        self._count = 0

    def start(self, label: str, total: int | None) -> int:
        self._count += 1
        self._tasks[self._count] = RunningTask(label, total, outermost=not self._tasks)
        return self._count

    def advance(self, task: int, steps: int) -> None:
        known = self._tasks[task]
        known.done += steps
        if time.monotonic() - known.printed >= LINE_EVERY:
            known.printed = time.monotonic()
            print(known.progress_line(), file=sys.stderr, flush=True)

    def stop(self, task: int) -> None:
        known = self._tasks.pop(task)
        if known.outermost and known.seconds >= 1:
            print(known.finished_line(), file=sys.stderr, flush=True)
