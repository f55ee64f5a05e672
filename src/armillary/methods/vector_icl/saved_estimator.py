"""A whole fitted estimator on the disk: projector, demonstrations and settings, without pickle. (ours)

Three kinds of file: the projector (``saved``), ``fitted.npz`` with the vectors that stand in prompts, ``fitted.json``
with all else. The last is written last and holds digests of the others, so that a half-written folder is noticed.
"""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from armillary.errors import StorageError, UsageError
from armillary.files import write_atomic
from armillary.methods.vector_icl.config import Template, TrainingConfig
from armillary.methods.vector_icl.estimator_base import VectorICLBase
from armillary.methods.vector_icl.estimators import VectorICLClassifier, VectorICLGenerator, VectorICLRegressor
from armillary.methods.vector_icl.inputs import AnyEncoder, encoder_facts
from armillary.methods.vector_icl.projector import SETTINGS as PROJECTOR_SETTINGS, WEIGHTS, Projector, load_projector
from armillary.methods.vector_icl.prompts import Layout
from armillary.models import LoadedModel, load
from armillary.runs.parts import npz

STATE, TABLE, VERSION = "fitted.json", "fitted.npz", 1
Fitted = VectorICLClassifier | VectorICLRegressor | VectorICLGenerator
_KINDS: dict[str, type[Fitted]] = {
    "classifier": VectorICLClassifier,
    "regressor": VectorICLRegressor,
    "generator": VectorICLGenerator,
}
_SHARED = ("lm", "encoder", "projector", "template", "training", "pretraining", "words", "random_state")
"""Settings that are not kept as they stand."""


def save_fitted(folder: Path | str, estimator: Fitted) -> None:
    """All that predicting needs, in ``folder``: ``load_fitted`` gives an estimator with the same predictions, bit for
    bit. Of the fitted data only the demonstrations are kept, unless ``calibrate`` or ``demos="per_query"`` needs all.
    ``estimator.save_fitted(folder)`` does the same.

    Raises:
        sklearn.exceptions.NotFittedError: it has not been fitted.
        UsageError: classes are neither texts nor numbers, or the estimator is none of the three.
        StorageError: a file can't be written.
    """
    folder, kind = Path(folder), _kind(estimator)
    check_is_fitted(estimator)
    kept = _kept(estimator)
    boxes = estimator._layout.boxes
    table = np.asarray(estimator._table).reshape(-1, boxes, estimator._table.shape[1])[kept]
    state = {"version": VERSION, "kind": kind, **_state(estimator, kept)}
    # A folder without its last file is no fit: an old one must not stand beside new weights.
    (folder / STATE).unlink(missing_ok=True)
    estimator.save(folder)
    write_atomic(folder / TABLE, npz({"vectors": table.reshape(-1, table.shape[2])}))
    state["files"] = {name: _digest(folder / name) for name in (WEIGHTS, PROJECTOR_SETTINGS, TABLE)}
    write_atomic(folder / STATE, json.dumps(state, indent=1) + "\n")


def load_fitted(folder: Path | str, lm: Any = None, *, encoder: AnyEncoder | None = None) -> Fitted:
    """The estimator in ``folder``, ready to predict. Its ``demonstrations_`` count the rows that were kept.

    ``lm`` is a model in any form that ``load`` takes, by default the one of the fit, by its name. An estimator that
    was fitted with an encoder needs it again. A fit whose ``random_state`` was no number has None.

    Raises:
        StorageError: the folder holds no fit, or one that is damaged or of another version.
        ModelError: the language model is not the one of the fit (by the fingerprint of its weights).
        UsageError: the encoder is not the one of the fit.
    """
    folder = Path(folder)
    state = read_state(folder)
    given = lm if lm is not None else load(state["model"]["name"], dtype=state["model"]["dtype"])
    loaded = given if isinstance(given, LoadedModel) else load(given)
    try:
        projector = load_projector(folder, loaded, encoder_facts(encoder, state["vector_size"]))
        with np.load(folder / TABLE, allow_pickle=False) as arrays:
            table: NDArray[np.float64] = arrays["vectors"]
        return _restored(state, loaded, encoder, projector, table)
    except (OSError, KeyError, TypeError, AttributeError) as error:
        raise StorageError(f"the fit in {folder} is damaged or of another version; fit anew.") from error


def read_state(folder: Path | str) -> dict[str, Any]:
    """The settings in ``fitted.json`` as plain data; StorageError where there is no whole fit."""
    folder = Path(folder)
    try:
        state: Any = json.loads((folder / STATE).read_bytes())
    except FileNotFoundError:
        raise StorageError(f"{folder} holds no fitted estimator (there is no {STATE}).") from None
    except (OSError, ValueError) as error:
        raise StorageError(f"{folder / STATE} can't be read; fit anew.") from error
    known = isinstance(state, dict) and state.get("version") == VERSION and state.get("kind") in _KINDS
    if not known or not {"model", "vector_size", "features", "settings", "layout", "told"} <= state.keys():
        raise StorageError(f"{folder / STATE} is not of version {VERSION}; fit anew.")
    try:
        whole = all(_digest(folder / name) == digest for name, digest in state["files"].items())
    except (OSError, KeyError, AttributeError):
        whole = False
    if not whole:
        raise StorageError(f"the fit in {folder} is damaged: its files don't belong together; fit anew.")
    return dict(state)


