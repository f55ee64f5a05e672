"""The table of docs/benchmarks.md that tells which goals the committed benchmarks meet, and why others are not met."""

import json
from dataclasses import dataclass
from pathlib import Path

from armillary.errors import UsageError
from armillary.files import read_toml


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What one row of a benchmark's record was to reach."""

    benchmark: str
    what: str
    """How the row's name begins."""

    least: float
    """Peer over ours, median of the repeats."""

    short: str = ""
    """Why it is not met; not shown where it is."""


def goals(path: Path) -> list[Goal]:
    """Those of ``benchmarks/goals.toml``."""
    return [Goal(**entry) for entry in read_toml(path)["goal"]]


def goal_rows(benchmarks: Path) -> list[list[str]]:
    """A row a goal: benchmark, what, goal, measured, and "met" or why not.

    Raises UsageError for a goal of no row or of several, and for one that is neither met nor explained.
    """
    rows = []
    for goal in goals(benchmarks / "goals.toml"):
        record = json.loads((benchmarks / "results" / f"{goal.benchmark}.json").read_text("utf-8"))
        matching = [row for row in record["rows"] if row["what"].startswith(goal.what)]
        if len(matching) != 1:
            raise UsageError(
                f"The goal {goal.what!r} must begin one row of {goal.benchmark}; it begins {len(matching)}."
            )
        times = matching[0]["ratio"]
        met = times["median"] >= goal.least
        if not met and not goal.short:
            raise UsageError(
                f"{goal.benchmark}, {goal.what!r}: {times['median']:.2f}x is less than the goal of {goal.least}x; "
                "say why in goals.toml."
            )
        measured = f"{times['median']:.2f}x ({times['low']:.2f} to {times['high']:.2f})"
        rows.append(
            [f"`{goal.benchmark}`", matching[0]["what"], f"{goal.least:.3g}x", measured,
             "met" if met else f"**not met**: {goal.short}"]
        )  # fmt: skip
    return rows
