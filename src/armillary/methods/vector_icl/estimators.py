"""In-context learning from vectors as scikit-learn estimators: classes, numbers, and text.

Legend: N inputs, E encoder width.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from armillary.errors import UsageError
from armillary.methods.vector_icl.answers import (
    digit_tokens,
    encode_digits,
    first_integer,
    number_text,
    number_values,
    token_f1,
)
from armillary.methods.vector_icl.config import CLASS, EPISODE_WORDS, Template, TrainingConfig
from armillary.methods.vector_icl.core import label_probabilities
from armillary.methods.vector_icl.decoding import (
    SharedPrefix,
    continue_queries,
    distinct_labels,
    label_log_probabilities,
)
from armillary.methods.vector_icl.estimator_base import VectorICLBase
from armillary.methods.vector_icl.inputs import label_words
from armillary.methods.vector_icl.projector import Projector
from armillary.methods.vector_icl.projector_fit import tune_on_episodes, tune_projector
from armillary.methods.vector_icl.prompts import Draw, check_targets, draw_any, draw_of_each, text_ids, text_of
from armillary.methods.vector_icl.training import TrainingCurve
from armillary.scoring.decoding import end_tokens

MODEL = "smollm2-135m-instruct"
VALUE = Template(("(", ")'s value is "))
TEXT = Template(("(", ")'s text is"))


class VectorICLClassifier(ClassifierMixin, VectorICLBase):  # type: ignore[misc]
    """Classes by the exact probabilities of their words after demonstrations (ours; the official code samples).

    Settings that all three estimators have: ``lm`` (a name, path, ``(model, tokenizer)`` or LoadedModel), ``encoder``
    (``encode(list)`` or a callable; None takes ready vectors), ``projector`` ("linear", "mlp" or a trained
    Projector), ``template``, ``shots`` (per class; in all for the others), ``norm`` and ``start`` (of the projector),
    ``tune`` (False: no task training), ``attend``, ``training``, ``pretraining``, ``truncate`` ("error", "demos"),
    ``demos`` ("fixed", "per_query"), ``strict``, ``batch_size``, ``random_state``.

    ``words`` are the classes' texts (``str(class)``); ``label_mode="episodic"`` draws random words in every sequence
    of the training; ``balance`` shows each class equally often; ``calibrate`` subtracts the scores under the mean box;
    ``average`` divides by the words' number of tokens. With several slots in the template a row is cut into as many
    equal vectors. Every bad setting or input is a UsageError (a ValueError).
    """

    def __init__(
        self,
        lm: Any = MODEL,
        *,
        encoder: Any = None,
        projector: Literal["linear", "mlp"] | Projector = "linear",
        template: Template | None = None,
        shots: int = 4,
        words: Mapping[Any, str] | None = None,
        label_mode: Literal["fixed", "episodic"] = "fixed",
        balance: bool = True,
        calibrate: bool = False,
        average: bool = False,
        norm: Literal["none", "match"] = "none",
        start: Literal["random", "ridge"] = "random",
        tune: bool = True,
        attend: Literal["packed", "isolated"] | None = None,
        training: TrainingConfig | None = None,
        pretraining: TrainingConfig | None = None,
        truncate: Literal["error", "demos"] = "error",
        demos: Literal["fixed", "per_query"] = "fixed",
        strict: bool = False,
        batch_size: int = 32,
        random_state: Any = 0,
    ) -> None:
        self.lm, self.encoder, self.projector, self.template, self.shots = lm, encoder, projector, template, shots
        self.words, self.label_mode, self.balance = words, label_mode, balance
        self.calibrate, self.average = calibrate, average
        self.norm, self.start, self.tune, self.attend = norm, start, tune, attend
        self.training, self.pretraining, self.truncate, self.demos = training, pretraining, truncate, demos
        self.strict, self.batch_size, self.random_state = strict, batch_size, random_state

    def fit(self, X: Any, y: Any) -> Self:
        """Tune the projector on ``X`` and ``y`` (unless ``tune`` is False) and draw the demonstrations from them."""
        X, y = self._pair(X, y)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        self._codes = codes.tolist()
        self._set_layout(self.template or CLASS)
        words = self._class_words()
        table_NE = self._slots(X, self._layout.boxes)
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
        for rows, asked in self._asked(table_NE, count):
            out[rows] = label_log_probabilities(self.lm_, asked, self._labels).numpy()
        return out

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Probabilities of the classes ``[n, classes]`` in the order of ``classes_``; each row sums to 1."""
        scores = torch.from_numpy(self.decision_scores(X))
        lengths = [len(label) for label in self._labels] if self.average else None
        found: NDArray[np.float64] = label_probabilities(
            scores, lengths=lengths, prior=self._prior() if self.calibrate else None
        ).numpy()
        return found

    def predict(self, X: Any) -> NDArray[Any]:
        """The likeliest class of each input."""
        check_is_fitted(self)
        found: NDArray[Any] = self.classes_[self.predict_proba(X).argmax(axis=1)]
        return found

    @torch.inference_mode()
    def _prior(self) -> Tensor:
        """Scores under the mean box of the fitted inputs, behind the fitted demonstrations."""
        prefix = SharedPrefix(self.lm_, self._embeds(self._shown(self.demonstrations_.tolist()), self._table))
        asked = prefix.ask(self._mean_question())
        return label_log_probabilities(self.lm_, asked, self._labels)[0]

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
        return [f" {EPISODE_WORDS[order[place]]}" for place in range(len(self.classes_))]

    def _draw(self, seed: int) -> Draw:
        return draw_of_each([str(self.classes_[code]) for code in self._codes], seed, strict=self.strict)


