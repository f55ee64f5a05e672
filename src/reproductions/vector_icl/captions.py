"""Row R6 of the Vector-ICL reproduction: captions of molecules from descriptors, beside those from SMILES. [derived]

The metric is F1 of the parts that a caption tells (groups, rings, weight), beside F1 of its words. BLEU, which the
paper reports, is left out: captions of one pattern agree in most of their words, whatever they tell.

Legend: N molecules, E encoder width.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from armillary.methods.vector_icl.answers import token_f1
from armillary.methods.vector_icl.baselines import Vectors, standardised
from armillary.methods.vector_icl.config import CAPTION, SlotTemplate, TrainingConfig
from armillary.methods.vector_icl.projector import Projector
from armillary.methods.vector_icl.projector_fit import tune_projector
from armillary.methods.vector_icl.prompts import draw_any, text_ids
from armillary.methods.vector_icl.training import TrainingCurve
from reproductions.vector_icl.data.molecule_facts import captions, descriptors, slots
from reproductions.vector_icl.few_shot import Carrier, Prompt
from reproductions.vector_icl.setup import Context, Payload, constant, synthetic_molecules

VECTORS, SHUFFLED, RANDOM, SOFT, TEXT = "vectors", "shuffled", "random projector", "soft prompt", "text"
ZERO, NEIGHBOUR, NEIGHBOUR_OF_ALL, FREQUENT = "zero-shot", "1-NN", "1-NN of all", "most frequent"

TEMPLATE = SlotTemplate(CAPTION.pieces, end="separator")
"""A caption ends where the next demonstration begins."""

_LONGEST_SMILES = 40
_MOST_QUERIES = 64


@dataclass(frozen=True, eq=False)
class _Molecules:
    smiles: list[str]
    vectors: Vectors
    captions: list[str]

    def some(self, chosen: slice, vectors: Vectors) -> "_Molecules":
        return _Molecules(self.smiles[chosen], vectors, self.captions[chosen])


@dataclass(frozen=True, eq=False)
class _Task:
    context: Context
    train: _Molecules
    test: _Molecules

    @property
    def longest(self) -> int:
        """Tokens of the longest caption of the training, and one for its end."""
        return 1 + max(len(text_ids(self.context.loaded, caption)) for caption in self.train.captions)

    def shown(self, shots: int) -> list[int]:
        """Training molecules that are demonstrated, fixed by the seed; fewer shots are a part of more."""
        return draw_any(len(self.train.captions), self.context.seed)(shots)

    def carriers(self, projector: Projector, *, same: bool = False) -> tuple[Carrier, Carrier]:
        parts = [constant(part.vectors) if same else part.vectors for part in (self.train, self.test)]
        loaded = self.context.loaded
        return (
            Carrier.of_vectors(loaded, TEMPLATE, projector, parts[0]),
            Carrier.of_vectors(loaded, TEMPLATE, projector, parts[1]),
        )

    def told(
        self, carriers: tuple[Carrier, Carrier], shots: int, *, shuffled: bool = False, count: int | None = None
    ) -> list[str]:
        """Greedy captions of the queries (of the first ``count``) after so many demonstrations."""
        chosen = self.shown(shots)
        answers = [self.train.captions[index] for index in chosen]
        if shuffled:
            answers = [answers[place] for place in np.random.default_rng(self.context.seed + 1).permutation(shots)]
        prompt = Prompt.of(carriers[0], chosen, answers)
        return prompt.answers(carriers[1], range(len(self.test.captions))[:count], self.longest)

    def nearest(self, among: Sequence[int]) -> list[str]:
        """The caption of the nearest of these training molecules to each query."""
        known = self.train.vectors[list(among)]
        squares = (known**2).sum(1) - 2 * self.test.vectors @ known.T
        return [self.train.captions[among[place]] for place in squares.argmin(1).tolist()]


def caption_rows(context: Context) -> Payload:
    """R6: by arm and number of shots the F1 of parts of each query's caption, and that of its words.

    Arms share demonstrations and queries; text has the first of these. Controls without information stand at the most
    shots alone, those without demonstrations at 0. ``examples`` are captions beside those told.
    """
    task = _task(context)
    shots, most = context.scale.caption_shots, context.scale.caption_shots[-1]
    projector, losses = _trained(task, VECTORS)
    soft, soft_losses = _trained(task, SOFT)
    own = task.carriers(projector)
    blind = task.carriers(context.new_projector(task.train.vectors, seed=context.seed + 1000))
    texts_shown = (
        Carrier.of_texts(context.loaded, TEMPLATE, task.train.smiles),
        Carrier.of_texts(context.loaded, TEMPLATE, task.test.smiles),
    )
    usual = Counter(task.train.captions).most_common(1)[0][0]
    told = {
        VECTORS: {k: task.told(own, k) for k in shots},
        # One demonstration has no other caption to be given.
        SHUFFLED: {k: task.told(own, k, shuffled=True) for k in shots if k > 1},
        TEXT: {k: task.told(texts_shown, k, count=context.scale.text_queries) for k in shots},
        RANDOM: {most: task.told(blind, most)},
        SOFT: {most: task.told(task.carriers(soft, same=True), most)},
        ZERO: {0: task.told(own, 0)},
        NEIGHBOUR: {k: task.nearest(task.shown(k)) for k in shots},
        NEIGHBOUR_OF_ALL: {0: task.nearest(range(len(task.train.captions)))},
        FREQUENT: {0: [usual] * len(task.test.captions)},
    }
    wanted = task.test.captions
    return {
        "shots": list(shots),
        "f1": {arm: {str(k): slot_scores(some, wanted) for k, some in one.items()} for arm, one in told.items()},
        "words": {
            arm: {str(k): [token_f1(*pair) for pair in zip(some, wanted, strict=False)] for k, some in one.items()}
            for arm, one in told.items()
        },
        "tokens": _tokens_per_example(task),
        "losses": {VECTORS: losses, SOFT: soft_losses},
        "examples": [[wanted[i], told[VECTORS][most][i], told[TEXT][most][i]] for i in range(min(4, len(wanted)))],
    }


def slot_scores(told: Sequence[str], wanted: Sequence[str]) -> list[float]:
    """F1 of the parts of each caption that was told; of the first captions where fewer were told."""
    return [slot_f1(slots(one), slots(other)) for one, other in zip(told, wanted, strict=False)]


def slot_f1(told: frozenset[str], wanted: frozenset[str]) -> float:
    """Harmonic mean of precision and recall of two sets; 1 where both are empty."""
    total = len(told) + len(wanted)
    return 2 * len(told & wanted) / total if total else 1.0


def _task(context: Context) -> _Task:
    queries = min(context.scale.queries, _MOST_QUERIES)
    count = context.scale.texts + queries
    found = _Molecules(*synthetic_molecules(count)) if context.scale.synthetic else _real(context, count)
    cut = len(found.captions) - queries
    train, test = standardised(found.vectors[:cut], found.vectors[cut:])
    return _Task(context, found.some(slice(0, cut), train), found.some(slice(cut, None), test))


def _real(context: Context, count: int) -> _Molecules:
    from reproductions.vector_icl.data.molecules import load_molecules

    known = [molecule.smiles for molecule in load_molecules() if len(molecule.smiles) <= _LONGEST_SMILES]
    smiles = [known[place] for place in np.random.default_rng(context.seed).permutation(len(known))[:count]]
    return _Molecules(smiles, descriptors(smiles), [f" {caption}" for caption in captions(smiles)])


def _trained(task: _Task, arm: str) -> tuple[Projector, list[float]]:
    context, train = task.context, task.train

    def learn(projector: Projector, table_NE: Tensor, config: TrainingConfig) -> TrainingCurve:
        return tune_projector(context.loaded, projector, table_NE, train.captions, TEMPLATE, config)

    def start() -> Projector:
        return (
            context.soft_prompt() if arm == SOFT else context.new_projector(train.vectors, start_texts=train.captions)
        )

    vectors = constant(train.vectors) if arm == SOFT else train.vectors
    return context.trained(f"captions, {arm}", start, vectors, learn, context.scale.molecules)


def _tokens_per_example(task: _Task) -> dict[str, float]:
    """Mean number of tokens of a demonstration as vector and as SMILES."""
    carriers = {
        VECTORS: task.carriers(task.context.new_projector(task.train.vectors))[0],
        TEXT: Carrier.of_texts(task.context.loaded, TEMPLATE, task.train.smiles),
    }
    among = range(min(200, len(task.train.captions)))
    separator = len(text_ids(task.context.loaded, TEMPLATE.separator))
    answers = [len(text_ids(task.context.loaded, task.train.captions[index])) + separator for index in among]
    return {
        name: float(np.mean([carrier.length(index) + answers[index] for index in among]))
        for name, carrier in carriers.items()
    }
