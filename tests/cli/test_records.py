"""Commands that only read records and cards: report, replay, list, show."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from armillary.cards import CARDS
from armillary.checkup import CheckupConfig
from armillary.cli import checkup, replay
from armillary.cli.main import main
from armillary.cli.methods import measured, verdict_counts
from armillary.numerics.intervals import Interval
from armillary.records.claims import ClaimResult
from armillary.records.record import RunRecord
from armillary.records.sections import Finding, Section
from armillary.runs.run import Job

Capture = pytest.CaptureFixture[str]


def record(**changes: Any) -> RunRecord:
    values: dict[str, Any] = {
        "kind": "checkup",
        "title": "Check-up of <tiny>",
        "config": CheckupConfig(model="tiny-llama", subjects=60).config(),
        "models": {"model": {"name": "tiny-llama", "fingerprint": "0123456789abcdef"}},
        "seed": 0,
        "measures": {"rank": Interval(estimate=3.5, low=3.0, high=4.0, n=10)},
        "findings": [Finding(text="Layer 1 is flat.", interest=0.5, section="rank")],
        "sections": [Section(id="rank", title="Rank", summary="s", meaning="m", caution="c")],
        "started": "2026-01-01T00:00:00+00:00",
        "seconds": 1.0,
    }
    return RunRecord(**{**values, **changes})


def claim(id: str, verdict: Any) -> ClaimResult:
    return ClaimResult(
        id=id, statement=f"Statement of {id}.", paper="", quantity="q", rule="r", null="0", verdict=verdict
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    run = tmp_path / "run"
    run.mkdir()
    record().save(run / "record.json")
    return run


def test_report_is_drawn_again(folder: Path, capsys: Capture) -> None:
    assert main(["report", str(folder)]) == 0
    told = capsys.readouterr()
    assert "Layer 1 is flat." in told.out
    page = (folder / "report.html").read_text("utf-8")
    assert "&lt;tiny&gt;" in page and "<tiny>" not in page


def test_report_goes_where_it_is_told(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    assert main(["report", str(folder / "record.json"), "--out", str(tmp_path / "new" / "place"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "Check-up of <tiny>"
    assert (tmp_path / "new" / "place" / "report.html").exists()
    assert not (folder / "report.html").exists()


@pytest.mark.parametrize("command", ["report", "replay"])
def test_what_is_no_record_is_told(command: str, tmp_path: Path, capsys: Capture) -> None:
    assert main([command, str(tmp_path / "nothing")]) == 2
    assert "no record" in capsys.readouterr().err
    (tmp_path / "other.json").write_text("[1, 2]")
    assert main([command, str(tmp_path / "other.json")]) == 2
    assert "not an Armillary record" in capsys.readouterr().err


def replayed(new: RunRecord, folder: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> int:
    seen: list[CheckupConfig] = []

    class Recorded(Job[CheckupConfig]):
        def run(self, settings: CheckupConfig, out: Path | str, *, fresh: bool = False) -> RunRecord:
            seen.append(settings)
            return new

    monkeypatch.setitem(checkup.JOBS, "checkup", Recorded(settings=CheckupConfig, work=checkup.examine))
    code = main(["replay", str(folder), "--out", str(folder.parent / "again"), *options])
    assert [settings.config() for settings in seen] == [record().config]
    return code


def test_replay_says_identical(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    new = record(started="2027-01-01T00:00:00+00:00", seconds=9.0, machine={"cores": 64})
    assert replayed(new, folder, monkeypatch) == 0
    assert capsys.readouterr().out.startswith("Identical")


def test_replay_names_what_differs(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    new = record(measures={"rank": Interval(estimate=3.5000001, low=3.0, high=4.0, n=10)})
    assert replayed(new, folder, monkeypatch) == 1
    assert "measures.rank.estimate: 3.5, now 3.5000001" in capsys.readouterr().out
    assert replayed(new, folder, monkeypatch, "--tolerance", "1e-6") == 0
    assert replayed(new, folder, monkeypatch, "--json") == 1
    told = json.loads(capsys.readouterr().out.partition("\n")[2])
    assert told["identical"] is False and len(told["differences"]) == 1


def test_differences_find_every_kind() -> None:
    old = {"a": 1, "b": [1, 2], "c": {"d": "x"}, "e": True, "f": None}
    assert list(replay.differences(old, dict(reversed(old.items())), 0.0)) == []
    new = {"a": 1.5, "b": [1], "c": {"d": "y"}, "e": 1, "g": 0}
    lines = list(replay.differences(old, new, 0.0))
    assert [line.split(":")[0] for line in lines] == ["a", "b", "c.d", "f", "g"]


def test_replay_refuses_its_own_folder_and_strange_kinds(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    assert main(["replay", str(folder), "--out", str(folder)]) == 2
    assert "folder of its own" in capsys.readouterr().err
    record(kind="other", config={"command": "other thing"}).save(tmp_path / "other.json")
    assert main(["replay", str(tmp_path / "other.json")]) == 2
    assert "`armillary other thing` can't be replayed" in capsys.readouterr().err
    assert main(["replay", str(folder), "--tolerance", "2"]) == 2


def test_replay_of_unknown_settings_is_told(tmp_path: Path, capsys: Capture) -> None:
    record(config={"command": "checkup", "model": "tiny-llama", "from_the_future": 1}).save(tmp_path / "record.json")
    assert main(["replay", str(tmp_path / "record.json"), "--out", str(tmp_path / "again")]) == 2
    assert "from_the_future" in capsys.readouterr().err


def test_list_and_show(capsys: Capture, tmp_path: Path) -> None:
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    assert all(card.name in out and card.arxiv in out for card in CARDS)
    assert main(["list", "--json"]) == 0
    assert [card["name"] for card in json.loads(capsys.readouterr().out)] == [card.name for card in CARDS]
    assert main(["show", "lincorr", "--results", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "2502.04520" in out and "No records" in out


def test_show_tells_measured_verdicts(tmp_path: Path, capsys: Capture) -> None:
    claims = [claim("one", "holds"), claim("two", "fails"), claim("three", "holds")]
    config = {"method": "lincorr", "model": "m"}
    record(kind="reproduce", config=config, claims=claims[:1]).save(tmp_path / "a.json")
    record(kind="reproduce", config=config, claims=claims, started="2026-02-01").save(tmp_path / "b.json")
    record().save(tmp_path / "c.json")
    (tmp_path / "d.json").write_text("{}")
    found = measured("lincorr", tmp_path)
    assert list(found) == ["m"] and verdict_counts(found["m"]) == "2 hold, 1 fails"
    assert main(["show", "lincorr", "--results", str(tmp_path)]) == 0
    assert "Measured on m: 2 hold, 1 fails." in capsys.readouterr().out
    old = [replace(judged, null="") for judged in claims]
    assert verdict_counts(record(claims=old)) == "2 hold, 1 fails, by earlier rules, without controls"
    assert main(["show", "lincorr", "--results", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verdicts"] == {"m": {"one": "holds", "two": "fails", "three": "holds"}}


def test_unknown_method_gets_near_names(capsys: Capture) -> None:
    for command in (["show", "lincor"], ["reproduce", "lincor"]):
        assert main(command) == 2
        assert "did you mean lincorr" in capsys.readouterr().err