class _Speaker(VectorICLBase):
    """An estimator whose answer is generated text."""

    max_new_tokens: int | None
    temperature: float

    def _draw(self, seed: int) -> Draw:
        return draw_any(len(self._told), seed, strict=self.strict)

    def _fit_texts(self, X: NDArray[np.float64], texts: list[str], template: Template, groups: Any) -> None:
        check_targets(texts)
        self._set_layout(template)
        table_NE = self._slots(X, self._layout.boxes)
        longest = max(len(text_ids(self.lm_, text)) for text in texts) + len(self._layout.separator)
        self._longest = longest if self.max_new_tokens is None else self.max_new_tokens

        def tune(projector: Projector, table: Tensor, config: TrainingConfig) -> TrainingCurve:
            return tune_projector(self.lm_, projector, table, texts, template, config, groups=groups)

        self._fit(table_NE, texts, draw_any(len(texts), self._seed(), strict=self.strict), self._longest, tune)

    def _spoken(self, table_NE: Tensor, count: int, allowed: Sequence[int] | None = None) -> Iterator[str]:
        """The text after each query, cut at the separator."""
        stops, separator = end_tokens(self.lm_), self._layout.separator
        stops += [token for token in separator if len(separator) == 1]
        mark = text_of(self.lm_, separator)
        generator = torch.Generator().manual_seed(self._seed())
        for _, asked in self._asked(table_NE, count):
            told = continue_queries(
                self.lm_,
                asked,
                max_new_tokens=self._longest,
                stop_ids=stops,
                allowed=allowed,
                temperature=self.temperature,
                generator=generator,
            )
            yield from (text_of(self.lm_, ids).split(mark)[0] for ids in told)


