"""Does an image-text model really see: its answers about images, beside the same with the images shuffled.

A shuffled image is a real one of another emoji, so that whatever is known without seeing the right image (which
answers are frequent, which names are short) counts for both. Accuracies and differences have intervals over
identities: the styles of one emoji, and its variants, are drawn together.

[derived] The measures are ours; the papers have no blind control.
"""

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

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

ATTRIBUTES: tuple[ImageTask, ...] = ("group", "style", "colour")
"""What is to be seen of any object, also of one never met."""

NAMES = 20
"""Among which the right name is ranked."""

_AT_ONCE = 16
_CAPTION_TOKENS = 16


@dataclass(frozen=True, kw_only=True)
class ImageAnswer:
    """What a model made of one question. Choices and names are ranked by their log-probability a token, end included.

    That favours answers of many tokens, of which the later ones follow from the first; the log-probability of the
    whole answer favours none, and stands beside it.
    """

    answer: str
    """The choice ranked first, or the caption."""

    right: float
    """1 where that is the answer, else 0."""

    rank: float
    """Place of the right choice among the choices, of the right name among the names; 1 is best."""

    rank_whole: float
    """The same by log-probability of the whole answer."""

    overlap: float | None = None
    """Of a caption: F1 of its words with those of the name."""


def shuffled_images(examples: Sequence[ImageExample], emoji: Emoji, *, seed: int) -> list[ImageExample]:
    """The same questions and answers, each with the image of another example.

    Every image is used as often as before (a cyclic shift of a random order), and hardly ever for its own identity.
    """
    order = list(range(len(examples)))
    random.Random(f"blind {seed}").shuffle(order)
    whose = [emoji.labels[examples[index].image].identity for index in order]
    # Neighbours in the order may share an identity; the shift with the fewest such pairs is taken.
    shifts = range(1, min(len(order), 50))
    clashes = {
        shift: sum(a == b for a, b in zip(whose, whose[shift:] + whose[:shift], strict=True)) for shift in shifts
    }
    shift = min(clashes, key=lambda steps: (clashes[steps], steps), default=0)
    blind = list(examples)
    for index, source in zip(order, order[shift:] + order[:shift], strict=True):
        blind[index] = replace(examples[index], image=examples[source].image, style=examples[source].style)
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
    answers: list[ImageAnswer] = []
    with counted(label, len(examples)) as bar:
        for start in range(0, len(examples), _AT_ONCE):
            batch = examples[start : start + _AT_ONCE]
            choices = [example.choices or () for example in batch]
            for example, names, scores in zip(batch, choices, _scores(model, rows, batch, choices), strict=True):
                best, right = names[int(np.argmax(scores.mean))], names.index(example.answer)
                ranks = {"rank": _rank(scores.mean, right), "rank_whole": _rank(scores.total, right)}
                answers.append(ImageAnswer(answer=best, right=float(best == example.answer), **ranks))
            bar.advance(len(batch))
    return answers


def caption(
    model: LlavaForConditionalGeneration,
    rows: ImageRows,
    examples: Sequence[ImageExample],
    names: Sequence[Sequence[str]],
    *,
    label: str = "",
    speak: bool = True,
) -> list[ImageAnswer]:
    """A greedy caption of each image, and the rank of the right name among ``names`` (one list an example).

    The caption is cut after 16 tokens; right means the very words, in small letters. Without ``speak`` names are only
    ranked, which takes half the time.
    """
    answers: list[ImageAnswer] = []
    with counted(label, len(examples)) as bar:
        for start in range(0, len(examples), _AT_ONCE):
            batch, among = examples[start : start + _AT_ONCE], names[start : start + _AT_ONCE]
            prompts = rows.collate([rows.row(example, answered=False) for example in batch])
            captions = [list[int]() for _ in batch]
            if speak:
                captions = greedy_answers(
                    model, prompts, max_new_tokens=_CAPTION_TOKENS, end_id=rows.end_id, nameless=rows.nameless
                )
            scored = _scores(model, rows, batch, among)
            for example, tokens, given, scores in zip(batch, captions, among, scored, strict=True):
                text, right = rows.text(tokens).lower(), given.index(example.answer)
                answers.append(
                    ImageAnswer(
                        answer=text,
                        right=float(text == example.answer),
                        overlap=word_overlap(text, example.answer),
                        rank=_rank(scores.mean, right),
                        rank_whole=_rank(scores.total, right),
                    )
                )
            bar.advance(len(batch))
    return answers


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


def word_overlap(text: str, name: str) -> float:
    """F1 of two sets of words: 1 where they are the same, 0 where they share none."""
    ours, theirs = set(text.split()), set(name.split())
    shared = len(ours & theirs)
    return 2 * shared / (len(ours) + len(theirs)) if shared else 0.0


def majority(train: Sequence[ImageExample], test: Sequence[ImageExample]) -> list[float]:
    """1 where the answer that is most frequent in ``train`` is the right one, else 0."""
    best = Counter(example.answer for example in train).most_common(1)[0][0]
    return [float(example.answer == best) for example in test]


