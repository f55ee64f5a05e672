"""``armillary ordering audit``: a page of what stands too early, exit codes, kills, and the same from Ray."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from armillary.cli.main import main
from armillary.methods.ordering.audit import auditing, sources
from armillary.methods.ordering.audit.sources import AuditPiece
from armillary.methods.ordering.audit.tally import OrderTally
from armillary.records.record import RunRecord
from armillary.records.sections import OrderPairs
from armillary.runs import engines

ROWS = [
    {
        "id": f"row {n}",
        "prompt": f"question {n}",
        "steps": [f"claim {n}", f"lemma {n}", f"case {n}"],
        "deps": [[1], [], [1]] if n % 4 == 0 else [[], [0], [0, 1]],
    }
    for n in range(60)
]
"""Every fourth sample has its claim before the lemma."""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("armillary.report.html.render_html", lambda record: record.title)
    monkeypatch.setattr(sources, "PIECE", 1000)  # some eight pieces
    path = tmp_path / "steps.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def audit(path: Path, out: Path, *more: str) -> int:
    return main(["ordering", "audit", str(path), "--out", str(out), *more])


def test_what_a_person_gets(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, target = tmp_path / "out", tmp_path / "ordered.jsonl"
    assert audit(file, out, "--to", str(target), "--examples", "2") == 0
    printed = capsys.readouterr().out
    assert "25% [15%, 38%]" in printed and f"In the order seq: {target}" in printed
    record = RunRecord.load(out)
    assert record.measures["samples out of order"].estimate == 15 / 60
    examples = next(section for section in record.sections if section.id == "examples").figures[0].data
    assert isinstance(examples, OrderPairs) and len(examples.rows) == 2
    assert [step.text for step in examples.rows[0].after] == ["lemma 0", "claim 0", "case 0"]
    assert audit(target, tmp_path / "again", "--fail-above", "0") == 0
    # What was written is gone: the finished run is not read back.
    target.unlink()
    assert audit(file, out, "--to", str(target), "--examples", "2") == 0 and target.exists()


def test_a_share_that_is_too_large_fails(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert audit(file, tmp_path / "out", "--fail-above", "0.25") == 0
    assert audit(file, tmp_path / "out", "--fail-above", "0.2") == 1
    assert "25.0% of the samples are out of order, more than 20.0%." in capsys.readouterr().err
    assert audit(file, tmp_path / "logical", "--graph", "logical", "--order", "random", "--fail-above", "1") == 0


def test_wrong_input_is_one_sentence(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    circle = tmp_path / "circle.jsonl"
    circle.write_text('{"steps": ["a", "b"], "deps": [[1], [0]]}\n')
    for arguments, words in (
        ([str(file), "--order", "sorted"], "there is no order 'sorted'; accepted are seq"),
        ([str(file), "--order", "swap:7"], "needs a number from 0 to 1"),
        ([str(file), "--format", "poem"], "there is no format 'poem'; choose one of plain"),
        ([str(file), "--fail-above", "7"], "fail_above must be a share from 0 to 1"),
        ([str(file), "--examples", "-1"], "examples must be 0 or more"),
        ([str(file), "--to", str(tmp_path / "a.txt")], "must end in .jsonl"),
        ([str(tmp_path / "none.jsonl")], "no file or folder of that name"),
        ([str(circle)], "the steps '0' <- '1' <- '0' depend on one another in a circle"),
    ):
        assert main(["ordering", "audit", *arguments, "--out", str(tmp_path / "wrong")]) == 2
        error = capsys.readouterr().err
        assert words in error and len(error.strip().splitlines()) == 1


def dying_after(number: int, real: Callable[..., OrderTally], asked_for: list[str]) -> Callable[..., OrderTally]:
    def audit_piece(piece: AuditPiece, plan: auditing.AuditPlan) -> OrderTally:
        asked_for.append(piece.name)
        if len(asked_for) == number:
            raise KeyboardInterrupt
        return real(piece, plan)

    return audit_piece


def test_a_killed_audit_goes_on(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, out, asked_for = tmp_path / "ordered.jsonl", tmp_path / "out", list[str]()
    assert audit(file, tmp_path / "whole", "--to", str(target)) == 0
    wanted = target.read_bytes()
    target.unlink()
    monkeypatch.setattr(auditing, "audit_piece", dying_after(4, auditing.audit_piece, asked_for))
    assert audit(file, out, "--to", str(target)) == 130
    assert not target.exists() and [*tmp_path.glob(".*unfinished*")] == []
    assert audit(file, out, "--to", str(target)) == 0
    names = [f"piece-{at:06d}" for at in range(len({*asked_for}))]
    assert len(names) > 5 and asked_for == names[:4] + names[3:], "only the piece that was worked on is made again"
    assert target.read_bytes() == wanted
    whole, resumed = RunRecord.load(tmp_path / "whole"), RunRecord.load(out)
    assert resumed.comparable() == whole.comparable()


@pytest.mark.filterwarnings("ignore")  # Ray warns about its own settings
def test_two_workers_of_ray_give_the_same(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")  # started once
    request.addfinalizer(ray.shutdown)
    flags = ["--engine", "ray", "--ray-workers", "2"]
    target, other = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    assert audit(file, tmp_path / "alone", "--to", str(target)) == 0
    # Two results, then the job dies; what they were is not made again.
    made, asked_for = engines._made_by_ray, list[int]()

    def dying(data: object, missing: list[AuditPiece], work: object) -> Iterable[object]:
        asked_for.append(len(missing))
        for number, result in enumerate(made(data, missing, work)):  # type: ignore[arg-type]
            if len(asked_for) == 1 and number == 2:
                raise KeyboardInterrupt
            yield result

    monkeypatch.setattr(engines, "_made_by_ray", dying)
    assert audit(file, tmp_path / "ray", "--to", str(other), *flags) == 130
    assert audit(file, tmp_path / "ray", "--to", str(other), *flags) == 0
    assert asked_for[0] > 4 and asked_for[1] == asked_for[0] - 2
    assert other.read_bytes() == target.read_bytes()
    alone, together = RunRecord.load(tmp_path / "alone"), RunRecord.load(tmp_path / "ray")
    assert together.measures == alone.measures and together.sections == alone.sections