class VectorICLRegressor(RegressorMixin, _Speaker):  # type: ignore[misc]
    """Numbers, written as digits after demonstrations and read back as the first run of digits (official).

    ``features="digits"`` makes each column of whole numbers a vector of one-hot digits with a slot of its own;
    ``digits`` is their width. ``levels`` maps ``y`` linearly onto 0 to ``levels - 1`` (ours); None writes ``y`` as it
    is, whole numbers of 0 or more. ``constrain`` keeps the answer to digits (ours). An answer without digits is NaN,
    with a warning that counts them; ``score`` takes the mean of the fitted targets in its place (ours). Other settings
    stand at ``VectorICLClassifier``.
    """

    def __init__(
        self,
        lm: Any = MODEL,
        *,
        encoder: Any = None,
        projector: Literal["linear", "mlp"] | Projector = "linear",
        template: Template | None = None,
        shots: int = 16,
        features: Literal["vector", "digits"] = "vector",
        digits: int = 10,
        levels: int | None = None,
        constrain: bool = False,
        max_new_tokens: int | None = None,
        temperature: float = 0.0,
        norm: Literal["none", "match"] = "none",
        start: Literal["random", "ridge"] = "random",
        tune: bool = True,
        attend: Literal["packed", "isolated"] | None = None,
        training: TrainingConfig | None = None,
        pretraining: TrainingConfig | None = None,
        truncate: Literal["error", "demos"] = "error",
        demos: Literal["fixed", "per_query"] = "fixed",
        strict: bool = False,
        batch_size: int = 32,
        random_state: Any = 0,
    ) -> None:
        self.lm, self.encoder, self.projector, self.template, self.shots = lm, encoder, projector, template, shots
        self.features, self.digits, self.levels, self.constrain = features, digits, levels, constrain
        self.max_new_tokens, self.temperature = max_new_tokens, temperature
        self.norm, self.start, self.tune, self.attend = norm, start, tune, attend
        self.training, self.pretraining, self.truncate, self.demos = training, pretraining, truncate, demos
        self.strict, self.batch_size, self.random_state = strict, batch_size, random_state

    def fit(self, X: Any, y: Any, *, groups: Sequence[int] | None = None) -> Self:
        """Tune the projector and draw the demonstrations; a training sequence keeps to one of ``groups``."""
        X, y = self._pair(X, y, numeric=True)
        values = np.asarray(y, dtype=np.float64)
        self._range = (float(values.min()), float(values.max()))
        self._mean = float(values.mean())
        texts = [number_text(value, self.levels, self._range) for value in values.tolist()]
        self._fit_texts(X, texts, self._template(X), groups)
        return self

    def predict(self, X: Any) -> NDArray[np.float64]:
        """A number for each input, float64; NaN where the answer held none (a warning counts them)."""
        check_is_fitted(self)
        table_NE, count = self._queries(X)
        allowed = digit_tokens(self.lm_) if self.constrain else None
        told = [first_integer(text) for text in self._spoken(table_NE, count, allowed)]
        found = number_values(told, self.levels, self._range)
        missing = int(np.isnan(found).sum())
        if missing:
            warnings.warn(f"{missing} of {count} answers hold no number.", UserWarning, stacklevel=2)
        return found

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """R squared; missing answers count as the mean of the fitted targets."""
        found = self.predict(X)
        return float(r2_score(y, np.where(np.isnan(found), self._mean, found), sample_weight=sample_weight))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.regressor_tags.poor_score = True  # made for few shots, not for scikit-learn's tables
        return tags

    def _template(self, X: NDArray[np.float64]) -> Template:
        if self.template is not None or self.features == "vector":
            return self.template or VALUE
        names = [chr(ord("A") + column) for column in range(X.shape[1] // (10 * self.digits))]
        return Template((*(f"{name}=" for name in names), f", function({', '.join(names)}) equals to (digits): "))

    def _vectors(self, X: Any, *, reset: bool, dtype: Any = np.float64) -> NDArray[Any]:
        if self.features not in ("vector", "digits"):
            raise UsageError(f"features is 'vector' or 'digits'; got {self.features!r}.")
        if self.features == "vector":
            return super()._vectors(X, reset=reset, dtype=dtype)
        columns = super()._vectors(X, reset=reset, dtype=None)
        encoded = encode_digits(columns.reshape(-1).tolist(), digits=self.digits)
        return encoded.reshape(len(columns), -1).double().numpy()


class VectorICLGenerator(_Speaker):
    """Text about vectors: captions, summaries, reconstructions.

    ``temperature`` 0 decodes greedily (the paper samples at 0.2), at most ``max_new_tokens``. Other settings stand at
    ``VectorICLClassifier``.
    """

    def __init__(
        self,
        lm: Any = MODEL,
        *,
        encoder: Any = None,
        projector: Literal["linear", "mlp"] | Projector = "linear",
        template: Template | None = None,
        shots: int = 4,
        max_new_tokens: int | None = 128,
        temperature: float = 0.0,
        norm: Literal["none", "match"] = "none",
        start: Literal["random", "ridge"] = "random",
        tune: bool = True,
        attend: Literal["packed", "isolated"] | None = None,
        training: TrainingConfig | None = None,
        pretraining: TrainingConfig | None = None,
        truncate: Literal["error", "demos"] = "error",
        demos: Literal["fixed", "per_query"] = "fixed",
        strict: bool = False,
        batch_size: int = 32,
        random_state: Any = 0,
    ) -> None:
        self.lm, self.encoder, self.projector, self.template, self.shots = lm, encoder, projector, template, shots
        self.max_new_tokens, self.temperature = max_new_tokens, temperature
        self.norm, self.start, self.tune, self.attend = norm, start, tune, attend
        self.training, self.pretraining, self.truncate, self.demos = training, pretraining, truncate, demos
        self.strict, self.batch_size, self.random_state = strict, batch_size, random_state

    def fit(self, X: Any, y: Sequence[Any]) -> Self:
        """Tune the projector on the texts ``y`` (unless ``tune`` is False) and draw the demonstrations."""
        vectors, targets = self._pair(X, y)
        self._fit_texts(vectors, [str(text) for text in targets], self.template or TEXT, None)
        return self

    def generate(self, X: Any, demos: tuple[Any, Sequence[str]] | None = None) -> list[str]:
        """A text for each input; ``demos`` (vectors and texts) stand in front of all in place of the fitted ones."""
        check_is_fitted(self)
        if demos is None:
            table_NE, count = self._queries(X)
            return list(self._spoken(table_NE, count))
        return self._with_demonstrations(*demos, self._longest).generate(X)

    def predict(self, X: Any) -> NDArray[Any]:
        """``generate`` as an array of text."""
        return np.array(self.generate(X), dtype=object)

    def score(self, X: Any, y: Sequence[str]) -> float:
        """Mean F1 of the words of each text against its reference (ours)."""
        return float(np.mean([token_f1(told, str(text)) for told, text in zip(self.generate(X), y, strict=True)]))
