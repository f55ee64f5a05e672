"""``armillary train mdgd``: the whole path, what the record says, going on after a kill, and wrong input."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForImageTextToText, AutoProcessor

from armillary.cli.console import guarded
from armillary.cli.train import mdgd as train_mdgd
from armillary.finetuning import run as tuning
from armillary.records.record import RunRecord
from armillary.records.sections import Lines
from armillary.training.checkpoints import StepBar
from processes import content

from .image_run import same, tables, text_model, weights, write_model, write_questions, write_toml

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def vlm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "vlm")


@pytest.fixture
def here(tmp_path: Path, vlm: Path) -> Path:
    shutil.copytree(vlm, tmp_path / "vlm")
    return tmp_path


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory, vlm: Path) -> Path:
    """A finished run, shared by what only reads it."""
    folder = tmp_path_factory.mktemp("whole")
    shutil.copytree(vlm, folder / "vlm")
    config = write_toml(folder / "run.toml", tables(folder, "mdgd", {"preset": "paper", "log_erank_steps": 2}))
    assert guarded(train_mdgd.run, [str(config)]) == 0
    return folder / "tuned"


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the pictures of the report, which take longer than the tiny training."""
    monkeypatch.setattr("armillary.report.html.render_html", lambda record: record.title)


def stop_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a training end as if it were killed behind a step."""

    def killed(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == step:
            raise KeyboardInterrupt

    monkeypatch.setattr(StepBar, "on_step_end", killed)


def test_the_model_is_an_ordinary_folder(tuned: Path) -> None:
    model, loading = AutoModelForImageTextToText.from_pretrained(tuned / "model", output_loading_info=True)
    assert not loading["missing_keys"] and AutoProcessor.from_pretrained(tuned / "model").image_token == "<image>"
    assert model.config.image_seq_length == 4
    assert sorted(path.name for path in tuned.iterdir() if path.name != ".lock") == [
        "model",
        "record.json",
        "report.html",
    ]


def test_the_record_tells_what_was_learned_and_forgotten(tuned: Path) -> None:
    record = RunRecord.load(tuned)
    assert record.kind == "train" and record.config["command"] == "train mdgd"
    assert record.config["files"].keys() == {
        str(tuned.parent / f"{name}.jsonl") for name in ("train", "test", "shape")
    }
    assert set(record.measures) == {
        *(f"{task}/{when}" for task in ("shape", "colour", "old tasks") for when in ("before", "after", "change")),
        "H-score",
    }
    for task in ("shape", "colour"):
        before, after, change = (record.measures[f"{task}/{when}"] for when in ("before", "after", "change"))
        assert change.estimate == pytest.approx(after.estimate - before.estimate) and before.n == 6
    sections = {section.id: section for section in record.sections}
    assert list(sections) == ["learned-and-forgotten", "training", "image-states"]
    table = sections["learned-and-forgotten"].tables[0]
    assert [row[0] for row in table.rows] == ["shape", "colour", "old tasks, mean", "H-score"]
    assert [row[3] for row in table.rows[:2]] == ["50.0%", "33.3%"]
    drift = next(figure.data for figure in sections["image-states"].figures if "Drift" in figure.title)
    assert isinstance(drift, Lines)
    assert drift.x == [0, 2, 4, 6] and [line.name for line in drift.series] == ["layer 0", "layer 1"]
    assert drift.series[0].y[0] == 0 and drift.series[0].y[-1] > 0
    losses, curves = (figure.data for figure in sections["training"].figures[:2])
    assert isinstance(losses, Lines) and isinstance(curves, Lines)
    assert losses.x == [1, 2, 3, 4, 5, 6] and losses.series[0].y[-1] < losses.series[0].y[0]
    assert {line.name for line in curves.series} == {"drift", "cosine", "removed"}


def test_the_vision_tower_stays_and_the_rest_learns(tuned: Path) -> None:
    before, after = weights(tuned.parent, "vlm"), weights(tuned)
    changed = {name for name in before if not before[name].equal(after[name])}
    assert changed and not any("vision_tower" in name for name in changed)


def test_a_finished_run_is_read_again(tuned: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr(tuning, "tune", None)
    assert guarded(train_mdgd.run, [str(tuned.parent / "run.toml"), "--json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["kind"] == "train"


@pytest.mark.usefixtures("undrawn")
def test_a_killed_run_goes_on_and_ends_the_same(tuned: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config, out = str(tuned.parent / "run.toml"), tmp_path / "again"
    with monkeypatch.context() as patched:
        stop_at(5, patched)
        assert guarded(train_mdgd.run, [config, "--out", str(out)]) == 130
    kept = sorted(path.name for path in (out / ".parts").glob("*/checkpoints/checkpoint-*"))
    assert kept == ["checkpoint-2", "checkpoint-4"] and not (out / "record.json").exists()
    assert guarded(train_mdgd.run, [config, "--out", str(out)]) == 0
    assert same(out, tuned) and not (out / ".parts").exists()
    assert content(RunRecord.load(out)) == content(RunRecord.load(tuned))


@pytest.mark.usefixtures("undrawn")
def test_another_setting_begins_anew(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = write_toml(here / "run.toml", tables(here, "mdgd", {"arm": "fine_tuning"}, max_steps=3))
    with monkeypatch.context() as patched:
        stop_at(2, patched)
        assert guarded(train_mdgd.run, [str(config)]) == 130
    seen: list[object] = []
    monkeypatch.setattr(StepBar, "on_train_begin", lambda s, a, state, c, **k: seen.append(state.global_step))
    assert guarded(train_mdgd.run, [str(config), "--set", "training.learning_rate=0.002"]) == 0
    assert seen == [0]


@pytest.mark.usefixtures("undrawn")
def test_adapters_are_merged_into_an_ordinary_model(here: Path) -> None:
    config = tables(here, "mdgd", {}, max_steps=2, save_steps=1) | {"lora": {"rank": 2}}
    assert guarded(train_mdgd.run, [str(write_toml(here / "run.toml", config))]) == 0
    before, after = weights(here, "vlm"), weights(here / "tuned")
    assert before.keys() == after.keys()
    changed = {name for name in before if not before[name].equal(after[name])}
    assert changed and all("language_model.model.layers" in name for name in changed)


@pytest.mark.usefixtures("undrawn")
def test_dry_run_on_the_built_in_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.chdir(tmp_path)
    data = {"pictures": "emoji", "target": "code", "keep": ["style", "colour"]}
    config = write_toml(tmp_path / "emoji.toml", {"model": "owner/model", "output": "kept", "data": data, "mdgd": {}})
    assert guarded(train_mdgd.run, [str(config), "--dry-run"]) == 0
    folder = Path("armillary-runs") / "train-mdgd-emoji-dry"
    out = capsys.readouterr().out
    assert f"Report: {folder / 'report.html'}" in out and f"Model: {folder / 'model'}" in out
    assert not Path("kept").exists()
    assert guarded(train_mdgd.run, [str(config)]) == 2
    assert "armillary data emoji" in capsys.readouterr().err


Change = Callable[[dict[str, Any], Path], object]


def bad_line(line: str) -> Change:
    return lambda table, folder: (folder / "train.jsonl").write_text(line + "\n")


def bad_image(table: dict[str, Any], folder: Path) -> None:
    (folder / "3.png").write_text("no picture")


def few_images(table: dict[str, Any], folder: Path) -> None:
    del table["data"]["test"]
    write_questions(folder, "train.jsonl", count=1)


WRONG: list[tuple[Change, str]] = [
    (lambda t, f: t.update(modle="x"), "The configuration has unknown fields: modle; did you mean model"),
    (lambda t, f: t.pop("model"), "The configuration lacks model"),
    (lambda t, f: t.update(model=3), "The configuration.model must be text, not 3"),
    (lambda t, f: t.update(model=str(f / "nowhere")), "there is no folder"),
    (text_model, "is a text model; give an image-text model"),
    (lambda t, f: t.update(dtype="int8"), "dtype must be one of float32, bfloat16"),
    (lambda t, f: t.update(data="emoji"), "The configuration.data must be an object, not 'emoji'"),
    (lambda t, f: t["data"].update(pictures="emoji"), "either pictures"),
    (lambda t, f: t["data"].update(keep=["style"]), "give keep_files"),
    (lambda t, f: t["data"].pop("keep_files"), "names no old tasks"),
    (lambda t, f: t["data"].update(keep_files=["x"]), "The configuration.data.keep_files must be an object"),
    (lambda t, f: t["data"].update(train="gone.jsonl"), "gone.jsonl could not be read: there is no file"),
    (lambda t, f: t["data"].update(test_limit=1), "test_limit under [data] must be 2 or more"),
    (lambda t, f: t["data"].update(prompt="Say."), "a prompt needs {image} and {question}"),
    (lambda t, f: t["data"].update(target="shape"), "need other names than the new one"),
    (bad_line(""), "has no rows"),
    (bad_line("{"), "line 1 of"),
    (bad_line('{"image": "9.png", "question": "What?"}'), "needs text under 'answer'; got nothing"),
    (bad_line('{"image": "99.png", "question": "What?", "answer": "red"}'), "which is not there"),
    (bad_line('{"image": "9.png", "question": "What?", "answer": "red", "choices": ["red"]}'), "two or more"),
    (
        bad_line('{"image": "9.png", "question": "What?", "answer": "x", "choices": ["a", "b"]}'),
        "not among its choices",
    ),
    (bad_image, "can't be read as an image"),
    (few_images, "too few images"),
    (
        lambda t, f: t["training"].update(max_step=3),
        "has unknown fields: max_step; did you mean max_steps",
    ),
    (lambda t, f: t["training"].update(max_steps="many"), "[training].max_steps must be a whole number"),
    (lambda t, f: t["training"].update(output_dir="x"), "output_dir under [training] is decided"),
    (lambda t, f: t["training"].update(learning_rate=0), "learning_rate in [training] must be above 0"),
    (lambda t, f: t["training"].update(lr_scheduler_type="stairs"), "[training] is not accepted"),
    (lambda t, f: t["mdgd"].update(arm="magic"), "arm under [mdgd] must be one of mdgd, fine_tuning"),
    (lambda t, f: t["mdgd"].update(preset="best"), "[mdgd].preset must be one of paper, recommended, not 'best'"),
    (lambda t, f: t["mdgd"].update(mask_ratio=2), "mask_ratio is a share"),
    (lambda t, f: t["mdgd"].update(freeze_vision="yes"), "[mdgd].freeze_vision must be true or false"),
    (lambda t, f: t.update(freeze=["eyes"]), "freeze names parts of the model"),
    (
        lambda t, f: t.update(freeze=["vision_tower", "connector", "language_model"]),
        "connector, language_model are frozen",
    ),
    (lambda t, f: t.update(freeze=["connector", "language_model"]), "(freeze_vision stands for vision_tower)"),
    (lambda t, f: t.update(lora={"rank": 0}), "[lora] needs a rank of 1 or more"),
    (lambda t, f: t.update(commit={}), "The configuration has unknown fields: commit"),
]


@pytest.mark.parametrize(("change", "words"), WRONG, ids=[words[:40] for _, words in WRONG])
def test_wrong_input_is_one_sentence(change: Change, words: str, here: Path, capsys: Capture) -> None:
    table = tables(here, "mdgd", {})
    change(table, here)
    assert guarded(train_mdgd.run, [str(write_toml(here / "run.toml", table))]) == 2
    told = capsys.readouterr()
    last = told.err.strip().splitlines()[-1]
    assert words in last and last.startswith("armillary: ") and told.out == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["gone.toml"], "gone.toml could not be read: there is no configuration file"),
        (["bad.toml"], "is not valid TOML"),
        (["good.toml", "--set", "steps"], "--set takes KEY=VALUE"),
        (["good.toml", "--set", "model.name=1"], "'model' is no table"),
        (["good.toml", "--step", "3"], "--step"),
    ],
)
def test_wrong_arguments_are_one_sentence(
    arguments: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.toml").write_text("model = \n")
    Path("good.toml").write_text('model = "x"\n')
    assert guarded(train_mdgd.run, arguments) == 2
    assert words in capsys.readouterr().err
