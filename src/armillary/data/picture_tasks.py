"""Questions about emoji pictures whose answers are computed from the labels or from the pixels.

name            its short name, for captioning
group           which of Unicode's nine groups it is in
style           which drawing set it is from: to be seen only
colour          which of eight colours dominates its pixels (``picture_colour``): to be seen only; half have one
keyword         does a keyword fit, yes or no: half and half, and each keyword as often with either
keyword-choice  which of four keywords fits
code            a made-up word that stands for its group: a target for tuning, arbitrary and driven by text
next-subgroup   the subgroup after its own in Unicode's order: a target for tuning that asks for a step of reasoning

[derived] The tasks are those that the experiments plan; wording, made-up words and choices are ours.
"""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal, get_args

from armillary.data import picture_questions as questions
from armillary.data.emoji import Emoji
from armillary.data.picture_keywords import Keywords
from armillary.data.picture_questions import Ask, PictureExample, group_codes
from armillary.errors import UsageError

PictureTask = Literal["name", "group", "style", "colour", "keyword", "keyword-choice", "code", "next-subgroup"]
PICTURE_TASKS: tuple[PictureTask, ...] = get_args(PictureTask)

WRONG_KEYWORDS = 3
"""Beside the right one, in "keyword-choice"."""

_ASKING: dict[str, Callable[[Emoji, int], Ask]] = {
    "name": questions.ask_name,
    "group": questions.ask_group,
    "style": questions.ask_style,
    "colour": questions.ask_colour,
    "code": questions.ask_code,
    "next-subgroup": questions.ask_next_subgroup,
}


def picture_examples(
    emoji: Emoji, task: PictureTask, split: str, *, limit: int | None = None, seed: int = 0
) -> list[PictureExample]:
    """At most ``limit`` examples of a task on the pictures of a split, in an order that the seed decides.

    Fewer where the split has no more pictures to ask about. The seed also draws keywords and, for "code", says which
    made-up word stands for which group, so that train and test need the same one. "keyword" gives an even number, half
    of them "yes". UsageError for an unknown task or split, or a limit below 1 ("keyword": 2).
    """
    if task not in PICTURE_TASKS:
        raise UsageError(f"no task on pictures is called {task!r}; known are {', '.join(PICTURE_TASKS)}.")
    least = 2 if task == "keyword" else 1
    if limit is not None and limit < least:
        raise UsageError(f"the limit of examples of {task!r} must be at least {least}; got {limit}.")
    draw = random.Random(f"{task} {split} {seed}")
    pictures = [(index, style) for index in emoji.split(split) for style in range(len(emoji.styles))]
    draw.shuffle(pictures)
    if task == "keyword":
        return _yes_or_no(emoji, pictures, limit, draw)
    if task == "keyword-choice":
        return _of_four(emoji, pictures, draw)[:limit]
    ask = _ASKING[task](emoji, seed)
    asked: list[PictureExample] = []
    for index, style in pictures:
        if len(asked) == limit:
            break
        if (example := ask(index, style)) is not None:
            asked.append(example)
    return asked


def answer_counts(examples: Sequence[PictureExample]) -> dict[str, int]:
    """How often each answer is right, the most frequent first: what giving it always would score."""
    return dict(Counter(example.answer for example in examples).most_common())


def _yes_or_no(
    emoji: Emoji, pictures: Sequence[tuple[int, int]], limit: int | None, draw: random.Random
) -> list[PictureExample]:
    dealt = _dealt(emoji, pictures, 1, draw)[: None if limit is None else limit // 2]
    asked = [
        PictureExample(
            picture=index,
            style=style,
            question=f'Does the keyword "{word}" fit?',
            answer=answer,
            choices=("yes", "no"),
        )
        for index, style, words in dealt
        for word, answer in zip(words, ("yes", "no"), strict=True)
    ]
    draw.shuffle(asked)
    return asked


def _of_four(emoji: Emoji, pictures: Sequence[tuple[int, int]], draw: random.Random) -> list[PictureExample]:
    asked: list[PictureExample] = []
    for index, style, (right, *others) in _dealt(emoji, pictures, WRONG_KEYWORDS, draw):
        choices = [right, *others]
        draw.shuffle(choices)
        question = f"Which keyword fits: {', '.join(choices[:-1])} or {choices[-1]}?"
        asked.append(
            PictureExample(picture=index, style=style, question=question, answer=right, choices=tuple(choices))
        )
    return asked


def _dealt(
    emoji: Emoji, pictures: Sequence[tuple[int, int]], wrong: int, draw: random.Random
) -> list[tuple[int, int, list[str]]]:
    """Pictures that have a keyword to ask, each with a right one and then ``wrong`` ones that don't fit."""
    keywords = Keywords(emoji)
    able = [(index, style) for index, style in pictures if keywords.of(index)]
    right = [draw.choice(keywords.of(index)) for index, _ in able]
    dealt = keywords.dealt([index for index, _ in able], right, wrong, draw)
    return [(*able[place], words) for place, words in dealt]


__all__ = ["PICTURE_TASKS", "PictureExample", "PictureTask", "answer_counts", "group_codes", "picture_examples"]
