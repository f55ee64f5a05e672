"""Questions about emoji images whose answers are computed from the labels or from the pixels.

name            its short name, for captioning
group           which of Unicode's nine groups it is in
style           which drawing set it is from: to be seen only
colour          which of eight colours dominates its pixels (``dominant_colour``): to be seen only; half have one
keyword         does a keyword fit, yes or no: half and half, and each keyword as often with either
keyword-choice  which of four keywords fits
code            an invented word that stands for its group: a target for tuning, arbitrary and driven by text
next-subgroup   the subgroup after its own in Unicode's order: a target for tuning that asks for a step of reasoning

[derived] The tasks are those that the experiments plan; wording, invented words and choices are ours.
"""

import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Int, UInt8

from armillary.data.images.drawings import EmojiLabel
from armillary.data.images.emoji import Emoji
from armillary.errors import UsageError

# Keywords dealt to images so that the words of a question never tell its answer.
#
# A wrong keyword is some other image's right one: over a set of questions every keyword is right as often as it is
# wrong (or three times as often, with three wrong ones a question), so that only the image can tell.

_LEAST = 5
"""Emoji that must have a keyword for it to be asked: a word met once or twice can't be learnt in one split and asked
for in another. [derived]"""
_ROUNDS = 100
"""Rounds of swaps in which a permutation is looked for: more find one for more keywords, and cost time where there is
none."""


class Keywords:
    """Which keywords can be asked of each emoji, and which surely don't fit it."""

    def __init__(self, emoji: Emoji) -> None:
        self._subgroups = [label.subgroup for label in emoji.labels]
        self._near: dict[str, set[str]] = defaultdict(set)
        for label in emoji.labels:
            self._near[label.subgroup] |= {*label.tags, *_words(label.label)}
        counts = Counter(tag for label in emoji.labels for tag in set(label.tags))
        frequent = {tag for tag, count in counts.items() if count >= _LEAST and self._can_be_wrong(tag)}
        self._of = [_askable(label, frequent) for label in emoji.labels]

    def of(self, emoji: int) -> tuple[str, ...]:
        """Single words that fit an emoji without being part of its name, and that fit at least five emoji in all."""
        return self._of[emoji]

    def fits(self, emoji: int, keyword: str) -> bool:
        """True unless the keyword surely doesn't fit: nothing in the emoji's subgroup has it in its tags or name."""
        return keyword in self._near[self._subgroups[emoji]]

    def dealt(
        self, emoji: Sequence[int], right: Sequence[str], wrong: int, draw: random.Random
    ) -> list[tuple[int, list[str]]]:
        """Indices into ``emoji``, each with its right keyword and then ``wrong`` others that don't fit.

        Each of the wrong columns is a permutation of the right one. An index whose keyword none can take is left out.
        """
        indices = list(range(len(emoji)))
        while indices:
            chosen = [emoji[index] for index in indices]
            columns = [[right[index] for index in indices]]
            left_over: Counter[str] = Counter()
            while len(columns) <= wrong and not left_over:
                column, left_over = self._permuted(chosen, columns, draw)
                columns.append(column)
            if not left_over:
                return [(index, list(row)) for index, row in zip(indices, zip(*columns, strict=True), strict=True)]
            indices = _without(indices, right, left_over)
        return []

    def _can_be_wrong(self, keyword: str) -> bool:
        """True where a keyword doesn't fit at least half of all: else it would hardly ever be a wrong answer."""
        return 2 * sum(self.fits(index, keyword) for index in range(len(self._subgroups))) <= len(self._subgroups)

    def _permuted(
        self, emoji: Sequence[int], columns: Sequence[Sequence[str]], draw: random.Random
    ) -> tuple[list[str], Counter[str]]:
        """The first column in an order in which nothing fits or comes twice, and the words for which there is none."""
        words = list(columns[0])
        draw.shuffle(words)

        def good(row: int, word: str) -> bool:
            return not self.fits(emoji[row], word) and all(column[row] != word for column in columns)

        bad = [row for row, word in enumerate(words) if not good(row, word)]
        for _ in range(_ROUNDS):
            for row in bad:
                other = draw.randrange(len(words))
                # A swap must mend this row and must not spoil the other one.
                if good(row, words[other]) and (good(other, words[row]) or not good(other, words[other])):
                    words[row], words[other] = words[other], words[row]
            bad = [row for row in bad if not good(row, words[row])]
            if not bad:
                break
        return words, Counter(words[row] for row in bad)


