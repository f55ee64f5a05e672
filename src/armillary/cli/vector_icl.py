"""``armillary vector-icl fit|predict``: a language model that learns in context from vectors of your own."""

import csv
import hashlib
import io
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from armillary.cli.old_run import RunOptions, run_in, settings_of, tell
from armillary.cli.options import default_folder, read
from armillary.data.vector_files import (
    Task,
    VectorFile,
    held_out_rows,
    numbers_of,
    read_labelled,
    read_vectors,
    targets_file,
    task_of,
)
from armillary.errors import ArmillaryError, StorageError, UsageError
from armillary.files import write_atomic
from armillary.methods.vector_icl.config import Kind, Norm, Template, TrainingConfig
from armillary.records.record import FILE_NAME, RunRecord
from armillary.runs.environment import machine, versions
from armillary.runs.folder import RunFolder
from armillary.runs.settings import DRY_MODEL

if TYPE_CHECKING:
    from armillary.methods.vector_icl.saved_estimator import Fitted
    from armillary.models import LoadedModel

# A projector for vectors of a user's own, measured on held-out rows: what ``armillary vector-icl fit`` leaves.

FITTED, COLUMNS = "fitted", "columns.json"
SHOTS: dict[Task, int] = {"classify": 4, "regress": 16, "describe": 4}
AFTER: dict[Task, str] = {"classify": ")'s class is", "regress": ")'s value is ", "describe": ")'s text is"}
LEVELS = 100
_PACK = 32
"""Examples of one step, and of the longest sequence, unless a prompt has more."""


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """What is fitted, and how it is measured."""

    vectors: str
    """A .npy or .csv file."""

    targets: str
    """Column of the .csv; for a .npy a text file with a target a line, or FILE.csv:COLUMN."""

    model: str
    task: Task | Literal["auto"] = "auto"
    shots: int | None = None
    """Demonstrations (of each class); None takes ``SHOTS``."""

    projector: Kind = "linear"
    norm: Norm = "match"
    start: Literal["random", "ridge"] = "random"
    label_mode: Literal["fixed", "episodic"] = "fixed"
    levels: int | None = None
    """Steps in which numbers are written; None takes none for whole numbers of 0 or more, else ``LEVELS``."""

    steps: int = 60
    before: str = "("
    after: str | None = None
    """Text between a vector and its target; None takes ``AFTER``."""

    held_out: float = 0.2
    queries: int = 200
    seed: int = 0
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        for name, least in (("queries", 1), ("steps", 0), ("shots", 1), ("levels", 2)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UsageError(f"{name} must be {least} or more, got {value}.")
        if not 0 < self.held_out < 1:
            raise UsageError(f"held_out is a share between 0 and 1, got {self.held_out}.")
        if self.start == "ridge" and self.norm != "match":
            raise UsageError("the ridge start needs boxes of the tokens' spread; take norm match.")
        self.template("classify")  # which checks its texts

    def template(self, task: Task) -> Template:
        """The text around a vector."""
        return Template((self.before, AFTER[task] if self.after is None else self.after))


@dataclass(frozen=True, eq=False)
class Problem:
    """Rows that were read, what is asked of them, and which are held out."""

    file: VectorFile
    targets: tuple[str, ...]
    task: Task
    why: str
    """How the task was chosen."""

    held_out: list[int]
    training: list[int]


def read_problem(config: FitConfig) -> Problem:
    """The files of the settings, checked. UsageError for anything that can't be fitted; no model is needed."""
    file = read_labelled(config.vectors, config.targets)
    targets = file.targets or ()
    task, why = task_of(targets) if config.task == "auto" else (config.task, "as asked for")
    if task == "classify":
        _check_classes(targets)
    elif config.label_mode == "episodic":
        raise UsageError(f"label mode episodic draws names of classes; the task is {task} ({why}).")
    if task == "regress":
        numbers_of(targets)
    elif config.levels is not None:
        raise UsageError(f"levels are of numbers; the task is {task} ({why}).")
    held = held_out_rows(targets, config.held_out, config.queries, config.seed, of_each=task == "classify")
    kept = set(held)
    return Problem(file, targets, task, why, held, [row for row in range(len(targets)) if row not in kept])


def run_fit(config: FitConfig, out: Path, *, fresh: bool = False) -> RunRecord:
    """The record of a fit, also left in ``out`` with its report; ``out/fitted`` is what predicting needs.

    A run that was stopped goes on where it was. Raises ``ArmillaryError`` for files that can't be read or fitted, and
    for models that can't be opened.
    """
    problem = read_problem(config)
    files = {"vectors": _digest(config.vectors)}
    if problem.file.columns is None:
        files["targets"] = _digest(targets_file(config.targets))
    with RunFolder.open(out, {"command": "vector-icl fit", **asdict(config), "files": files}) as folder:
        # Opened late: a wrong file should be told before torch and a model are loaded.
        from armillary.methods.vector_icl.evaluation import measured
        from armillary.methods.vector_icl.report import told
        from armillary.models import load

        loaded = load(config.model, trust_remote_code=config.trust_remote_code)
        folder.bind({"model": loaded.fingerprint})
        finished = None if fresh else folder.finished()
        if finished is not None and _is_whole(out / FITTED):
            return finished
        fitted, kept = _fitted(folder, problem, config, loaded)
        found = folder.parts.json("arms", lambda: measured(fitted, problem, config, kept["shown"]))
        measures, findings, sections = told({**kept, **found}, problem, config, loaded.name)
        record = RunRecord(
            kind="vector_icl",
            title=f"{Path(config.vectors).name} by {loaded.name}",
            config=folder.config,
            models={"model": loaded.facts()},
            seed=config.seed,
            measures=measures,
            findings=findings,
            sections=sections,
            versions=versions(),
            machine=machine(),
            started=folder.started,
            seconds=folder.seconds,
        )
        folder.finish(record)
        return record


def unfitted(config: FitConfig, task: Task, targets: Sequence[str], lm: Any) -> "Fitted":
    """The estimator of the settings, for these targets."""
    from armillary.methods.vector_icl.estimators import VectorICLClassifier, VectorICLGenerator, VectorICLRegressor

    shots = config.shots or SHOTS[task]
    shown = shots * (len(set(targets)) if task == "classify" else 1)
    # Sequences as short as a few examples and as long as a prompt: after one length alone others do badly.
    most = max(_PACK, shown)
    training = TrainingConfig(
        steps=config.steps, batch_size=most, pack=(min(4, most), most), learning_rate=3e-3, patience=None, clip=1.0
    )
    shared: dict[str, Any] = {
        "projector": config.projector,
        "template": config.template(task),
        "shots": shots,
        "norm": config.norm,
        "start": config.start,
        "training": training,
        "random_state": config.seed,
    }
    if task == "classify":
        return VectorICLClassifier(lm, label_mode=config.label_mode, **shared)
    if task == "regress":
        return VectorICLRegressor(lm, levels=levels_of(config, targets), constrain=True, **shared)
    return VectorICLGenerator(lm, max_new_tokens=None, **shared)


def levels_of(config: FitConfig, targets: Sequence[str]) -> int | None:
    """In how many steps numbers are written; None writes them as they are."""
    plain = all(value >= 0 and value == int(value) for value in numbers_of(targets))
    return config.levels if config.levels is not None or plain else LEVELS


def _fitted(
    folder: RunFolder, problem: Problem, config: FitConfig, loaded: "LoadedModel"
) -> tuple["Fitted", dict[str, Any]]:
    """The estimator as it is read back from its folder, fitted unless this very run has done so; and which rows of
    the file its demonstrations are ("shown"), and the losses of its training ("losses")."""
    from armillary.methods.vector_icl.saved_estimator import STATE, load_fitted, save_fitted

    place = folder.path / FITTED

    def fit() -> dict[str, Any]:
        estimator = unfitted(config, problem.task, problem.targets, loaded)
        vectors, targets = problem.file.vectors[problem.training], [problem.targets[row] for row in problem.training]
        estimator.fit(vectors, numbers_of(targets) if problem.task == "regress" else targets)
        # The old record goes first: beside a new fit it would be taken for that one's.
        (folder.path / FILE_NAME).unlink(missing_ok=True)
        columns = {"columns": problem.file.columns, "target": problem.file.columns and config.targets}
        write_atomic(place / COLUMNS, json.dumps(columns) + "\n")
        save_fitted(place, estimator)
        shown = [problem.training[index] for index in estimator.demonstrations_.tolist()]
        return {"state": _digest(place / STATE), "shown": shown, "losses": estimator.curve_.losses}

    kept = folder.parts.json("fitted", fit)
    if not _is_whole(place) or _digest(place / STATE) != kept["state"]:
        kept = fit()  # the part was kept, and its files were taken away or replaced
    return load_fitted(place, loaded), kept


def _is_whole(place: Path) -> bool:
    from armillary.methods.vector_icl.saved_estimator import read_state

    try:
        read_state(place)
    except ArmillaryError:
        return False
    return (place / COLUMNS).exists()


def _check_classes(targets: Sequence[str]) -> None:
    from armillary.methods.vector_icl.inputs import label_words

    classes = sorted(set(targets))
    if len(classes) < 2:
        raise UsageError(f"all {len(targets)} targets are {classes[0]!r}; classes need two different ones or more.")
    label_words(classes, None)


def _digest(path: Path | str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]


VectorsFile = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="VECTORS")]
FitFolder = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]


