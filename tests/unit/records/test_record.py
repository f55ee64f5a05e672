"""A record reads back as it was written, and says clearly what is wrong with a file that is none."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from armillary.errors import UsageError
from armillary.numerics.intervals import Interval
from armillary.records import ClaimResult, Figure, Finding, RunRecord, Section, Table
from armillary.records.sections import Bars


def record(**changes: Any) -> RunRecord:
    interval = Interval(estimate=0.7, low=0.6, high=0.8, n=40, how="bootstrap over 40 words")
    figure = Figure(title="F", data=Bars(labels=["a"], values=[None]), alt="one bar")
    section = Section(
        id="s", title="S", summary="s", meaning="m", caution="c", figures=[figure],
        tables=[Table(title="T", columns=["x"], rows=[["grün", 1, 2.5, None, True]])],
    )  # fmt: skip
    plain_record = RunRecord(
        kind="checkup", title="Check-up", config={"n": 3}, models={"model": {"fingerprint": "ab"}}, seed=0,
        measures={"r": interval, "broken": Interval(estimate=math.nan)},
        findings=[Finding(text="f", interest=1.0, section="s")],
        sections=[section],
        claims=[ClaimResult(id="c", statement="s", paper="", quantity="q", rule="r", verdict="holds")],
        versions={"armillary": "1"}, machine={"cores": 2}, started="2026-01-01T00:00:00+00:00", seconds=1.5,
    )  # fmt: skip
    return replace(plain_record, **changes)


def test_a_record_survives_the_file(tmp_path: Path) -> None:
    record().save(tmp_path / "record.json")
    for where in (tmp_path, tmp_path / "record.json"):
        read = RunRecord.load(where)
        assert read.to_dict() == record().to_dict()
        assert math.isnan(read.measures["broken"].estimate)
        assert read.sections == record().sections and read.claims == record().claims
        assert [type(cell) for cell in read.sections[0].tables[0].rows[0]] == [str, int, float, type(None), bool]
    assert "NaN" not in (tmp_path / "record.json").read_text()


def test_comparable_leaves_out_circumstances_and_prose() -> None:
    (section,) = record().sections
    bars = Bars(labels=["b"], values=[None], x_label="x")
    figure = replace(section.figures[0], title="G", alt="a bar", data=bars)
    same = record(
        seconds=9.0, started="later", machine={}, versions={}, title="Other words", data=[{"name": "d"}],
        findings=[], sections=[replace(section, title="T", summary="u", meaning="n", caution="d", figures=[figure])],
        claims=[replace(record().claims[0], statement="t", paper="p", quantity="r", rule="s", note="n")],
    )  # fmt: skip
    assert same.comparable() == record().comparable()
    assert set(record().comparable()) == {"kind", "config", "models", "seed", "measures", "claims"}


def test_comparable_finds_every_other_number() -> None:
    (section,), (claim,), plain = record().sections, record().claims, record(claims=[]).comparable()
    for changes in (
        {"seed": 1}, {"config": {"n": 4}}, {"models": {}}, {"measures": {}}, {"kind": "icn"},
        {"claims": [replace(claim, verdict="fails")]},
        {"claims": [replace(claim, measured={"r": Interval(estimate=1.0)})]},
    ):  # fmt: skip
        assert record(**changes).comparable() != record().comparable(), changes
    # Where claims are judged the page is arranged around them; where none are, its numbers must come again.
    assert record(sections=[]).comparable() == record().comparable()
    assert "tables" in plain["sections"]["s"]
    for other in (
        replace(section, tables=[replace(section.tables[0], rows=[["grün", 1, 2.6, None, True]])]),
        replace(section, figures=[replace(section.figures[0], data=Bars(labels=["a"], values=[0.5]))]),
        replace(section, figures=[]),
    ):
        assert record(claims=[], sections=[other]).comparable() != plain


def changed(**changes: Any) -> dict[str, Any]:
    return {**json.loads(json.dumps(record().to_dict())), **changes}


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ([], "not an Armillary record"),
        ({"results": 1}, "not an Armillary record"),
        (changed(schema=2), "schema 2, and this Armillary reads up to 1"),
        (changed(surprise=1, other=2), "has unknown fields: other, surprise"),
        (changed(seed="zero"), "The record.seed must be a whole number, not 'zero'"),
        (changed(seed=True), "The record.seed must be a whole number, not True"),
        (changed(measures=[]), "The record.measures must be an object"),
        (changed(measures={"r": {"low": 1}}), r"measures\['r'\] lacks estimate"),
        (
            changed(findings=[{"text": "t", "interest": "high", "section": ""}]),
            r"findings\[0\].interest must be a num",
        ),
        (
            changed(claims=[{**record().to_dict()["claims"][0], "verdict": "maybe"}]),
            "holds, fails, undecided, not tested, not 'ma",
        ),
        ({"schema": 1, "kind": "checkup"}, "lacks config, models, seconds, seed, started, title"),
    ],
)
def test_what_is_no_record_gets_one_sentence(tmp_path: Path, data: Any, sentence: str) -> None:
    path = tmp_path / "file.json"
    path.write_text(json.dumps(data))
    with pytest.raises(UsageError, match=sentence) as caught:
        RunRecord.load(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[" * 100_000])
def test_broken_json(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "record.json").write_bytes(content)
    with pytest.raises(UsageError, match="holds no valid JSON"):
        RunRecord.load(tmp_path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no record at"):
        RunRecord.load(tmp_path / "missing.json")
    with pytest.raises(UsageError, match="There is no record at"):
        RunRecord.load(tmp_path)


def test_a_lone_surrogate_does_not_stop_the_save(tmp_path: Path) -> None:
    record(title="a\ud800b").save(tmp_path / "record.json")
    assert RunRecord.load(tmp_path).title == "a\ufffdb"