def _without(indices: Sequence[int], right: Sequence[str], left_over: Counter[str]) -> list[int]:
    """The indices without the last ones whose right keyword is left over, as many as it is."""
    still, kept = Counter(left_over), []
    for index in reversed(indices):
        if still[right[index]] > 0:
            still[right[index]] -= 1
        else:
            kept.append(index)
    return kept[::-1]


def _askable(label: EmojiLabel, frequent: Collection[str]) -> tuple[str, ...]:
    own = _words(label.label)
    return tuple(
        tag
        for tag in label.tags
        if tag.isascii() and tag.isalpha() and len(tag) > 2 and tag in frequent and tag not in own
    )


def _words(name: str) -> set[str]:
    """The words of a name and, roughly, their singulars and plurals."""
    words = {word.strip(":,.()!“”") for word in name.lower().replace("-", " ").split()}
    return words | {word + "s" for word in words} | {word.removesuffix("s") for word in words}


# The colour that dominates an image, computed from its pixels alone.
#
# [derived] White (value at least 0.9, saturation below 0.1, on the cone of hue, saturation and value) is background.
# Of the rest a pixel is coloured if its saturation is at least 0.25 (blue: 0.35, so that bluish greys stay grey) and
# its value at least 0.3: black outlines and greys have no say. Its hue, with brown for dark or dull orange and pink
# for pale red, gives one of eight colours. A colour dominates an image if it takes at least 65 % of the coloured
# pixels, and if these are at least 8 % of the image and 40 % of all that is not white.

Colour = Literal["red", "orange", "yellow", "green", "blue", "purple", "pink", "brown"]
COLOURS: tuple[Colour, ...] = get_args(Colour)

_RED, _ORANGE, _YELLOW, _GREEN, _BLUE, _PURPLE, _PINK, _BROWN = range(len(COLOURS))
_NONE = len(COLOURS)

# Where, in degrees of hue, one colour ends and the next begins; red lies on both sides of 0.
_BOUNDS = np.array([18, 42, 66, 165, 255, 300, 345])
_BY_HUE = np.array([_RED, _ORANGE, _YELLOW, _GREEN, _BLUE, _PURPLE, _PINK, _RED])
_BROWN_HUES = (8, 42)
_SHARE, _OF_IMAGE, _OF_DRAWN = 0.65, 0.08, 0.4  # stricter shares leave fewer images with a colour, but surer ones


def dominant_colour(image: UInt8[np.ndarray, "h w 3"]) -> Colour | None:
    """The colour that clearly dominates an image (RGB, 0 to 255), or None; the module tells the rule."""
    hue, saturation, value = _drawn(image)
    counts = np.bincount(_colours(hue, saturation, value), minlength=_NONE + 1)[:_NONE]
    coloured, best = int(counts.sum()), int(counts.argmax())
    enough = coloured > 0 and coloured >= max(_OF_IMAGE * image[..., 0].size, _OF_DRAWN * hue.size)
    return COLOURS[best] if enough and counts[best] >= _SHARE * coloured else None


def _drawn(
    image: UInt8[np.ndarray, "h w 3"],
) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"], Float[np.ndarray, "n"]]:
    """Hue in degrees (0 for greys), saturation and value in 0 to 1 of the pixels that are not white."""
    rgb = image.reshape(-1, 3).astype(np.float32) / 255
    value = rgb.max(-1)
    chroma = value - rgb.min(-1)
    kept = (value < 0.9) | (chroma >= 0.1 * value)
    rgb, value, chroma = rgb[kept], value[kept], chroma[kept]
    red, green, blue = rgb.T
    apart = np.where(chroma > 0, chroma, 1)
    sixths = np.select(
        [value == red, value == green],
        [((green - blue) / apart) % 6, (blue - red) / apart + 2],
        (red - green) / apart + 4,
    )
    return 60 * sixths, chroma / np.where(value > 0, value, 1), value


