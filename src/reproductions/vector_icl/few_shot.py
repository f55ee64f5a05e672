"""Few-shot classification by vectors, beside text, nearest neighbours, regression, and controls without information.

All arms see the same demonstrations and are asked the same queries, so that they are compared in pairs. Predictions
are kept as indices into the task's sorted class words.
"""

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from armillary.methods.vector_icl.baselines import Vectors
from armillary.methods.vector_icl.config import SlotTemplate
from armillary.methods.vector_icl.decoding import (
    SharedPrefix,
    continue_queries,
    distinct_labels,
    label_log_probabilities,
)
from armillary.methods.vector_icl.embedding import embed_tokens, embed_with_slots
from armillary.methods.vector_icl.projector import Projector
from armillary.methods.vector_icl.projector_fit import tune_projector
from armillary.methods.vector_icl.prompts import Ids, Layout, draw_of_each, text_ids, text_of
from armillary.models import LoadedModel
from armillary.scoring.decoding import end_tokens
from reproductions.vector_icl.scale import Training
from reproductions.vector_icl.setup import Context, Payload, constant
from reproductions.vector_icl.tasks import ClassTask, cut

# Few-shot prompts whose inputs are vectors or text, with the same template, demonstrations and answers.
#
# Legend: N inputs, E encoder width, D hidden size, T tokens, L labels.

_AT_ONCE = 32


@dataclass(frozen=True, eq=False)
class Carrier:
    """Inputs of one kind as a prompt shows them: each as its boxes, or as its text where the box would stand."""

    loaded: LoadedModel
    layout: Layout
    slots_ND: Tensor | None = None
    """``slots`` neighbours an input."""

    texts: tuple[tuple[Ids, ...], ...] | None = None
    """Of each input the tokens that stand in its slots."""

    @classmethod
    @torch.inference_mode()
    def of_vectors(
        cls, loaded: LoadedModel, template: SlotTemplate, projector: Projector, vectors_NE: NDArray[np.float32]
    ) -> "Carrier":
        """``template.slots`` neighbouring rows an input."""
        given = torch.as_tensor(np.asarray(vectors_NE, dtype=np.float32)).to(loaded.device)
        return cls(loaded, Layout.of(loaded, template), slots_ND=projector(given))

    @classmethod
    def of_texts(cls, loaded: LoadedModel, template: SlotTemplate, texts: Sequence[str | Sequence[str]]) -> "Carrier":
        """One text an input, or one for each of its slots."""
        told = [(text,) if isinstance(text, str) else tuple(text) for text in texts]
        ids = tuple(tuple(text_ids(loaded, piece) for piece in pieces) for pieces in told)
        return cls(loaded, Layout.of(loaded, template), texts=ids)

    def length(self, index: int) -> int:
        """Tokens of a question."""
        plain = sum(map(len, self.layout.pieces))
        return plain + (self.layout.slots if self.texts is None else sum(map(len, self.texts[index])))

    def question(self, index: int) -> Tensor:
        """Embeddings of the template around one input, without its answer, ``[t, d]``."""
        if self.texts is None:
            assert self.slots_ND is not None
            row = self.layout.question(index)
            ids_BT = torch.tensor([row.tokens], device=self.loaded.device)
            return embed_with_slots(self.loaded, ids_BT, self.slots_ND[list(row.vectors)])[0]
        ids: Ids = self.layout.pieces[0]
        for slot, piece in zip(self.texts[index], self.layout.pieces[1:], strict=True):
            ids = ids + slot + piece
        return self._embedded(ids)

    def _embedded(self, ids: Ids) -> Tensor:
        return embed_tokens(self.loaded, torch.tensor(ids, dtype=torch.long, device=self.loaded.device))


@dataclass(frozen=True, eq=False)
class Prompt:
    """Demonstrations that were read, in front of any queries."""

    prefix: SharedPrefix
    layout: Layout

    @classmethod
    @torch.inference_mode()
    def of(cls, shown: Carrier, chosen: Sequence[int], answers: Sequence[str]) -> "Prompt":
        """``chosen`` inputs of the carrier with their answers; none of them is zero-shot."""
        loaded, layout = shown.loaded, shown.layout
        parts = [shown._embedded(layout.begin)]
        for index, answer in zip(chosen, answers, strict=True):
            parts += [shown.question(index), shown._embedded(text_ids(loaded, answer) + layout.separator)]
        return cls(SharedPrefix(loaded, torch.cat(parts)[None]), layout)

    @property
    def loaded(self) -> LoadedModel:
        return self.prefix.loaded

    def label_scores(self, queries: Carrier, indices: Sequence[int], labels: Sequence[str]) -> NDArray[np.float64]:
        """Log-probability (nats) of each whole label after each query, ``[n, l]``."""
        ids = distinct_labels([text_ids(self.loaded, label) for label in labels], self.layout.separator)
        out = np.empty((len(indices), len(labels)))
        for places, embeds_BTD in _batches(queries, indices):
            out[places] = label_log_probabilities(self.loaded, self.prefix.read(embeds_BTD), ids).numpy()
        return out

    def answers(
        self, queries: Carrier, indices: Sequence[int], max_new_tokens: int, *, allowed: Sequence[int] | None = None
    ) -> list[str]:
        """Greedy text after each query, cut at the separator or the end token."""
        stops = [*end_tokens(self.loaded), *self.layout.separator]
        mark = text_of(self.loaded, self.layout.separator)
        out = [""] * len(indices)
        for places, embeds_BTD in _batches(queries, indices):
            told = continue_queries(
                self.loaded,
                self.prefix.read(embeds_BTD),
                max_new_tokens=max_new_tokens,
                stop_ids=stops if len(self.layout.separator) == 1 else end_tokens(self.loaded),
                allowed=allowed,
            )
            for place, ids in zip(places, told, strict=True):
                out[place] = text_of(self.loaded, ids).split(mark)[0]
        return out


