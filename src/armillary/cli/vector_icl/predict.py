"""``armillary vector-icl predict FOLDER VECTORS``: what a fit says of new vectors, as CSV or JSON."""

import csv
import io
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from armillary.cli.bars import progress_shown
from armillary.cli.console import print_note
from armillary.cli.options import read
from armillary.cli.vector_icl.folder import COLUMNS, FITTED, warnings_as_notes
from armillary.data.vector_files import read_vectors
from armillary.errors import StorageError, UsageError
from armillary.files import write_atomic
from armillary.records.plain import dumps


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """Predict with what `armillary vector-icl fit` left: a CSV table with row, prediction, and of classes the
    probability of each, as in `armillary vector-icl predict armillary-runs/flowers new.csv --out predicted.csv`.
    """

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    """The folder of the fit."""

    vectors: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="VECTORS")]
    """Vectors as those of the fit: a .npy, or a .csv or .tsv with the same columns (others are passed over)."""

    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE.csv")] = None
    """File of the predictions; by default they are printed on stdout."""

    json: bool = False
    """JSON in the place of CSV."""

    model: Annotated[str | None, tyro.conf.arg(metavar="MODEL")] = None
    """Where the language model is now, if not where it was; its weights must be those of the fit."""

    device: str | None = None
    """cuda, mps or cpu; by default the first of these that is there."""

    trust_remote_code: bool = False
    """Run Python code that a hub repository ships with its weights; only for repositories that you trust."""


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """One answer a row of the file, in its order; rows count from 1."""

    model: str
    answers: list[str | float]
    """A class, a number (NaN where the answer held none), or a text."""

    classes: list[str] | None = None
    probabilities: list[list[float]] | None = None
    """Of each class, where there are any."""

    def csv(self) -> str:
        """A table with row, prediction, and of classes the probability of each."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["row", "prediction", *(f"probability of {name}" for name in self.classes or ())])
        shares = self.probabilities or [[]] * len(self.answers)
        for number, (answer, row) in enumerate(zip(self.answers, shares, strict=True), 1):
            writer.writerow([number, answer, *row])
        return text.getvalue()

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON data."""
        rows: list[dict[str, Any]] = [
            {"row": number, "prediction": answer} for number, answer in enumerate(self.answers, 1)
        ]
        if self.classes is not None:
            for row, shares in zip(rows, self.probabilities or (), strict=True):
                row["probabilities"] = dict(zip(self.classes, shares, strict=True))
        return {"model": self.model, "predictions": rows}


def predictions(options: PredictOptions) -> Predictions:
    """What the fit in a folder says of vectors.

    UsageError for a folder that is no fit and for vectors that are not like those of the fit, ModelError where the
    language model is not the one of the fit.
    """
    folder = options.folder / FITTED
    if options.folder.is_file():
        raise UsageError(f"{options.folder} is a file; give the folder of a fit, and then the vectors.")
    if not folder.is_dir():
        raise UsageError(
            f"{options.folder} holds no fit; make one with `armillary vector-icl fit VECTORS --out {options.folder}`."
        )
    # Late: a wrong folder is refused before torch is loaded.
    from armillary.methods.vector_icl.estimators import VectorICLClassifier, load_fitted
    from armillary.methods.vector_icl.saved_estimator import read_fitted
    from armillary.models import load

    state = read_fitted(folder)
    try:
        kept = json.loads((folder / COLUMNS).read_bytes())
        columns, target = kept["columns"], kept["target"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{folder / COLUMNS} can't be read; fit anew.") from error
    vectors = read_vectors(options.vectors, columns=columns, target=target, size=state.features).vectors
    lm = load(
        options.model or state.model,
        dtype=state.dtype,
        device=options.device,
        trust_remote_code=options.trust_remote_code,
    )
    fitted = load_fitted(folder, lm)
    if not isinstance(fitted, VectorICLClassifier):
        return Predictions(model=lm.name, answers=fitted.predict(vectors).tolist())
    shares, classes = fitted.predict_proba(vectors), fitted.classes_.tolist()
    answers = [classes[index] for index in shares.argmax(axis=1).tolist()]
    return Predictions(model=lm.name, answers=answers, classes=classes, probabilities=shares.tolist())


def run(arguments: Sequence[str]) -> int:
    """The action."""
    options = read(PredictOptions, arguments, "vector-icl predict")
    with progress_shown(), warnings_as_notes():
        predicted = predictions(options)
    text = dumps(predicted.to_dict(), indent=1) + "\n" if options.json else predicted.csv()
    if options.out is None:
        sys.stdout.write(text)
    else:
        write_atomic(options.out, text)
        print_note(f"Predictions: {options.out}")
    return 0
