"""Does an image-text model really see: its answers about pictures, beside the same with the pictures shuffled.

A shuffled picture is a real one of another emoji, so that whatever is known without seeing the right picture (which
answers are frequent, which names are short) counts for both. Accuracies and differences have intervals over
identities: the styles of one emoji, and its variants, are drawn together.

[derived] The measures are ours; the papers tell no blind control.
"""

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from transformers import LlavaForConditionalGeneration

from armillary.data.emoji import Emoji
from armillary.data.picture_tasks import PictureExample
from armillary.errors import UsageError
from armillary.numerics.intervals import Array, Interval, bootstrap_weighted
from armillary.progress import counted
from armillary.scoring.answers import AnswerScores, answer_log_probabilities, greedy_answers
from armillary.training.picture_rows import PictureRows

NAMES = 20
"""Among which the right name is ranked."""

_AT_ONCE = 16
_CAPTION_TOKENS = 16


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a model made of one question. Choices and names are ranked by their log-probability a token, end included.

    That favours answers of many tokens, of which the later ones follow from the first; the log-probability of the
    whole answer favours none, and is told beside it.
    """

    told: str
    """The choice ranked first, or the caption."""

    right: float
    """1 where that is the answer, else 0."""

    rank: float
    """Place of the right choice among the choices, of the right name among the names; 1 is best."""

    rank_whole: float
    """The same by log-probability of the whole answer."""

    overlap: float | None = None
    """Of a caption: F1 of its words with those of the name."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return asdict(self)


def shuffled_pictures(examples: Sequence[PictureExample], emoji: Emoji, *, seed: int) -> list[PictureExample]:
    """The same questions and answers, each with the picture of another example.

    Every picture is used as often as before (a cyclic shift of a random order), and hardly ever for its own identity.
    """
    order = list(range(len(examples)))
    random.Random(f"blind {seed}").shuffle(order)
    whose = [emoji.labels[examples[place].picture].identity for place in order]
    # Neighbours in the order may share an identity; the shift with the fewest such pairs is taken.
    shifts = range(1, min(len(order), 50))
    clashes = {
        shift: sum(a == b for a, b in zip(whose, whose[shift:] + whose[:shift], strict=True)) for shift in shifts
    }
    shift = min(clashes, key=lambda one: (clashes[one], one), default=0)
    blind = list(examples)
    for place, source in zip(order, order[shift:] + order[:shift], strict=True):
        blind[place] = replace(examples[place], picture=examples[source].picture, style=examples[source].style)
    return blind


def choose(
    model: LlavaForConditionalGeneration,
    rows: PictureRows,
    examples: Sequence[PictureExample],
    *,
    label: str = "",
) -> list[Told]:
    """Which of its choices each example is answered with. UsageError for one without choices."""
    if not all(example.choices for example in examples):
        raise UsageError("a question without choices can't be answered by choosing; ask for its name with `caption`.")
    told: list[Told] = []
    with counted(label, len(examples)) as bar:
        for asked in _batches(examples):
            choices = [example.choices or () for example in asked]
            for example, names, scores in zip(asked, choices, _scores(model, rows, asked, choices), strict=True):
                best, place = names[int(np.argmax(scores.mean))], names.index(example.answer)
                ranks = {"rank": _rank(scores.mean, place), "rank_whole": _rank(scores.total, place)}
                told.append(Told(told=best, right=float(best == example.answer), **ranks))
            bar.advance(len(asked))
    return told


