"""Episodes: words that mean nothing stand for classes, drawn anew each time, so that only demonstrations say which.

The honest test of learning in context; arms of one episode share demonstrations, words and queries.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from armillary.experiments.vector_icl_classes import (
    LOGISTIC,
    NEIGHBOUR,
    RANDOM,
    SHUFFLED,
    TEXT,
    VECTORS,
    exchanged,
)
from armillary.experiments.vector_icl_lab import Laboratory, Payload, Vectors
from armillary.experiments.vector_icl_prompt import Carrier, Prompt
from armillary.experiments.vector_icl_scale import Training
from armillary.experiments.vector_icl_tasks import ClassTask
from armillary.methods.vector_icl.config import EPISODE_WORDS, Template
from armillary.methods.vector_icl.projector import Projector
from armillary.methods.vector_icl.tune import tune_on_episodes

SYMBOLS = "symbols"
"""The class's own name stands as text where the box would: whoever can't copy from it can't learn in context."""

TEMPLATE = Template(("(", ")'s class is"))
_WORDS = tuple(f" {word}" for word in EPISODE_WORDS)


@dataclass(frozen=True)
class Episode:
    """What is shown and asked: places in the training and test part, and the word of each class."""

    words: dict[str, str]
    shown: list[int]
    asked: list[int]

    def told(self, classes: Sequence[str], chosen: Sequence[int]) -> list[str]:
        return [self.words[classes[index]] for index in chosen]


def episode_projector(
    lab: Laboratory,
    name: str,
    vectors: Vectors,
    classes: Sequence[int],
    ways: int,
    training: Training,
    seed: int,
    *,
    sets: Sequence[int] | None = None,
) -> Projector:
    """A projector that was trained on episodes of ``ways`` classes (or fewer) of one of the data ``sets``."""

    def train(projector: Projector, table: Any, config: Any) -> Any:
        return tune_on_episodes(lab.loaded, projector, table, classes, _WORDS, TEMPLATE, config, ways=ways, sets=sets)

    return lab.trained(name, lambda: lab.new_projector(vectors, seed=seed), vectors, train, training, seed=seed)[0]


def drawn(task: ClassTask, shots: int, ways: int, asked: int, seed: int) -> Episode:
    """An episode of the seed; the classes, words and queries are the same for every number of shots."""
    generator = np.random.default_rng(seed)
    classes = [task.words[place] for place in generator.permutation(len(task.words))[:ways]]
    words = [_WORDS[place] for place in generator.permutation(len(_WORDS))[:ways]]
    told = dict(zip(classes, words, strict=True))
    among = [index for index, word in enumerate(task.test.words) if word in told]
    queries = [among[place] for place in generator.permutation(len(among))[:asked]]
    order = generator.permutation(len(task.train))
    shown = [int(index) for one in classes for index in [i for i in order if task.train.words[int(i)] == one][:shots]]
    shown = [shown[place] for place in np.random.default_rng(seed + shots).permutation(len(shown))]
    return Episode(words=told, shown=shown, asked=queries)


def episode_rows(
    lab: Laboratory, task: ClassTask, projector: Projector, *, ways: int, seed: int, with_text: bool
) -> Payload:
    """Arm -> shots -> 1 for each query that was answered rightly, episode after episode."""
    carriers = _Carriers.of(lab, task, projector, seed, with_text=with_text)
    arms: dict[str, dict[str, list[float]]] = {}
    for shots in lab.scale.episode_shots:
        for number in range(lab.scale.episodes):
            one = drawn(task, shots, ways, lab.scale.asked_per_episode, 1000 * seed + number)
            for arm, right in carriers.asked(one, text=with_text and number * 3 < lab.scale.episodes).items():
                arms.setdefault(arm, {}).setdefault(str(shots), []).extend(right)
    return {"task": task.name, "shots": list(lab.scale.episode_shots), "arms": arms, "chance": 1 / ways}


@dataclass(frozen=True, eq=False)
class _Carriers:
    task: ClassTask
    shown: dict[str, Carrier]
    queries: dict[str, Carrier]

    @classmethod
    def of(cls, lab: Laboratory, task: ClassTask, projector: Projector, seed: int, *, with_text: bool) -> "_Carriers":
        blind = lab.new_projector(task.train.vectors, seed=seed + 1000)
        sides: list[dict[str, Carrier]] = []
        for part in (task.train, task.test):
            side = {
                VECTORS: Carrier.of_vectors(lab.loaded, TEMPLATE, projector, part.vectors),
                RANDOM: Carrier.of_vectors(lab.loaded, TEMPLATE, blind, part.vectors),
                SYMBOLS: Carrier.of_texts(lab.loaded, TEMPLATE, [word.strip() for word in part.words]),
            }
            if with_text and part.texts is not None:
                side[TEXT] = Carrier.of_texts(lab.loaded, TEMPLATE, part.texts)
            sides.append(side)
        return cls(task, *sides)

    def asked(self, episode: Episode, *, text: bool) -> dict[str, list[float]]:
        """Right answers of every arm; controls of other inputs only where ``text`` says so, for their cost."""
        labels = list(episode.words.values())
        answers = episode.told(self.task.train.words, episode.shown)
        truth = [labels.index(word) for word in episode.told(self.task.test.words, episode.asked)]
        mixed = exchanged(answers, len(answers) + sum(episode.asked))
        found = {}
        for arm, carrier in self.shown.items():
            if arm in (TEXT, SYMBOLS, RANDOM) and not text:
                continue
            for name, told in ((arm, answers), (SHUFFLED, mixed)) if arm == VECTORS else ((arm, answers),):
                prompt = Prompt.of(carrier, episode.shown, told)
                scores = prompt.label_scores(self.queries[arm], episode.asked, labels)
                found[name] = (scores.argmax(1) == truth).astype(float).tolist()
        return found | self._without_model(episode, answers, [labels[place] for place in truth])

    def _without_model(self, episode: Episode, answers: list[str], truth: list[str]) -> dict[str, list[float]]:
        from sklearn.linear_model import LogisticRegression
        from sklearn.neighbors import KNeighborsClassifier

        shown, asked = self.task.train.vectors[episode.shown], self.task.test.vectors[episode.asked]
        fitted = {
            NEIGHBOUR: KNeighborsClassifier(1).fit(shown, answers),
            LOGISTIC: LogisticRegression(C=10.0, max_iter=2000).fit(shown, answers),
        }
        return {name: (one.predict(asked) == np.array(truth)).astype(float).tolist() for name, one in fitted.items()}
