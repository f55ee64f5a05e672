"""Episodes: words that mean nothing stand for classes, drawn anew each time, so that only demonstrations say which.

The honest test of learning in context; arms of one episode share demonstrations, words and queries.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from armillary.methods.vector_icl.baselines import logistic, nearest
from armillary.methods.vector_icl.config import CLASS, EPISODE_WORDS
from armillary.methods.vector_icl.projector import Projector
from reproductions.vector_icl.carrier import ArmRow, Pair, Prompt, Scores, text_pair, vector_pair
from reproductions.vector_icl.few_shot import LOGISTIC, exchanged
from reproductions.vector_icl.setup import NEIGHBOUR, RANDOM, SHUFFLED, TEXT, VECTORS, Context
from reproductions.vector_icl.tasks import ClassTask

SYMBOLS = "symbols"
"""The class's own name stands as text where the slot would: whoever can't copy from it can't learn in context."""

WORDS = tuple(f" {word}" for word in EPISODE_WORDS)


@dataclass(frozen=True)
class Episode:
    """What is shown and asked: indices into the training and test part, and the word of each class."""

    words: dict[str, str]
    shown: list[int]
    queries: list[int]

    def answers(self, classes: Sequence[str], chosen: Sequence[int]) -> list[str]:
        return [self.words[classes[index]] for index in chosen]


def draw_episode(task: ClassTask, shots: int, ways: int, queries: int, seed: int) -> Episode:
    """An episode of the seed; the classes, words and queries are the same for every number of shots."""
    generator = np.random.default_rng(seed)
    classes = [task.words[index] for index in generator.permutation(len(task.words))[:ways]]
    words = [WORDS[index] for index in generator.permutation(len(WORDS))[:ways]]
    word_of = dict(zip(classes, words, strict=True))
    among = [index for index, word in enumerate(task.test.words) if word in word_of]
    chosen = [among[index] for index in generator.permutation(len(among))[:queries]]
    order = [int(index) for index in generator.permutation(len(task.train))]
    shown = [index for name in classes for index in [i for i in order if task.train.words[i] == name][:shots]]
    # Another generator: how many are shown must not change what was drawn above.
    shown = [shown[index] for index in np.random.default_rng(seed + shots).permutation(len(shown))]
    return Episode(words=word_of, shown=shown, queries=chosen)


def episode_row(
    context: Context, task: ClassTask, projector: Projector, *, ways: int, seed: int, with_text: bool
) -> ArmRow:
    """All episodes of a seed, one after the other. Arms that show text, symbols or a random projector have a third of
    them, for their cost, and none unless ``with_text``."""
    scale, loaded, train, test = context.scale, context.loaded, task.train, task.test
    blind = context.blind_projector(train.vectors, seed)
    symbols = [[word.strip() for word in part.words] for part in (train, test)]
    pairs = {
        VECTORS: vector_pair(loaded, CLASS, projector, train.vectors, test.vectors),
        RANDOM: vector_pair(loaded, CLASS, blind, train.vectors, test.vectors),
        SYMBOLS: text_pair(loaded, CLASS, *symbols),
    }
    if with_text and train.texts is not None and test.texts is not None:
        pairs[TEXT] = text_pair(loaded, CLASS, train.texts, test.texts)
    scores: Scores = {}
    for shots in scale.episode_shots:
        for number in range(scale.episodes):
            episode = draw_episode(task, shots, ways, scale.asked_per_episode, 1000 * seed + number)
            kept = pairs if with_text and number * 3 < scale.episodes else {VECTORS: pairs[VECTORS]}
            for arm, right in _asked(task, episode, kept).items():
                scores.setdefault(arm, {}).setdefault(str(shots), []).extend(right)
    return ArmRow(task=task.name, shots=list(scale.episode_shots), scores=scores, chance=1 / ways)


def _asked(task: ClassTask, episode: Episode, pairs: dict[str, Pair]) -> dict[str, list[float]]:
    """By arm 1 for each query that was answered rightly; with shuffled answers and without a model, too."""
    labels = list(episode.words.values())
    answers = episode.answers(task.train.words, episode.shown)
    truth = episode.answers(task.test.words, episode.queries)
    prompts = [(arm, pair, answers) for arm, pair in pairs.items()]
    prompts.append((SHUFFLED, pairs[VECTORS], exchanged(answers, len(answers) + sum(episode.queries))))
    best_of: dict[str, Sequence[object]] = {}
    for arm, (shown, queries), given in prompts:
        best = Prompt.of(shown, episode.shown, given).label_scores(queries, episode.queries, labels).argmax(1)
        best_of[arm] = [labels[index] for index in best]
    vectors, queried = task.train.vectors[episode.shown], task.test.vectors[episode.queries]
    best_of[NEIGHBOUR] = nearest(vectors, answers, queried)
    best_of[LOGISTIC] = logistic(vectors, answers, queried)
    return {
        arm: [float(word == right) for word, right in zip(words, truth, strict=True)] for arm, words in best_of.items()
    }
