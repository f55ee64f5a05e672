"""What the three estimators share: vectors in, a projector, demonstrations read once, queries in batches.

Legend: N inputs, E encoder width, B queries of a batch, T tokens.
"""

import copy
import hashlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import (
    assert_all_finite,
    check_array,
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
    validate_data,
)
from torch import Tensor

from armillary.errors import UsageError
from armillary.methods.vector_icl.config import (
    PRETRAINING,
    Attend,
    Kind,
    Norm,
    SlotTemplate,
    TrainingConfig,
    check_settings,
    fit_training,
)
from armillary.methods.vector_icl.decoding import ReadQueries, SharedPrefix
from armillary.methods.vector_icl.embedding import embed_with_slots
from armillary.methods.vector_icl.inputs import (
    AnyEncoder,
    checked_vectors,
    encoded,
    encoder_facts,
    on_cpu,
    refuse_rows,
    uneven_spread,
)
from armillary.methods.vector_icl.projector import Projector, new_projector, save_projector
from armillary.methods.vector_icl.projector_fit import continuations, pretrain_projector
from armillary.methods.vector_icl.prompts import Draw, Layout, Row, check_room, check_targets, fitting, text_ids
from armillary.methods.vector_icl.saved_estimator import FittedState, ModelByName, write_fitted
from armillary.methods.vector_icl.training import TrainingCurve
from armillary.models import LoadedModel, load

Tune = Callable[[Projector, Tensor, TrainingConfig], TrainingCurve]

NOT_KEPT = ("lm", "encoder", "projector", "template", "training", "pretraining", "words", "random_state")
"""Settings that a fit on the disk does not hold as they stand."""


