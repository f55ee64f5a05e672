"""Progress of long work, shown only where someone is looking.

Library code calls ``track``; the command line (or a notebook) turns the bars on with ``shown``. Nothing here imports
torch or rich until a bar is really drawn.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol, TypeVar, runtime_checkable

Item = TypeVar("Item")


@runtime_checkable
class Reporter(Protocol):
    """Draws the progress of labelled tasks."""

    def start(self, label: str, total: int | None) -> int: ...

    def advance(self, task: int, steps: int) -> None: ...

    def stop(self, task: int) -> None: ...


_reporter: ContextVar[Reporter | None] = ContextVar("armillary_progress", default=None)


@contextmanager
def reporting(reporter: Reporter) -> Iterator[None]:
    """Inside the block, ``track`` and ``counted`` draw through ``reporter``."""
    token = _reporter.set(reporter)
    try:
        yield
    finally:
        _reporter.reset(token)


class Counter:
    """Handle of one bar: ``advance(n)`` moves it."""

    def __init__(self, reporter: Reporter | None, task: int) -> None:
        self._reporter, self._task = reporter, task

    def advance(self, steps: int = 1) -> None:
        if self._reporter is not None:
            self._reporter.advance(self._task, steps)


@contextmanager
def counted(label: str | None, total: int | None) -> Iterator[Counter]:
    """A bar of ``total`` steps named ``label``; silent where no reporter is installed."""
    reporter = _reporter.get()
    # Work without a name is part of a bar that is already drawn.
    if reporter is None or not label:
        yield Counter(None, 0)
        return
    task = reporter.start(label, total)
    try:
        yield Counter(reporter, task)
    finally:
        reporter.stop(task)


def track(items: Iterable[Item], label: str, total: int | None = None) -> Iterator[Item]:
    """The items unchanged, a step of the bar after each."""
    if total is None and hasattr(items, "__len__"):
        total = len(items)  # type: ignore[arg-type]
    with counted(label, total) as counter:
        for item in items:
            yield item
            counter.advance()
