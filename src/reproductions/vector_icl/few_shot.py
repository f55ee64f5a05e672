"""Few-shot classification by vectors, beside text, nearest neighbours, regression, and controls without information.

All arms see the same demonstrations and are asked the same queries, so that they are compared in pairs. Queries are as
many of each class, so that accuracy is balanced accuracy; answers of a language model are calibrated.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from armillary.methods.vector_icl.baselines import Vectors, logistic, nearest
from armillary.methods.vector_icl.projector import Projector
from armillary.methods.vector_icl.projector_fit import tune_projector
from armillary.methods.vector_icl.prompts import draw_of_each, text_ids
from reproductions.vector_icl.carrier import ArmRow, Pair, Prompt, Scores, text_pair, vector_pair
from reproductions.vector_icl.scale import Reading, Training
from reproductions.vector_icl.setup import NEIGHBOUR, RANDOM, SHUFFLED, TEXT, VECTORS, Context, Trained
from reproductions.vector_icl.tasks import ClassTask

LOGISTIC, LOGISTIC_OF_ALL = "logistic regression", "logistic regression on all"
TUNED_TEXT = "logistic regression on the text's numbers"
"""The text, tuned as the vectors were: on all training inputs, as the numbers that it tells."""


@dataclass(frozen=True, eq=False)
class Draw:
    """What is shown and asked once; training and test indices of the task."""

    demonstrations: dict[int, list[int]]
    """By shots a class; fewer are a part of more."""

    queries: list[int]
    """Of each class equally many."""

    calibration: list[int]
    """Training inputs that are not shown, of each class equally many."""

    @classmethod
    def of(cls, task: ClassTask, shots: Sequence[int], reading: Reading, seed: int) -> "Draw":
        draw, generator = draw_of_each(task.train.words, seed), np.random.default_rng(seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a class that has fewer shows what it has
            demonstrations = {k: draw(k) for k in (0, *shots)}
        shown, classes = set(demonstrations[max(shots)]), task.words
        free = [index for index in range(len(task.train)) if index not in shown] or list(range(len(task.train)))
        words = [task.train.words[index] for index in free]
        return cls(
            demonstrations,
            of_each(task.test.words, classes, max(1, reading.queries // len(classes)), generator),
            [free[i] for i in of_each(words, classes, max(1, reading.calibration // len(classes)), generator)],
        )


def of_each(words: Sequence[str], classes: Sequence[str], count: int, generator: np.random.Generator) -> list[int]:
    """Random indices of ``count`` inputs of each class (of all that it has, where it has fewer)."""
    order = [int(index) for index in generator.permutation(len(words))]
    return [index for name in classes for index in [i for i in order if words[i] == name][:count]]


def exchanged(answers: Sequence[str], seed: int) -> list[str]:
    """The answers in a random order that is another one, unless they are all the same."""
    generator, given = np.random.default_rng(seed), list(answers)
    if len(set(given)) < 2:
        return given
    while (mixed := [given[index] for index in generator.permutation(len(given))]) == given:
        pass
    return mixed


def tuned(
    context: Context, task: ClassTask, name: str, start: Callable[[], Projector], training: Training, seed: int
) -> Trained:
    """A projector tuned on the task with the classes' names."""
    train = partial(tune_projector, targets=task.train.words, template=task.template, balance=True)
    return context.trained(f"{name} {seed}", start, task.train.vectors, train, training, seed=seed)


def few_shot(
    context: Context,
    task: ClassTask,
    trained: Trained,
    seed: int,
    *,
    others: Mapping[str, tuple[Projector, Sequence[int]]] | None = None,
    with_text: bool = False,
    shots: Sequence[int] | None = None,
    reading: Reading | None = None,
) -> ArmRow:
    """Every draw of a seed. The trained projector is asked at every number of shots and with none; ``others`` at their
    own numbers; text, shuffled labels and a random projector at the largest alone."""
    shots, reading = list(shots or context.scale.shots), reading or context.scale.reading
    most = shots[-1:]
    pairs = {VECTORS: by_vectors(context, task, trained.projector)}
    pairs |= {name: by_vectors(context, task, other) for name, (other, _) in (others or {}).items()}
    pairs[RANDOM] = by_vectors(context, task, context.blind_projector(task.train.vectors, seed))
    if with_text:
        pairs[TEXT] = text_pair(context.loaded, task.template, task.train.texts or (), task.test.texts or ())
    plan: dict[str, Sequence[int]] = {VECTORS: [0, *shots], TEXT: most, RANDOM: most}
    plan |= {name: own for name, (_, own) in (others or {}).items()}
    scores: Scores = {}
    raw: Scores = {}
    whole: dict[str, list[float]] = {}
    for number in range(reading.draws):
        draw = Draw.of(task, shots, reading, 1000 * seed + number)
        for arm, pair in pairs.items():
            for k in plan[arm]:
                _keep(scores, raw, arm, k, _right(task, draw, pair, k))
        _keep(scores, raw, SHUFFLED, most[0], _right(task, draw, pairs[VECTORS], most[0], mixed=1000 * seed + number))
        for k in shots:
            for arm, words in _without_model(task, draw, k).items():
                scores.setdefault(arm, {}).setdefault(str(k), []).extend(_as_scores(task, draw, words))
        for name, words in _tuned_without_model(task, draw, with_text).items():
            whole.setdefault(name, []).extend(_as_scores(task, draw, words))
    return ArmRow(
        task=task.name,
        shots=shots,
        draws=reading.draws,
        scores=scores,
        raw=raw,
        whole=whole,
        tokens=_tokens_per_example(context, task),
        losses=trained.losses,
        chance=1 / len(task.words),
    )


