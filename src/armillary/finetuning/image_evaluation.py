"""Does an image-text model really see: its answers about images, beside the same with the images shuffled.

A shuffled image is a real one of another emoji, so that whatever is known without seeing the right image (which
answers are frequent, which names are short) counts for both. Accuracies and differences have intervals over
identities: the styles of one emoji, and its variants, are drawn together.

[derived] The measures are ours; the papers tell no blind control.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from transformers import LlavaForConditionalGeneration

from armillary.data.images.emoji import Emoji
from armillary.data.images.questions import ImageExample, ImageTask, image_examples
from armillary.errors import UsageError
from armillary.numerics.intervals import Array, Interval, bootstrap_weighted
from armillary.progress import counted
from armillary.scoring.answers import AnswerScores, answer_log_probabilities, greedy_answers
from armillary.training.image_rows import ImageRows

NAMES = 20
"""Among which the right name is ranked."""

_AT_ONCE = 16
_CAPTION_TOKENS = 16


@dataclass(frozen=True, kw_only=True)
class ImageAnswer:
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


def shuffled_images(examples: Sequence[ImageExample], emoji: Emoji, *, seed: int) -> list[ImageExample]:
    """The same questions and answers, each with the image of another example.

    Every image is used as often as before (a cyclic shift of a random order), and hardly ever for its own identity.
    """
    order = list(range(len(examples)))
    random.Random(f"blind {seed}").shuffle(order)
    whose = [emoji.labels[examples[place].image].identity for place in order]
    # Neighbours in the order may share an identity; the shift with the fewest such pairs is taken.
    shifts = range(1, min(len(order), 50))
    clashes = {
        shift: sum(a == b for a, b in zip(whose, whose[shift:] + whose[:shift], strict=True)) for shift in shifts
    }
    shift = min(clashes, key=lambda one: (clashes[one], one), default=0)
    blind = list(examples)
    for place, source in zip(order, order[shift:] + order[:shift], strict=True):
        blind[place] = replace(examples[place], image=examples[source].image, style=examples[source].style)
    return blind


def choose(
    model: LlavaForConditionalGeneration,
    rows: ImageRows,
    examples: Sequence[ImageExample],
    *,
    label: str = "",
) -> list[ImageAnswer]:
    """Which of its choices each example is answered with. UsageError for one without choices."""
    if not all(example.choices for example in examples):
        raise UsageError("a question without choices can't be answered by choosing; ask for its name with `caption`.")
    told: list[ImageAnswer] = []
    with counted(label, len(examples)) as bar:
        for asked in _batches(examples):
            choices = [example.choices or () for example in asked]
            for example, names, scores in zip(asked, choices, _scores(model, rows, asked, choices), strict=True):
                best, place = names[int(np.argmax(scores.mean))], names.index(example.answer)
                ranks = {"rank": _rank(scores.mean, place), "rank_whole": _rank(scores.total, place)}
                told.append(ImageAnswer(told=best, right=float(best == example.answer), **ranks))
            bar.advance(len(asked))
    return told


def caption(
    model: LlavaForConditionalGeneration,
    rows: ImageRows,
    examples: Sequence[ImageExample],
    names: Sequence[Sequence[str]],
    *,
    label: str = "",
) -> list[ImageAnswer]:
    """A greedy caption of each image, and the rank of the right name among ``names`` (one list an example).

    The caption is cut after 16 tokens; right means the very words, in small letters.
    """
    told: list[ImageAnswer] = []
    with counted(label, len(examples)) as bar:
        for start in range(0, len(examples), _AT_ONCE):
            asked, among = examples[start : start + _AT_ONCE], names[start : start + _AT_ONCE]
            prompts = rows.collate([rows.row(example, answered=False) for example in asked])
            captions = greedy_answers(model, prompts, max_new_tokens=_CAPTION_TOKENS, end_id=rows.end_id)
            scored = _scores(model, rows, asked, among)
            for example, tokens, given, scores in zip(asked, captions, among, scored, strict=True):
                said, place = rows.text(tokens).lower(), given.index(example.answer)
                told.append(
                    ImageAnswer(
                        told=said,
                        right=float(said == example.answer),
                        overlap=word_overlap(said, example.answer),
                        rank=_rank(scores.mean, place),
                        rank_whole=_rank(scores.total, place),
                    )
                )
            bar.advance(len(asked))
    return told


def names_to_rank(examples: Sequence[ImageExample], *, seed: int, count: int = NAMES) -> list[list[str]]:
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


def majority(train: Sequence[ImageExample], asked: Sequence[ImageExample]) -> list[float]:
    """1 where the answer that is most frequent in ``train`` is the right one, else 0."""
    counts: dict[str, int] = {}
    for example in train:
        counts[example.answer] = counts.get(example.answer, 0) + 1
    best = max(counts, key=lambda answer: counts[answer])
    return [float(example.answer == best) for example in asked]


def over_identities(values: ArrayLike, examples: Sequence[ImageExample], emoji: Emoji, *, seed: int) -> Interval:
    """The mean of a value an example, with a bootstrap interval over the identities of the images asked about."""
    values_N: NDArray[np.float64] = np.asarray(values, dtype=np.float64)
    if not len(values_N) or len(values_N) != len(examples):
        raise UsageError(f"{len(values_N)} values came for {len(examples)} examples; give one each, and at least one.")
    whose = [emoji.labels[example.image].identity for example in examples]
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
    rows: ImageRows,
    asked: Sequence[ImageExample],
    answers: Sequence[Sequence[str]],
) -> list[AnswerScores]:
    prompts = rows.collate([rows.row(example, answered=False) for example in asked])
    return answer_log_probabilities(model, prompts, [[rows.answer(text) for text in texts] for texts in answers])


def _rank(scores_C: NDArray[np.float64], right: int) -> float:
    """1 for the best; of equal ones the middle."""
    better, equal = np.sum(scores_C > scores_C[right]), np.sum(scores_C == scores_C[right])
    return float(better + (equal + 1) / 2)


def _batches(examples: Sequence[ImageExample]) -> list[Sequence[ImageExample]]:
    return [examples[start : start + _AT_ONCE] for start in range(0, len(examples), _AT_ONCE)]


# From answers to numbers: accuracy of seeing, blind and untrained, with intervals and the difference of seeing.

Answers = Mapping[str, Sequence[Mapping[str, Any]]]
"""Task -> what was told to each of its questions, as ``ImageAnswer.to_dict`` gives it."""

_SHOWN = 24
_CAPTIONS = ("right", "overlap", "rank", "first", "rank_whole", "first_whole")


def summary(
    asked: Mapping[str, Sequence[ImageExample]], told: Mapping[str, Answers], emoji: Emoji, seed: int
) -> dict[str, Any]:
    """``tasks``: a row a task of choices; ``captions``: the measures of captions; ``sheet``: some captions.

    ``told`` has "seeing", "blind" and "untrained". Plain data, intervals as their dicts.
    """
    tasks = {
        task: _task(task, examples, {who: answers[task] for who, answers in told.items()}, emoji, seed)
        for task, examples in asked.items()
        if task != "name" and examples
    }
    names = asked.get("name") or []
    if not names:
        return {"tasks": tasks, "captions": {}, "sheet": []}
    captions = {who: answers["name"] for who, answers in told.items()}
    measured, sheet = _captions(names, captions, emoji, seed), _sheet(names, captions, emoji)
    return {"tasks": tasks, "captions": measured, "sheet": sheet}


def held_out_loss(
    before: Sequence[float], after: Sequence[float], examples: Sequence[ImageExample], emoji: Emoji, seed: int
) -> dict[str, Any]:
    """Nats a token of the right answers to validation questions, before and after."""
    found = {"before": before, "after": after}
    return {name: over_identities(values, examples, emoji, seed=seed).to_dict() for name, values in found.items()}


def _task(
    task: str,
    examples: Sequence[ImageExample],
    told: Mapping[str, Sequence[Mapping[str, Any]]],
    emoji: Emoji,
    seed: int,
) -> dict[str, Any]:
    train = image_examples(emoji, cast(ImageTask, task), "train", limit=2000, seed=seed)
    firsts = _with_firsts(told)
    row = _compared("right", examples, firsts, emoji, seed)
    row["whole"] = _compared("first_whole", examples, firsts, emoji, seed)
    row["majority"] = float(np.mean(majority(train, examples)))
    row["chance"] = float(np.mean([1 / len(example.choices or (1,)) for example in examples]))
    row["questions"] = len(examples)
    return row


def _compared(
    measure: str,
    examples: Sequence[ImageExample],
    told: Mapping[str, Sequence[Mapping[str, Any]]],
    emoji: Emoji,
    seed: int,
) -> dict[str, Any]:
    """One measure of each, and how much seeing has over blind, question by question."""
    values = {who: np.array([float(one[measure]) for one in answers]) for who, answers in told.items()}
    values["gain"] = values["seeing"] - values["blind"]
    intervals: dict[str, Interval] = {
        name: over_identities(value, examples, emoji, seed=seed) for name, value in values.items()
    }
    return {name: interval.to_dict() for name, interval in intervals.items()}


def _with_firsts(told: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """``first`` and ``first_whole``: 1 where the right one is ranked first, alone."""
    return {
        who: [
            {**one, "first": float(one["rank"] <= 1), "first_whole": float(one["rank_whole"] <= 1)} for one in answers
        ]
        for who, answers in told.items()
    }


def _captions(
    examples: Sequence[ImageExample],
    told: Mapping[str, Sequence[Mapping[str, Any]]],
    emoji: Emoji,
    seed: int,
) -> dict[str, Any]:
    first = _with_firsts(told)
    measures = {measure: _compared(measure, examples, first, emoji, seed) for measure in _CAPTIONS}
    among = min(NAMES, len({example.answer for example in examples}))
    return {**measures, "questions": len(examples), "among": among}


def _sheet(
    examples: Sequence[ImageExample], told: Mapping[str, Sequence[Mapping[str, Any]]], emoji: Emoji
) -> list[list[str | float]]:
    """Character, style, name, and what each of the three says; images of different emoji, in the order asked."""
    rows: dict[int, list[str | float]] = {}
    for place, example in enumerate(examples):
        if example.image not in rows and len(rows) < _SHOWN:
            label = emoji.labels[example.image]
            said = [str(told[who][place]["told"]) for who in ("seeing", "blind", "untrained")]
            rank = float(told["seeing"][place]["rank"])
            rows[example.image] = [label.character, emoji.styles[example.style], example.answer, *said, rank]
    return list(rows.values())
