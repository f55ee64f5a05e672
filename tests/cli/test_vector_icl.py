"""``armillary vector-icl``: fitted, measured, resumed, replayed, asked; refused in one sentence."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from armillary.cli.main import main
from armillary.records.record import RunRecord
from processes import content

Capture = pytest.CaptureFixture[str]
FAST = ["--model", "tiny-llama", "--steps", "2", "--shots", "2"]
ROWS = 24
X = np.random.RandomState(0).randn(ROWS, 3).round(3)
NAMES = ["cat", "dog"]


def sheet(path: Path, targets: list[str] | None = None, rows: list[list[Any]] | None = None) -> Path:
    told = targets or [NAMES[number % 2] for number in range(ROWS)]
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["x", "kind", "y", "z"])
        for target, (x, y, z) in zip(told, rows or X.tolist(), strict=True):
            writer.writerow([x, target, y, z])
    return path


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with vectors and a fit of them."""
    folder = tmp_path_factory.mktemp("given")
    sheet(folder / "v.csv")
    command = ["vector-icl", "fit", str(folder / "v.csv"), "--targets", "kind", *FAST, "--held-out", "0.3"]
    assert main([*command, "--out", str(folder / "run")]) == 0
    return folder


def test_a_fit_is_measured_beside_controls_and_baselines(given: Path) -> None:
    record = RunRecord.load(given / "run")
    assert record.kind == "vector_icl" and set(record.models) == {"model"}
    arms = {name.removeprefix("accuracy, ") for name in record.measures} - {"right less shuffled answers"}
    trained = {f"{kind}, {what}" for kind in ("1-NN", "logistic regression") for what in (
        "same demonstrations", "all training rows")}  # fmt: skip
    assert arms == trained | {"Vector-ICL", "answers shuffled", "no demonstrations", "majority"}
    assert {value.n for value in record.measures.values()} == {8}
    assert record.measures["accuracy, majority"].estimate == 0.5
    section, training = record.sections
    assert training.id == "training" and training.figures[0].data.x == [1, 2]
    assert "Task: classify (2 different targets that repeat)" in section.summary
    assert "demonstrations" in section.summary and section.figures and len(section.tables) == 3
    assert {path.name for path in (given / "run").iterdir()} == {".lock", "fitted", "record.json", "report.html"}


def test_predictions_are_those_of_the_held_out_rows(given: Path, tmp_path: Path, capsys: Capture) -> None:
    assert main(["vector-icl", "predict", str(given / "run"), str(given / "v.csv")]) == 0
    told = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["row"] for row in told] == [str(number) for number in range(1, ROWS + 1)]
    for row in told:
        shares = {name: float(row[f"probability of {name}"]) for name in NAMES}
        assert sum(shares.values()) == pytest.approx(1) and row["prediction"] == max(shares, key=lambda n: shares[n])
    for number, _, predicted in RunRecord.load(given / "run").sections[0].tables[2].rows:
        assert isinstance(number, int) and told[number - 1]["prediction"] == predicted
    # A table without names is taken as it stands; a file is written in place of stdout.
    np.save(tmp_path / "new.npy", X[:2])
    out = tmp_path / "told.csv"
    assert main(["vector-icl", "predict", str(given / "run"), str(tmp_path / "new.npy"), "--out", str(out)]) == 0
    assert [row["prediction"] for row in csv.DictReader(io.StringIO(out.read_text("utf-8")))] == [
        row["prediction"] for row in told[:2]
    ]
    assert capsys.readouterr().out == ""


