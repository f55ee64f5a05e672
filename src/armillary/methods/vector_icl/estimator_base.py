"""What the three estimators share: vectors in, a projector, demonstrations read once, queries in batches.

Legend: N inputs, E encoder width, B queries of a batch, T tokens.
"""

import copy
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

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
from armillary.methods.vector_icl.config import PRETRAINING, Template, TrainingConfig
from armillary.methods.vector_icl.core import idf_weights
from armillary.methods.vector_icl.decoding import Asked, SharedPrefix
from armillary.methods.vector_icl.embedding import embed_with_boxes, mean_embeddings, token_statistics
from armillary.methods.vector_icl.inputs import checked_vectors, encoded, encoder_facts, refuse_rows
from armillary.methods.vector_icl.projector import Projector, save_projector
from armillary.methods.vector_icl.projector_fit import continuations, pretrain_projector
from armillary.methods.vector_icl.prompts import Draw, Layout, Row, check_room, check_targets, fitting, text_ids
from armillary.methods.vector_icl.training import TrainingCurve
from armillary.models import LoadedModel, load

Tune = Callable[[Projector, Tensor, TrainingConfig], TrainingCurve]


class VectorICLBase(BaseEstimator):  # type: ignore[misc]
    """Not for users: the constructors of its classes hold the settings that are read here."""

    lm: Any
    encoder: Any
    projector: Any
    template: Template | None
    shots: int
    norm: Any
    start: str
    tune: bool
    attend: Any
    training: TrainingConfig | None
    pretraining: TrainingConfig | None
    truncate: Any
    demos: str
    strict: bool
    batch_size: int
    random_state: Any
    _layout: Layout

    def pretrain(self, X: Any, texts: Sequence[str] | None = None) -> Self:
        """Train a projector to predict each text from its vector; ``fit`` then begins with it.

        Without ``texts``, ``X`` are texts: each is split, ``encoder`` makes the vector of the first part, and the
        second is predicted. Raises as ``pretrain_projector`` and ``continuations``.
        """
        loaded = self._open()
        if texts is None:
            if self.encoder is None:
                raise UsageError("pretraining on texts alone needs an encoder; give texts beside the vectors.")
            parts = continuations(loaded, list(X), seed=self._seed())
            X, texts = parts.heads, parts.rests
        table_NE = self._pretraining_table(X)
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
        """All that predicting needs, without pickle; ``load_fitted`` gives the same predictions, bit for bit.

        Raises as ``fitted_folder.save_fitted``.
        """
        # Late: that file imports the three estimators, which are made of this class; it refuses any other.
        from armillary.methods.vector_icl.saved_estimator import save_fitted

        one_of_three: Any = self
        save_fitted(folder, one_of_three)

    def prompt_embeds(self, X: Any) -> list[Float[Tensor, "t d"]]:
        """Of each input the embeddings of its whole prompt, for servers that take prompt embeddings."""
        check_is_fitted(self)
        table_NE, count = self._queries(X)
        with torch.no_grad():
            out = []
            for index in range(count):
                shown = self._embeds(self._shown(self._demonstrations(index)), self._table)
                out.append(torch.cat([shown, self._embeds(self._layout.question(index), table_NE)], dim=1)[0])
        return out

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
        if isinstance(self.batch_size, bool) or self.batch_size < 1 or self.demos not in ("fixed", "per_query"):
            raise UsageError(
                f"batch_size must be 1 or more and demos 'fixed' or 'per_query'; "
                f"got {self.batch_size} and {self.demos!r}."
            )
        projector = self._first_projector(self.lm_, table_NE, texts)
        if self.tune:
            self.curve_ = tune(projector, table_NE, self._config(self.training or TrainingConfig()))
        self.projector_ = projector.to(self.lm_.device).eval()
        self._table, self._draw_seed = table_NE.numpy(), self._seed()
        self._told = [text_ids(self.lm_, text) for text in texts]
        question = len(self._layout.question(0))

        def tokens(chosen: list[int]) -> int:
            return len(self._shown(chosen)) + question + answer_tokens

        self._fitting_shots, chosen = fitting(self.lm_, draw, self.shots, tokens, truncate=self.truncate)
        self.demonstrations_ = np.array(chosen, dtype=np.int64)

    def _open(self) -> LoadedModel:
        """The language model, opened once for each setting of ``lm``."""
        if isinstance(self.lm, LoadedModel):
            return self.lm
        if getattr(self, "_opened_as", None) != self.lm:
            self._opened, self._opened_as = load(self.lm), self.lm
        return self._opened

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
        projector = Projector(
            table_NE.shape[1],
            loaded.anatomy.embedding.embedding_dim,
            kind=self.projector,
            norm=self.norm,
            seed=self._seed(),
            dtype=torch.promote_types(loaded.dtype, torch.float32),
        )
        if self.start not in ("random", "ridge"):
            raise UsageError(f"start is 'random' (the paper's) or 'ridge'; got {self.start!r}.")
        if self.norm == "match" or self.start == "ridge":
            tokens = token_statistics(loaded)
            if self.start == "ridge":
                rows = [text_ids(loaded, text) for text in texts for _ in range(len(table_NE) // len(texts))]
                projector.start_from_ridge(table_NE, mean_embeddings(loaded, rows, idf_weights(rows)), tokens)
            else:
                projector.fit_scale(table_NE, tokens)
        return projector.to(loaded.device)

    def _set_layout(self, template: Template) -> None:
        self.lm_ = self._open()
        self._layout = Layout.of(self.lm_, template)

    # -- vectors -----------------------------------------------------------------------------------------------------

    def _vectors(self, X: Any, *, reset: bool, dtype: Any = np.float64) -> NDArray[Any]:
        """``X`` encoded, or checked as scikit-learn checks it."""
        if self.encoder is not None:
            return encoded(self.encoder, X)
        refuse_rows(X, None if reset else getattr(self, "n_features_in_", None), type(self).__name__)
        checked: NDArray[Any] = validate_data(self, X, reset=reset, dtype=dtype)
        return checked_vectors(checked) if dtype is np.float64 else checked

    def _pair(self, X: Any, y: Any, *, numeric: bool = False) -> tuple[NDArray[np.float64], NDArray[Any]]:
        """Vectors and targets, as many of each."""
        if y is None:
            raise UsageError(f"{type(self).__name__} requires y to be passed, but the target y is None.")
        vectors = self._vectors(X, reset=True)
        targets: NDArray[Any] = column_or_1d(y, warn=True)
        if numeric:
            targets = check_array(targets, ensure_2d=False, dtype=np.float64, input_name="y")
        assert_all_finite(targets, input_name="y")
        check_consistent_length(vectors, targets)
        return vectors, targets

    def _slots(self, vectors: NDArray[np.float64], boxes: int) -> Tensor:
        """Each row cut into as many equal parts as an example has slots, ``[n * boxes, e]``."""
        if vectors.shape[1] % boxes:
            raise UsageError(f"rows of {vectors.shape[1]} numbers can't be cut into {boxes} equal vectors.")
        return torch.tensor(vectors.reshape(len(vectors) * boxes, -1))

    def _pretraining_table(self, X: Any) -> Tensor:
        vectors = encoded(self.encoder, X) if self.encoder is not None else checked_vectors(X)
        return torch.tensor(vectors)

    def _queries(self, X: Any) -> tuple[Tensor, int]:
        """Table of the queries' vectors, and how many queries there are."""
        table_NE = self._slots(self._vectors(X, reset=False), self._layout.boxes)
        if table_NE.shape[1] != self.projector_.vector_size:
            raise UsageError(
                f"row 0 has {table_NE.shape[1]} numbers a vector; the projector takes {self.projector_.vector_size}."
            )
        return table_NE, len(table_NE) // self._layout.boxes

    # -- asking ------------------------------------------------------------------------------------------------------

    def _draw(self, seed: int) -> Draw:
        raise NotImplementedError

    def _demonstrations(self, query: int) -> list[int]:
        """Those of the fit, or with ``demos="per_query"`` as many others, drawn by the number of the query."""
        fitted: list[int] = self.demonstrations_.tolist()
        if self.demos == "fixed":
            return fitted
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of small classes: said by the fit
            return self._draw((self._draw_seed + query + 1) % 2**31)(self._fitting_shots)

    def _shown(self, chosen: Sequence[int]) -> Row:
        return self._layout.demonstrations(chosen, [self._told[index] for index in chosen])

    def _embeds(self, row: Row, table_NE: Tensor | NDArray[Any], *, copies: int = 1) -> Tensor:
        """Embeddings of a row whose boxes come from the table, ``[copies, t, d]``; a copy has its own vectors."""
        device = self.lm_.device
        ids_BT = torch.tensor([row.tokens], dtype=torch.long, device=device).expand(copies, -1)
        step = len(row.vectors)
        chosen = [vector + copy * step for copy in range(copies) for vector in row.vectors]
        boxes = self.projector_(torch.as_tensor(table_NE)[chosen].to(device, self.projector_.into.weight.dtype))
        return embed_with_boxes(self.lm_, ids_BT, boxes)

    def _mean_question(self) -> Tensor:
        """A question with the mean boxes of the fitted inputs, ``[1, t, d]``."""
        row, device = self._layout.question(0), self.lm_.device
        table_NE = torch.as_tensor(self._table).to(device, self.projector_.into.weight.dtype)
        boxes_ND = self.projector_(table_NE).unflatten(0, (-1, self._layout.boxes)).mean(0)
        return embed_with_boxes(self.lm_, torch.tensor([row.tokens], device=device), boxes_ND)

    def _with_demonstrations(self, X: Any, texts: Sequence[str], answer_tokens: int) -> Self:
        """The fitted estimator with other demonstrations in front of every query; none of them is zero-shot."""
        check_targets(texts)
        other = copy.copy(self)
        other.demos, other._told = "fixed", [text_ids(self.lm_, text) for text in texts]
        other.demonstrations_ = np.arange(len(texts))
        if len(texts):
            other._table = self._slots(self._vectors(X, reset=False), self._layout.boxes).numpy()
            if len(other._table) != len(texts) * self._layout.boxes:
                raise UsageError(f"{len(texts)} texts of demonstrations came with another number of inputs.")
        question = len(self._layout.question(0))
        check_room(self.lm_, len(other._shown(range(len(texts)))) + question + answer_tokens)
        return other

    @torch.inference_mode()
    def _asked(self, table_NE: Tensor, queries: int) -> Iterator[tuple[slice, Asked]]:
        """Queries in batches behind their demonstrations, which fixed ones are read for once."""
        fixed = self.demos == "fixed"
        step = self.batch_size if fixed else 1
        prefix = None
        for start in range(0, queries, step):
            if prefix is None or not fixed:
                shown = self._shown(self._demonstrations(start))
                check_room(self.lm_, len(shown) + len(self._layout.question(0)) + 1)
                prefix = SharedPrefix(self.lm_, self._embeds(shown, self._table))
            stop = min(start + step, queries)
            yield (
                slice(start, stop),
                prefix.ask(self._embeds(self._layout.question(start), table_NE, copies=stop - start)),
            )
