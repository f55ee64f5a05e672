"""Row R6 of the Vector-ICL reproduction: captions of molecules from descriptors, beside those from SMILES. (ours)

The metric is F1 of the parts that a caption tells (groups, rings, weight). BLEU, which the paper reports, is left out:
captions of one pattern agree in most of their words, whatever they tell.

Legend: N molecules, E encoder width.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from armillary.methods.vector_icl.baselines import nearest, standardised
from armillary.methods.vector_icl.config import CAPTION, SlotTemplate
from armillary.methods.vector_icl.projector import Projector
from armillary.methods.vector_icl.projector_fit import tune_projector
from armillary.methods.vector_icl.prompts import draw_any, text_ids
from armillary.progress import track
from reproductions.vector_icl.carrier import Carrier, Pair, Prompt, Scores, text_pair, vector_pair
from reproductions.vector_icl.data.molecule_facts import captions as molecule_captions, descriptors, slots
from reproductions.vector_icl.data.molecules import load_molecules
from reproductions.vector_icl.data.synthetic import synthetic_molecules
from reproductions.vector_icl.few_shot import exchanged
from reproductions.vector_icl.setup import RANDOM, SHUFFLED, TEXT, VECTORS, Context
from reproductions.vector_icl.tasks import ClassTask

NEIGHBOUR_OF_ALL, FREQUENT = "1-NN of all", "most frequent"
TUNED_TEXT = "1-NN of all by SMILES"
"""The text, tuned as the vectors were: the caption of the training molecule whose SMILES shares most pieces."""

TEMPLATE = SlotTemplate(CAPTION.pieces, end="separator")
"""A caption ends where the next demonstration begins."""

_LONGEST_SMILES = 40
"""Characters; a higher limit means more molecules and longer text prompts."""


@dataclass(frozen=True, kw_only=True)
class CaptionRow:
    """R6 with one projector. Arms share demonstrations and queries of every draw. Controls without information stand
    at the most shots alone, those without demonstrations at 0."""

    shots: list[int]
    draws: int
    f1: Scores
    """Of the parts."""

    tokens: dict[str, float]
    examples: list[tuple[str, str, str]]
    """Right captions, and those by vectors and by text at the most shots."""

    losses: list[float]
    """Of the projector's training, nats a learned token before each step."""


@dataclass(frozen=True, eq=False)
class _Molecules:
    """The task with what its draws share."""

    context: Context
    task: ClassTask
    longest: int
    """Tokens of an answer."""

    def captioned(
        self, pair: Pair, shown: Sequence[int], queries: Sequence[int], *, mixed: int | None = None
    ) -> list[str]:
        """Greedy captions behind the shown molecules; ``mixed`` is the seed of another order of their captions."""
        words = [self.task.train.words[index] for index in shown]
        prompt = Prompt.of(pair[0], shown, words if mixed is None else exchanged(words, mixed))
        return prompt.answers(pair[1], queries, self.longest)

    def by_vectors(self, projector: Projector) -> Pair:
        """Demonstrations and queries as slots."""
        task = self.task
        return vector_pair(self.context.loaded, TEMPLATE, projector, task.train.vectors, task.test.vectors)


def caption_rows(context: Context) -> list[CaptionRow]:
    """R6, of every seed."""
    task = _molecules(context)
    # One token more than the longest caption of the training, for its end.
    longest = 1 + max(len(text_ids(context.loaded, caption)) for caption in task.train.words)
    molecules = _Molecules(context, task, longest)
    return [_of_seed(molecules, seed) for seed in track(context.seeds, "captions")]


def _of_seed(molecules: _Molecules, seed: int) -> CaptionRow:
    context, task = molecules.context, molecules.task
    train, shots, most = task.train, context.scale.caption_shots, context.scale.caption_shots[-1]
    start = partial(context.new_projector, train.vectors, start_texts=train.words, seed=seed)
    tune = partial(tune_projector, targets=train.words, template=TEMPLATE)
    trained = context.trained(f"captions {seed}", start, train.vectors, tune, context.scale.molecules, seed=seed)
    own, blind = map(molecules.by_vectors, (trained.projector, context.blind_projector(train.vectors, seed)))
    by_text = text_pair(context.loaded, TEMPLATE, train.texts or (), task.test.texts or ())
    usual = Counter(train.words).most_common(1)[0][0]
    near = {NEIGHBOUR_OF_ALL: nearest(train.vectors, train.words, task.test.vectors)}
    near[TUNED_TEXT] = nearest_by_text(train.texts or (), train.words, task.test.texts or ())
    reading = context.scale.caption_reading
    f1: Scores = {}
    examples: list[tuple[str, str, str]] = []
    for number in range(reading.draws):
        draw = 1000 * seed + number
        chosen = draw_any(len(train), draw)
        queries = np.random.default_rng(draw).permutation(len(task.test))[: reading.queries].tolist()
        answers: dict[str, dict[int, list[str]]] = {
            VECTORS: {k: molecules.captioned(own, chosen(k), queries) for k in shots},
            TEXT: {k: molecules.captioned(by_text, chosen(k), queries) for k in shots},
            SHUFFLED: {most: molecules.captioned(own, chosen(most), queries, mixed=draw)},
            RANDOM: {most: molecules.captioned(blind, chosen(most), queries)},
            FREQUENT: {0: [usual] * len(queries)},
            **{arm: {0: [str(words[index]) for index in queries]} for arm, words in near.items()},
        }
        for arm, by_shots in answers.items():
            for k, captions in by_shots.items():
                right = [slot_score(caption, task.test.words[i]) for caption, i in zip(captions, queries, strict=True)]
                f1.setdefault(arm, {}).setdefault(str(k), []).extend(right)
        wanted = [task.test.words[index] for index in queries]
        examples += list(zip(wanted, answers[VECTORS][most], answers[TEXT][most], strict=True))[:1]
    tokens = _tokens_per_example(context, train.words, {VECTORS: own[0], TEXT: by_text[0]})
    return CaptionRow(
        shots=list(shots),
        draws=reading.draws,
        f1=f1,
        tokens=tokens,
        examples=examples,
        losses=trained.losses,
    )


def nearest_by_text(texts: Sequence[str], words: Sequence[str], queries: Sequence[str]) -> list[str]:
    """The word of the text that shares most runs of one to four characters, rare ones counting more."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    pieces = TfidfVectorizer(analyzer="char", ngram_range=(1, 4), sublinear_tf=True, lowercase=False)
    known = pieces.fit_transform(texts)
    best = (pieces.transform(queries) @ known.T).toarray().argmax(1)
    return [words[index] for index in best.tolist()]


def _molecules(context: Context) -> ClassTask:
    """Molecules whose "classes" are captions, and whose text is SMILES."""
    known_count = context.scale.molecules_known
    count = known_count + known_count // 3
    if context.scale.synthetic:
        smiles, vectors, texts = synthetic_molecules(count)
    else:
        known = [molecule.smiles for molecule in load_molecules() if len(molecule.smiles) <= _LONGEST_SMILES]
        smiles = [known[i] for i in np.random.default_rng(context.seed).permutation(len(known))[:count]]
        vectors, texts = descriptors(smiles), [f" {caption}" for caption in molecule_captions(smiles)]
    border = min(known_count, len(texts) * 3 // 4)
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
