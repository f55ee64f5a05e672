"""The files of a fitted estimator: projector, vectors of the demonstrations, and all else, without pickle (ours).

Three kinds of file: the projector (``projector``), ``fitted.npz`` with the vectors that stand in prompts,
``fitted.json`` with all else. The last is written last and holds digests of the others, so that a half-written folder
is noticed.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from armillary.errors import ModelError, StorageError, UsageError
from armillary.files import sha256_of, write_atomic
from armillary.methods.vector_icl.config import Kind, SlotTemplate, TrainingConfig
from armillary.methods.vector_icl.projector import SETTINGS as PROJECTOR_SETTINGS, WEIGHTS
from armillary.methods.vector_icl.prompts import Ids, Layout
from armillary.models import LoadedModel, load
from armillary.models.loading import GIVEN_READY
from armillary.records.plain import decode, dumps, plain
from armillary.runs.parts import npz

STATE, TABLE, VERSION = "fitted.json", "fitted.npz", 1


@dataclass(frozen=True, kw_only=True)
class FittedState:
    """What predicting needs beside language model, encoder, projector and the vectors of the prompts."""

    kind: str
    """"classifier", "regressor" or "generator"."""

    model: str
    """Name of the language model."""

    dtype: str
    """Of its weights."""

    vector_size: int
    features: int
    """Numbers of an input, which a template with several slots cuts into as many vectors."""

    settings: dict[str, Any]
    """The constructor's that are plain data."""

    projector: Kind | None
    """The setting; None where a ready projector was given."""

    random_state: int | None
    """The setting; None where it was no number."""

    template: SlotTemplate | None
    training: TrainingConfig | None
    pretraining: TrainingConfig | None
    layout: Layout
    answers: list[Ids]
    """Tokens of the answer of each example that was kept."""

    demonstrations: list[int]
    """Which of these are shown."""

    draw_seed: int
    fitting_shots: int
    column_scale: list[float] | None = None
    """By which columns are divided; None leaves them as they are."""

    column_names: list[str] | None = None
    """Of the table of the fit, where it named them: another order is refused."""

    own: dict[str, Any] = field(default_factory=dict)
    """What only this kind of estimator has."""


@dataclass(frozen=True, kw_only=True)
class ModelByName:
    """What a pickle holds in place of a language model that was opened by its name: enough to open the same again."""

    name: str
    dtype: str
    device: str
    identity: str

    @staticmethod
    def serves(loaded: LoadedModel) -> bool:
        """Whether the name opens it: not where it was given ready, or needs its author's code."""
        return loaded.source != GIVEN_READY and type(loaded.model).__module__.startswith("transformers.")

    @classmethod
    def of(cls, loaded: LoadedModel) -> "ModelByName":
        """What names this model."""
        dtype = str(loaded.dtype).removeprefix("torch.")
        return cls(name=loaded.name, dtype=dtype, device=str(loaded.device), identity=loaded.identity)

    def open(self) -> LoadedModel:
        """The model; the last one is kept, for the copies that workers get. ModelError where it is another by now."""
        return _reopened(self)


@lru_cache(maxsize=1)
def _reopened(kept: ModelByName) -> LoadedModel:
    with torch.inference_mode(False):  # the first who needs it may be predicting, and the next may train
        try:
            loaded = load(kept.name, dtype=kept.dtype, device=kept.device)
        except UsageError:  # this machine has no such device
            loaded = load(kept.name, dtype=kept.dtype)
    if loaded.identity != kept.identity:
        raise ModelError(
            f"the estimator was pickled with the language model {kept.name}, and what that name opens now is another "
            "one; keep fits by save_fitted, or give a (model, tokenizer) pair, which pickles hold as it is."
        )
    return loaded


def write_fitted(
    folder: Path | str,
    state: FittedState,
    vectors: NDArray[np.float64],
    write_projector: Callable[[Path], None],
) -> None:
    """All files of a fit. StorageError where one can't be written."""
    folder = Path(folder)
    # A folder without its last file is no fit: an old one must not stand beside new weights.
    (folder / STATE).unlink(missing_ok=True)
    write_projector(folder)
    write_atomic(folder / TABLE, npz({"vectors": vectors}))
    files = {name: sha256_of(folder / name) for name in (WEIGHTS, PROJECTOR_SETTINGS, TABLE)}
    write_atomic(folder / STATE, dumps({"version": VERSION, **plain(state), "files": files}, indent=1) + "\n")


def read_fitted(folder: Path | str) -> FittedState:
    """The state that ``write_fitted`` was given. StorageError where there is no whole fit."""
    folder = Path(folder)
    try:
        kept: Any = json.loads((folder / STATE).read_bytes())
    except FileNotFoundError:
        raise StorageError(f"{folder} holds no fitted estimator (there is no {STATE}).") from None
    except (OSError, ValueError) as error:
        raise StorageError(f"{folder / STATE} can't be read; fit anew.") from error
    try:
        version, files = kept.pop("version"), dict(kept.pop("files"))
        state = decode(FittedState, kept, STATE)
    except (AttributeError, KeyError, TypeError, ValueError):  # a UsageError is a ValueError
        raise StorageError(f"{folder / STATE} is not of version {VERSION}; fit anew.") from None
    if version != VERSION:
        raise StorageError(f"{folder / STATE} is not of version {VERSION}; fit anew.")
    try:
        whole = all(sha256_of(folder / name) == digest for name, digest in files.items())
    except OSError:
        whole = False
    if not whole:
        raise StorageError(f"the fit in {folder} is damaged: its files don't belong together; fit anew.")
    return state


def read_prompt_vectors(folder: Path | str) -> NDArray[np.float64]:
    """The vectors that stand in prompts, ``[n * slots, e]``."""
    with np.load(Path(folder) / TABLE, allow_pickle=False) as arrays:
        vectors: NDArray[np.float64] = arrays["vectors"]
    return vectors
