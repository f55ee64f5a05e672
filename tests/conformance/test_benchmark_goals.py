"""A benchmark's goal is held against its own record, and one that is missed has to say why."""

import json
from pathlib import Path

import pytest
from tools.benchmark_goals import goal_rows

from armillary.errors import UsageError


def written(folder: Path, median: float, entry: str) -> Path:
    (folder / "results").mkdir()
    ratio = {"median": median, "low": median - 0.1, "high": median + 0.1, "repeats": 5}
    rows = [{"what": f"a step{end}", "ratio": ratio} for end in (": time, s", " more: time, s")]
    (folder / "results" / "one.json").write_text(json.dumps({"rows": rows}))
    (folder / "goals.toml").write_text(f'[[goal]]\nbenchmark = "one"\nleast = 2.0\n{entry}\n')
    return folder


def test_a_goal_is_met_by_the_median(tmp_path: Path) -> None:
    (row,) = goal_rows(written(tmp_path, 2.0, 'what = "a step:"\nshort = "heavy"'))
    assert row == ["`one`", "a step: time, s", "2x", "2.00x (1.90 to 2.10)", "met"]


def test_a_missed_goal_says_why(tmp_path: Path) -> None:
    (row,) = goal_rows(written(tmp_path, 1.9, 'what = "a step:"\nshort = "heavy"'))
    assert row[-1] == "**not met**: heavy"


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [('what = "a step:"', "say why"), ('what = "a step"', "begins 2"), ('what = "b"', "begins 0")],
)
def test_what_cannot_be_told_is_refused(tmp_path: Path, entry: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        goal_rows(written(tmp_path, 1.9, entry))
