"""``armillary train``: its actions, and a connector trained the whole way with tiny parts."""

import io
import json
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForImageTextToText, AutoProcessor

from armillary.cli import train
from armillary.cli.console import guarded
from armillary.cli.train.connector import JOBS
from armillary.finetuning.config import ConnectorConfig
from armillary.finetuning.connector import work as connector_training
from armillary.records.record import RunRecord
from processes import content

Capture = pytest.CaptureFixture[str]
DRY = ["connector", "any", "--dry-run", "--out"]


def test_actions_are_listed(capsys: Capture) -> None:
    for arguments in ([], ["--help"]):
        assert guarded(train.run, arguments) == 0
        assert "usage: armillary train ACTION" in (out := capsys.readouterr().out) and "  connector  " in out
    assert guarded(train.run, ["eyes"]) == 2
    assert "There is no command `armillary train eyes`; accepted: text, connector" in capsys.readouterr().err


def test_help_of_the_connector(capsys: Capture) -> None:
    assert guarded(train.run, ["connector", "--help"]) == 0
    out = capsys.readouterr().out
    for option in ("MODEL", "--steps INT", "--out DIR", "--json", "--dry-run", "--fresh", "--seed INT"):
        assert option in out


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "MODEL"),
        (["tiny-llama", "--steps", "0"], "steps must be 1 or more, got 0"),
        (["tiny-llama", "--learning-rate", "0"], "the learning rate must be above 0, got 0"),
    ],
)
def test_wrong_options_are_one_sentence(options: list[str], told: str, tmp_path: Path, capsys: Capture) -> None:
    assert guarded(train.run, ["connector", *options, "--out", str(tmp_path / "run")]) == 2
    assert told in capsys.readouterr().err and not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a dry run; its stdout lies beside it."""
    out = tmp_path_factory.mktemp("train") / "run"
    with redirect_stdout(io.StringIO()) as told:
        assert guarded(train.run, [*DRY, str(out), "--json"]) == 0
    (out.parent / "stdout.json").write_text(told.getvalue(), "utf-8")
    return out


def test_a_dry_run_leaves_record_report_and_model(whole: Path) -> None:
    told = json.loads((whole.parent / "stdout.json").read_text("utf-8"))
    assert told["kind"] == "train"
    assert [section["id"] for section in told["sections"]] == ["sight", "captions", "training"]
    assert {path.name for path in whole.iterdir()} - {".lock"} == {"record.json", "report.html", "model"}
    assert "colour accuracy, right picture" in told["measures"] and told["findings"]
    model, loading = AutoModelForImageTextToText.from_pretrained(whole / "model", output_loading_info=True)
    assert not loading["missing_keys"] and not loading["unexpected_keys"]
    assert type(model.model.vision_tower).__name__ == "Dinov2Model"
    assert AutoProcessor.from_pretrained(whole / "model").image_token == "<image>"


def test_a_finished_run_is_read(whole: Path, capsys: Capture) -> None:
    before = (whole / "record.json").read_bytes()
    assert guarded(train.run, [*DRY, str(whole)]) == 0
    assert f"Model: {whole / 'model'}" in capsys.readouterr().out
    assert (whole / "record.json").read_bytes() == before


def test_a_killed_run_goes_on_and_the_same_settings_give_the_same(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    killed, kept = tmp_path / "killed", connector_training.train_connector

    def stopped(*args: Any, **kwargs: Any) -> None:
        kept(*args, **kwargs)
        raise KeyboardInterrupt

    monkeypatch.setattr(connector_training, "train_connector", stopped)
    assert guarded(train.run, [*DRY, str(killed)]) == 130
    assert not (killed / "model").exists() and not (killed / "record.json").exists()
    monkeypatch.setattr(connector_training, "train_connector", kept)
    assert guarded(train.run, [*DRY, str(killed)]) == 0
    assert content(RunRecord.load(killed)) == content(RunRecord.load(whole))
    assert (killed / "model" / "model.safetensors").read_bytes() == (
        whole / "model" / "model.safetensors"
    ).read_bytes()


def test_a_record_can_be_replayed(whole: Path) -> None:
    """Its settings come back, also those of a record that was made before the model could be opened in other ways."""
    settings = JOBS["train connector"].settings
    kept = RunRecord.load(whole).config
    assert settings.from_table(kept, "x") == ConnectorConfig(model="any").dry()
    older = {name: kept[name] for name in ("model", "steps", "batch_size", "learning_rate", "questions", "seed")}
    assert settings.from_table({**older, "command": "train connector", "pictures": "emoji"}, "x").dtype == "float32"
