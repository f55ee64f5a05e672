"""Few-shot classification by vectors, beside text, nearest neighbours, regression, and controls without information.

All arms see the same demonstrations and are asked the same queries, so that they are compared in pairs. Predictions
are kept as indices into the task's sorted class words.
"""

import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from armillary.experiments.vector_icl_lab import Laboratory, Payload, Vectors, constant
from armillary.experiments.vector_icl_prompt import Carrier, Prompt
from armillary.experiments.vector_icl_scale import Training
from armillary.experiments.vector_icl_tasks import ClassTask, cut
from armillary.methods.vector_icl.demonstrations import draw_of_each
from armillary.methods.vector_icl.layout import text_ids
from armillary.methods.vector_icl.projector import Projector
from armillary.methods.vector_icl.tune import tune_projector

VECTORS, SHUFFLED, RANDOM, SOFT, TEXT = "vectors", "shuffled", "random projector", "soft prompt", "text"
NEIGHBOUR, NEIGHBOURS, LOGISTIC = "1-NN", "3-NN", "logistic regression"


def exchanged(answers: Sequence[str], seed: int) -> list[str]:
    """The answers in a random order that is another one, unless they are all the same."""
    generator, told = np.random.default_rng(seed), list(answers)
    if len(set(told)) < 2:
        return told
    while (mixed := [told[place] for place in generator.permutation(len(told))]) == told:
        pass
    return mixed


