"""The object that a diff gives in Python: it tells the verdict, hands out rows and figures, and saves its page."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from armillary.diff.effect import Described, Effect
from armillary.diff.page import EFFECTS, Circumstances, page
from armillary.diff.result import DiffResult
from armillary.errors import UsageError
from armillary.numerics.intervals import Interval
from armillary.records.record import RunRecord
from armillary.records.sections import AnswerPair, AnswerPairs, Bars, Figure, Section


@pytest.fixture
def result() -> DiffResult:
    pairs = AnswerPairs(rows=[AnswerPair(prompt="2 + 2?", shared="", before=("4", ""), after=("5", ""))])
    figures = [Figure(title="Answers", alt="a", data=pairs),
               Figure(title="Drift by layer", alt="b", data=Bars(labels=["0"], values=[1.0]))]  # fmt: skip
    section = Section(id="flips", title="Flips", summary="s", meaning="m", caution="c", figures=figures)
    lost = Effect(id="flips/sums", kind="forgot", sentence="It lost sums.", unit="of the answers", p=1e-7, floor=0.01,
                  value=Interval(estimate=-0.4, low=-0.5, high=-0.3, n=40), section="flips")  # fmt: skip
    outcome = page("t", [Described(section=section, effects=[lost])], Circumstances(budget="2m"))
    return DiffResult(RunRecord(
        kind="diff", title=outcome.title, config={}, models={}, seed=0, findings=[*outcome.findings],
        sections=[*outcome.sections], started="2026-01-01T00:00:00+00:00", seconds=1.0,
    ))  # fmt: skip


def test_it_tells_its_verdict(result: DiffResult) -> None:
    assert [line.label for line in result.verdict] == ["forgot", "not seen"]
    first, basis, last = str(result).splitlines()
    assert first == "forgot    It lost sums." and last.startswith("not seen  ")
    assert basis.strip().startswith("\N{MINUS SIGN}0.400 [\N{MINUS SIGN}0.500, ")


def test_comparisons_are_rows_and_a_data_frame(result: DiffResult, monkeypatch: pytest.MonkeyPatch) -> None:
    (row,) = result.comparisons()
    assert list(row) == EFFECTS and row["change"] == -0.4 and row["in the verdict"] is True
    pandas = ModuleType("pandas")
    pandas.DataFrame = lambda rows, columns: SimpleNamespace(rows=rows, columns=columns)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pandas", pandas)
    frame = result.to_frame()
    assert [*frame.columns] == EFFECTS
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match=r"package pandas, .*: pip install pandas"):
        result.to_frame()


def test_a_figure_is_found_by_title_or_section_and_saved(result: DiffResult, tmp_path: Path) -> None:
    assert result.figure("flips").figure.title == "Answers"
    picture = result.figure("Drift by layer")
    picture.save(tmp_path / "drift.svg")
    picture.save(tmp_path / "drift.html")
    assert (tmp_path / "drift.svg").read_text("utf-8").startswith("<svg")
    assert "<h1>Drift by layer</h1>" in (tmp_path / "drift.html").read_text("utf-8")
    assert picture._repr_html_().startswith('<iframe srcdoc="&lt;!DOCTYPE html&gt;')
    with pytest.raises(UsageError, match=r"\.svg or \.html"):
        picture.save(tmp_path / "drift.png")
    with pytest.raises(UsageError, match="is text and not a drawing"):
        result.figure("flips").save(tmp_path / "answers.svg")
    with pytest.raises(UsageError, match="there are Drift by layer"):
        result.figure("Drift by layers")


def test_it_saves_a_record_that_is_read_again(result: DiffResult, tmp_path: Path) -> None:
    report = result.save(tmp_path / "new" / "folder")
    assert "It lost sums." in report.read_text("utf-8")
    assert DiffResult(RunRecord.load(report.parent)).comparisons() == result.comparisons()
