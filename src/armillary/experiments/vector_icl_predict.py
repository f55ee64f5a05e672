"""Predictions for new vectors by what ``armillary vector-icl fit`` left, and the two forms in which they are told."""

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from armillary.data.vector_files import VectorFile, read_vectors
from armillary.errors import StorageError, UsageError
from armillary.experiments.vector_icl_fit import COLUMNS, FITTED


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
    from armillary.methods.vector_icl.fitted_folder import load_fitted, read_state
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
