"""What a fit is compared with: methods without a language model that see the same vectors.

Legend: N rows, E numbers a vector.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from armillary.data.vector_files import Task, usual
from armillary.methods.vector_icl.answers import token_f1
from armillary.methods.vector_icl.problem import Problem, Targets

Vectors = NDArray[np.float32]

MAJORITY, NEIGHBOUR = "majority", "1-NN"
REGRESSION: dict[Task, str] = {"classify": "logistic regression", "regress": "ridge regression"}
SHOWN, ALL = "same demonstrations", "all training rows"

LOGISTIC_C = 10.0
"""Weight of the data against the penalty. Vectors have unit length on the mean: a weaker penalty than the usual one
suits them."""

_COMPARED = 200
"""Training texts among which the most typical is sought: the time grows with their square."""


def standardised(train: NDArray[np.floating], *others: NDArray[np.floating]) -> tuple[Vectors, ...]:
    """Zero mean and unit deviation in each column, then unit length on the mean; all fitted on ``train`` alone."""
    mean, spread = train.mean(0), np.maximum(train.std(0), 1e-6)
    scale = spread * np.sqrt(train.shape[1])
    return tuple(np.asarray((table - mean) / scale, dtype=np.float32) for table in (train, *others))


def baseline_answers(problem: Problem, demonstrations: Sequence[int]) -> dict[str, Targets]:
    """Answers to the held-out rows by name of the method: from the ``demonstrations`` (rows of the file) alone, and
    from all training rows. Columns are standardised on all training rows."""
    train, queries = standardised(problem.vectors(problem.training), problem.vectors(problem.held_out))
    position = {row: number for number, row in enumerate(problem.training)}
    answers = {MAJORITY: _constant(problem, len(queries))}
    for seen, rows in ((SHOWN, demonstrations), (ALL, problem.training)):
        vectors, targets = train[[position[row] for row in rows]], problem.answers(rows)
        answers[f"{NEIGHBOUR}, {seen}"] = nearest(vectors, targets, queries)
        if problem.task == "classify":
            answers[f"{REGRESSION['classify']}, {seen}"] = logistic(vectors, targets, queries)
        elif problem.task == "regress":
            answers[f"{REGRESSION['regress']}, {seen}"] = _ridge(vectors, targets, queries)
    return answers


def nearest(vectors: Vectors, targets: Targets, queries: Vectors) -> Targets:
    """The target of the nearest vector to each query."""
    from sklearn.neighbors import NearestNeighbors

    rows = NearestNeighbors(n_neighbors=1).fit(vectors).kneighbors(queries, return_distance=False)[:, 0]
    return [targets[row] for row in rows.tolist()]


def logistic(vectors: Vectors, targets: Targets, queries: Vectors) -> Targets:
    """The class of each query by a logistic regression; one class alone is always told."""
    from sklearn.linear_model import LogisticRegression

    if len(set(targets)) == 1:
        return [str(targets[0])] * len(queries)
    fitted = LogisticRegression(C=LOGISTIC_C, max_iter=2000).fit(vectors, targets)
    answers: Targets = fitted.predict(queries).tolist()
    return answers


def _ridge(vectors: Vectors, targets: Targets, queries: Vectors) -> Targets:
    from sklearn.linear_model import RidgeCV

    if len(vectors) < 3:  # too few to choose a penalty by leaving one out
        return [float(np.mean(np.array(targets, dtype=float)))] * len(queries)
    fitted = RidgeCV(alphas=np.logspace(-3, 3, 13)).fit(np.asarray(vectors, dtype=np.float64), targets)
    answers: Targets = fitted.predict(np.asarray(queries, dtype=np.float64)).tolist()
    return answers


def _constant(problem: Problem, count: int) -> Targets:
    """The best answer without an input: the usual class, the median, the text most like the others."""
    targets = problem.answers(problem.training)
    if problem.task == "regress":
        return [float(np.median(np.array(targets, dtype=float)))] * count
    texts = [str(text) for text in targets]
    if problem.task == "classify":
        return [usual(texts)] * count
    compared = texts[:_COMPARED]
    return [max(compared, key=lambda text: sum(token_f1(text, other) for other in compared))] * count