def _kind(estimator: object) -> str:
    for name, kind in _KINDS.items():
        if type(estimator) is kind:
            return name
    raise UsageError(f"a {type(estimator).__name__} can't be saved; classifiers, regressors and generators can.")


def _kept(estimator: Fitted) -> list[int]:
    """Examples that prompts may need."""
    if estimator.demos == "per_query" or getattr(estimator, "calibrate", False):
        return list(range(len(estimator._told)))
    chosen: list[int] = estimator.demonstrations_.tolist()
    return chosen


def _state(estimator: Fitted, kept: list[int]) -> dict[str, Any]:
    settings = estimator.get_params(deep=False)
    seed = settings["random_state"]
    place = {index: number for number, index in enumerate(kept)}
    state = {
        "model": {"name": estimator.lm_.name, "dtype": str(estimator.lm_.dtype).removeprefix("torch.")},
        "vector_size": estimator.projector_.vector_size,
        "features": int(getattr(estimator, "n_features_in_", estimator._table.shape[1] * estimator._layout.boxes)),
        "settings": {name: value for name, value in settings.items() if name not in _SHARED},
        "projector": settings["projector"] if isinstance(settings["projector"], str) else None,
        "random_state": int(seed) if isinstance(seed, (int, np.integer)) else None,
        "layout": asdict(estimator._layout),
        "told": [estimator._told[index] for index in kept],
        "demonstrations": [place[index] for index in estimator.demonstrations_.tolist()],
        "draw_seed": estimator._draw_seed,
        "fitting_shots": estimator._fitting_shots,
    }
    for name in ("template", "training", "pretraining"):
        state[name] = None if settings[name] is None else asdict(settings[name])
    if isinstance(estimator, VectorICLClassifier):
        classes = estimator.classes_.tolist()
        if not all(isinstance(one, (str, bool, int, float)) for one in classes):
            raise UsageError("only classes that are texts or numbers can be saved.")
        state |= {
            "classes": classes,
            "classes_dtype": estimator.classes_.dtype.str,
            "codes": [estimator._codes[index] for index in kept],
            "labels": estimator._labels,
            "words": None if estimator.words is None else [estimator.words[one] for one in classes],
        }
    else:
        state["longest"] = estimator._longest
    if isinstance(estimator, VectorICLRegressor):
        state |= {"range": estimator._range, "mean": estimator._mean}
    return state


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _restored(
    state: dict[str, Any],
    loaded: LoadedModel,
    encoder: AnyEncoder | None,
    projector: Projector,
    table: NDArray[np.float64],
) -> Fitted:
    settings = dict(state["settings"], random_state=state["random_state"], projector=state["projector"] or projector)
    settings["template"] = None if state["template"] is None else _template(state["template"])
    for name in ("training", "pretraining"):
        settings[name] = None if state[name] is None else _training(state[name])
    estimator = _KINDS[state["kind"]](loaded, encoder=encoder, **settings)
    _restore_prompts(estimator, state, loaded, projector, table)
    if isinstance(estimator, VectorICLClassifier):
        estimator.classes_ = np.array(state["classes"], dtype=np.dtype(state["classes_dtype"]))
        estimator._codes = state["codes"]
        estimator._labels = [tuple(label) for label in state["labels"]]
        if state["words"] is not None:
            estimator.words = dict(zip(state["classes"], state["words"], strict=True))
    else:
        estimator._longest = state["longest"]
    if isinstance(estimator, VectorICLRegressor):
        low, high = state["range"]
        estimator._range, estimator._mean = (low, high), state["mean"]
    return estimator


def _restore_prompts(
    estimator: VectorICLBase,
    state: dict[str, Any],
    loaded: LoadedModel,
    projector: Projector,
    table: NDArray[np.float64],
) -> None:
    layout = state["layout"]
    estimator.lm_, estimator.projector_, estimator._table = loaded, projector, table
    estimator._layout = Layout(
        pieces=tuple(tuple(piece) for piece in layout["pieces"]),
        **{name: tuple(layout[name]) for name in ("separator", "end", "begin")},
    )
    estimator._told = [tuple(ids) for ids in state["told"]]
    estimator.demonstrations_ = np.array(state["demonstrations"], dtype=np.int64)
    estimator._draw_seed, estimator._fitting_shots = state["draw_seed"], state["fitting_shots"]
    estimator.n_features_in_ = state["features"]


def _template(kept: dict[str, Any]) -> Template:
    return Template(**{**kept, "pieces": tuple(kept["pieces"])})


def _training(kept: dict[str, Any]) -> TrainingConfig:
    return TrainingConfig(**{**kept, "pack": None if kept["pack"] is None else tuple(kept["pack"])})
