"""Episodes: words that mean nothing stand for classes, drawn anew each time, so that only demonstrations say which.

The honest test of learning in context; arms of one episode share demonstrations, words and queries.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from armillary.methods.vector_icl.baselines import logistic, nearest
from armillary.methods.vector_icl.config import EPISODE_WORDS
from armillary.methods.vector_icl.projector import Projector
from reproductions.vector_icl.carrier import ArmRow, Pair, Prompt, Scores, vector_pair
from reproductions.vector_icl.few_shot import LOGISTIC, exchanged, of_each
from reproductions.vector_icl.setup import NEIGHBOUR, RANDOM, SHUFFLED, VECTORS, Context, Trained
from reproductions.vector_icl.tasks import ClassTask

NAMES, NAMES_SHUFFLED = "fixed names", "fixed names, shuffled"
"""A projector that was trained with the classes' own names, asked the same episodes with these names."""

WORDS = tuple(f" {word}" for word in EPISODE_WORDS)


@dataclass(frozen=True)
class Episode:
    """What is shown and asked: indices into the training and test part, and the word of each class."""

    words: dict[str, str]
    shown: list[int]
    queries: list[int]
    """Of each class equally many."""

    calibration: list[int]
    """Training inputs that are not shown, of each class equally many."""

    def answers(self, classes: Sequence[str], chosen: Sequence[int]) -> list[str]:
        return [self.words[classes[index]] for index in chosen]


def draw_episode(
    task: ClassTask, shots: int, ways: int, queries: int, seed: int, *, calibration: int = 0, most: int | None = None
) -> Episode:
    """An episode of the seed; the classes, words, queries and calibration are the same for every number of shots up
    to ``most``."""
    generator = np.random.default_rng(seed)
    classes = [task.words[index] for index in generator.permutation(len(task.words))[:ways]]
    words = [WORDS[index] for index in generator.permutation(len(WORDS))[:ways]]
    chosen = of_each(task.test.words, classes, queries // ways, generator)
    order = [int(index) for index in generator.permutation(len(task.train))]
    members = {name: [index for index in order if task.train.words[index] == name] for name in classes}
    first = shots if most is None else most
    others = [index for name in classes for index in members[name][first:][: max(1, calibration // ways)]]
    shown = [index for name in classes for index in members[name][:shots]]
    # Another generator: how many are shown must not change what was drawn above.
    shown = [shown[index] for index in np.random.default_rng(seed + shots).permutation(len(shown))]
    return Episode(words=dict(zip(classes, words, strict=True)), shown=shown, queries=chosen, calibration=others)


def episode_row(context: Context, task: ClassTask, trained: Trained, named: Projector, *, seed: int) -> ArmRow:
    """All episodes of a seed, one after the other; ``named`` is the projector that was trained with fixed names.

    Its arms and the random projector stand at the most shots alone.
    """
    scale, loaded = context.scale, context.loaded
    own, fixed, blind = (
        vector_pair(loaded, task.template, projector, task.train.vectors, task.test.vectors)
        for projector in (trained.projector, named, context.blind_projector(task.train.vectors, seed))
    )
    most = scale.episode_shots[-1]
    scores: Scores = {}
    raw: Scores = {}
    for shots in scale.episode_shots:
        for number in range(scale.reading.draws):
            episode = draw_episode(
                task,
                shots,
                scale.ways,
                scale.reading.queries,
                1000 * seed + number,
                calibration=scale.reading.calibration,
                most=most,
            )
            names = Episode(
                {name: name for name in episode.words}, episode.shown, episode.queries, episode.calibration
            )
            arms = [(VECTORS, own, episode, False), (SHUFFLED, own, episode, True)]
            if shots == most:
                arms += [(RANDOM, blind, episode, False), (NAMES, fixed, names, False)]
                arms += [(NAMES_SHUFFLED, fixed, names, True)]
            for arm, pair, drawn, mixed in arms:
                for table, right in zip((scores, raw), _right(task, drawn, pair, mixed=mixed), strict=True):
                    table.setdefault(arm, {}).setdefault(str(shots), []).extend(right)
            for arm, right in _without_model(task, episode).items():
                scores.setdefault(arm, {}).setdefault(str(shots), []).extend(right)
    return ArmRow(
        task=task.name,
        shots=list(scale.episode_shots),
        draws=scale.reading.draws,
        scores=scores,
        raw=raw,
        losses=trained.losses,
        chance=1 / scale.ways,
    )


def _right(task: ClassTask, episode: Episode, pair: Pair, *, mixed: bool) -> tuple[list[float], list[float]]:
    """1 for each query that was answered rightly, calibrated and as it is; ``mixed``: behind shuffled answers."""
    answers = episode.answers(task.train.words, episode.shown)
    if mixed:
        answers = exchanged(answers, len(answers) + sum(episode.queries))
    truth = episode.answers(task.test.words, episode.queries)
    prompt = Prompt.of(pair[0], episode.shown, answers)
    best = prompt.best_labels(pair, episode.queries, episode.calibration, list(episode.words.values()))
    calibrated, raw = ([float(word == right) for word, right in zip(words, truth, strict=True)] for words in best)
    return calibrated, raw


def _without_model(task: ClassTask, episode: Episode) -> dict[str, list[float]]:
    answers = episode.answers(task.train.words, episode.shown)
    truth = episode.answers(task.test.words, episode.queries)
    vectors, queried = task.train.vectors[episode.shown], task.test.vectors[episode.queries]
    by_arm = {NEIGHBOUR: nearest(vectors, answers, queried), LOGISTIC: logistic(vectors, answers, queried)}
    return {
        arm: [float(word == right) for word, right in zip(words, truth, strict=True)] for arm, words in by_arm.items()
    }