def caption(
    model: LlavaForConditionalGeneration,
    rows: PictureRows,
    examples: Sequence[PictureExample],
    names: Sequence[Sequence[str]],
    *,
    label: str = "",
) -> list[Told]:
    """A greedy caption of each picture, and the rank of the right name among ``names`` (one list an example).

    The caption is cut after 16 tokens; right means the very words, in small letters.
    """
    told: list[Told] = []
    with counted(label, len(examples)) as bar:
        for start in range(0, len(examples), _AT_ONCE):
            asked, among = examples[start : start + _AT_ONCE], names[start : start + _AT_ONCE]
            prompts = rows.collate([rows.row(example, answered=False) for example in asked])
            captions = greedy_answers(model, prompts, max_new_tokens=_CAPTION_TOKENS, end_id=rows.end_id)
            scored = _scores(model, rows, asked, among)
            for example, tokens, given, scores in zip(asked, captions, among, scored, strict=True):
                said, place = rows.text(tokens).lower(), given.index(example.answer)
                told.append(
                    Told(
                        told=said,
                        right=float(said == example.answer),
                        overlap=word_overlap(said, example.answer),
                        rank=_rank(scores.mean, place),
                        rank_whole=_rank(scores.total, place),
                    )
                )
            bar.advance(len(asked))
    return told


def names_to_rank(examples: Sequence[PictureExample], *, seed: int, count: int = NAMES) -> list[list[str]]:
    """For each example its own name among ``count - 1`` random others of the examples, in a random order."""
    every = sorted({example.answer for example in examples})
    draw = random.Random(f"names {seed}")
    lists = []
    for example in examples:
        others = draw.sample([name for name in every if name != example.answer], min(count, len(every)) - 1)
        names = [example.answer, *others]
        draw.shuffle(names)
        lists.append(names)
    return lists


def word_overlap(said: str, name: str) -> float:
    """F1 of two sets of words: 1 where they are the same, 0 where they share none."""
    ours, theirs = set(said.split()), set(name.split())
    shared = len(ours & theirs)
    return 2 * shared / (len(ours) + len(theirs)) if shared else 0.0


def majority(train: Sequence[PictureExample], asked: Sequence[PictureExample]) -> list[float]:
    """1 where the answer that is most frequent in ``train`` is the right one, else 0."""
    counts: dict[str, int] = {}
    for example in train:
        counts[example.answer] = counts.get(example.answer, 0) + 1
    best = max(counts, key=lambda answer: counts[answer])
    return [float(example.answer == best) for example in asked]


def over_identities(values: ArrayLike, examples: Sequence[PictureExample], emoji: Emoji, *, seed: int) -> Interval:
    """The mean of a value an example, with a bootstrap interval over the identities of the pictures asked about."""
    values_N: NDArray[np.float64] = np.asarray(values, dtype=np.float64)
    if not len(values_N) or len(values_N) != len(examples):
        raise UsageError(f"{len(values_N)} values came for {len(examples)} examples; give one each, and at least one.")
    whose = [emoji.labels[example.picture].identity for example in examples]
    _, group_N = np.unique(whose, return_inverse=True)
    sums_G = np.bincount(group_N, weights=values_N)
    sizes_G = np.bincount(group_N).astype(np.float64)

    def mean(counts_RG: Array) -> Array:
        found: Array = (counts_RG @ sums_G) / (counts_RG @ sizes_G)
        return found

    how = f"bootstrap over {len(sums_G):,} identities, {len(values_N):,} questions"
    return bootstrap_weighted(mean, len(sums_G), seed=seed, how=how)


def _scores(
    model: LlavaForConditionalGeneration,
    rows: PictureRows,
    asked: Sequence[PictureExample],
    answers: Sequence[Sequence[str]],
) -> list[AnswerScores]:
    prompts = rows.collate([rows.row(example, answered=False) for example in asked])
    return answer_log_probabilities(model, prompts, [[rows.answer(text) for text in texts] for texts in answers])


def _rank(scores_C: NDArray[np.float64], right: int) -> float:
    """1 for the best; of equal ones the middle."""
    better, equal = np.sum(scores_C > scores_C[right]), np.sum(scores_C == scores_C[right])
    return float(better + (equal + 1) / 2)


def _batches(examples: Sequence[PictureExample]) -> list[Sequence[PictureExample]]:
    return [examples[start : start + _AT_ONCE] for start in range(0, len(examples), _AT_ONCE)]
