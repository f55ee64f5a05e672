"""Held-out rows asked of a fitted estimator, of the same with its demonstrations spoilt, and of the baselines."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from armillary.data.vector_files import Task
from armillary.methods.vector_icl.answers import token_f1
from armillary.methods.vector_icl.baselines import baseline_answers
from armillary.methods.vector_icl.config import FitConfig
from armillary.methods.vector_icl.estimators import (
    VectorICLEstimator,
    VectorICLRegressor,
)
from armillary.methods.vector_icl.problem import Problem, Targets
from armillary.progress import counted

VECTORS, SHUFFLED, NONE = "Vector-ICL", "answers shuffled", "no demonstrations"

_SHUFFLES = 3
"""Orders of the shuffled answers; a row's score is their mean, since one order may leave many answers right."""

_EXAMPLES = 12
"""Held-out rows that the report shows."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How well each arm answers the held-out rows."""

    arms: dict[str, list[float]]
    """By arm a score of each row: 1 for a right class, the absolute error of a number, the F1 of a text."""

    missing: int
    """Answers of the fit without a number."""

    examples: list[tuple[int, str, str]]
    """Row (from 1), target and answer of the first rows."""


def evaluate(
    fitted: VectorICLEstimator, problem: Problem, config: FitConfig, demonstrations: Sequence[int]
) -> Evaluation:
    """Scores of the fit, of the controls and of the baselines; ``demonstrations`` are rows of the file."""
    truth = problem.answers(problem.held_out)
    queries = problem.vectors(problem.held_out)
    generator = np.random.default_rng(config.seed + 1)
    orders = [generator.permutation(len(fitted.demonstrations_)).tolist() for _ in range(_SHUFFLES)]
    controls = {
        SHUFFLED: [fitted.with_answers_exchanged(order) for order in orders],
        NONE: [fitted.without_demonstrations()],
    }
    arms: dict[str, list[float]] = {}
    with counted("asking held-out rows", 1 + sum(map(len, controls.values()))) as bar:
        answers = fitted.predict(queries)
        arms[VECTORS] = _scores(problem.task, _filled(fitted, answers), truth)
        bar.advance()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of answers without a number: said of the fit
            for name, estimators in controls.items():
                runs = []
                for estimator in estimators:
                    runs.append(_scores(problem.task, _filled(fitted, estimator.predict(queries)), truth))
                    bar.advance()
                arms[name] = np.mean(runs, axis=0).tolist()
    for name, baseline in baseline_answers(problem, demonstrations).items():
        arms[name] = _scores(problem.task, baseline, truth)
    rows = zip(problem.held_out[:_EXAMPLES], truth, answers.tolist(), strict=False)
    return Evaluation(
        arms=arms,
        missing=sum(answer != answer for answer in answers.tolist()),  # only NaN differs from itself
        examples=[(row + 1, str(right), str(answer)) for row, right, answer in rows],
    )


def _filled(fitted: VectorICLEstimator, answers: NDArray[Any]) -> Targets:
    """An answer without a number counts as the mean of the training's, as in the estimator's score."""
    filled: Targets = (fitted.filled(answers) if isinstance(fitted, VectorICLRegressor) else answers).tolist()
    return filled


def _scores(task: Task, answers: Targets, truth: Targets) -> list[float]:
    pairs = zip(answers, truth, strict=True)
    if task == "classify":
        return [float(answer == right) for answer, right in pairs]
    if task == "regress":
        return [abs(float(answer) - float(right)) for answer, right in pairs]
    return [token_f1(str(answer), str(right)) for answer, right in pairs]
