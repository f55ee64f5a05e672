"""Progress of long work, shown only where someone is looking.

Library code calls ``track``; the command line turns the bars on with ``reporting``. Work of several pieces
says beforehand how long each may take (``planned``), so that the time left of all of it is known; and what it has
found so far (``found``). Nothing here imports torch or rich until a bar is really drawn.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Protocol, TypeVar, runtime_checkable

Item = TypeVar("Item")

TELLING = 1.0
"""Seconds: a piece that was over sooner was kept from an earlier run, or is too short to tell how fast this one is."""


class TimeLeft:
    """Seconds until all pieces of some work are done, by what was planned for each and what they took so far.

    With w_i the seconds that were planned for piece i, on some other machine, d_i the share of it that is done, and
    s_i the seconds that this took, the pace is sum(s_i) / sum(d_i w_i), and pace * sum((1 - d_i) w_i) is left.
    """

    def __init__(self, pieces: Mapping[str, float], clock: Callable[[], float]) -> None:
        """``pieces``: seconds planned for each, by name; ``clock`` gives seconds."""
        self._planned = dict(pieces)
        self._clock = clock
        self._begun: dict[str, float] = {}
        self._took: dict[str, float] = {}
        self._share: dict[str, float] = {}

    def begin(self, piece: str) -> None:
        """A piece begins; one that was not planned does not count."""
        if piece in self._planned:
            self._begun.setdefault(piece, self._clock())

    def move(self, piece: str, share: float) -> None:
        """This share of a running piece is done, from 0 to 1."""
        if piece in self._begun:
            self._share[piece] = min(1.0, share)

    def end(self, piece: str) -> None:
        """A piece is done."""
        if piece in self._begun:
            self._took[piece] = self._clock() - self._begun.pop(piece)
            self._share[piece] = 1.0

    @property
    def done(self) -> float:
        """Share of what was planned that is done, from 0 to 1."""
        total = sum(self._planned.values())
        return sum(self._share.get(piece, 0.0) * planned for piece, planned in self._planned.items()) / (total or 1)

    def left(self) -> float | None:
        """Seconds; None while nothing tells the pace yet."""
        now = self._clock()
        took = {**self._took, **{piece: now - begun for piece, begun in self._begun.items()}}
        shares = {piece: self._share.get(piece, 0.0) for piece in self._planned}
        telling = [piece for piece, share in shares.items() if share and took[piece] >= TELLING]
        worked = sum(shares[piece] * self._planned[piece] for piece in telling)
        if not worked:
            return None
        pace = sum(took[piece] for piece in telling) / worked
        left = 0.0
        for piece, share in shares.items():
            expected = pace * (1 - share) * self._planned[piece]
            # Of a piece that does not say how far it is, the time that it has run is taken to have been of use.
            left += expected if share or piece not in self._begun else max(0.0, expected - took[piece])
        return left


@runtime_checkable
class Reporter(Protocol):
    """Draws the progress of labelled tasks."""

    def start(self, label: str, total: int | None) -> int: ...

    def advance(self, task: int, steps: int) -> None: ...

    def stop(self, task: int) -> None: ...

    def plan(self, label: str, whole: TimeLeft) -> int:
        """A task that moves by itself, as the pieces of the whole do; it is stopped like any other."""
        ...

    def found(self, heading: str, findings: Sequence[tuple[str, str]]) -> None:
        """Findings so far, each a word and a sentence, in place of those before; none with an empty heading."""
        ...


_reporter: ContextVar[Reporter | None] = ContextVar("armillary_progress", default=None)
_whole: ContextVar[TimeLeft | None] = ContextVar("armillary_whole", default=None)


@contextmanager
def reporting(reporter: Reporter) -> Iterator[None]:
    """Inside the block, ``track`` and ``counted`` draw through ``reporter``."""
    token = _reporter.set(reporter)
    try:
        yield
    finally:
        _reporter.reset(token)


@contextmanager
def planned(label: str, pieces: Mapping[str, float]) -> Iterator[None]:
    """A bar of work that consists of ``pieces``, with the seconds that are planned for each; it tells the time left.

    It moves as blocks of ``piece(name)`` end, and as a bar moves that is labelled with the name of a piece. What the
    work says that it ``found`` is shown until it ends, and stays where an error ended it.
    """
    reporter = _reporter.get()
    if reporter is None:
        yield
        return
    whole = TimeLeft(pieces, time.monotonic)
    task, token = reporter.plan(label, whole), _whole.set(whole)
    try:
        yield
        reporter.found("", ())
    finally:
        _whole.reset(token)
        reporter.stop(task)


@contextmanager
def piece(name: str) -> Iterator[None]:
    """A piece of what was ``planned``, which draws no bar of its own."""
    whole = _whole.get()
    if whole is not None:
        whole.begin(name)
    try:
        yield
    finally:
        if whole is not None:
            whole.end(name)


def watched() -> bool:
    """True inside ``planned`` work where someone is looking: what it finds on the way is worth telling."""
    return _whole.get() is not None


def found(heading: str, findings: Sequence[tuple[str, str]]) -> None:
    """Show what was found so far, each finding a word and a sentence, in place of what was shown before; nothing
    where no work is ``watched``."""
    reporter = _reporter.get()
    if reporter is not None and watched():
        reporter.found(heading, findings)


class Counter:
    """Handle of one bar: ``advance(n)`` moves it."""

    def __init__(self, reporter: Reporter | None, task: int, label: str = "", total: int | None = None) -> None:
        self._reporter, self._task = reporter, task
        self._label, self._total, self._done = label, total, 0

    def advance(self, steps: int = 1) -> None:
        if self._reporter is None:
            return
        self._done += steps
        whole = _whole.get()
        if whole is not None and self._total:
            whole.move(self._label, self._done / self._total)
        self._reporter.advance(self._task, steps)


@contextmanager
def counted(label: str | None, total: int | None) -> Iterator[Counter]:
    """A bar of ``total`` steps named ``label``; silent where no reporter is installed."""
    reporter = _reporter.get()
    # Work without a name is part of a bar that is already drawn.
    if reporter is None or not label:
        yield Counter(None, 0)
        return
    with ExitStack() as stack:
        task = reporter.start(label, total)
        stack.callback(reporter.stop, task)
        stack.enter_context(piece(label))
        yield Counter(reporter, task, label, total)


def track(items: Iterable[Item], label: str, total: int | None = None) -> Iterator[Item]:
    """The items unchanged, a step of the bar after each."""
    if total is None and hasattr(items, "__len__"):
        total = len(items)  # type: ignore[arg-type]
    with counted(label, total) as counter:
        for item in items:
            yield item
            counter.advance()
