"""Held-out rows asked of a fitted estimator, of the same with its demonstrations spoilt, and of methods without a
language model that see the same rows.

Legend: N rows, E numbers a vector.
"""

import copy
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from armillary.cli.vector_icl import FitConfig, Problem
from armillary.data.vector_files import Task, numbers_of, usual
from armillary.methods.vector_icl.answers import token_f1
from armillary.methods.vector_icl.estimators import VectorICLRegressor
from armillary.methods.vector_icl.saved_estimator import Fitted
from armillary.progress import counted

Vectors = NDArray[np.float32]


def standardised(train: NDArray[Any], *others: NDArray[Any]) -> tuple[Vectors, ...]:
    """Zero mean and unit deviation in each column, then unit length on the mean; all fitted on ``train`` alone."""
    mean, spread = train.mean(0), np.maximum(train.std(0), 1e-6)
    scale = spread * np.sqrt(train.shape[1])
    return tuple(np.asarray((some - mean) / scale, dtype=np.float32) for some in (train, *others))


VECTORS, SHUFFLED, NONE, MAJORITY = "Vector-ICL", "answers shuffled", "no demonstrations", "majority"
NEIGHBOUR, REGRESSION = "1-NN", "regression"
SHOWN, ALL = "same demonstrations", "all training rows"
_SHUFFLES = 3
"""Orders of the shuffled answers; a row's score is their mean, since one order may leave many answers right."""

_EXAMPLES = 12
_COMPARED = 200
"""Training texts among which the most typical is sought."""

Answers = Sequence[Any]
Table = NDArray[Any]


def measured(fitted: Fitted, problem: Problem, config: FitConfig, chosen: Sequence[int]) -> dict[str, Any]:
    """By arm a score of each held-out row: 1 for a right class, the absolute error of a number, the F1 of a text.

    ``chosen`` are the rows of the file that the demonstrations are.
    """
    truth = _values(problem, problem.held_out)
    told, arms = _with_model(fitted, problem, config, truth)
    for name, answers in _without_model(problem, chosen).items():
        arms[name] = _scores(problem.task, answers, truth)
    rows = [
        [row + 1, str(right), str(answer)]
        for row, right, answer in zip(problem.held_out[:_EXAMPLES], truth, told, strict=False)
    ]
    return {
        "arms": arms,
        "missing": sum(answer != answer for answer in told),
        "examples": rows,
    }


def _with_model(
    fitted: Fitted, problem: Problem, config: FitConfig, truth: Answers
) -> tuple[list[Any], dict[str, list[float]]]:
    """What the fit answers, and the scores of the fit and of the same with its demonstrations spoilt."""
    asked = {VECTORS: [fitted], SHUFFLED: _shuffled(fitted, config.seed + 1), NONE: [_bare(fitted)]}
    queries = problem.file.vectors[problem.held_out]
    told: list[Any] = []
    arms: dict[str, list[float]] = {}
    with counted("asking held-out rows", sum(map(len, asked.values()))) as bar:
        for name, estimators in asked.items():
            scores = []
            for estimator in estimators:
                with warnings.catch_warnings():
                    if name != VECTORS:
                        warnings.simplefilter("ignore", UserWarning)  # of answers without a number: said of the fit
                    answers = estimator.predict(queries).tolist()
                told = told or answers
                scores.append(_scores(problem.task, _filled(answers, fitted), truth))
                bar.advance()
            arms[name] = np.mean(scores, axis=0).tolist()
    return told, arms


def _shuffled(fitted: Fitted, seed: int) -> list[Fitted]:
    """The same estimator whose demonstrations have their answers exchanged, in several orders."""
    generator = np.random.default_rng(seed)
    shown = fitted.demonstrations_.tolist()
    found = []
    for _ in range(_SHUFFLES):
        other = copy.copy(fitted)
        other._told = list(fitted._told)
        for index, place in zip(shown, generator.permutation(len(shown)).tolist(), strict=True):
            other._told[index] = fitted._told[shown[place]]
        found.append(other)
    return found


def _bare(fitted: Fitted) -> Fitted:
    """The same estimator without demonstrations."""
    other = copy.copy(fitted)
    other.demonstrations_ = fitted.demonstrations_[:0]
    return other


def _filled(told: Answers, fitted: Fitted) -> list[Any]:
    """An answer without a number counts as the mean of the training's, as in the estimator's score."""
    if not isinstance(fitted, VectorICLRegressor):
        return list(told)
    return [fitted._mean if value != value else value for value in told]


def _without_model(problem: Problem, chosen: Sequence[int]) -> dict[str, list[Any]]:
    """Answers of the majority, of the nearest neighbour and of regression, on the demonstrations and on all rows.

    Columns are standardised on all training rows.
    """
    train, queries = standardised(*(problem.file.vectors[rows] for rows in (problem.training, problem.held_out)))
    place = {row: number for number, row in enumerate(problem.training)}
    found = {MAJORITY: [_constant(problem)] * len(queries)}
    for what, rows in ((SHOWN, chosen), (ALL, problem.training)):
        vectors, answers = train[[place[row] for row in rows]], _values(problem, rows)
        found[f"{NEIGHBOUR}, {what}"] = _nearest(vectors, answers, queries)
        if problem.task != "describe":
            name = "logistic" if problem.task == "classify" else "ridge"
            found[f"{name} {REGRESSION}, {what}"] = _regression(problem.task)(vectors, answers, queries)
    return found


def _nearest(vectors: Table, answers: Answers, queries: Table) -> list[Any]:
    from sklearn.neighbors import NearestNeighbors

    nearest = NearestNeighbors(n_neighbors=1).fit(vectors).kneighbors(queries, return_distance=False)[:, 0]
    return [answers[place] for place in nearest.tolist()]


def _regression(task: Task) -> Callable[[Table, Answers, Table], list[Any]]:
    return _logistic if task == "classify" else _ridge


def _logistic(vectors: Table, answers: Answers, queries: Table) -> list[Any]:
    from sklearn.linear_model import LogisticRegression

    # Vectors have unit length on the mean: a weaker penalty than the usual one suits them.
    found: list[Any] = LogisticRegression(C=10.0, max_iter=2000).fit(vectors, answers).predict(queries).tolist()
    return found


def _ridge(vectors: Table, answers: Answers, queries: Table) -> list[Any]:
    from sklearn.linear_model import RidgeCV

    if len(vectors) < 3:  # too few to choose a penalty by leaving one out
        return [float(np.mean(answers))] * len(queries)
    fitted = RidgeCV(alphas=np.logspace(-3, 3, 13)).fit(np.asarray(vectors, dtype=np.float64), answers)
    found: list[Any] = fitted.predict(np.asarray(queries, dtype=np.float64)).tolist()
    return found


def _constant(problem: Problem) -> Any:
    """The best answer without an input: the usual class, the median, the text most like the others."""
    values = _values(problem, problem.training)
    if problem.task == "classify":
        return usual(values)
    if problem.task == "regress":
        return float(np.median(values))
    some = values[:_COMPARED]
    return max(some, key=lambda text: sum(token_f1(text, other) for other in some))


def _values(problem: Problem, rows: Sequence[int]) -> list[Any]:
    told: list[Any] = [problem.targets[row] for row in rows]
    return numbers_of(told) if problem.task == "regress" else told


def _scores(task: Task, told: Answers, truth: Answers) -> list[float]:
    pairs = zip(told, truth, strict=True)
    if task == "classify":
        return [float(answer == right) for answer, right in pairs]
    if task == "regress":
        return [abs(float(answer) - right) for answer, right in pairs]
    return [token_f1(str(answer), right) for answer, right in pairs]