def test_predictions_as_json(given: Path, capsys: Capture) -> None:
    assert main(["vector-icl", "predict", str(given / "run"), str(given / "v.csv")]) == 0
    told = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert main(["vector-icl", "predict", str(given / "run"), str(given / "v.csv"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["model"] == "tiny-llama" and len(found["predictions"]) == ROWS
    for number, (row, same) in enumerate(zip(found["predictions"], told, strict=True), 1):
        assert row["row"] == number and row["prediction"] == same["prediction"]
        assert row["probabilities"] == {name: float(same[f"probability of {name}"]) for name in NAMES}


def test_a_fit_is_replayed(given: Path, tmp_path: Path, capsys: Capture) -> None:
    assert main(["replay", str(given / "run"), "--out", str(tmp_path / "again")]) == 0, capsys.readouterr().out
    assert (tmp_path / "again" / "fitted" / "fitted.json").read_bytes() == (
        given / "run" / "fitted" / "fitted.json"
    ).read_bytes()


def test_values(tmp_path: Path, capsys: Capture) -> None:
    np.save(tmp_path / "v.npy", X)
    (tmp_path / "t.csv").write_text("who,y\n" + "".join(f"x,{value}\n" for value in X[:, 0] - 0.5), "utf-8")
    command = ["vector-icl", "fit", str(tmp_path / "v.npy"), "--targets", f"{tmp_path / 't.csv'}:y", *FAST, "--json"]
    assert main([*command, "--out", str(tmp_path / "run")]) == 0
    record = json.loads(capsys.readouterr().out)
    assert "Task: regress" in record["sections"][0]["summary"]
    error = record["measures"]["mean absolute error, ridge regression, all training rows"]["estimate"]
    assert error < 0.1, "the value is one of the columns"
    assert main(["vector-icl", "predict", str(tmp_path / "run"), str(tmp_path / "v.npy")]) == 0
    values = [float(row["prediction"]) for row in csv.DictReader(io.StringIO(capsys.readouterr().out))]
    assert len(values) == ROWS and np.isfinite(values).all()


def test_texts(tmp_path: Path, capsys: Capture) -> None:
    texts = [f"a {word} house {number}" for number, word in enumerate(["red", "green", "blue"] * 8)]
    path = sheet(tmp_path / "v.csv", texts)
    command = ["vector-icl", "fit", str(path), "--targets", "kind", *FAST, "--dry-run", "--json"]
    assert main([*command, "--out", str(tmp_path / "run")]) == 0
    measures = json.loads(capsys.readouterr().out)["measures"]
    assert {name for name in measures if name.startswith("token F1, ")} == {
        f"token F1, {arm}"
        for arm in ("Vector-ICL", "answers shuffled", "no demonstrations", "majority", "1-NN, same demonstrations",
                    "1-NN, all training rows")
    }  # fmt: skip
    assert main(["vector-icl", "predict", str(tmp_path / "run"), str(path)]) == 0
    assert len(list(csv.DictReader(io.StringIO(capsys.readouterr().out)))) == ROWS


def test_a_killed_run_does_not_train_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from armillary.methods.vector_icl import evaluation
    from armillary.methods.vector_icl.estimators import VectorICLClassifier

    fits: list[int] = []
    fit: Callable[..., Any] = VectorICLClassifier.fit
    evaluate = evaluation.evaluate

    def counted(self: Any, *given: Any) -> Any:
        fits.append(1)
        return fit(self, *given)

    def killed(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(VectorICLClassifier, "fit", counted)
    monkeypatch.setattr(evaluation, "evaluate", killed)
    path, out = sheet(tmp_path / "v.csv"), tmp_path / "run"
    command = ["vector-icl", "fit", str(path), "--targets", "kind", *FAST, "--label-mode", "episodic"]
    assert main([*command, "--out", str(out)]) == 130 and len(fits) == 1
    monkeypatch.setattr(evaluation, "evaluate", evaluate)
    assert main([*command, "--out", str(out)]) == 0 and len(fits) == 1
    resumed = RunRecord.load(out)
    assert main([*command, "--out", str(out)]) == 0 and len(fits) == 1, "a finished run is returned as it stands"
    (out / "fitted" / "fitted.npz").unlink()
    assert main([*command, "--out", str(out)]) == 0 and len(fits) == 2, "what predicting needs is made again"
    assert content(RunRecord.load(out)) == content(resumed)


def test_more_shots_than_a_class_has_are_told(tmp_path: Path, capsys: Capture) -> None:
    path = sheet(tmp_path / "v.csv", ["cat"] * 20 + ["dog"] * 4)
    command = ["vector-icl", "fit", str(path), "--targets", "kind", *FAST[:4], "--shots", "5"]
    assert main([*command, "--out", str(tmp_path / "run")]) == 0
    heard = capsys.readouterr()
    told = heard.err
    assert f"Predict: armillary vector-icl predict {tmp_path / 'run'} VECTORS" in heard.out
    assert "reads 8 demonstrations (5 of each class, or as many as there are)" in RunRecord.load(
        tmp_path / "run"
    ).sections[0].meaning  # fmt: skip
    assert "Note: vectors of 3 numbers are few: Vector-ICL reads those of encoders, of 30 numbers or more" in told
    assert "Note: class 'dog' has 3 examples, fewer than the 5 shots asked for." in told and ".py" not in told


def test_another_fit_is_not_taken_for_that_of_an_old_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from armillary.methods.vector_icl import evaluation

    def killed(*_: Any) -> Any:
        raise KeyboardInterrupt

    path, out = sheet(tmp_path / "v.csv"), tmp_path / "run"
    command = ["vector-icl", "fit", str(path), "--targets", "kind", *FAST, "--out", str(out)]
    assert main(command) == 0
    first = (out / "fitted" / "fitted.json").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(evaluation, "evaluate", killed)
        assert main([*command, "--seed", "1"]) == 130
    assert (out / "fitted" / "fitted.json").read_bytes() != first
    assert main(command) == 0 and (out / "fitted" / "fitted.json").read_bytes() == first


def holed(path: Path) -> Path:
    rows = X.tolist()
    rows[6][1] = float("nan")
    return sheet(path, rows=rows)


def flat(path: Path) -> Path:
    np.save(path.with_suffix(".npy"), X[:, 0])
    return path.with_suffix(".npy")


def short(path: Path) -> Path:
    np.save(path.with_suffix(".npy"), X[:3])
    return path.with_suffix(".npy")


@pytest.mark.parametrize(
    ("make", "options", "word"),
    [
        (lambda path: path, [], "there is no file"),
        (holed, [], "row 7 of"),
        (sheet, ["--targets", "color"], "has no column 'color'"),
        (flat, [], "must have two dimensions, one row a vector; it has shape (24,)"),
        (short, [], "has 3 rows and"),
        (lambda path: sheet(path, ["cat"] * ROWS), [], "all 24 targets are 'cat'"),
        (lambda path: sheet(path, ["cat", "Cat "] * 12), [], "two classes have the word 'cat'"),
        (lambda path: sheet(path, ["cat", ""] * 12), [], "target of row 2 is empty"),
        (sheet, ["--task", "regress"], "row 1 is 'cat', which is not a number"),
        (sheet, ["--held-out", "1.5"], "held_out is a share"),
        (sheet, ["--shots", "0"], "shots must be 1 or more"),
        (sheet, ["--levels", "9"], "levels are of numbers"),
        (sheet, ["--start", "ridge", "--norm", "none"], "norm match"),
        (sheet, ["--after", ""], "ends with text"),
        (sheet, ["--model", "nobody"], "no model is named 'nobody'"),
        (sheet, ["--task", "describe", "--label-mode", "episodic"], "label mode episodic"),
        (sheet, ["--task", "guess"], "guess"),
        (sheet, ["--before", "red " * 600], "512 positions"),
    ],
)
def test_refusals_are_one_sentence_and_leave_nothing(
    make: Callable[[Path], Path], options: list[str], word: str, tmp_path: Path, capsys: Capture
) -> None:
    path, out = make(tmp_path / "v.csv"), tmp_path / "run"
    named = "kind" if path.suffix == ".csv" else f"{sheet(tmp_path / 't.csv')}:kind"
    assert main(["vector-icl", "fit", str(path), "--targets", named, *FAST, *options, "--out", str(out)]) == 2
    told = capsys.readouterr()
    assert word in told.err and "unforeseen" not in told.err and told.out == ""
    assert len([line for line in told.err.splitlines() if line.startswith("armillary:")]) == 1
    assert not out.exists()


def test_predict_refuses_what_is_not_like_the_fit(given: Path, tmp_path: Path, capsys: Capture) -> None:
    np.save(tmp_path / "wide.npy", np.ones((2, 5)))
    (tmp_path / "other.csv").write_text("x,y,w\n1,2,3\n", "utf-8")
    for folder, vectors, more, word in (
        (given / "run", tmp_path / "wide.npy", [], "vectors of 5 numbers; 3 are expected"),
        (given / "run", tmp_path / "other.csv", [], "has no column 'z'"),
        (given / "run", given / "v.csv", ["--model", "tiny-qwen3"], "was trained for tiny-llama"),
        (tmp_path, given / "v.csv", [], "holds no fit"),
        (given / "v.csv", given / "v.csv", [], "is a file; give the folder of a fit"),
    ):
        assert main(["vector-icl", "predict", str(folder), str(vectors), *more]) == 2
        told = capsys.readouterr()
        assert word in told.err and told.out == "" and told.err.count("armillary:") == 1


def test_each_action_has_its_help(capsys: Capture) -> None:
    assert main(["vector-icl", "fit", "--help"]) == 0
    told = capsys.readouterr().out
    assert "usage: armillary vector-icl fit" in told and "COLUMN_OR_FILE" in told and "--label-mode" in told
    assert main(["vector-icl", "predict", "--help"]) == 0
    assert "--out FILE.csv" in capsys.readouterr().out
