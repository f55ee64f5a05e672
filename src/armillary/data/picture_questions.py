"""How each task asks about one picture, and the right answer to it."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from armillary.data.emoji import Emoji
from armillary.data.picture_colour import COLOURS, dominant_colour
from armillary.errors import UsageError

CODE_QUESTION = "Q7 ->"
NAME_WORDS = 4
"""Words of a short name at most."""
CODES = ("zor", "vek", "dax", "wug", "plim", "kiv", "nurb", "fep", "gliss", "jop", "bilt", "sarn")
"""Made-up words, told apart by their first letters."""


@dataclass(frozen=True, kw_only=True)
class PictureExample:
    """One question about one picture, ``emoji.pictures[picture, style]``."""

    picture: int
    """Index of the emoji."""

    style: int
    """Index of the drawing style."""

    question: str
    answer: str
    choices: tuple[str, ...] | None
    """What the answer is one of; None where it is free."""


Ask = Callable[[int, int], PictureExample | None]
"""The question about the picture (emoji, style); None where the task has none to ask about it."""


def group_word(group: str) -> str:
    """The word that a group is answered with: "animals" for "animals & nature"."""
    return group.split()[0]


def group_codes(emoji: Emoji, seed: int = 0) -> dict[str, str]:
    """The made-up word of each group, by the group's name, as the seed deals them; UsageError for too many groups."""
    if len(emoji.groups) > len(CODES):
        raise UsageError(f"there are {len(CODES)} made-up words, too few for {len(emoji.groups)} groups.")
    words = random.Random(f"codes {seed}").sample(CODES, len(emoji.groups))
    return dict(zip(emoji.groups, words, strict=True))


def ask_name(emoji: Emoji, seed: int) -> Ask:
    """The name, in small letters, where it is at most four plain words.

    Of the variants of one thing only the first is asked about: some sets draw "cook" and "man cook" alike.
    """
    first: dict[str, int] = {}
    for index, label in enumerate(emoji.labels):
        first.setdefault(label.identity, index)
    asked = {index for index in first.values() if _is_short(emoji.labels[index].label)}

    def ask(index: int, style: int) -> PictureExample | None:
        name = emoji.labels[index].label.lower()
        return _example(index, style, "What is this?", name, None) if index in asked else None

    return ask


def ask_group(emoji: Emoji, seed: int) -> Ask:
    """The group, in one word."""
    words = tuple(group_word(group) for group in emoji.groups)
    return lambda index, style: _example(
        index, style, "Which group is this in?", group_word(emoji.labels[index].group), words
    )


def ask_style(emoji: Emoji, seed: int) -> Ask:
    """The drawing style."""
    return lambda index, style: _example(
        index, style, "Which style is this drawn in?", emoji.styles[style], emoji.styles
    )


def ask_colour(emoji: Emoji, seed: int) -> Ask:
    """The dominant colour, where there is one."""

    def ask(index: int, style: int) -> PictureExample | None:
        colour = dominant_colour(emoji.pictures[index, style])
        return None if colour is None else _example(index, style, "Which colour is this?", colour, COLOURS)

    return ask


def ask_code(emoji: Emoji, seed: int) -> Ask:
    """The made-up word of the group."""
    codes = group_codes(emoji, seed)
    words = tuple(sorted(codes.values()))
    return lambda index, style: _example(index, style, CODE_QUESTION, codes[emoji.labels[index].group], words)


def ask_next_subgroup(emoji: Emoji, seed: int) -> Ask:
    """The subgroup after the emoji's own, the first after the last; none where a group has only one."""
    orders = {group: emoji.subgroups(group) for group in emoji.groups}

    def ask(index: int, style: int) -> PictureExample | None:
        label = emoji.labels[index]
        order = orders[label.group]
        following = order[(order.index(label.subgroup) + 1) % len(order)]
        return _example(index, style, "Which subgroup comes next?", following, order) if len(order) > 1 else None

    return ask


def _example(index: int, style: int, question: str, answer: str, choices: tuple[str, ...] | None) -> PictureExample:
    return PictureExample(picture=index, style=style, question=question, answer=answer, choices=choices)


def _is_short(name: str) -> bool:
    letters = name.replace(" ", "").replace("-", "").replace("\N{RIGHT SINGLE QUOTATION MARK}", "")
    return letters.isalpha() and len(name.split()) <= NAME_WORDS
