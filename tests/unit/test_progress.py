"""The time left of several pieces of work, with a clock of the test's own."""

import math

import pytest

from armillary.progress import TimeLeft, counted, found, piece, planned, reporting, track, watched


class Clock:
    """Seconds that pass as the test says."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_pieces_that_go_at_half_the_planned_pace_leave_twice_the_planned_time() -> None:
    clock = Clock()
    whole = TimeLeft({"a": 10.0, "b": 30.0, "c": 60.0}, clock)
    assert whole.left() is None and whole.done == 0
    whole.begin("a")
    clock.now = 5.0
    assert whole.left() is None, "nothing says how far it is"
    whole.move("a", 0.25)
    assert whole.left() == 0.75 * 20 + 2 * 90
    clock.now = 20.0
    whole.end("a")
    assert (whole.left(), whole.done) == (180.0, 0.1)
    whole.begin("b")
    clock.now = 35.0  # b does not tell its share: at the pace so far 15 of its 60 seconds are over
    assert whole.left() == 45.0 + 120.0
    clock.now = 100.0  # longer than it should: nothing is left of it, and not less than nothing
    assert whole.left() == 120.0
    whole.end("b")
    assert whole.left() == 60.0 * (20 + 80) / 40
    whole.begin("c")
    clock.now = 350.0
    whole.end("c")
    assert (whole.left(), whole.done) == (0.0, 1.0)


def test_what_an_earlier_run_kept_says_nothing_of_the_pace() -> None:
    clock = Clock()
    whole = TimeLeft({"kept": 50.0, "made": 10.0, "to come": 40.0}, clock)
    whole.begin("kept")
    clock.now = 0.01
    whole.end("kept")
    assert whole.left() is None
    whole.begin("made")
    clock.now = 30.01
    whole.end("made")
    assert math.isclose(whole.left() or 0, 120.0) and whole.done == 0.6


def test_what_was_not_planned_does_not_count() -> None:
    clock = Clock()
    whole = TimeLeft({"a": 1.0}, clock)
    for name in ("a", "other"):
        whole.begin(name)
        whole.begin(name)  # a bar inside the piece has its name
        clock.now += 4.0
        whole.move(name, 0.5)
        whole.end(name)
        whole.end(name)
    assert (whole.left(), whole.done) == (0.0, 1.0)
    assert TimeLeft({}, clock).done == 0 and TimeLeft({}, clock).left() is None


class Seen:
    """A reporter that remembers."""

    def __init__(self) -> None:
        self.calls: list[object] = []
        self.whole: TimeLeft | None = None

    def start(self, label: str, total: int | None) -> int:
        self.calls.append((label, total))
        return len(self.calls)

    def advance(self, task: int, steps: int) -> None:
        assert self.whole is not None
        self.calls.append(round(self.whole.done, 6))

    def stop(self, task: int) -> None:
        self.calls.append("stop")

    def plan(self, label: str, whole: TimeLeft) -> int:
        self.whole = whole
        return 0

    def found(self, heading: str, findings: object) -> None:
        self.calls.append((heading, findings))


def test_bars_named_as_pieces_move_the_whole() -> None:
    seen = Seen()
    with reporting(seen), planned("all", {"a": 3.0, "b": 1.0}):
        with piece("b"):
            found("so far", [("forgot", "sums")])
        for _ in track("xyz", "a"):
            with counted("another", 2) as other:
                other.advance()
    before_turns = [("so far", [("forgot", "sums")]), ("a", 3)]
    turns = [[("another", 2), before, "stop", after] for before, after in ((0.25, 0.5), (0.5, 0.75), (0.75, 1.0))]
    assert seen.calls == [*before_turns, *(call for turn in turns for call in turn), "stop", ("", ()), "stop"]


@pytest.mark.parametrize("looking", [True, False])
def test_findings_are_told_inside_planned_work_that_is_watched(looking: bool) -> None:
    seen = Seen()

    def work() -> list[bool]:
        found("outside", [])
        before = watched()
        with planned("all", {"a": 1.0}):
            return [before, watched()]

    if looking:
        with reporting(seen):
            assert work() == [False, True]
        assert seen.calls == [("", ()), "stop"]
    else:
        assert work() == [False, False]


def test_an_error_leaves_the_findings_where_they_are() -> None:
    seen = Seen()
    with reporting(seen), pytest.raises(KeyboardInterrupt), planned("all", {"a": 1.0}):
        found("so far", [])
        raise KeyboardInterrupt
    assert seen.calls == [("so far", []), "stop"] and not watched()