def _colours(
    hue: Float[np.ndarray, "n"], saturation: Float[np.ndarray, "n"], value: Float[np.ndarray, "n"]
) -> Int[np.ndarray, "n"]:
    """Index into COLOURS of each pixel; their number where it has no colour."""
    colours = _BY_HUE[np.searchsorted(_BOUNDS, hue, side="right")]
    brownish = (hue >= _BROWN_HUES[0]) & (hue < _BROWN_HUES[1])
    colours[brownish & ((value < 0.7) | ((saturation < 0.65) & (value < 0.85)))] = _BROWN
    colours[(colours == _YELLOW) & (value < 0.6)] = _BROWN
    colours[(colours == _RED) & (saturation < 0.5) & (value > 0.8)] = _PINK
    least = np.where(colours == _BLUE, 0.35, 0.25)
    colours[(saturation < least) | (value < 0.3)] = _NONE
    return colours


# How each task asks about one image, and the right answer to it.

CODE_QUESTION = "Q7 ->"
NAME_WORDS = 4
"""Words of a short name at most."""
CODES = ("zor", "vek", "dax", "wug", "plim", "kiv", "nurb", "fep", "gliss", "jop", "bilt", "sarn")
"""Invented words, told apart by their first letters."""


@dataclass(frozen=True, kw_only=True)
class ImageExample:
    """One question about one image, ``emoji.images[image, style]``."""

    image: int
    """Index of the emoji."""

    style: int
    """Index of the drawing style."""

    question: str
    answer: str
    choices: tuple[str, ...] | None
    """What the answer is one of; None where it is free."""


Ask = Callable[[int, int], ImageExample | None]
"""The question about the image (emoji, style); None where the task has none to ask about it."""


def group_word(group: str) -> str:
    """The word that a group is answered with: "animals" for "animals & nature"."""
    return group.split()[0]


def group_codes(emoji: Emoji, seed: int = 0) -> dict[str, str]:
    """The invented word of each group, by the group's name, as the seed deals them; UsageError for too many groups."""
    if len(emoji.groups) > len(CODES):
        raise UsageError(f"there are {len(CODES)} invented words, too few for {len(emoji.groups)} groups.")
    words = random.Random(f"codes {seed}").sample(CODES, len(emoji.groups))
    return dict(zip(emoji.groups, words, strict=True))


def ask_name(emoji: Emoji, seed: int) -> Ask:
    """The name, in small letters, where it is at most four plain words.

    Of the variants of one thing only the first is asked about: some sets draw "cook" and "man cook" alike.
    """
    first: dict[str, int] = {}
    for index, label in enumerate(emoji.labels):
        first.setdefault(label.identity, index)

    def ask(index: int, style: int) -> ImageExample | None:
        label = emoji.labels[index]
        letters = re.sub("[ \N{RIGHT SINGLE QUOTATION MARK}-]", "", label.label)
        short = letters.isalpha() and len(label.label.split()) <= NAME_WORDS
        if first[label.identity] != index or not short:
            return None
        return _example(index, style, "What is this?", label.label.lower(), None)

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

    def ask(index: int, style: int) -> ImageExample | None:
        colour = dominant_colour(emoji.images[index, style])
        return None if colour is None else _example(index, style, "Which colour is this?", colour, COLOURS)

    return ask


def ask_code(emoji: Emoji, seed: int) -> Ask:
    """The invented word of the group."""
    codes = group_codes(emoji, seed)
    words = tuple(sorted(codes.values()))
    return lambda index, style: _example(index, style, CODE_QUESTION, codes[emoji.labels[index].group], words)


def ask_next_subgroup(emoji: Emoji, seed: int) -> Ask:
    """The subgroup after the emoji's own, the first after the last; none where a group has only one."""
    orders = {group: emoji.subgroups(group) for group in emoji.groups}

    def ask(index: int, style: int) -> ImageExample | None:
        label = emoji.labels[index]
        order = orders[label.group]
        following = order[(order.index(label.subgroup) + 1) % len(order)]
        return _example(index, style, "Which subgroup comes next?", following, order) if len(order) > 1 else None

    return ask


