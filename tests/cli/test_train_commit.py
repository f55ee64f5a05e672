"""``armillary train commit``: rates by the balance, what the record shows of them, and going on after a kill."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from armillary.cli.console import guarded
from armillary.cli.train import commit as train_commit
from armillary.records.record import RunRecord
from armillary.records.sections import Lines
from armillary.training.checkpoints import StepBar
from processes import content

from .image_run import same, tables, text_model, write_model, write_toml

Capture = pytest.CaptureFixture[str]
OWN = {"interval": 1, "first_probe": 1, "ema": 0.5}


@pytest.fixture(scope="module")
def vlm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "vlm")


@pytest.fixture
def here(tmp_path: Path, vlm: Path) -> Path:
    shutil.copytree(vlm, tmp_path / "vlm")
    return tmp_path


@pytest.fixture(scope="module", autouse=True)
def undrawn() -> Iterator[None]:
    """Without the pictures of the report, which take longer than the tiny training."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("armillary.report.html.render_html", lambda record: record.title)
        yield


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory, vlm: Path, undrawn: None) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    shutil.copytree(vlm, folder / "vlm")
    config = write_toml(folder / "run.toml", tables(folder, "commit", OWN))
    assert guarded(train_commit.run, [str(config)]) == 0
    return folder / "tuned"


def lines(record: RunRecord, section: str, title: str) -> dict[str, list[Any]]:
    found = next(one for one in record.sections if one.id == section)
    figure = next(one for one in found.figures if one.title == title)
    assert isinstance(figure.data, Lines)
    return {series.name: series.y for series in figure.data.series}


def test_rates_balance_and_norms_are_shown(tuned: Path) -> None:
    record = RunRecord.load(tuned)
    assert record.config["command"] == "train commit"
    rates = lines(record, "balance", "Learning rate by component")
    factors = lines(record, "balance", "Multipliers")
    norms = lines(record, "training", "Gradient norm by component")
    assert rates.keys() == factors.keys() == norms.keys() == {"feature_encoder", "llm"}
    assert rates["feature_encoder"] != rates["llm"] and all(norm > 0 for norm in norms["llm"])
    assert len(lines(record, "balance", "Balance of the components")["log kappa"]) == 5
    # A factor set behind one step is in the next step's rate: one of the two stays at the schedule's own.
    schedule = [1e-3 * (1 - step / 6) for step in range(6)]
    for step in range(2, 6):
        for name, line in rates.items():
            known = {**dict(enumerate([1.0, 1.0])), **dict(enumerate(factors[name], 2))}
            assert line[step] == pytest.approx(schedule[step] * known[step], rel=1e-6)


def test_a_killed_run_goes_on_and_ends_the_same(tuned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, out = str(tuned.parent / "run.toml"), tmp_path / "again"

    def killed(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(StepBar, "on_step_end", killed)
        assert guarded(train_commit.run, [config, "--out", str(out)]) == 130
    assert guarded(train_commit.run, [config, "--out", str(out)]) == 0
    assert same(out, tuned)
    assert content(RunRecord.load(out)) == content(RunRecord.load(tuned))


def test_rates_of_components_named_by_expressions(here: Path) -> None:
    table = tables(here, "commit", {"arm": "constant"}, max_steps=2)
    table |= {
        "components": {"eyes": ["vision_tower", "projector"], "words": ["language_model", "lm_head"]},
        "learning_rates": {"eyes": 1e-3, "words": 1e-4},
    }
    assert guarded(train_commit.run, [str(write_toml(here / "run.toml", table))]) == 0
    rates = lines(RunRecord.load(here / "tuned"), "balance", "Learning rate by component")
    assert rates == {"eyes": pytest.approx([1e-3, 5e-4]), "words": pytest.approx([1e-4, 5e-5])}


def test_without_old_tasks_only_the_new_one_is_told(here: Path) -> None:
    table = tables(here, "commit", {"arm": "language_cd"}, max_steps=2)
    del table["data"]["keep_files"]
    assert guarded(train_commit.run, [str(write_toml(here / "run.toml", table))]) == 0
    record = RunRecord.load(here / "tuned")
    assert set(record.measures) == {"colour/before", "colour/after", "colour/change"}
    norms = lines(record, "training", "Gradient norm by component")
    assert norms["feature_encoder"][0] > 0, "the norms are read before the descent drops gradients"


Change = Callable[[dict[str, Any]], object]
WRONG: list[tuple[Change, str]] = [
    (lambda t: t["commit"].update(gama=1), "[commit] has unknown fields: gama; did you mean gamma"),
    (lambda t: t["commit"].update(gamma=5.0, ema=0.0), "is stable only for"),
    (lambda t: t["commit"].update(arm="mdgd"), "arm under [commit] must be one of commit, constant"),
    (lambda t: t["commit"].update(mode="lower"), "[commit].mode must be one of lift, balance"),
    (lambda t: t.update(lora={"rank": 2}), "[lora] goes with"),
    (lambda t: t.update(components={"eyes": "vision"}), "The configuration.components['eyes'] must be a list"),
    (lambda t: t.update(components={"eyes": ["vision"], "words": ["nothing"]}), "in exactly one of the components"),
    (lambda t: t.update(learning_rates={"eyes": 1.0}), "must name the components"),
    (lambda t: t.update(freeze=["vision_tower", "connector"]), "feature_encoder is frozen"),
]


@pytest.mark.parametrize(("change", "words"), WRONG, ids=[words[:40] for _, words in WRONG])
def test_wrong_input_is_one_sentence(change: Change, words: str, here: Path, capsys: Capture) -> None:
    table = tables(here, "commit", {})
    change(table)
    assert guarded(train_commit.run, [str(write_toml(here / "run.toml", table))]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert words in last and last.startswith("armillary: ")


def test_a_text_model_is_refused(here: Path, capsys: Capture) -> None:
    table = tables(here, "commit", {})
    text_model(table, here)
    assert guarded(train_commit.run, [str(write_toml(here / "run.toml", table))]) == 2
    assert "is a text model; give an image-text model" in capsys.readouterr().err.strip().splitlines()[-1]


def test_steps_lost_in_rounding_are_told(here: Path) -> None:
    table = tables(here, "commit", {"interval": 1, "first_probe": 1}, max_steps=4, learning_rate=1e-6)
    assert guarded(train_commit.run, [str(write_toml(here / "run.toml", {**table, "dtype": "bfloat16"}))]) == 0
    balance = next(section for section in RunRecord.load(here / "tuned").sections if section.id == "balance")
    assert balance.summary.endswith("In 3 probes a component moved the output by no more than rounding does: they are "
                                    "left out.")  # fmt: skip