@dataclass(kw_only=True, eq=False, repr=False)
class VectorICLBase(BaseEstimator):  # type: ignore[misc]
    """Settings that all three estimators have, and what they do with them; not for users by itself.

    The fields are the constructor's keywords, which is where scikit-learn looks for settings. A constructor may only
    store them, so ``fit`` refuses wrong ones; every bad setting or input is a UsageError (a ValueError).
    """

    kind: ClassVar[str] = ""
    """How a fit on the disk names the class."""

    lm: Any = field(default="smollm2-135m-instruct", kw_only=False)
    """The language model: a name, a path, ``(model, tokenizer)`` or a LoadedModel."""

    encoder: Any = None
    """Makes vectors of inputs: has ``encode(list)`` or is a callable. None takes ready vectors."""

    projector: Kind | Projector = "linear"
    """"linear", "mlp", or a trained Projector to begin with."""

    template: SlotTemplate | None = None
    """Text around the vectors of an example. With several slots a row is cut into as many equal vectors."""

    shots: int = 4
    """Demonstrations in front of each query: of each class, or in all where there are no classes."""

    norm: Norm = "match"
    """"match" gives slots the mean and spread of token embeddings (ours); "none" is the paper's."""

    start: Literal["random", "ridge"] = "random"
    """"ridge" begins with a closed form from the targets' texts (ours)."""

    tune: bool = True
    """Train the projector on the task; False leaves it as it is."""

    attend: Attend | None = None
    """In place of the training settings' ``attend``."""

    training: TrainingConfig | None = None
    """None takes ``fit_training``, as the command line does; ``TrainingConfig()`` has the official settings."""

    pretraining: TrainingConfig | None = None
    """None takes ``PRETRAINING``."""

    truncate: Literal["error", "demos"] = "error"
    """What becomes of a prompt that does not fit: refused, or shown fewer demonstrations."""

    demos: Literal["fixed", "per_query"] = "fixed"
    """The same demonstrations for all queries, read once, or for each vector others that it decides."""

    strict: bool = False
    """Refuse a class with fewer examples than ``shots``, where else a warning tells of it."""

    batch_size: int = 32
    """Queries that are read at once."""

    random_state: Any = 0

    def pretrain(self, X: Any, texts: Sequence[str] | None = None) -> Self:
        """Train a projector to predict each text from its vector; ``fit`` then begins with it.

        Without ``texts``, ``X`` are texts: each is split, ``encoder`` makes the vector of the first part, and the
        second is predicted. Raises as ``pretrain_projector`` and ``continuations``.
        """
        self._check_settings()
        loaded = self._open()
        if texts is None:
            if self.encoder is None:
                raise UsageError("pretraining on texts alone needs an encoder; give texts beside the vectors.")
            parts = continuations(loaded, list(X), seed=self._seed())
            X, texts = parts.heads, parts.rests
        table_NE = self._slots(encoded(self.encoder, X) if self.encoder is not None else checked_vectors(X), 1)
        projector = self._new_projector(loaded, table_NE, list(texts))
        config = self._config(self.pretraining or PRETRAINING)
        self.pretraining_curve_ = pretrain_projector(loaded, projector, table_NE, list(texts), config)
        self.pretrained_ = projector
        return self

    def save(self, folder: Path | str) -> None:
        """The fitted (or pretrained) projector with what it belongs to; ``load_projector`` reads it."""
        if not hasattr(self, "projector_") and not hasattr(self, "pretrained_"):
            check_is_fitted(self, "projector_")
        projector: Projector = self.projector_ if hasattr(self, "projector_") else self.pretrained_
        save_projector(folder, projector, self._open(), encoder_facts(self.encoder, projector.vector_size))

    def save_fitted(self, folder: Path | str) -> None:
        """All that predicting needs, in ``folder``: ``load_fitted`` gives the same predictions, bit for bit.

        Unlike a pickle it is safe to read from others, and of any language model it keeps the name alone.

        Raises:
            sklearn.exceptions.NotFittedError: it has not been fitted.
            UsageError: classes are neither texts nor numbers, or the estimator is none of the three.
            StorageError: a file can't be written.
        """
        if "kind" not in vars(type(self)):  # a class made of one of the three would come back as that one
            raise UsageError(f"a {type(self).__name__} can't be saved; classifiers, regressors and generators can.")
        check_is_fitted(self)
        write_fitted(folder, self.state(), self.prompt_vectors(), self.save)

    def state(self) -> FittedState:
        """What predicting needs beside language model, encoder, projector and ``prompt_vectors``."""
        needed, settings = self._needed(), self.get_params(deep=False)
        seed, number = settings["random_state"], {index: number for number, index in enumerate(needed)}
        return FittedState(
            kind=self.kind,
            model=self.lm_.name,
            dtype=str(self.lm_.dtype).removeprefix("torch."),
            vector_size=self.projector_.vector_size,
            features=int(getattr(self, "n_features_in_", self._table.shape[1] * self._layout.slots)),
            settings={name: value for name, value in settings.items() if name not in NOT_KEPT},
            projector=None if isinstance(self.projector, Projector) else self.projector,
            random_state=int(seed) if isinstance(seed, (int, np.integer)) else None,
            template=self.template,
            training=self.training,
            pretraining=self.pretraining,
            layout=self._layout,
            answers=[self._answers[index] for index in needed],
            demonstrations=[number[index] for index in self.demonstrations_.tolist()],
            draw_seed=self._draw_seed,
            fitting_shots=self._fitting_shots,
            column_scale=None if self.column_scale_ is None else self.column_scale_.tolist(),
            column_names=None if (names := getattr(self, "feature_names_in_", None)) is None else names.tolist(),
            own=dict(self._own_state(needed)),
        )

    def prompt_vectors(self) -> NDArray[np.float64]:
        """Vectors of the examples that prompts may need, ``[n * slots, e]``: of the demonstrations, or of all with
        ``calibrate`` or ``demos="per_query"``."""
        table = np.asarray(self._table).reshape(-1, self._layout.slots, self._table.shape[1])[self._needed()]
        vectors: NDArray[np.float64] = table.reshape(-1, table.shape[2])
        return vectors

    @classmethod
    def from_state(
        cls,
        state: FittedState,
        prompt_vectors: NDArray[np.float64],
        lm: LoadedModel,
        projector: Projector,
        encoder: AnyEncoder | None = None,
    ) -> Self:
        """The estimator that had this state, ready to predict. Its ``demonstrations_`` count the rows that were kept.

        KeyError or TypeError for a state of another kind of estimator.
        """
        estimator = cls(
            lm,
            encoder=encoder,
            projector=state.projector or projector,
            template=state.template,
            training=state.training,
            pretraining=state.pretraining,
            random_state=state.random_state,
            **state.settings,
        )
        estimator.lm_, estimator.projector_, estimator._table = lm, projector, prompt_vectors
        estimator._layout, estimator._answers = state.layout, list(state.answers)
        estimator.demonstrations_ = np.array(state.demonstrations, dtype=np.int64)
        estimator._draw_seed, estimator._fitting_shots = state.draw_seed, state.fitting_shots
        estimator.n_features_in_ = state.features
        estimator.column_scale_ = None if state.column_scale is None else np.array(state.column_scale)
        if state.column_names is not None:
            estimator.feature_names_in_ = np.array(state.column_names, dtype=object)
        estimator._restore(state.own)
        return estimator

    def with_answers_exchanged(self, order: Sequence[int]) -> Self:
        """The fitted estimator whose ``i``-th demonstration has the answer of the ``order[i]``-th."""
        other, shown = copy.copy(self), self.demonstrations_.tolist()
        other._answers = list(self._answers)
        for index, source in zip(shown, order, strict=True):
            other._answers[index] = self._answers[shown[source]]
        return other

    def without_demonstrations(self) -> Self:
        """The fitted estimator, asked zero-shot."""
        other = copy.copy(self)
        other.demonstrations_ = self.demonstrations_[:0]
        return other

    def prompt_embeds(self, X: Any) -> list[Float[Tensor, "t d"]]:
        """Of each input the embeddings of its whole prompt, for servers that take prompt embeddings."""
        check_is_fitted(self)
        table_NE, count = self._queries(X)
        with torch.no_grad():
            out = []
            for index in range(count):
                shown = self._embeds(self._shown(self._demonstrations(table_NE, index)), self._table)
                out.append(torch.cat([shown, self._embeds(self._layout.question(index), table_NE)], dim=1)[0])
            return out

    # -- copies share the language model, pickles name it -------------------------------------------------------------

    def __getstate__(self) -> Mapping[str, Any]:
        """For pickle and joblib: the language model by its name where it was opened by one; see ``ModelByName``."""
        state = dict(super().__getstate__())
        opened: LoadedModel | None = state.get("lm_", state.get("_opened"))
        if isinstance(self.lm, LoadedModel) and ModelByName.serves(self.lm):
            state["lm"] = ModelByName.of(self.lm)
        if not isinstance(state["lm"], (LoadedModel, tuple)):
            for name in ("lm_", "_opened", "_opened_as"):
                state.pop(name, None)
            if opened is not None:
                state["_lm_by_name"] = ModelByName.of(opened)
        return state

    def __getattr__(self, name: str) -> Any:
        """The language model of an estimator that came out of a pickle, opened when it is first needed."""
        by_name = self.__dict__.get("_lm_by_name")
        if name != "lm_" or by_name is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        self.lm_ = by_name.open()
        return self.lm_

    def __copy__(self) -> Self:
        other = type(self).__new__(type(self))
        other.__dict__.update(self.__dict__)
        return other

    def __sklearn_clone__(self) -> Self:
        """An unfitted copy that shares the language model and the encoder instead of copying them."""
        settings = self.get_params(deep=False)
        shared = ("lm", "encoder")
        return type(self)(**{name: v if name in shared else copy.deepcopy(v) for name, v in settings.items()})

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "demonstrations_")

    # -- fitting -----------------------------------------------------------------------------------------------------

    def _fit(self, table_NE: Tensor, texts: list[str], draw: Draw, answer_tokens: int, tune: Tune) -> None:
        """Projector, demonstrations and what they are drawn from; ``texts`` follow the demonstrations."""
        if self.demos not in ("fixed", "per_query"):
            raise UsageError(f"demos must be 'fixed' or 'per_query'; got {self.demos!r}.")
        projector = self._first_projector(self.lm_, table_NE, texts)
        if self.tune:
            shown = self.shots * max(1, len(getattr(self, "classes_", ())))
            self.curve_ = tune(projector, table_NE, self._config(self.training or fit_training(shown)))
        self.projector_ = projector.to(self.lm_.device).eval()
        self._table, self._draw_seed = table_NE.numpy(), self._seed()
        self._answers = [text_ids(self.lm_, text) for text in texts]
        question = len(self._layout.question(0))

        def tokens(chosen: list[int]) -> int:
            return len(self._shown(chosen)) + question + answer_tokens

        self._fitting_shots, chosen = fitting(self.lm_, draw, self.shots, tokens, truncate=self.truncate)
        self.demonstrations_ = np.array(chosen, dtype=np.int64)

    def _needed(self) -> list[int]:
        """Fitted examples that prompts may need."""
        return list(range(len(self._answers))) if self.demos == "per_query" else self.demonstrations_.tolist()

    def _own_state(self, needed: Sequence[int]) -> Mapping[str, Any]:
        """Plain data that only this kind of estimator has; of the fitted examples those ``needed``."""
        raise NotImplementedError

    def _restore(self, own: Mapping[str, Any]) -> None:
        """Inverse of ``_own_state``."""
        raise NotImplementedError

    def _open(self) -> LoadedModel:
        """The language model, opened once for each setting of ``lm``."""
        if isinstance(self.lm, (LoadedModel, ModelByName)):
            return self.lm if isinstance(self.lm, LoadedModel) else self.lm.open()
        if not hasattr(self, "_opened") or getattr(self, "_opened_as", None) != self.lm:
            self._opened, self._opened_as = load(self.lm), self.lm
        return self._opened

    def _check_settings(self) -> None:
        settings = self.get_params(deep=False)
        check_settings(**{name: settings[name] for name in ("template", "training", "pretraining", "batch_size")})

    def _seed(self) -> int:
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _config(self, config: TrainingConfig) -> TrainingConfig:
        """The settings with the estimator's seed, and its ``attend`` where it has one."""
        return replace(config, seed=self._seed(), attend=config.attend if self.attend is None else self.attend)

    def _first_projector(self, loaded: LoadedModel, table_NE: Tensor, texts: list[str]) -> Projector:
        ready = self.projector if isinstance(self.projector, Projector) else getattr(self, "pretrained_", None)
        if ready is None:
            return self._new_projector(loaded, table_NE, texts)
        if (ready.vector_size, ready.hidden_size) != (table_NE.shape[1], loaded.anatomy.embedding.embedding_dim):
            raise UsageError(
                f"the projector maps {ready.vector_size} numbers to {ready.hidden_size}; vectors have "
                f"{table_NE.shape[1]} and {loaded.name} needs {loaded.anatomy.embedding.embedding_dim}."
            )
        return ready.copy()

    def _new_projector(self, loaded: LoadedModel, table_NE: Tensor, texts: list[str]) -> Projector:
        if isinstance(self.projector, Projector):
            return self._first_projector(loaded, table_NE, texts)
        if self.start not in ("random", "ridge"):
            raise UsageError(f"start is 'random' (the paper's) or 'ridge'; got {self.start!r}.")
        slots = len(table_NE) // max(1, len(texts))
        return new_projector(
            loaded,
            table_NE,
            kind=self.projector,
            norm=self.norm,
            seed=self._seed(),
            texts=[text for text in texts for _ in range(slots)] if self.start == "ridge" else None,
        )

    def _set_layout(self, template: SlotTemplate) -> None:
        self.lm_ = self._open()
        self._layout = Layout.of(self.lm_, template)

    # -- vectors -----------------------------------------------------------------------------------------------------

    def _vectors(self, X: Any, *, reset: bool, dtype: Any = np.float64) -> NDArray[Any]:
        """``X`` encoded, or checked as scikit-learn checks it."""
        if self.encoder is not None:
            return encoded(self.encoder, X)
        refuse_rows(X := on_cpu(X), None if reset else getattr(self, "n_features_in_", None), type(self).__name__)
        checked: NDArray[Any] = validate_data(self, X, reset=reset, dtype=dtype)
        return checked_vectors(checked) if dtype is np.float64 else checked

    def _pair(self, X: Any, y: Any, *, numeric: bool = False) -> tuple[NDArray[np.float64], NDArray[Any]]:
        """Vectors and targets, as many of each; wrong settings are refused before anything is read."""
        self._check_settings()
        if y is None:
            raise UsageError(f"{type(self).__name__} requires y to be passed, but the target y is None.")
        vectors = self._vectors(X, reset=True)
        targets: NDArray[Any] = column_or_1d(y, warn=True)
        if targets.dtype == object and (missing := [row for row, target in enumerate(targets) if target is None]):
            raise UsageError(f"row {missing[0]} has no target (None); each row needs one.")
        if numeric:
            targets = check_array(targets, ensure_2d=False, dtype=np.float64, input_name="y")
        assert_all_finite(targets, input_name="y")
        check_consistent_length(vectors, targets)
        begun = isinstance(self.projector, Projector) or hasattr(self, "pretrained_")
        plain = self.encoder is None and self.norm == "match" and not begun
        self.column_scale_ = uneven_spread(vectors) if plain else None
        return vectors, targets

    def _slots(self, vectors: NDArray[np.float64], slots: int) -> Tensor:
        """Each row cut into as many equal parts as an example has slots, ``[n * slots, e]``."""
        if vectors.shape[1] % slots:
            raise UsageError(f"rows of {vectors.shape[1]} numbers can't be cut into {slots} equal vectors.")
        scale_E = getattr(self, "column_scale_", None)
        if slots == 1 and scale_E is not None:
            vectors = vectors / scale_E
        return torch.tensor(vectors.reshape(len(vectors) * slots, -1))

    def _queries(self, X: Any) -> tuple[Tensor, int]:
        """Table of the queries' vectors, and how many queries there are."""
        table_NE = self._slots(self._vectors(X, reset=False), self._layout.slots)
        if table_NE.shape[1] != self.projector_.vector_size:
            raise UsageError(
                f"row 0 has {table_NE.shape[1]} numbers a vector; the projector takes {self.projector_.vector_size}."
            )
        return table_NE, len(table_NE) // self._layout.slots

    # -- prompts -----------------------------------------------------------------------------------------------------

    def _draw(self, seed: int) -> Draw:
        raise NotImplementedError

    def _seed_of(self, table_NE: Tensor, query: int, seed: int) -> int:
        """A seed that the query's vectors decide, so that its answer does not depend on its place in the call."""
        slots = self._layout.slots
        own = table_NE[query * slots : (query + 1) * slots].numpy() + 0.0  # minus zero is zero
        digest = hashlib.blake2b(own.tobytes(), digest_size=4, key=seed.to_bytes(8, "little")).digest()
        return int.from_bytes(digest, "little") % 2**31

    def _demonstrations(self, table_NE: Tensor, query: int) -> list[int]:
        """Those of the fit, or with ``demos="per_query"`` as many others, drawn by the query's vectors."""
        fitted: list[int] = self.demonstrations_.tolist()
        if self.demos == "fixed":
            return fitted
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of small classes: said by the fit
            return self._draw(self._seed_of(table_NE, query, self._draw_seed))(self._fitting_shots)

    def _shown(self, chosen: Sequence[int]) -> Row:
        return self._layout.demonstrations(chosen, [self._answers[index] for index in chosen])

    def _embeds(self, row: Row, table_NE: Tensor | NDArray[Any], *, copies: int = 1) -> Tensor:
        """Embeddings of a row whose slots come from the table, ``[copies, t, d]``; a copy has its own vectors."""
        device = self.lm_.device
        ids_BT = torch.tensor([row.tokens], dtype=torch.long, device=device).expand(copies, -1)
        step = len(row.vectors)
        chosen = [vector + copy * step for copy in range(copies) for vector in row.vectors]
        # A copy: workers of joblib get arrays that are read-only.
        table_KE = torch.tensor(np.asarray(table_NE)[chosen])
        slots_KD = self.projector_(table_KE.to(device, self.projector_.into.weight.dtype))
        return embed_with_slots(self.lm_, ids_BT, slots_KD)

    def _mean_question(self) -> Tensor:
        """A question with the mean slots of the fitted inputs, ``[1, t, d]``."""
        row, device = self._layout.question(0), self.lm_.device
        table_NE = torch.tensor(self._table).to(device, self.projector_.into.weight.dtype)
        slots_KD = self.projector_(table_NE).unflatten(0, (-1, self._layout.slots)).mean(0)
        return embed_with_slots(self.lm_, torch.tensor([row.tokens], device=device), slots_KD)

    def _with_demonstrations(self, X: Any, texts: Sequence[str], answer_tokens: int) -> Self:
        """The fitted estimator with other demonstrations in front of every query; none of them is zero-shot."""
        check_targets(texts)
        other = copy.copy(self)
        other.demos, other._answers = "fixed", [text_ids(self.lm_, text) for text in texts]
        other.demonstrations_ = np.arange(len(texts))
        if len(texts):
            other._table = self._slots(self._vectors(X, reset=False), self._layout.slots).numpy()
            if len(other._table) != len(texts) * self._layout.slots:
                raise UsageError(f"{len(texts)} texts of demonstrations came with another number of inputs.")
        question = len(self._layout.question(0))
        check_room(self.lm_, len(other._shown(range(len(texts)))) + question + answer_tokens)
        return other

    @torch.inference_mode()
    def _read(self, table_NE: Tensor, queries: int) -> Iterator[tuple[slice, ReadQueries]]:
        """Queries in batches behind their demonstrations, which fixed ones are read for once."""
        fixed = self.demos == "fixed"
        step = self.batch_size if fixed else 1
        prefix = None
        for start in range(0, queries, step):
            if prefix is None or not fixed:
                shown = self._shown(self._demonstrations(table_NE, start))
                check_room(self.lm_, len(shown) + len(self._layout.question(0)) + 1)
                prefix = SharedPrefix(self.lm_, self._embeds(shown, self._table))
            stop = min(start + step, queries)
            yield (
                slice(start, stop),
                prefix.read(self._embeds(self._layout.question(start), table_NE, copies=stop - start)),
            )
