"""``armillary train``: its actions, and a connector trained the whole way with tiny parts."""

import json
from pathlib import Path

import pytest
from transformers import AutoModelForImageTextToText, AutoProcessor

from armillary.cli import train
from armillary.cli.console import guarded
from armillary.experiments import connector_training
from armillary.runs.record import RunRecord

Capture = pytest.CaptureFixture[str]
DRY = ["connector", "--model", "any", "--dry-run", "--out"]


def test_actions_are_told(capsys: Capture) -> None:
    for arguments in ([], ["--help"]):
        assert guarded(train.run, arguments) == 0
        assert "usage: armillary train ACTION" in (out := capsys.readouterr().out) and "  connector  " in out
    assert guarded(train.run, ["eyes"]) == 2
    assert "`armillary train` can't train 'eyes'; accepted: connector" in capsys.readouterr().err


def test_help_of_the_connector(capsys: Capture) -> None:
    assert guarded(train.run, ["connector", "--help"]) == 0
    out = capsys.readouterr().out
    for option in ("--model MODEL", "--steps INT", "--out DIR", "--json", "--dry-run", "--fresh", "--seed INT"):
        assert option in out


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "--model"),
        (["--model", "tiny-llama", "--steps", "0"], "steps must be 1 or more, got 0"),
        (["--model", "tiny-llama", "--learning-rate", "0"], "the learning rate must be above 0, got 0"),
    ],
)
def test_wrong_options_are_one_sentence(options: list[str], told: str, tmp_path: Path, capsys: Capture) -> None:
    assert guarded(train.run, ["connector", *options, "--out", str(tmp_path / "run")]) == 2
    assert told in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_a_dry_run_leaves_record_report_and_model(tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "run"
    assert guarded(train.run, [*DRY, str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["kind"] == "train" and [section["id"] for section in told["sections"]] == [
        "sight",
        "captions",
        "training",
    ]
    assert {path.name for path in out.iterdir()} - {".lock"} == {"record.json", "report.html", "model"}
    assert "colour accuracy, right picture" in told["measures"] and told["findings"]
    model, loading = AutoModelForImageTextToText.from_pretrained(out / "model", output_loading_info=True)
    assert not loading["missing_keys"] and not loading["unexpected_keys"]
    assert type(model.model.vision_tower).__name__ == "Dinov2Model"
    assert AutoProcessor.from_pretrained(out / "model").image_token == "<image>"
    # A finished run is read, not made again; the same settings elsewhere give the same record.
    assert guarded(train.run, [*DRY, str(out)]) == 0
    assert f"Model: {out / 'model'}" in capsys.readouterr().out
    again = train.again(told["config"], tmp_path / "again")
    assert again.comparable() == RunRecord.load(out).comparable()


def test_a_killed_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert guarded(train.run, [*DRY, str(whole)]) == 0
    kept = connector_training.train_connector

    def stopped(*args: object, **kwargs: object) -> None:
        kept(*args, **kwargs)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(connector_training, "train_connector", stopped)
    assert guarded(train.run, [*DRY, str(killed)]) == 130
    assert not (killed / "model").exists() and not (killed / "record.json").exists()
    monkeypatch.setattr(connector_training, "train_connector", kept)
    assert guarded(train.run, [*DRY, str(killed)]) == 0
    assert RunRecord.load(killed).comparable() == RunRecord.load(whole).comparable()
    assert (killed / "model" / "model.safetensors").read_bytes() == (
        whole / "model" / "model.safetensors"
    ).read_bytes()