def above_majority(
    examples: Mapping[ImageTask, Sequence[ImageExample]],
    answers: Mapping[ImageTask, Sequence[ImageAnswer]],
    emoji: Emoji,
    seed: int,
) -> Interval:
    """Share of right answers on the attributes, less what the answers most frequent in training would get right."""
    examples_N = [example for task in ATTRIBUTES for example in examples[task]]
    right_N = np.array([answer.right for task in ATTRIBUTES for answer in answers[task]])
    train = {task: image_examples(emoji, task, "train", limit=2000, seed=seed) for task in ATTRIBUTES}
    most_N = np.array([hit for task in ATTRIBUTES for hit in majority(train[task], examples[task])])
    return over_identities(right_N - most_N, examples_N, emoji, seed=seed)


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
        means_R: Array = (counts_RG @ sums_G) / (counts_RG @ sizes_G)
        return means_R

    how = f"bootstrap over {len(sums_G):,} identities, {len(values_N):,} questions"
    return bootstrap_weighted(mean, len(sums_G), seed=seed, how=how)


def _scores(
    model: LlavaForConditionalGeneration,
    rows: ImageRows,
    examples: Sequence[ImageExample],
    answers: Sequence[Sequence[str]],
) -> list[AnswerScores]:
    prompts = rows.collate([rows.row(example, answered=False) for example in examples])
    tokens = [[rows.answer(text) for text in texts] for texts in answers]
    return answer_log_probabilities(model, prompts, tokens, nameless=rows.nameless)


def _rank(scores_C: NDArray[np.float64], right: int) -> float:
    """1 for the best; of equal ones the middle."""
    better, equal = np.sum(scores_C > scores_C[right]), np.sum(scores_C == scores_C[right])
    return float(better + (equal + 1) / 2)


# From answers to numbers: accuracy with the right image, with another and before training, with intervals.

Answers = Mapping[str, Sequence[ImageAnswer]]
"""Who was asked ("seeing", "blind", "untrained") -> an answer to each question."""

SheetRow = tuple[str, str, str, str, str, str, float]
"""Character, style, name, what each of the three says, and the rank of the name with the right image."""

_SHOWN = 24
_MEASURES: dict[str, Callable[[ImageAnswer], float]] = {
    "right": lambda answer: answer.right,
    "overlap": lambda answer: answer.overlap or 0.0,
    "rank": lambda answer: answer.rank,
    "first": lambda answer: float(answer.rank <= 1),  # first alone: of equal ones the rank is the middle
    "rank_whole": lambda answer: answer.rank_whole,
    "first_whole": lambda answer: float(answer.rank_whole <= 1),
}


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One measure of the trained model, of the same with shuffled images, and before training."""

    seeing: Interval
    blind: Interval
    untrained: Interval
    gain: Interval
    """Of seeing over blind, question by question."""


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """One task of choices."""

    right: Compared
    whole: Compared
    """Right by the whole answer's log-probability."""

    majority: float
    """Share that the answer most frequent in training gets right."""

    chance: float
    questions: int


@dataclass(frozen=True, kw_only=True)
class CaptionResult:
    """Names said and names ranked."""

    measures: dict[str, Compared]
    questions: int
    among: int
    """Names among which the right one is ranked."""

    sheet: tuple[SheetRow, ...]
    """Some of the captions."""


@dataclass(frozen=True, kw_only=True)
class ImageEvaluation:
    """What a model sees."""

    tasks: dict[str, TaskResult]
    captions: CaptionResult | None
    """None where no names were asked for."""


def evaluation(
    examples: Mapping[ImageTask, Sequence[ImageExample]], answers: Mapping[ImageTask, Answers], emoji: Emoji, seed: int
) -> ImageEvaluation:
    """The measures of each task from the answers to its questions (by task, then by who was asked)."""
    return ImageEvaluation(
        tasks={
            task: _task(task, of_task, answers[task], emoji, seed)
            for task, of_task in examples.items()
            if task != "name" and of_task
        },
        captions=_captions(examples["name"], answers["name"], emoji, seed) if examples.get("name") else None,
    )


def _task(task: ImageTask, examples: Sequence[ImageExample], answers: Answers, emoji: Emoji, seed: int) -> TaskResult:
    train = image_examples(emoji, task, "train", limit=2000, seed=seed)
    return TaskResult(
        right=_compared("right", examples, answers, emoji, seed),
        whole=_compared("first_whole", examples, answers, emoji, seed),
        majority=float(np.mean(majority(train, examples))),
        chance=float(np.mean([1 / len(example.choices or (1,)) for example in examples])),
        questions=len(examples),
    )


def _compared(measure: str, examples: Sequence[ImageExample], answers: Answers, emoji: Emoji, seed: int) -> Compared:
    values = {who: np.array([_MEASURES[measure](answer) for answer in given]) for who, given in answers.items()}
    values["gain"] = values["seeing"] - values["blind"]
    return Compared(**{who: over_identities(row, examples, emoji, seed=seed) for who, row in values.items()})


def _captions(examples: Sequence[ImageExample], answers: Answers, emoji: Emoji, seed: int) -> CaptionResult:
    sheet: dict[int, SheetRow] = {}
    for example, seeing, blind, untrained in zip(
        examples, answers["seeing"], answers["blind"], answers["untrained"], strict=True
    ):
        if example.image not in sheet and len(sheet) < _SHOWN:  # the first of them, each emoji once
            character, style = emoji.labels[example.image].character, emoji.styles[example.style]
            texts = (seeing.answer, blind.answer, untrained.answer)
            sheet[example.image] = (character, style, example.answer, *texts, seeing.rank)
    return CaptionResult(
        measures={measure: _compared(measure, examples, answers, emoji, seed) for measure in _MEASURES},
        questions=len(examples),
        among=min(NAMES, len({example.answer for example in examples})),
        sheet=tuple(sheet.values()),
    )