def _batches(queries: Carrier, indices: Sequence[int]) -> Iterator[tuple[list[int], Tensor]]:
    """Queries of equal length together, so that nothing is padded: their places in ``indices``, their embeddings."""
    of_length: dict[int, list[int]] = {}
    for place, index in enumerate(indices):
        of_length.setdefault(queries.length(index), []).append(place)
    for places in of_length.values():
        for start in range(0, len(places), _AT_ONCE):
            some = places[start : start + _AT_ONCE]
            yield some, torch.stack([queries.question(indices[place]) for place in some])


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
class FewShotTask:
    """A task with its queries and the demonstrations of each number of shots."""

    context: Context
    task: ClassTask
    demonstrations: dict[int, list[int]]

    @classmethod
    def of(cls, context: Context, task: ClassTask, seed: int) -> "FewShotTask":
        task = cut(task, context.scale.queries, seed)
        draw = draw_of_each(task.train.words, seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a class that has fewer shows what it has
            return cls(context, task, {shots: draw(shots) for shots in (0, *context.scale.shots)})

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
        template, loaded = self.task.template, self.context.loaded
        return (
            Carrier.of_vectors(loaded, template, projector, given[0]),
            Carrier.of_vectors(loaded, template, projector, given[1]),
        )


def tuned(
    context: Context,
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
        return tune_projector(context.loaded, projector, table, task.train.words, task.template, config, balance=True)

    return context.trained(name, start, vectors, train, training, seed=seed)[0]


def few_shot(
    context: Context,
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
    seed = context.seed if seed is None else seed
    asked = FewShotTask.of(context, task, seed)
    shots, most = context.scale.shots, context.scale.shots[-1]
    own = asked.carriers(projector)
    arms: dict[str, dict[str, list[int]]] = {VECTORS: {"0": asked.predicted(*own, 0)}, SHUFFLED: {}}
    for k in shots:
        arms[VECTORS][str(k)] = asked.predicted(*own, k)
        arms[SHUFFLED][str(k)] = asked.predicted(*own, k, permuted=seed + 1)
    for name, other in (others or {}).items():
        carriers = asked.carriers(other)
        arms[name] = {str(k): asked.predicted(*carriers, k) for k in shots}
    blind = context.new_projector(task.train.vectors, seed=seed + 1000)
    arms[RANDOM] = {str(most): asked.predicted(*asked.carriers(blind), most)}
    if soft is not None:
        arms[SOFT] = {str(most): asked.predicted(*asked.carriers(soft, same=True), most)}
    if with_text and task.train.texts is not None and task.test.texts is not None:
        texts_shown = (
            Carrier.of_texts(context.loaded, task.template, task.train.texts),
            Carrier.of_texts(context.loaded, task.template, task.test.texts),
        )
        arms[TEXT] = {str(k): asked.predicted(*texts_shown, k, count=context.scale.text_queries) for k in shots}
    arms |= without_model(asked, shots)
    return {
        "task": task.name,
        "words": list(asked.task.words),
        "truth": asked.truth,
        "shots": list(shots),
        "arms": arms,
        "whole": {LOGISTIC: logistic(task.train.vectors, task.train.words, asked)},
        "majority": Counter(task.train.words).most_common(1)[0][0],
        "tokens": tokens_per_example(context, task),
    }


def without_model(asked: FewShotTask, shots: Sequence[int]) -> dict[str, dict[str, list[int]]]:
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


def logistic(vectors: Vectors, words: Sequence[str], asked: FewShotTask) -> list[int]:
    """Predictions of a logistic regression; one class alone is always predicted."""
    from sklearn.linear_model import LogisticRegression

    if len(set(words)) == 1:
        return indices(asked, [words[0]] * len(asked.task.test))
    # Vectors have unit length on the mean: a weaker penalty than the usual one suits them.
    fitted = LogisticRegression(C=10.0, max_iter=2000).fit(vectors, list(words))
    return indices(asked, fitted.predict(asked.task.test.vectors))


def indices(asked: FewShotTask, words: Sequence[str]) -> list[int]:
    """Places of class words among the task's."""
    return [asked.task.words.index(str(word)) for word in words]


def tokens_per_example(context: Context, task: ClassTask) -> dict[str, float]:
    """Mean number of tokens of a demonstration, as vectors and (where there is a text) as text."""
    answer = np.mean([len(text_ids(context.loaded, word)) for word in task.train.words])
    plain = sum(len(text_ids(context.loaded, piece)) for piece in task.template.pieces)
    rest = float(answer) + plain + len(text_ids(context.loaded, task.template.separator))
    found = {VECTORS: rest + 1}
    if task.train.texts is not None:
        lengths = [len(text_ids(context.loaded, text)) for text in task.train.texts[:200]]
        found[TEXT] = rest + float(np.mean(lengths))
    return found
