"""``armillary ordering train``: orders compared on a user's samples and in a world, killed or not; wrong input."""

import json
from pathlib import Path

import pytest

from armillary.cli.main import main
from armillary.methods.ordering.training.comparison import SampleTask
from armillary.records.record import RunRecord

SMALL = ("--steps", "4", "--seeds", "1", "--batch-size", "4", "--width", "16", "--layers", "1", "--held-out", "0.3")


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("armillary.report.html.render_html", lambda record: record.title)
    path = tmp_path / "sums.jsonl"
    rows = [
        {
            "prompt": f"{n} + {n + 1} + {n + 2}",
            "steps": [
                {"id": "a", "text": f"{n} + {n + 1} = {2 * n + 1}"},
                {"id": "b", "text": f"{2 * n + 1} + {n + 2} = {3 * n + 3}", "deps": ["a"]},
            ],
        }
        for n in range(24)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def train(out: Path, *more: str) -> int:
    return main(["ordering", "train", "--out", str(out), *more])


def test_orders_are_compared_and_a_killed_run_ends_alike(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("--data", str(data), "--orders", "seq", "reversed", *SMALL)
    assert train(tmp_path / "whole", *arguments) == 0
    own, calls = SampleTask.measured, []

    def killed(self: SampleTask, *given: object) -> object:
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return own(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(SampleTask, "measured", killed)
    with pytest.raises(KeyboardInterrupt):
        comparison_run(tmp_path / "killed", arguments)
    monkeypatch.setattr(SampleTask, "measured", own)
    assert train(tmp_path / "killed", *arguments) == 0
    whole, resumed = (RunRecord.load(tmp_path / name / "record.json") for name in ("whole", "killed"))
    assert whole.measures == resumed.measures
    beyond = whole.measures["reversed beyond seq/nats a token"]
    own_means = [whole.measures[f"{order}/nats a token"].estimate for order in ("reversed", "seq")]
    assert beyond.estimate == pytest.approx(own_means[0] - own_means[1])
    late = next(table for section in whole.sections for table in section.tables if "support" in table.title)
    assert late.rows[0][0] == "reversed"


def comparison_run(out: Path, arguments: tuple[str, ...]) -> None:
    """The command's work without what turns an interrupt into an exit code."""
    from armillary.cli.options import RunOptions, read_run
    from armillary.cli.ordering.train import JOBS, OrderingTrainSettings

    settings, _ = read_run(OrderingTrainSettings, list(arguments), RunOptions)
    JOBS["ordering train"].run(settings, out)


def test_a_given_model_and_a_world_are_trained(data: Path, tmp_path: Path) -> None:
    given = (*SMALL, "--orders", "seq", "swap:0.5", "--data", str(data))
    assert main(["ordering", "train", "tiny-llama", *given, "--out", str(tmp_path / "given")]) == 0
    world = ("--world", "multiplication", "--digits", "1", "--problems", "20", "5", *SMALL)
    assert train(tmp_path / "world", *world, "--orders", "seq", "sumfirst") == 0
    record = RunRecord.load(tmp_path / "world" / "record.json")
    assert 0 <= record.measures["seq/solved"].estimate <= 1
    assert {section.id for section in record.sections} == {"success", "loss", "steps", "curves"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "either --data FILE or --world"),
        (("--world", "logic", "--orders", "seq", "bfs"), "compared among themselves"),
        (("--world", "logic", "--orders", "seq", "nonsense"), "no order 'nonsense'"),
        (("--data", "FILE", "--orders", "seq", "nonsense"), "no order 'nonsense'"),
        (("--data", "FILE", "--orders", "seq", "seq"), "named twice"),
        (("--data", "FILE", "--held-out", "0.01"), "holds out 0"),
        (("--data", "FILE", "--most-tokens", "8", *SMALL), "no sample has at most 8 tokens"),
        (("--data", "FILE", "--width", "30"), "even multiple"),
        (("--world", "multiplication", "--digits", "1", "--problems", "50", "5"), "45 pairs"),
    ],
)
def test_wrong_input_is_one_sentence(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], sentence: str
) -> None:
    given = [str(data) if argument == "FILE" else argument for argument in arguments]
    assert train(tmp_path / "out", *given) == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert sentence in told and told.startswith("armillary: ")


def test_other_tokens_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = ("--world", "multiplication", "--digits", "1", "--problems", "20", "5", *SMALL)
    assert train(tmp_path / "out", *world, "--orders", "seq", "noscratch") == 2
    assert "row 1 has other tokens in seq than in noscratch" in capsys.readouterr().err