def by_vectors(context: Context, task: ClassTask, projector: Projector) -> Pair:
    """Demonstrations and queries as slots."""
    return vector_pair(context.loaded, task.template, projector, task.train.vectors, task.test.vectors)


def _keep(scores: Scores, raw: Scores, arm: str, shots: int, right: tuple[list[float], list[float]]) -> None:
    for table, values in zip((scores, raw), right, strict=True):
        table.setdefault(arm, {}).setdefault(str(shots), []).extend(values)


def _right(
    task: ClassTask, draw: Draw, pair: Pair, shots: int, *, mixed: int | None = None
) -> tuple[list[float], list[float]]:
    """Scores, calibrated and as they are; ``mixed`` is the seed of a random order of the demonstrations' answers."""
    shown = draw.demonstrations[shots]
    answers = [task.train.words[index] for index in shown]
    prompt = Prompt.of(pair[0], shown, answers if mixed is None else exchanged(answers, mixed))
    best = prompt.best_labels(pair, draw.queries, draw.calibration, task.words)
    calibrated, raw = (_as_scores(task, draw, words) for words in best)
    return calibrated, raw


def _as_scores(task: ClassTask, draw: Draw, words: Sequence[object]) -> list[float]:
    """1 for each query that was answered rightly."""
    return [float(word == task.test.words[index]) for word, index in zip(words, draw.queries, strict=True)]


def _without_model(task: ClassTask, draw: Draw, shots: int) -> dict[str, Sequence[object]]:
    """What sees the demonstrations' vectors and nothing else."""
    shown = draw.demonstrations[shots]
    vectors, words = task.train.vectors[shown], [task.train.words[index] for index in shown]
    queries = task.test.vectors[draw.queries]
    return {NEIGHBOUR: nearest(vectors, words, queries), LOGISTIC: logistic(vectors, words, queries)}


def _tuned_without_model(task: ClassTask, draw: Draw, with_text: bool) -> dict[str, Sequence[object]]:
    """Logistic regressions on all training inputs: on their vectors, and on the numbers that their texts tell."""
    words = list(task.train.words)
    answers: dict[str, Sequence[object]] = {
        LOGISTIC_OF_ALL: logistic(task.train.vectors, words, task.test.vectors[draw.queries])
    }
    tables = [numbers_of(part.texts) for part in (task.train, task.test)] if with_text else []
    if tables and all(table is not None for table in tables):
        train, test = (table for table in tables if table is not None)
        answers[TUNED_TEXT] = logistic(train, words, test[draw.queries])
    return answers


def numbers_of(texts: Sequence[str] | None) -> Vectors | None:
    """Texts of as many whole numbers each as a table, in hundredths; None where they are no such texts."""
    rows = [text.split() for text in texts or ()]
    if not rows or len({len(row) for row in rows}) > 1 or not all(word.isdigit() for row in rows for word in row):
        return None
    return np.asarray(np.array(rows, dtype=np.float32) / 100, dtype=np.float32)


def _tokens_per_example(context: Context, task: ClassTask) -> dict[str, float]:
    """Mean number of tokens of a demonstration, as vectors and (where there is a text) as text."""
    answer = np.mean([len(text_ids(context.loaded, word)) for word in task.train.words])
    around = (*task.template.pieces, task.template.separator)
    rest = float(answer) + sum(len(text_ids(context.loaded, piece)) for piece in around)
    tokens = {VECTORS: rest + 1}
    if task.train.texts is not None:
        lengths = [len(text_ids(context.loaded, text)) for text in task.train.texts[:200]]
        tokens[TEXT] = rest + float(np.mean(lengths))
    return tokens