@dataclass(frozen=True, kw_only=True)
class FitOptions(RunOptions):
    """Train a projector that lets a frozen language model read your vectors, and measure it on held-out rows.

    Leaves a record and a report in --out, beside baselines and controls, and in --out/fitted what `armillary
    vector-icl predict` needs. The language model is not changed. `armillary vector-icl fit flowers.csv --targets
    species` is enough; `fit v.npy --targets labels.csv:species` takes the targets from another file.
    """

    vectors: VectorsFile
    """Vectors, one a row: a .npy table, or a .csv with a header, whose columns of numbers are the vector."""

    targets: Annotated[str, tyro.conf.arg(metavar="COLUMN_OR_FILE")]
    """The target's column of the .csv; for a .npy a text file with one target a line, or FILE.csv:COLUMN."""

    model: Annotated[str, tyro.conf.arg(metavar="MODEL")] = "smollm2-135m-instruct"
    """Packaged name, folder, .gguf file or hub id of the language model."""

    task: Literal["auto", "classify", "regress", "describe"] = "auto"
    """auto: at most 20 different targets that repeat are classes, numbers alone are values, all else is text."""

    shots: int | None = None
    """Demonstrations in front of each query: of each class (4 by default); of values in all (16), of texts in all
    (4)."""

    projector: Literal["linear", "mlp"] = "linear"
    """linear (the paper's usual one) or gated."""

    norm: Literal["none", "match"] = "match"
    """match (ours, the default here): vectors get the mean and spread of token embeddings and are learned sooner.
    none is the paper's, and the default of the estimators in Python."""

    start: Literal["random", "ridge"] = "random"
    """ridge (ours) begins with a closed form from the targets' texts; it needs --norm match."""

    label_mode: Literal["fixed", "episodic"] = "fixed"
    """episodic draws new words for the classes in every sequence, so that only demonstrations say what they mean."""

    levels: int | None = None
    """Steps in which values are written; by default whole numbers of 0 or more stay as they are, others take 100."""

    steps: int = 60
    """Steps of the projector's training."""

    before: str = "("
    """Text in front of a vector."""

    after: str | None = None
    """Text between a vector and its target; by default ")'s class is", of values ")'s value is " (ending in a space,
    since digits follow at once), of texts ")'s text is"."""

    held_out: float = 0.2
    """Share of the rows that is kept from training to measure on; of each class alike."""

    queries: int = 200
    """Most rows held out; the rest stays for training."""

    trust_remote_code: bool = False
    """Run Python code that a hub repository ships with its weights; only for repositories that you trust."""


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """Predict with what `armillary vector-icl fit` left: a CSV table with row, prediction, and of classes the
    probability of each, as in `armillary vector-icl predict armillary-runs/flowers new.csv --out told.csv`.
    """

    folder: FitFolder
    """The folder of the fit."""

    vectors: VectorsFile
    """Vectors as those of the fit: a .npy, or a .csv with the same columns (the target's is passed over)."""

    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE.csv")] = None
    """File of the predictions; by default they are printed on stdout."""

    json: bool = False
    """JSON in the place of CSV."""

    model: Annotated[str | None, tyro.conf.arg(metavar="MODEL")] = None
    """Where the language model is now, if not where it was; its weights must be those of the fit."""

    trust_remote_code: bool = False
    """Run Python code that a hub repository ships with its weights; only for repositories that you trust."""


