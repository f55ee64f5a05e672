"""``--config FILE.toml``: all settings of a command from a file, flags before it, one sentence for what is wrong."""

import json
from dataclasses import fields
from pathlib import Path

import pytest

from armillary.checkup import CheckupConfig
from armillary.cli.lincorr import LincorrSettings
from armillary.cli.main import main
from armillary.cli.options import RunOptions, read_run
from armillary.errors import UsageError
from armillary.runs.settings import RunSettings

Capture = pytest.CaptureFixture[str]
CHECKUP = CheckupConfig(
    model="tiny-llama", seed=3, dtype="float64", device="cpu", revision="v1", quantize="int8", trust_remote_code=True,
    subjects=60, texts=8, text_tokens=32, clusters=4,
)  # fmt: skip
LINCORR = LincorrSettings(model="tiny-llama", relation="city-country", seed=5, n=200, ridge=0.5)


def write_toml(path: Path, settings: RunSettings, *, without: str = "", more: str = "") -> Path:
    """Every setting that has a value, as TOML, but the one named."""
    given = {name: value for name, value in settings.config().items() if value is not None and name != without}
    path.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in given.items()) + more, "utf-8")
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "settings.toml"


@pytest.mark.parametrize("settings", [CHECKUP, LINCORR], ids=lambda settings: settings.command)
def test_a_file_with_all_settings_is_the_command_line(settings: RunSettings, path: Path) -> None:
    for name in ("--config", "--config="):
        file = str(write_toml(path, settings))
        arguments = [name + file] if name.endswith("=") else [name, file]
        assert read_run(type(settings), arguments, RunOptions)[0] == settings


def test_checkup_has_every_setting_in_the_file() -> None:
    """The file above leaves none to its default."""
    for field in fields(CHECKUP):
        assert getattr(CHECKUP, field.name) != field.default, field.name


def test_a_required_setting_that_is_not_in_the_file_is_given_as_a_flag(path: Path, capsys: Capture) -> None:
    file = str(write_toml(path, CHECKUP, without="model"))
    assert read_run(CheckupConfig, ["tiny-llama", "--config", file], RunOptions)[0] == CHECKUP
    with pytest.raises(UsageError, match="MODEL"):
        read_run(CheckupConfig, ["--config", file], RunOptions)
    # One that no flag is by itself, and that the settings ask for together.
    file = str(write_toml(path, LINCORR, without="relation"))
    chosen, _ = read_run(LincorrSettings, ["--config", file, "--relation", "city-country"], RunOptions)
    assert chosen == LINCORR
    with pytest.raises(UsageError, match="either --relation NAME or --relation-file"):
        read_run(LincorrSettings, ["--config", file], RunOptions)


def test_a_flag_goes_before_the_file(path: Path) -> None:
    file = str(write_toml(path, CHECKUP))
    chosen, options = read_run(CheckupConfig, ["tiny-gpt2", "--config", file, "--seed", "9", "--json"], RunOptions)
    assert (chosen.model, chosen.seed, chosen.subjects) == ("tiny-gpt2", 9, 60)
    assert options.json and str(options.config) == file


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("colour = 3", "settings.toml has unknown fields: colour"),
        ('subjects = "many"', "settings.toml.subjects must be a whole number, not 'many'"),
        ("subjects = 1.5", "settings.toml.subjects must be a whole number"),
        ("subjects = 3", "subjects must be 40 or more, got 3"),
        ("subjects 3", "settings.toml is not valid TOML"),
        (None, "there is no configuration file"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    text: str | None, sentence: str, path: Path, tmp_path: Path, capsys: Capture
) -> None:
    if text is not None:
        path.write_text(text, "utf-8")
    assert main(["checkup", "tiny-llama", "--config", str(path), "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert sentence in error and len(error.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()
