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
from armillary.methods.vector_icl.config import SHOTS, FitConfig, TrainingConfig
from armillary.methods.vector_icl.estimators import (
    VectorICLClassifier,
    VectorICLEstimator,
    VectorICLGenerator,
    VectorICLRegressor,
)
from armillary.methods.vector_icl.problem import Problem, Targets
from armillary.models import LoadedModel
from armillary.progress import counted

VECTORS, SHUFFLED, NONE = "Vector-ICL", "answers shuffled", "no demonstrations"

_SHUFFLES = 3
"""Orders of the shuffled answers; a row's score is their mean, since one order may leave many answers right."""

_EXAMPLES = 12
"""Held-out rows that the report shows."""

_PACK = 32
"""Examples of one step, and of the longest sequence, unless a prompt has more."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How well each arm answers the held-out rows."""

    arms: dict[str, list[float]]
    """By arm a score of each row: 1 for a right class, the absolute error of a number, the F1 of a text."""

    missing: int
    """Answers of the fit without a number."""

    examples: list[tuple[int, str, str]]
    """Row (from 1), target and answer of the first rows."""


def unfitted(config: FitConfig, problem: Problem, loaded: LoadedModel) -> VectorICLEstimator:
    """The estimator of the settings for this problem."""
    shots = config.shots or SHOTS[problem.task]
    shown = shots * (len(set(problem.targets)) if problem.task == "classify" else 1)
    # Sequences as short as a few examples and as long as a prompt: after one length alone others do badly.
    most = max(_PACK, shown)
    # Three times the official rate, since there are few steps; clipping bounds what one batch may do. (ours)
    training = TrainingConfig(
        steps=config.steps, batch_size=most, pack=(min(4, most), most), learning_rate=3e-3, patience=None, clip=1.0
    )
    shared: dict[str, Any] = {
        "projector": config.projector,
        "template": config.template(problem.task),
        "shots": shots,
        "norm": config.norm,
        "start": config.start,
        "training": training,
        "random_state": config.seed,
    }
    if problem.task == "classify":
        return VectorICLClassifier(loaded, label_mode=config.label_mode, **shared)
    if problem.task == "regress":
        return VectorICLRegressor(loaded, levels=problem.levels(config), constrain=True, **shared)
    return VectorICLGenerator(loaded, max_new_tokens=None, **shared)


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
