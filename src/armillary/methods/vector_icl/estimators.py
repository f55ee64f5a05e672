"""In-context learning from vectors as scikit-learn estimators: classes, numbers, and text.

Legend: N inputs, E encoder width.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from armillary.errors import StorageError, UsageError
from armillary.methods.vector_icl.answers import (
    digit_tokens,
    encode_digits,
    first_integer,
    number_text,
    number_values,
    token_f1,
)
from armillary.methods.vector_icl.config import (
    CLASS,
    EPISODE_WORDS,
    SHOTS,
    TEXT,
    VALUE,
    FitConfig,
    SlotTemplate,
    TrainingConfig,
    fit_training,
)
from armillary.methods.vector_icl.core import label_probabilities
from armillary.methods.vector_icl.decoding import (
    SharedPrefix,
    continue_queries,
    distinct_labels,
    label_log_probabilities,
)
from armillary.methods.vector_icl.estimator_base import VectorICLBase
from armillary.methods.vector_icl.inputs import AnyEncoder, encoder_facts
from armillary.methods.vector_icl.problem import Problem, label_words
from armillary.methods.vector_icl.projector import Projector, load_projector
from armillary.methods.vector_icl.projector_fit import tune_on_episodes, tune_projector
from armillary.methods.vector_icl.prompts import Draw, check_targets, draw_any, draw_of_each, text_ids, text_of
from armillary.methods.vector_icl.saved_estimator import read_fitted, read_prompt_vectors
from armillary.methods.vector_icl.training import TrainingCurve
from armillary.models import LoadedModel, load
from armillary.scoring.decoding import end_tokens


@dataclass(kw_only=True, eq=False, repr=False)
class VectorICLClassifier(ClassifierMixin, VectorICLBase):  # type: ignore[misc]
    """Classes by the exact probabilities of their words after demonstrations (ours; the official code samples)."""

    kind: ClassVar[str] = "classifier"

    words: Mapping[Any, str] | None = None
    """Text of each class; by default ``str(class)``."""

    label_mode: Literal["fixed", "episodic"] = "fixed"
    """"episodic" draws random words for the classes in every sequence of the training (ours)."""

    balance: bool = True
    """Show each class equally often in training."""

    calibrate: bool = False
    """Subtract the scores under the mean slot."""

    average: bool = False
    """Divide by the words' number of tokens."""

    def fit(self, X: Any, y: Any) -> Self:
        """Tune the projector on ``X`` and ``y`` (unless ``tune`` is False) and draw the demonstrations from them."""
        X, y = self._pair(X, y)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        self._codes = codes.tolist()
        self._set_layout(self.template or CLASS)
        words = self._class_words()
        table_NE = self._slots(X, self._layout.slots)
        ids = [text_ids(self.lm_, word) for word in words]
        self._labels = distinct_labels(ids, self._layout.separator)
        texts = [words[code] for code in self._codes]

        def tune(projector: Projector, table: Tensor, config: TrainingConfig) -> TrainingCurve:
            template = self.template or CLASS
            if self.label_mode == "fixed":
                return tune_projector(self.lm_, projector, table, texts, template, config, balance=self.balance)
            pool = [f" {word}" for word in EPISODE_WORDS]
            return tune_on_episodes(self.lm_, projector, table, self._codes, pool, template, config)

        self._fit(table_NE, texts, self._draw(self._seed()), max(map(len, self._labels)), tune)
        return self

    def decision_scores(self, X: Any) -> NDArray[np.float64]:
        """Log-probability (nats) of each class's whole word after each input, ``[n, classes]``."""
        check_is_fitted(self)
        table_NE, count = self._queries(X)
        out = np.empty((count, len(self._labels)))
        for rows, queries in self._read(table_NE, count):
            out[rows] = label_log_probabilities(self.lm_, queries, self._labels).numpy()
        return out

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Probabilities of the classes ``[n, classes]`` in the order of ``classes_``; each row sums to 1."""
        scores = torch.from_numpy(self.decision_scores(X))
        lengths = [len(label) for label in self._labels] if self.average else None
        prior = self._prior() if self.calibrate else None
        shares: NDArray[np.float64] = label_probabilities(scores, lengths=lengths, prior=prior).numpy()
        return shares

    def predict(self, X: Any) -> NDArray[Any]:
        """The likeliest class of each input."""
        check_is_fitted(self)
        likeliest: NDArray[Any] = self.classes_[self.predict_proba(X).argmax(axis=1)]
        return likeliest

    @torch.inference_mode()
    def _prior(self) -> Tensor:
        """Scores under the mean slot of the fitted inputs, behind the fitted demonstrations."""
        prefix = SharedPrefix(self.lm_, self._embeds(self._shown(self.demonstrations_.tolist()), self._table))
        return label_log_probabilities(self.lm_, prefix.read(self._mean_question()), self._labels)[0]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.poor_score = True  # made for few shots, not for scikit-learn's tables
        return tags

    def _class_words(self) -> list[str]:
        if self.label_mode not in ("fixed", "episodic"):
            raise UsageError(f"label_mode is 'fixed' or 'episodic'; got {self.label_mode!r}.")
        if self.label_mode == "fixed":
            return label_words(self.classes_.tolist(), self.words)
        if len(self.classes_) > len(EPISODE_WORDS):
            raise UsageError(f"episodes have words for {len(EPISODE_WORDS)} classes; there are {len(self.classes_)}.")
        order = torch.randperm(len(EPISODE_WORDS), generator=torch.Generator().manual_seed(self._seed())).tolist()
        return [f" {EPISODE_WORDS[index]}" for index in order[: len(self.classes_)]]

    def _needed(self) -> list[int]:
        return list(range(len(self._answers))) if self.calibrate else super()._needed()

    def _own_state(self, needed: Sequence[int]) -> Mapping[str, Any]:
        classes = self.classes_.tolist()
        if not all(isinstance(label, (str, bool, int, float)) for label in classes):
            raise UsageError("only classes that are texts or numbers can be saved.")
        return {
            "classes": classes,
            "classes_dtype": self.classes_.dtype.str,
            "codes": [self._codes[index] for index in needed],
            "labels": self._labels,
            "words": None if self.words is None else [self.words[label] for label in classes],
        }

    def _restore(self, own: Mapping[str, Any]) -> None:
        self.classes_ = np.array(own["classes"], dtype=np.dtype(own["classes_dtype"]))
        self._codes = own["codes"]
        self._labels = [tuple(label) for label in own["labels"]]
        if own["words"] is not None:
            self.words = dict(zip(own["classes"], own["words"], strict=True))

    def _draw(self, seed: int) -> Draw:
        return draw_of_each([str(self.classes_[code]) for code in self._codes], seed, strict=self.strict)


@dataclass(kw_only=True, eq=False, repr=False)
class _TextEstimator(VectorICLBase):
    """An estimator whose answer is generated text."""

    max_new_tokens: int | None = None
    """Most tokens of an answer; None takes those of the longest target."""

    temperature: float = 0.0
    """0 decodes greedily (the paper samples at 0.2)."""

    def _own_state(self, needed: Sequence[int]) -> Mapping[str, Any]:
        return {"longest": self._longest}

    def _restore(self, own: Mapping[str, Any]) -> None:
        self._longest = own["longest"]

    def _draw(self, seed: int) -> Draw:
        return draw_any(len(self._answers), seed, strict=self.strict)

    def _fit_texts(self, X: NDArray[np.float64], texts: list[str], template: SlotTemplate) -> None:
        check_targets(texts)
        self._set_layout(template)
        table_NE = self._slots(X, self._layout.slots)
        longest = max(len(text_ids(self.lm_, text)) for text in texts) + len(self._layout.separator)
        self._longest = longest if self.max_new_tokens is None else self.max_new_tokens

        def tune(projector: Projector, table: Tensor, config: TrainingConfig) -> TrainingCurve:
            return tune_projector(self.lm_, projector, table, texts, template, config)

        self._fit(table_NE, texts, draw_any(len(texts), self._seed(), strict=self.strict), self._longest, tune)

    def _generated(self, table_NE: Tensor, count: int, allowed: Sequence[int] | None = None) -> Iterator[str]:
        """The text after each query, cut at the separator."""
        stops, separator = end_tokens(self.lm_), self._layout.separator
        stops += [token for token in separator if len(separator) == 1]
        mark = text_of(self.lm_, separator)
        seed = self._seed()
        for rows, queries in self._read(table_NE, count):
            answers = continue_queries(
                self.lm_,
                queries,
                max_new_tokens=self._longest,
                stop_ids=stops,
                allowed=allowed,
                temperature=self.temperature,
                generators=[
                    torch.Generator().manual_seed(self._seed_of(table_NE, index, seed))
                    for index in range(rows.start, rows.stop)
                ],
            )
            yield from (text_of(self.lm_, ids).split(mark)[0] for ids in answers)


@dataclass(kw_only=True, eq=False, repr=False)
class VectorICLRegressor(RegressorMixin, _TextEstimator):  # type: ignore[misc]
    """Numbers, written as digits after demonstrations and read back as the first run of digits (official).

    An answer without digits is NaN, with a warning that counts them; ``score`` takes the mean of the fitted targets,
    ``target_mean_``, in its place (ours).
    """

    kind: ClassVar[str] = "regressor"

    shots: int = 16
    features: Literal["vector", "digits"] = "vector"
    """"digits" makes each column of whole numbers a vector of one-hot digits with a slot of its own."""

    digits: int = 10
    """Width of such a number."""

    levels: int | None = None
    """Maps ``y`` linearly onto 0 to ``levels - 1`` (ours); None writes ``y`` as it is, whole numbers of 0 or more."""

    constrain: bool = False
    """Keep the answer to digits (ours)."""

    def fit(self, X: Any, y: Any) -> Self:
        """Tune the projector and draw the demonstrations."""
        X, y = self._pair(X, y, numeric=True)
        values = np.asarray(y, dtype=np.float64)
        self._range = (float(values.min()), float(values.max()))
        self.target_mean_ = float(values.mean())
        texts = [number_text(value, self.levels, self._range) for value in values.tolist()]
        self._fit_texts(X, texts, self._template(X))
        return self

    def predict(self, X: Any) -> NDArray[np.float64]:
        """A number for each input, float64; NaN where the answer held none (a warning counts them)."""
        check_is_fitted(self)
        table_NE, count = self._queries(X)
        allowed = digit_tokens(self.lm_) if self.constrain else None
        numbers = [first_integer(text) for text in self._generated(table_NE, count, allowed)]
        values = number_values(numbers, self.levels, self._range)
        missing = int(np.isnan(values).sum())
        if missing:
            warnings.warn(f"{missing} of {count} answers hold no number.", UserWarning, stacklevel=2)
        return values

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """R squared; missing answers count as the mean of the fitted targets."""
        return float(r2_score(y, self.filled(self.predict(X)), sample_weight=sample_weight))

    def filled(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The values with the mean of the fitted targets where an answer held no number."""
        return np.where(np.isnan(values), self.target_mean_, values)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.regressor_tags.poor_score = True  # made for few shots, not for scikit-learn's tables
        return tags

    def _own_state(self, needed: Sequence[int]) -> Mapping[str, Any]:
        return {**super()._own_state(needed), "range": self._range, "mean": self.target_mean_}

    def _restore(self, own: Mapping[str, Any]) -> None:
        super()._restore(own)
        low, high = own["range"]
        self._range, self.target_mean_ = (low, high), own["mean"]

    def _template(self, X: NDArray[np.float64]) -> SlotTemplate:
        if self.template is not None or self.features == "vector":
            return self.template or VALUE
        names = [chr(ord("A") + column) for column in range(X.shape[1] // (10 * self.digits))]
        return SlotTemplate((*(f"{name}=" for name in names), f", function({', '.join(names)}) equals to (digits): "))

    def _vectors(self, X: Any, *, reset: bool, dtype: Any = np.float64) -> NDArray[Any]:
        if self.features not in ("vector", "digits"):
            raise UsageError(f"features is 'vector' or 'digits'; got {self.features!r}.")
        if self.features == "vector":
            return super()._vectors(X, reset=reset, dtype=dtype)
        columns = super()._vectors(X, reset=reset, dtype=None)
        encoded = encode_digits(columns.reshape(-1).tolist(), digits=self.digits)
        return encoded.reshape(len(columns), -1).double().numpy()


@dataclass(kw_only=True, eq=False, repr=False)
class VectorICLGenerator(_TextEstimator):
    """Text about vectors: captions, summaries, reconstructions."""

    kind: ClassVar[str] = "generator"

    max_new_tokens: int | None = 128

    def fit(self, X: Any, y: Sequence[Any]) -> Self:
        """Tune the projector on the texts ``y`` (unless ``tune`` is False) and draw the demonstrations."""
        vectors, targets = self._pair(X, y)
        self._fit_texts(vectors, [str(text) for text in targets], self.template or TEXT)
        return self

    def generate(self, X: Any, demos: tuple[Any, Sequence[str]] | None = None) -> list[str]:
        """A text for each input; ``demos`` (vectors and texts) stand in front of all in place of the fitted ones."""
        check_is_fitted(self)
        if demos is None:
            table_NE, count = self._queries(X)
            return list(self._generated(table_NE, count))
        return self._with_demonstrations(*demos, self._longest).generate(X)

    def predict(self, X: Any) -> NDArray[Any]:
        """``generate`` as an array of text."""
        return np.array(self.generate(X), dtype=object)

    def score(self, X: Any, y: Sequence[str]) -> float:
        """Mean F1 of the words of each text against its reference (ours)."""
        pairs = zip(self.generate(X), y, strict=True)
        return float(np.mean([token_f1(answer, str(reference)) for answer, reference in pairs]))


VectorICLEstimator = VectorICLClassifier | VectorICLRegressor | VectorICLGenerator
_KINDS: dict[str, type[VectorICLEstimator]] = {
    kind.kind: kind for kind in (VectorICLClassifier, VectorICLRegressor, VectorICLGenerator)
}


def load_fitted(folder: Path | str, lm: Any = None, *, encoder: AnyEncoder | None = None) -> VectorICLEstimator:
    """The estimator that ``save_fitted`` left in ``folder``, ready to predict. Its ``demonstrations_`` count the rows
    that were kept.

    ``lm`` is a model in any form that ``load`` takes, by default the one of the fit, by its name. An estimator that
    was fitted with an encoder needs it again. A fit whose ``random_state`` was no number has None.

    Raises:
        StorageError: the folder holds no fit, or one that is damaged or of another version.
        ModelError: the language model is not the one of the fit (by its ``identity``).
        UsageError: the encoder is not the one of the fit.
    """
    state = read_fitted(folder)
    given = lm if lm is not None else load(state.model, dtype=state.dtype)
    loaded = given if isinstance(given, LoadedModel) else load(given)
    try:
        projector = load_projector(folder, loaded, encoder_facts(encoder, state.vector_size))
        kind = _KINDS[state.kind]
        return kind.from_state(state, read_prompt_vectors(folder), loaded, projector, encoder)
    except (OSError, KeyError, TypeError, AttributeError) as error:
        raise StorageError(f"the fit in {folder} is damaged or of another version; fit anew.") from error


def estimator_of(config: FitConfig, problem: Problem, loaded: LoadedModel) -> VectorICLEstimator:
    """The estimator, not fitted yet, that the settings want for this problem."""
    shots = config.shots or SHOTS[problem.task]
    shown = shots * (len(set(problem.targets)) if problem.task == "classify" else 1)
    shared: dict[str, Any] = {
        "projector": config.projector,
        "template": config.template(problem.task),
        "shots": shots,
        "norm": config.norm,
        "start": config.start,
        "training": fit_training(shown, config.steps),
        "random_state": config.seed,
    }
    if problem.task == "classify":
        return VectorICLClassifier(loaded, label_mode=config.label_mode, **shared)
    if problem.task == "regress":
        return VectorICLRegressor(loaded, levels=problem.levels(config), constrain=True, **shared)
    return VectorICLGenerator(loaded, max_new_tokens=None, **shared)