def _example(index: int, style: int, question: str, answer: str, choices: tuple[str, ...] | None) -> ImageExample:
    return ImageExample(image=index, style=style, question=question, answer=answer, choices=choices)


ImageTask = Literal["name", "group", "style", "colour", "keyword", "keyword-choice", "code", "next-subgroup"]
IMAGE_TASKS: tuple[ImageTask, ...] = get_args(ImageTask)

WRONG_KEYWORDS = 3
"""Beside the right one, in "keyword-choice"."""

_ASKING: dict[str, Callable[[Emoji, int], Ask]] = {
    "name": ask_name,
    "group": ask_group,
    "style": ask_style,
    "colour": ask_colour,
    "code": ask_code,
    "next-subgroup": ask_next_subgroup,
}


def image_examples(
    emoji: Emoji, task: ImageTask, split: str, *, limit: int | None = None, seed: int = 0
) -> list[ImageExample]:
    """At most ``limit`` examples of a task on the images of a split, in an order that the seed decides.

    Fewer where the split has no more images to ask about. The seed also draws keywords and, for "code", says which
    invented word stands for which group, so that train and test need the same one. "keyword" gives an even number,
    half of them "yes". UsageError for an unknown task or split, or a limit below 1 ("keyword": 2).
    """
    if task not in IMAGE_TASKS:
        raise UsageError(f"no task on images is called {task!r}; known are {', '.join(IMAGE_TASKS)}.")
    least = 2 if task == "keyword" else 1
    if limit is not None and limit < least:
        raise UsageError(f"the limit of examples of {task!r} must be at least {least}; got {limit}.")
    draw = random.Random(f"{task} {split} {seed}")
    images = [(index, style) for index in emoji.split(split) for style in range(len(emoji.styles))]
    draw.shuffle(images)
    if task == "keyword":
        return _yes_or_no(emoji, images, limit, draw)
    if task == "keyword-choice":
        return _of_four(emoji, images, draw)[:limit]
    ask = _ASKING[task](emoji, seed)
    examples: list[ImageExample] = []
    for index, style in images:
        if len(examples) == limit:
            break
        if (example := ask(index, style)) is not None:
            examples.append(example)
    return examples


def answer_counts(examples: Sequence[ImageExample]) -> dict[str, int]:
    """How often each answer is right, the most frequent first: what giving it always would score."""
    return dict(Counter(example.answer for example in examples).most_common())


def _yes_or_no(
    emoji: Emoji, images: Sequence[tuple[int, int]], limit: int | None, draw: random.Random
) -> list[ImageExample]:
    dealt = _dealt(emoji, images, 1, draw)[: None if limit is None else limit // 2]
    examples = [
        _example(index, style, f'Does the keyword "{word}" fit?', answer, ("yes", "no"))
        for index, style, words in dealt
        for word, answer in zip(words, ("yes", "no"), strict=True)
    ]
    draw.shuffle(examples)
    return examples


def _of_four(emoji: Emoji, images: Sequence[tuple[int, int]], draw: random.Random) -> list[ImageExample]:
    examples: list[ImageExample] = []
    for index, style, (right, *others) in _dealt(emoji, images, WRONG_KEYWORDS, draw):
        choices = [right, *others]
        draw.shuffle(choices)
        question = f"Which keyword fits: {', '.join(choices[:-1])} or {choices[-1]}?"
        examples.append(_example(index, style, question, right, tuple(choices)))
    return examples


def _dealt(
    emoji: Emoji, images: Sequence[tuple[int, int]], wrong: int, draw: random.Random
) -> list[tuple[int, int, list[str]]]:
    """Images that have a keyword to ask, each with a right one and then ``wrong`` ones that don't fit."""
    keywords = Keywords(emoji)
    able = [(index, style) for index, style in images if keywords.of(index)]
    right = [draw.choice(keywords.of(index)) for index, _ in able]
    dealt = keywords.dealt([index for index, _ in able], right, wrong, draw)
    return [(*able[index], words) for index, words in dealt]
