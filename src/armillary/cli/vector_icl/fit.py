"""``armillary vector-icl fit VECTORS``: a projector for vectors of your own, measured on held-out rows."""

import json
import shlex
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

import tyro

from armillary.cli.command import execute, print_summary
from armillary.cli.options import RunOptions, read_run
from armillary.cli.vector_icl.folder import COLUMNS, FITTED, warnings_as_notes
from armillary.data.tables import TABLES
from armillary.data.vector_files import read_labelled, targets_file
from armillary.errors import StorageError
from armillary.files import digest_of, write_atomic
from armillary.methods.vector_icl.config import FitConfig
from armillary.methods.vector_icl.problem import Problem, problem_of
from armillary.records.plain import decode
from armillary.records.record import FILE_NAME
from armillary.runs.run import Job, Outcome, Run
from armillary.runs.settings import DRY_MODEL, OneModelSettings

if TYPE_CHECKING:
    from armillary.methods.vector_icl.estimators import VectorICLEstimator


FEW = 8
"""Below so many numbers a vector a note says that another method is likely to do better."""


@dataclass(frozen=True, kw_only=True)
class FitSettings(FitConfig, OneModelSettings):
    """Train a projector that lets a frozen language model read your vectors, and measure it on held-out rows.

    Leaves a record and a report in --out, beside baselines and controls, and in --out/fitted what `armillary
    vector-icl predict` needs. The language model is not changed. `armillary vector-icl fit flowers.csv --targets
    species` is enough; `fit v.npy --targets labels.csv:species` takes the targets from another file.
    """

    command: ClassVar[str] = "vector-icl fit"

    vectors: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="VECTORS")]
    """Vectors, one a row: a .npy, or a .csv or .tsv with a header, whose columns of numbers (or column of lists of
    numbers) are the vector; 30 numbers or more, else a logistic regression does better."""

    targets: Annotated[str, tyro.conf.arg(metavar="COLUMN_OR_FILE")]
    """The target's column of the .csv; for a .npy a text file with one target a line, or FILE.csv:COLUMN."""

    model: Annotated[str, tyro.conf.arg(metavar="MODEL")] = "smollm2-135m-instruct"
    """Packaged name, folder, .gguf file or hub id of the language model."""

    def files(self) -> dict[str, str]:
        """The vectors, and the targets where they stand in a file of their own."""
        if Path(self.vectors).suffix.lower() in TABLES:
            return {"vectors": self.vectors}
        return {"vectors": self.vectors, "targets": str(targets_file(self.targets))}

    def names(self) -> tuple[str, ...]:
        """File and model."""
        return Path(self.vectors).stem, self.model

    def dry(self) -> Self:
        """A tiny model, two steps at most, and few rows held out."""
        return replace(self, model=DRY_MODEL, steps=min(self.steps, 2), queries=min(self.queries, 20))

    def check(self) -> None:
        """Refuse files that can't be read or fitted."""
        with warnings_as_notes():
            self.problem()

    def problem(self) -> Problem:
        """The rows and what is asked of them. UsageError for files that can't be read or fitted."""
        problem = problem_of(read_labelled(self.vectors, self.targets), self)
        numbers = problem.file.vectors.shape[1]
        if numbers < FEW:
            note = "Vector-ICL reads those of encoders, of 30 numbers or more; a regression is likely to do better"
            warnings.warn(f"vectors of {numbers} numbers are few: {note}.", UserWarning, stacklevel=2)
        return problem


@dataclass(frozen=True, kw_only=True)
class TrainedFit:
    """What is known of the fit in a folder."""

    state: str
    """Digest of the file that is written last."""

    shown: list[int]
    """Rows of the file that the demonstrations are."""

    losses: list[float]
    """Before each step."""


def fit(run: Run[FitSettings]) -> Outcome:
    """The fit, kept in the run's folder, and its scores on held-out rows."""
    from armillary.methods.vector_icl import evaluation
    from armillary.methods.vector_icl.report import fit_report

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of columns: said by the check
        problem = run.settings.problem()
    with warnings_as_notes():
        fitted, training = _fitted(run, problem)
        kept = run.parts.json("arms", lambda: evaluation.evaluate(fitted, problem, run.settings, training.shown))
        scores = decode(evaluation.Evaluation, kept, "The kept scores")
    report = fit_report(scores, len(training.shown), training.losses, problem, run.settings, run.model.name)
    return Outcome(
        title=f"{Path(run.settings.vectors).name} by {run.model.name}",
        measures=report.measures,
        findings=report.findings,
        sections=report.sections,
    )


def _fitted(run: Run[FitSettings], problem: Problem) -> "tuple[VectorICLEstimator, TrainedFit]":
    """The estimator as it is read back from its folder, fitted unless this very run has done so."""
    from armillary.methods.vector_icl.estimators import estimator_of, load_fitted
    from armillary.methods.vector_icl.saved_estimator import STATE

    out = run.folder.path / FITTED

    def train() -> TrainedFit:
        estimator = estimator_of(run.settings, problem, run.model)
        estimator.fit(problem.vectors(problem.training), problem.answers(problem.training))
        # The old record goes first: beside a new fit it would be taken for that one's.
        (run.folder.path / FILE_NAME).unlink(missing_ok=True)
        columns = problem.file.columns
        target = None if columns is None else run.settings.targets
        write_atomic(out / COLUMNS, json.dumps({"columns": columns, "target": target}) + "\n")
        estimator.save_fitted(out)
        return TrainedFit(
            state=digest_of(out / STATE),
            shown=[problem.training[index] for index in estimator.demonstrations_.tolist()],
            losses=list(estimator.curve_.losses),
        )

    training = decode(TrainedFit, run.parts.json("fitted", train), "The kept fit")
    if not is_whole(run.folder.path, run.settings) or digest_of(out / STATE) != training.state:
        training = train()  # the part was kept, and its files were taken away or replaced
    return load_fitted(out, run.model), training


def is_whole(folder: Path, settings: FitSettings) -> bool:
    """Whether what predicting needs is there."""
    from armillary.methods.vector_icl.saved_estimator import read_fitted

    try:
        read_fitted(folder / FITTED)
    except StorageError:
        return False
    return (folder / FITTED / COLUMNS).exists()


JOBS = {"vector-icl fit": Job(settings=FitSettings, work=fit, is_complete=is_whole)}


def run(arguments: Sequence[str]) -> int:
    """The action."""
    settings, options = read_run(FitSettings, arguments, RunOptions)
    record, folder = execute(JOBS["vector-icl fit"], settings, options)
    print_summary(record, folder, as_json=options.json)
    if not options.json:
        print(f"\nPredict: armillary vector-icl predict {shlex.quote(str(folder))} VECTORS")
    return 0
