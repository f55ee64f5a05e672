"""A judge by vectors: a text has an attribute where their vectors, or those of one of its sentences, lie close enough.

How close is close enough must be read off labelled pairs, and how far the verdict can be trusted is told beside it:
for many attributes (of tone, of form) vectors hardly tell anything.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from armillary.attributes.attribute import Attribute
from armillary.attributes.sentences import sentence_spans
from armillary.errors import UsageError
from armillary.methods.ultragen.soft.judges import Question
from armillary.numerics.intervals import Interval, bootstrap

Array = NDArray[np.float64]

LEAST_PAIRS = 20
"""Labelled pairs of either sort that a threshold is read off: of fewer the interval of the AUC is wider than a "
"half."""

FOLDS = 5
"""Parts of the pairs, each of which is judged by the threshold of the others."""


class SentenceEncoder(Protocol):
    """Gives texts vectors, as sentence-transformers does."""

    def encode(self, texts: Sequence[str], /) -> NDArray[np.floating]:
        """One row a text, [n, d]."""
        ...


@dataclass(frozen=True, kw_only=True)
class LabelledPair:
    """A response, an attribute's sentence, and whether the one has the other."""

    response: str
    attribute: str
    met: bool


@dataclass(frozen=True, kw_only=True)
class JudgeCalibration:
    """What labelled pairs say about verdicts by vectors."""

    threshold: float
    """Cosine from which a text counts as having the attribute: where the share of right verdicts, both sorts of pair
    counted alike, is largest."""

    auc: Interval
    """Chance that a pair which is met lies closer than one which is not; a half tells nothing."""

    right: Interval
    """Share of right verdicts, both sorts counted alike, of thresholds that had not seen the pair."""


def area_under_curve(met: Array, unmet: Array) -> float:
    """Share of pairs (one met, one not) in which the met one scores higher, ties as a half (Mann and Whitney)."""
    order = np.sort(unmet)
    below, upto = np.searchsorted(order, met, "left"), np.searchsorted(order, met, "right")
    return float((below + upto).mean() / 2 / len(unmet))


def best_threshold(met: Array, unmet: Array) -> float:
    """Where the mean of both shares of right verdicts is largest; midway between scores, the lowest of equal ones."""
    scores = np.unique(np.concatenate([met, unmet]))
    cuts = np.concatenate([[scores[0] - 1e-9], (scores[1:] + scores[:-1]) / 2, [scores[-1] + 1e-9]])
    right = [(met >= cut).mean() + (unmet < cut).mean() for cut in cuts]
    return float(cuts[int(np.argmax(right))])


@dataclass(kw_only=True)
class EmbeddingJudge:
    """Judges by cosine; refuses to before it was calibrated, and where the calibration shows that it tells nothing."""

    encoder: SentenceEncoder
    calibration: JudgeCalibration | None = field(default=None)

    def scores(self, questions: Sequence[tuple[str, Sequence[str]]]) -> list[Array]:
        """For each response the closeness of each sentence: the largest cosine to the whole or to one of its
        sentences.

        An empty response has -1 for each.
        """
        texts: dict[str, int] = {}
        parts = []
        for response, sentences in questions:
            own = [response, *(response[start:end] for start, end in sentence_spans(response))]
            own = list(dict.fromkeys(part.strip() for part in own if part.strip()))
            parts.append(own)
            for text in (*own, *sentences):
                texts.setdefault(text, len(texts))
        vectors = np.asarray(self.encoder.encode(list(texts)), dtype=np.float64) if texts else np.zeros((0, 1))
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        closeness = []
        for own, (_, sentences) in zip(parts, questions, strict=True):
            wanted = vectors[[texts[sentence] for sentence in sentences]]
            given = vectors[[texts[part] for part in own]]
            closeness.append((wanted @ given.T).max(axis=1) if own else np.full(len(sentences), -1.0))
        return closeness

    def calibrate(self, pairs: Sequence[LabelledPair], seed: int = 0) -> JudgeCalibration:
        """The threshold of these pairs, from now on that of the judge, with what it can be trusted for.

        The interval of the AUC is by bootstrap over the pairs of either sort; ``right`` is by cross-validation.
        UsageError for fewer than ``LEAST_PAIRS`` of either sort.
        """
        labels = np.array([pair.met for pair in pairs], dtype=bool)
        counts = int(labels.sum()), int((~labels).sum())
        if min(counts) < LEAST_PAIRS:
            raise UsageError(
                f"a threshold needs {LEAST_PAIRS} pairs that are met and as many that are not; got {counts[0]} and "
                f"{counts[1]}."
            )
        scores = np.concatenate(self.scores([(pair.response, [pair.attribute]) for pair in pairs]))
        order = np.random.default_rng(seed).permutation(len(pairs))
        folds = np.empty(len(pairs), dtype=np.int64)
        # Each fold has its part of both sorts.
        for sort in (True, False):
            own = order[labels[order] == sort]
            folds[own] = np.arange(len(own)) % FOLDS
        right = np.empty(len(pairs))
        for fold in range(FOLDS):
            others, held = folds != fold, folds == fold
            cut = best_threshold(scores[others & labels], scores[others & ~labels])
            right[held] = (scores[held] >= cut) == labels[held]

        def replicated(measure: Callable[[NDArray[np.int64]], float]) -> Callable[[NDArray[np.int64]], Array]:
            # A replicate may hold one sort alone, of which nothing can be said: that is what a half says.
            return lambda indices_RN: np.array(
                [measure(row) if labels[row].any() and not labels[row].all() else 0.5 for row in indices_RN]
            )

        auc = replicated(lambda row: area_under_curve(scores[row][labels[row]], scores[row][~labels[row]]))
        share = replicated(lambda row: float(right[row][labels[row]].mean() + right[row][~labels[row]].mean()) / 2)
        how = f"bootstrap over {len(pairs):,} labelled pairs"
        self.calibration = JudgeCalibration(
            threshold=best_threshold(scores[labels], scores[~labels]),
            auc=bootstrap(auc, len(pairs), seed=seed, replicates=1000, how=how),
            right=bootstrap(share, len(pairs), seed=seed, replicates=1000, how=f"{FOLDS}-fold, {how}"),
        )
        return self.calibration

    def __call__(self, response: str, attributes: Sequence[Attribute]) -> list[bool | None]:
        """The verdicts on one response. Raises as ``judge``."""
        return self.judge([(response, attributes)])[0]

    def judge(self, questions: Sequence[Question]) -> list[list[bool | None]]:
        """The verdicts on many. UsageError where the judge is not calibrated, or its AUC may be a half or less."""
        if self.calibration is None:
            raise UsageError("a judge by vectors needs labelled pairs first; call calibrate(pairs).")
        auc = self.calibration.auc
        if auc.lower <= 0.5:
            raise UsageError(
                f"these vectors do not tell whether an attribute is met: AUC {auc.estimate:.2f} [{auc.lower:.2f}, "
                f"{auc.upper:.2f}] on {auc.n} labelled pairs; take another encoder, or a chat model as the judge."
            )
        threshold = self.calibration.threshold
        rows = self.scores([(response, [attribute.text for attribute in own]) for response, own in questions])
        return [[bool(score >= threshold) for score in row] for row in rows]