@dataclass(frozen=True, kw_only=True)
class VectorIclOptions:
    """Vector-ICL: a language model learns in context from the vectors of any encoder."""

    action: tyro.conf.OmitSubcommandPrefixes[
        tyro.conf.OmitArgPrefixes[
            Annotated[FitOptions, tyro.conf.subcommand(name="fit")]
            | Annotated[PredictOptions, tyro.conf.subcommand(name="predict")]
        ]
    ]


def run(arguments: Sequence[str]) -> int:
    """The command."""
    options = read(VectorIclOptions, arguments, "vector-icl").action
    if isinstance(options, PredictOptions):
        return predict(options)
    config = settings(options)
    out = options.out or default_folder("vector-icl", options.vectors.stem, config.model)
    tell(execute(config, out, fresh=options.fresh), out, as_json=options.json)
    if not options.json:
        print(f"\nPredict: armillary vector-icl predict {shlex.quote(str(out))} VECTORS")
    return 0


def settings(options: FitOptions) -> "FitConfig":
    """What the run itself has to know."""

    return FitConfig(
        vectors=str(options.vectors),
        targets=options.targets,
        model=DRY_MODEL if options.dry_run else options.model,
        task=options.task,
        shots=options.shots,
        projector=options.projector,
        norm=options.norm,
        start=options.start,
        label_mode=options.label_mode,
        levels=options.levels,
        steps=min(options.steps, 2) if options.dry_run else options.steps,
        before=options.before,
        after=options.after,
        held_out=options.held_out,
        queries=min(options.queries, 20) if options.dry_run else options.queries,
        seed=options.seed,
        trust_remote_code=options.trust_remote_code,
    )


