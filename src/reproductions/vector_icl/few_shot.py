"""Few-shot classification by vectors, beside text, nearest neighbours, regression, and controls without information.

All arms see the same demonstrations and are asked the same queries, so that they are compared in pairs. A score is 1
for a query that was answered rightly, else 0.
"""

import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from armillary.methods.vector_icl.baselines import Vectors, logistic
from armillary.methods.vector_icl.projector import Projector
from armillary.methods.vector_icl.projector_fit import tune_projector
from armillary.methods.vector_icl.prompts import draw_of_each, text_ids
from reproductions.vector_icl.carrier import ArmRow, Pair, Prompt, Scores, text_pair, vector_pair
from reproductions.vector_icl.scale import Training
from reproductions.vector_icl.setup import NEIGHBOUR, RANDOM, SHUFFLED, SOFT, TEXT, VECTORS, Context, constant
from reproductions.vector_icl.tasks import ClassTask, shuffled

NEIGHBOURS, LOGISTIC = "3-NN", "logistic regression"
MAJORITY, LOGISTIC_OF_ALL = "most frequent class", "logistic regression on all"


@dataclass(frozen=True, eq=False)
class FewShotTask:
    """A task with its queries and the demonstrations of each number of shots."""

    context: Context
    task: ClassTask
    demonstrations: dict[int, list[int]]

    @classmethod
    def of(cls, context: Context, task: ClassTask, seed: int) -> "FewShotTask":
        task = task.with_queries(shuffled(len(task.test), seed, context.scale.queries))
        draw = draw_of_each(task.train.words, seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a class that has fewer shows what it has
            return cls(context, task, {shots: draw(shots) for shots in (0, *context.scale.shots)})

    def answers(self, shots: int, *, permuted: int | None = None) -> list[str]:
        """Of the demonstrations; ``permuted`` is the seed of a random order of them."""
        words = [self.task.train.words[index] for index in self.demonstrations[shots]]
        return words if permuted is None else exchanged(words, permuted)

    def right(self, words: Sequence[str]) -> list[float]:
        """1 for each query (of the first) that was answered rightly."""
        return [float(word == truth) for word, truth in zip(words, self.task.test.words, strict=False)]

    def asked(self, pair: Pair, shots: int, *, count: int | None = None, permuted: int | None = None) -> list[float]:
        """Scores of the likeliest class of each query (of the first ``count``)."""
        prompt = Prompt.of(pair[0], self.demonstrations[shots], self.answers(shots, permuted=permuted))
        scores = prompt.label_scores(pair[1], range(len(self.task.test))[:count], self.task.words)
        return self.right([self.task.words[best] for best in scores.argmax(1).tolist()])

    def by_vectors(self, projector: Projector) -> Pair:
        """Demonstrations and queries as slots."""
        task = self.task
        return vector_pair(self.context.loaded, task.template, projector, task.train.vectors, task.test.vectors)

    def by_text(self) -> Pair:
        """Demonstrations and queries as text."""
        train, test = self.task.train.texts, self.task.test.texts
        return text_pair(self.context.loaded, self.task.template, train or (), test or ())

    def by_logistic(self, vectors: Vectors, words: Sequence[str]) -> list[float]:
        """Scores of a logistic regression on these vectors."""
        return self.right([str(word) for word in logistic(vectors, list(words), self.task.test.vectors)])


def exchanged(answers: Sequence[str], seed: int) -> list[str]:
    """The answers in a random order that is another one, unless they are all the same."""
    generator, given = np.random.default_rng(seed), list(answers)
    if len(set(given)) < 2:
        return given
    while (mixed := [given[index] for index in generator.permutation(len(given))]) == given:
        pass
    return mixed


def tuned(
    context: Context,
    task: ClassTask,
    name: str,
    start: Callable[[], Projector],
    training: Training,
    *,
    soft: bool = False,
    seed: int | None = None,
) -> Projector:
    """A projector tuned on the task with the classes' names, or a soft prompt."""
    train = partial(tune_projector, targets=task.train.words, template=task.template, balance=True)
    vectors = constant(task.train.vectors) if soft else task.train.vectors
    return context.trained(name, start, vectors, train, training, seed=seed)


def few_shot(
    context: Context,
    task: ClassTask,
    projector: Projector,
    *,
    others: Mapping[str, Projector] | None = None,
    soft: Projector | None = None,
    with_text: bool = True,
    seed: int | None = None,
) -> ArmRow:
    """Every arm at every number of shots; the first projector also with shuffled labels and none shown.

    ``others`` are asked at every number of shots, too; ``random projector`` and the soft prompt at the largest alone.
    """
    seed = context.seed if seed is None else seed
    few = FewShotTask.of(context, task, seed)
    shots, most = context.scale.shots, context.scale.shots[-1]
    own = few.by_vectors(projector)
    scores = {
        VECTORS: {str(k): few.asked(own, k) for k in (0, *shots)},
        SHUFFLED: {str(k): few.asked(own, k, permuted=seed + 1) for k in shots},
    }
    for name, other in (others or {}).items():
        pair = few.by_vectors(other)
        scores[name] = {str(k): few.asked(pair, k) for k in shots}
    scores[RANDOM] = {str(most): few.asked(few.by_vectors(context.blind_projector(task.train.vectors, seed)), most)}
    if soft is not None:
        scores[SOFT] = {str(most): few.asked(few.by_vectors(soft), most)}
    if with_text and task.train.texts is not None:
        pair = few.by_text()
        scores[TEXT] = {str(k): few.asked(pair, k, count=context.scale.text_queries) for k in shots}
    usual = Counter(task.train.words).most_common(1)[0][0]
    return ArmRow(
        task=task.name,
        shots=list(shots),
        scores=scores | _without_model(few, shots),
        whole={
            MAJORITY: few.right([usual] * len(few.task.test)),
            LOGISTIC_OF_ALL: few.by_logistic(task.train.vectors, task.train.words),
        },
        tokens=_tokens_per_example(context, task),
        chance=1 / len(task.words),
    )


def _without_model(few: FewShotTask, shots: Sequence[int]) -> Scores:
    """Nearest neighbours and logistic regression that see the demonstrations and nothing else."""
    from sklearn.neighbors import KNeighborsClassifier

    scores: Scores = {NEIGHBOUR: {}, NEIGHBOURS: {}, LOGISTIC: {}}
    for k in shots:
        chosen = few.demonstrations[k]
        vectors, words = few.task.train.vectors[chosen], few.answers(k)
        for name, count in ((NEIGHBOUR, 1), (NEIGHBOURS, 3)):
            fitted = KNeighborsClassifier(min(count, len(chosen))).fit(vectors, words)
            scores[name][str(k)] = few.right(fitted.predict(few.task.test.vectors).tolist())
        scores[LOGISTIC][str(k)] = few.by_logistic(vectors, words)
    return scores


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
