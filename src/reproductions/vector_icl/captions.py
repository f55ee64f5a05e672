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
from armillary.methods.vector_icl.baselines import standardised
from armillary.methods.vector_icl.config import CAPTION, SlotTemplate
from armillary.methods.vector_icl.projector_fit import tune_projector
from armillary.methods.vector_icl.prompts import draw_any, text_ids
from reproductions.vector_icl.carrier import Carrier, Pair, Prompt, Scores
from reproductions.vector_icl.data.molecule_facts import captions as molecule_captions, descriptors, slots
from reproductions.vector_icl.data.molecules import load_molecules
from reproductions.vector_icl.data.synthetic import synthetic_molecules
from reproductions.vector_icl.few_shot import FewShotTask
from reproductions.vector_icl.setup import NEIGHBOUR, RANDOM, SHUFFLED, SOFT, TEXT, VECTORS, Context, constant
from reproductions.vector_icl.tasks import ClassTask

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
    examples: list[tuple[str, str, str]]
    """Right captions, and those by vectors and by text at the most shots."""


def caption_row(context: Context) -> CaptionRow:
    """R6."""
    task, shots, most = _molecules(context), context.scale.caption_shots, context.scale.caption_shots[-1]
    train, wanted = task.train, task.test.words
    draw = draw_any(len(train), context.seed)
    few = FewShotTask(context, task, {k: draw(k) for k in (0, *shots)})
    # One token more than the longest caption of the training, for its end.
    longest = 1 + max(len(text_ids(context.loaded, caption)) for caption in train.words)

    def captioned(pair: Pair, k: int, *, mixed: bool = False, count: int | None = None) -> list[str]:
        captions = few.answers(k)
        if mixed:
            captions = [captions[i] for i in np.random.default_rng(context.seed + 1).permutation(k)]
        prompt = Prompt.of(pair[0], few.demonstrations[k], captions)
        return prompt.answers(pair[1], range(len(wanted))[:count], longest)

    def nearest(among: Sequence[int]) -> list[str]:
        known = train.vectors[list(among)]
        squares = (known**2).sum(1) - 2 * task.test.vectors @ known.T
        return [train.words[among[index]] for index in squares.argmin(1).tolist()]

    tune = partial(tune_projector, targets=train.words, template=TEMPLATE)
    start = partial(context.new_projector, train.vectors, start_texts=train.words)
    training, same = context.scale.molecules, constant(train.vectors)
    projector = context.trained("captions, vectors", start, train.vectors, tune, training)
    soft = context.trained("captions, soft prompt", context.soft_prompt, same, tune, training)
    own, by_text = few.by_vectors(projector), few.by_text()
    blind = few.by_vectors(context.blind_projector(train.vectors, context.seed))
    usual = Counter(train.words).most_common(1)[0][0]
    captions = {
        VECTORS: {k: captioned(own, k) for k in shots},
        # One demonstration has no other caption to be given.
        SHUFFLED: {k: captioned(own, k, mixed=True) for k in shots if k > 1},
        TEXT: {k: captioned(by_text, k, count=context.scale.text_queries) for k in shots},
        RANDOM: {most: captioned(blind, most)},
        SOFT: {most: captioned(few.by_vectors(soft), most)},
        ZERO: {0: captioned(own, 0)},
        NEIGHBOUR: {k: nearest(few.demonstrations[k]) for k in shots},
        NEIGHBOUR_OF_ALL: {0: nearest(range(len(train)))},
        FREQUENT: {0: [usual] * len(wanted)},
    }

    def scores(score: Callable[[str, str], float]) -> Scores:
        return {
            arm: {str(k): [score(*pair) for pair in zip(texts, wanted, strict=False)] for k, texts in of.items()}
            for arm, of in captions.items()
        }

    return CaptionRow(
        shots=list(shots),
        f1=scores(slot_score),
        words=scores(token_f1),
        tokens=_tokens_per_example(context, train.words, {VECTORS: own[0], TEXT: by_text[0]}),
        examples=list(zip(wanted[:4], captions[VECTORS][most], captions[TEXT][most], strict=False)),
    )


def _molecules(context: Context) -> ClassTask:
    """Molecules whose "classes" are captions, and whose text is SMILES."""
    queries = min(context.scale.queries, _MOST_QUERIES)
    count = context.scale.texts + queries
    if context.scale.synthetic:
        smiles, vectors, texts = synthetic_molecules(count)
    else:
        known = [molecule.smiles for molecule in load_molecules() if len(molecule.smiles) <= _LONGEST_SMILES]
        smiles = [known[i] for i in np.random.default_rng(context.seed).permutation(len(known))[:count]]
        vectors, texts = descriptors(smiles), [f" {caption}" for caption in molecule_captions(smiles)]
    border = len(texts) - queries
    return ClassTask.split(
        "molecules",
        TEMPLATE,
        standardised(vectors[:border], vectors[border:]),
        (range(border), range(border, len(texts))),
        lambda index: texts[index],
        lambda index: smiles[index],
    )


def slot_score(caption: str, wanted: str) -> float:
    """F1 of the parts that a caption tells."""
    return slot_f1(slots(caption), slots(wanted))


def slot_f1(given: frozenset[str], wanted: frozenset[str]) -> float:
    """Harmonic mean of precision and recall of two sets; 1 where both are empty."""
    total = len(given) + len(wanted)
    return 2 * len(given & wanted) / total if total else 1.0


def _tokens_per_example(context: Context, captions: Sequence[str], carriers: dict[str, Carrier]) -> dict[str, float]:
    """Mean number of tokens of a demonstration, by arm."""
    separator = len(text_ids(context.loaded, TEMPLATE.separator))
    answers = [len(text_ids(context.loaded, caption)) + separator for caption in captions[:200]]
    return {
        arm: float(np.mean([carrier.length(index) + answer for index, answer in enumerate(answers)]))
        for arm, carrier in carriers.items()
    }