def predict(options: PredictOptions) -> int:
    """Predictions to a file or to stdout."""
    import sys

    from armillary.cli.console import bars_shown, say
    from armillary.files import write_atomic
    from armillary.records.plain import dumps

    with bars_shown(), _warnings_said():
        trusted = options.trust_remote_code
        found = predictions(options.folder, options.vectors, options.model, trust_remote_code=trusted)
    text = dumps(found.to_dict(), indent=1) + "\n" if options.json else found.csv()
    if options.out is None:
        sys.stdout.write(text)
    else:
        write_atomic(options.out, text)
        say(f"Predictions: {options.out}")
    return 0


def execute(config: "FitConfig", out: Path, *, fresh: bool) -> RunRecord:
    """The record of one fit in the folder ``out``."""

    with _warnings_said():
        return run_in(out, lambda: run_fit(config, out, fresh=fresh), fresh=fresh)


def again(config: Mapping[str, Any], out: Path) -> RunRecord:
    """The same with the settings of a record."""

    kept = settings_of(config)
    kept.pop("files", None)  # digests, which the run makes anew
    return execute(FitConfig(**kept), out, fresh=True)


@contextmanager
def _warnings_said() -> Iterator[None]:
    """Warnings for users as a sentence on stderr, without the place in the code."""
    import warnings

    from armillary.cli.console import say

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        say(f"Note: {message}")

    with warnings.catch_warnings():
        warnings.filterwarnings("always", category=UserWarning, module=r"armillary\.")
        warnings.showwarning = show
        yield


# Predictions for new vectors by what ``armillary vector-icl fit`` left, and the two forms in which they are told.


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """One answer a row of the file, in its order; rows count from 1."""

    model: str
    answers: list[str | float]
    """A class, a number (NaN where none was said), or a text."""

    classes: list[str] | None = None
    probabilities: list[list[float]] | None = None
    """Of each class, where there are any."""

    def csv(self) -> str:
        """A table with row, prediction, and of classes the probability of each."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["row", "prediction", *(f"probability of {name}" for name in self.classes or ())])
        shares = self.probabilities or [[]] * len(self.answers)
        for number, (answer, some) in enumerate(zip(self.answers, shares, strict=True), 1):
            writer.writerow([number, answer, *some])
        return text.getvalue()

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON data."""
        rows: list[dict[str, Any]] = [
            {"row": number, "prediction": answer} for number, answer in enumerate(self.answers, 1)
        ]
        if self.classes is not None:
            for row, some in zip(rows, self.probabilities or (), strict=True):
                row["probabilities"] = dict(zip(self.classes, some, strict=True))
        return {"model": self.model, "predictions": rows}


def predictions(
    folder: Path, vectors: Path, model: str | None = None, *, trust_remote_code: bool = False
) -> Predictions:
    """What the fit in ``folder`` says of the vectors.

    UsageError for a folder that is no fit and for vectors that are not like those of the fit, ModelError where the
    language model is not the one of the fit.
    """
    if not (folder / FITTED).is_dir():
        raise UsageError(f"{folder} holds no fit; make one with `armillary vector-icl fit VECTORS --out {folder}`.")
    from armillary.methods.vector_icl.estimators import VectorICLClassifier
    from armillary.methods.vector_icl.saved_estimator import load_fitted, read_state
    from armillary.models import load

    state = read_state(folder / FITTED)
    file = _read(folder / FITTED, vectors, state["features"])
    lm = load(model or state["model"]["name"], dtype=state["model"]["dtype"], trust_remote_code=trust_remote_code)
    fitted = load_fitted(folder / FITTED, lm)
    if not isinstance(fitted, VectorICLClassifier):
        return Predictions(model=lm.name, answers=fitted.predict(file.vectors).tolist())
    shares, classes = fitted.predict_proba(file.vectors), fitted.classes_.tolist()
    told = [classes[place] for place in shares.argmax(axis=1).tolist()]
    return Predictions(model=lm.name, answers=told, classes=classes, probabilities=shares.tolist())


def _read(place: Path, vectors: Path, size: int) -> VectorFile:
    try:
        kept = json.loads((place / COLUMNS).read_bytes())
        columns, target = kept["columns"], kept["target"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{place / COLUMNS} can't be read; fit anew.") from error
    return read_vectors(vectors, columns=columns, target=target, size=size)