@dataclass(frozen=True, eq=False)
class Asked:
    """A task with its queries and the demonstrations of each number of shots."""

    lab: Laboratory
    task: ClassTask
    demonstrations: dict[int, list[int]]

    @classmethod
    def of(cls, lab: Laboratory, task: ClassTask, seed: int) -> "Asked":
        task = cut(task, lab.scale.queries, seed)
        draw = draw_of_each(task.train.words, seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a class that has fewer shows what it has
            return cls(lab, task, {shots: draw(shots) for shots in (0, *lab.scale.shots)})

    @property
    def truth(self) -> list[int]:
        return [self.task.words.index(word) for word in self.task.test.words]

    def words(self, shots: int, *, permuted: int | None = None) -> list[str]:
        """Answers of the demonstrations; ``permuted`` is the seed of a random order of them."""
        told = [self.task.train.words[index] for index in self.demonstrations[shots]]
        if permuted is None:
            return told
        return exchanged(told, permuted)

    def predicted(
        self, shown: Carrier, queries: Carrier, shots: int, *, count: int | None = None, permuted: int | None = None
    ) -> list[int]:
        """The likeliest class of each query (of the first ``count``)."""
        prompt = Prompt.of(shown, self.demonstrations[shots], self.words(shots, permuted=permuted))
        indices = range(len(self.task.test) if count is None else min(count, len(self.task.test)))
        scores = prompt.label_scores(queries, indices, self.task.words)
        best: list[int] = scores.argmax(1).tolist()
        return best

    def carriers(self, projector: Projector, *, same: bool = False) -> tuple[Carrier, Carrier]:
        """Demonstrations and queries as boxes; with ``same`` those of a soft prompt."""
        parts = (self.task.train.vectors, self.task.test.vectors)
        given = [constant(vectors) if same else vectors for vectors in parts]
        template, loaded = self.task.template, self.lab.loaded
        return (
            Carrier.of_vectors(loaded, template, projector, given[0]),
            Carrier.of_vectors(loaded, template, projector, given[1]),
        )


def tuned(
    lab: Laboratory,
    task: ClassTask,
    name: str,
    start: Callable[[], Projector],
    training: Training,
    *,
    same: bool = False,
    seed: int | None = None,
) -> Projector:
    """A projector tuned on the task with the classes' names; of a soft prompt with ``same``."""
    vectors = constant(task.train.vectors) if same else task.train.vectors

    def train(projector: Projector, table: Any, config: Any) -> Any:
        return tune_projector(lab.loaded, projector, table, task.train.words, task.template, config, balance=True)

    return lab.trained(name, start, vectors, train, training, seed=seed)[0]


def few_shot(
    lab: Laboratory,
    task: ClassTask,
    projector: Projector,
    *,
    others: Mapping[str, Projector] | None = None,
    soft: Projector | None = None,
    with_text: bool = True,
    seed: int | None = None,
) -> Payload:
    """Predictions by arm and number of shots; the first projector's also with shuffled labels and none shown.

    ``others`` are asked at every number of shots, too; ``random projector`` and the soft prompt at the largest alone.
    """
    seed = lab.seed if seed is None else seed
    asked = Asked.of(lab, task, seed)
    shots, most = lab.scale.shots, lab.scale.shots[-1]
    own = asked.carriers(projector)
    arms: dict[str, dict[str, list[int]]] = {VECTORS: {"0": asked.predicted(*own, 0)}, SHUFFLED: {}}
    for k in shots:
        arms[VECTORS][str(k)] = asked.predicted(*own, k)
        arms[SHUFFLED][str(k)] = asked.predicted(*own, k, permuted=seed + 1)
    for name, other in (others or {}).items():
        carriers = asked.carriers(other)
        arms[name] = {str(k): asked.predicted(*carriers, k) for k in shots}
    blind = lab.new_projector(task.train.vectors, seed=seed + 1000)
    arms[RANDOM] = {str(most): asked.predicted(*asked.carriers(blind), most)}
    if soft is not None:
        arms[SOFT] = {str(most): asked.predicted(*asked.carriers(soft, same=True), most)}
    if with_text and task.train.texts is not None and task.test.texts is not None:
        spoken = (
            Carrier.of_texts(lab.loaded, task.template, task.train.texts),
            Carrier.of_texts(lab.loaded, task.template, task.test.texts),
        )
        arms[TEXT] = {str(k): asked.predicted(*spoken, k, count=lab.scale.text_queries) for k in shots}
    arms |= without_model(asked, shots)
    return {
        "task": task.name,
        "words": list(asked.task.words),
        "truth": asked.truth,
        "shots": list(shots),
        "arms": arms,
        "whole": {LOGISTIC: logistic(task.train.vectors, task.train.words, asked)},
        "majority": Counter(task.train.words).most_common(1)[0][0],
        "tokens": tokens_per_example(lab, task),
    }


def without_model(asked: Asked, shots: Sequence[int]) -> dict[str, dict[str, list[int]]]:
    """Nearest neighbours and logistic regression that see the demonstrations and nothing else."""
    from sklearn.neighbors import KNeighborsClassifier

    found: dict[str, dict[str, list[int]]] = {NEIGHBOUR: {}, NEIGHBOURS: {}, LOGISTIC: {}}
    for k in shots:
        chosen = asked.demonstrations[k]
        vectors, words = asked.task.train.vectors[chosen], asked.words(k)
        for name, count in ((NEIGHBOUR, 1), (NEIGHBOURS, 3)):
            fitted = KNeighborsClassifier(min(count, len(chosen))).fit(vectors, words)
            found[name][str(k)] = indices(asked, fitted.predict(asked.task.test.vectors))
        found[LOGISTIC][str(k)] = logistic(vectors, words, asked)
    return found


def logistic(vectors: Vectors, words: Sequence[str], asked: Asked) -> list[int]:
    """Predictions of a logistic regression; one class alone is always predicted."""
    from sklearn.linear_model import LogisticRegression

    if len(set(words)) == 1:
        return indices(asked, [words[0]] * len(asked.task.test))
    # Vectors have unit length on the mean: a weaker penalty than the usual one suits them.
    fitted = LogisticRegression(C=10.0, max_iter=2000).fit(vectors, list(words))
    return indices(asked, fitted.predict(asked.task.test.vectors))


def indices(asked: Asked, words: Sequence[str]) -> list[int]:
    """Places of class words among the task's."""
    return [asked.task.words.index(str(word)) for word in words]


def tokens_per_example(lab: Laboratory, task: ClassTask) -> dict[str, float]:
    """Mean number of tokens of a demonstration, as vectors and (where there is a text) as text."""
    answer = np.mean([len(text_ids(lab.loaded, word)) for word in task.train.words])
    plain = sum(len(text_ids(lab.loaded, piece)) for piece in task.template.pieces)
    rest = float(answer) + plain + len(text_ids(lab.loaded, task.template.separator))
    found = {VECTORS: rest + 1}
    if task.train.texts is not None:
        lengths = [len(text_ids(lab.loaded, text)) for text in task.train.texts[:200]]
        found[TEXT] = rest + float(np.mean(lengths))
    return found
