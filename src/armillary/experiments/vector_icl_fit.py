"""A projector for vectors of a user's own, measured on held-out rows: what ``armillary vector-icl fit`` leaves."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from armillary.data.vector_files import (
    Task,
    VectorFile,
    held_out_rows,
    numbers_of,
    read_labelled,
    targets_file,
    task_of,
)
from armillary.errors import ArmillaryError, UsageError
from armillary.methods.vector_icl.config import Kind, Norm, Template, TrainingConfig
from armillary.runs.atomic import write_atomic
from armillary.runs.environment import machine, versions
from armillary.runs.folder import RunFolder
from armillary.runs.record import FILE_NAME, RunRecord

if TYPE_CHECKING:
    from armillary.methods.vector_icl.fitted_folder import Fitted
    from armillary.models import LoadedModel

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
        from armillary.experiments.vector_icl_fit_arms import measured
        from armillary.experiments.vector_icl_fit_sections import told
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
    from armillary.methods.vector_icl.fitted_folder import STATE, load_fitted, save_fitted

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
    from armillary.methods.vector_icl.fitted_folder import read_state

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
