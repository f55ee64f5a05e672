"""Row R6 of the Vector-ICL reproduction: captions of molecules from descriptors, beside those from SMILES. (ours)

The metric is F1 of the parts that a caption tells (groups, rings, weight), beside F1 of its words. BLEU, which the
paper reports, is left out: captions of one pattern agree in most of their words, whatever they tell.

Legend: N molecules, E encoder width.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from armillary.methods.vector_icl.answers import token_f1
from armillary.methods.vector_icl.baselines import Vectors, standardised
from armillary.methods.vector_icl.config import CAPTION, SlotTemplate
from armillary.methods.vector_icl.projector import Projector
from armillary.methods.vector_icl.projector_fit import tune_projector
from armillary.methods.vector_icl.prompts import draw_any, text_ids
from reproductions.vector_icl.carrier import Carrier, Pair, Prompt, Scores, text_pair, vector_pair
from reproductions.vector_icl.data.molecule_facts import captions, descriptors, slots
from reproductions.vector_icl.data.molecules import load_molecules
from reproductions.vector_icl.data.synthetic import synthetic_molecules
from reproductions.vector_icl.setup import NEIGHBOUR, RANDOM, SHUFFLED, SOFT, TEXT, VECTORS, Context, constant

ZERO, NEIGHBOUR_OF_ALL, FREQUENT = "zero-shot", "1-NN of all", "most frequent"

TEMPLATE = SlotTemplate(CAPTION.pieces, end="separator")
"""A caption ends where the next demonstration begins."""

_LONGEST_SMILES = 40
"""Characters; a higher limit means more molecules and longer text prompts."""

_MOST_QUERIES = 64
"""Captions are generated word by word, which costs more than telling classes apart."""


@dataclass(frozen=True, kw_only=True)
class CaptionRow:
    """R6. Arms share demonstrations and queries; text has the first of these. Controls without information stand at
    the most shots alone, those without demonstrations at 0."""

    shots: list[int]
    f1: Scores
    """Of the parts."""

    words: Scores
    tokens: dict[str, float]
    losses: dict[str, list[float]]
    examples: list[tuple[str, str, str]]
    """Right captions, and those by vectors and by text at the most shots."""


@dataclass(frozen=True, eq=False)
class _Molecules:
    smiles: list[str]
    vectors: Vectors
    captions: list[str]


@dataclass(frozen=True, eq=False)
class _Task:
    context: Context
    train: _Molecules
    test: _Molecules

    @classmethod
    def of(cls, context: Context) -> "_Task":
        queries = min(context.scale.queries, _MOST_QUERIES)
        count = context.scale.texts + queries
        if context.scale.synthetic:
            smiles, vectors, texts = synthetic_molecules(count)
        else:
            known = [molecule.smiles for molecule in load_molecules() if len(molecule.smiles) <= _LONGEST_SMILES]
            smiles = [known[i] for i in np.random.default_rng(context.seed).permutation(len(known))[:count]]
            vectors, texts = descriptors(smiles), [f" {caption}" for caption in captions(smiles)]
        border = len(texts) - queries
        train, test = standardised(vectors[:border], vectors[border:])
        return cls(
            context,
            _Molecules(smiles[:border], train, texts[:border]),
            _Molecules(smiles[border:], test, texts[border:]),
        )

    def shown(self, shots: int) -> list[int]:
        """Training molecules that are demonstrated, fixed by the seed; fewer shots are a part of more."""
        return draw_any(len(self.train.captions), self.context.seed)(shots)

    def trained(self, arm: str) -> tuple[Projector, list[float]]:
        """A projector tuned on the training captions, or a soft prompt."""
        context, vectors, targets = self.context, self.train.vectors, self.train.captions
        start: Callable[[], Projector] = partial(context.new_projector, vectors, start_texts=targets)
        if arm == SOFT:
            start, vectors = context.soft_prompt, constant(vectors)
        train = partial(tune_projector, targets=targets, template=TEMPLATE)
        return context.trained(f"captions, {arm}", start, vectors, train, context.scale.molecules)

    def by_vectors(self, projector: Projector) -> Pair:
        """What is shown and the queries as slots."""
        return vector_pair(self.context.loaded, TEMPLATE, projector, self.train.vectors, self.test.vectors)

    def captioned(self, pair: Pair, shots: int, *, mixed: bool = False, count: int | None = None) -> list[str]:
        """Greedy captions of the queries (of the first ``count``); ``mixed`` exchanges those that are shown."""
        chosen = self.shown(shots)
        answers = [self.train.captions[index] for index in chosen]
        if mixed:
            answers = [answers[i] for i in np.random.default_rng(self.context.seed + 1).permutation(shots)]
        # One token more than the longest caption of the training, for its end.
        longest = 1 + max(len(text_ids(self.context.loaded, caption)) for caption in self.train.captions)
        prompt = Prompt.of(pair[0], chosen, answers)
        return prompt.answers(pair[1], range(len(self.test.captions))[:count], longest)

    def nearest(self, among: Sequence[int]) -> list[str]:
        """The caption of the nearest of these training molecules to each query."""
        known = self.train.vectors[list(among)]
        squares = (known**2).sum(1) - 2 * self.test.vectors @ known.T
        return [self.train.captions[among[index]] for index in squares.argmin(1).tolist()]


def caption_row(context: Context) -> CaptionRow:
    """R6."""
    task, shots, most = _Task.of(context), context.scale.caption_shots, context.scale.caption_shots[-1]
    projector, losses = task.trained(VECTORS)
    soft, soft_losses = task.trained(SOFT)
    own = task.by_vectors(projector)
    blind = task.by_vectors(context.blind_projector(task.train.vectors, context.seed))
    by_text = text_pair(context.loaded, TEMPLATE, task.train.smiles, task.test.smiles)
    usual = Counter(task.train.captions).most_common(1)[0][0]
    answers = {
        VECTORS: {k: task.captioned(own, k) for k in shots},
        # One demonstration has no other caption to be given.
        SHUFFLED: {k: task.captioned(own, k, mixed=True) for k in shots if k > 1},
        TEXT: {k: task.captioned(by_text, k, count=context.scale.text_queries) for k in shots},
        RANDOM: {most: task.captioned(blind, most)},
        SOFT: {most: task.captioned(task.by_vectors(soft), most)},
        ZERO: {0: task.captioned(own, 0)},
        NEIGHBOUR: {k: task.nearest(task.shown(k)) for k in shots},
        NEIGHBOUR_OF_ALL: {0: task.nearest(range(len(task.train.captions)))},
        FREQUENT: {0: [usual] * len(task.test.captions)},
    }
    wanted = task.test.captions
    return CaptionRow(
        shots=list(shots),
        f1={arm: {str(k): slot_scores(texts, wanted) for k, texts in of.items()} for arm, of in answers.items()},
        words={
            arm: {str(k): [token_f1(*pair) for pair in zip(texts, wanted, strict=False)] for k, texts in of.items()}
            for arm, of in answers.items()
        },
        tokens=_tokens_per_example(task, own[0], by_text[0]),
        losses={VECTORS: losses, SOFT: soft_losses},
        examples=list(zip(wanted[:4], answers[VECTORS][most], answers[TEXT][most], strict=False)),
    )


def slot_scores(answers: Sequence[str], wanted: Sequence[str]) -> list[float]:
    """F1 of the parts of each caption; of the first captions where fewer were asked for."""
    return [slot_f1(slots(answer), slots(right)) for answer, right in zip(answers, wanted, strict=False)]


def slot_f1(given: frozenset[str], wanted: frozenset[str]) -> float:
    """Harmonic mean of precision and recall of two sets; 1 where both are empty."""
    total = len(given) + len(wanted)
    return 2 * len(given & wanted) / total if total else 1.0


def _tokens_per_example(task: _Task, by_vectors: Carrier, by_text: Carrier) -> dict[str, float]:
    """Mean number of tokens of a demonstration as vector and as SMILES."""
    some = range(min(200, len(task.train.captions)))
    separator = len(text_ids(task.context.loaded, TEMPLATE.separator))
    answers = [len(text_ids(task.context.loaded, task.train.captions[index])) + separator for index in some]
    return {
        arm: float(np.mean([carrier.length(index) + answers[index] for index in some]))
        for arm, carrier in ((VECTORS, by_vectors), (TEXT, by_text))
    }
