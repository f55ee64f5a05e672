"""Every answer against what the image or the label says; keywords that no one can guess from the words alone."""

import colorsys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from armillary.data import COLOURS, IMAGE_TASKS, answer_counts, dominant_colour, group_codes, image_examples
from armillary.data.images.drawings import EmojiLabel
from armillary.data.images.emoji import Emoji
from armillary.data.images.questions import CODES, ImageExample, _drawn
from armillary.errors import UsageError

from .tiny_emoji import emoji_with

GROUPS = {"birds & co": ("owl", "duck", "crow"), "tools": ("saw", "drill"), "flags": ("flag",)}


@pytest.fixture(scope="module")
def emoji() -> Emoji:
    return emoji_with(GROUPS)


def painted(*parts: tuple[tuple[int, int, int], int]) -> np.ndarray:
    """An image of 10 by 10 that is white but for so many pixels of each colour."""
    pixels = np.full((100, 3), 255, dtype=np.uint8)
    start = 0
    for colour, number in parts:
        pixels[start : start + number] = colour
        start += number
    return pixels.reshape(10, 10, 3)


RED, BLUE, BLACK, GREY = (220, 30, 40), (20, 110, 230), (0, 0, 0), (128, 130, 132)


@pytest.mark.parametrize(
    ("rgb", "colour"),
    [
        ((255, 0, 0), "red"),
        ((190, 25, 49), "red"),
        ((255, 140, 0), "orange"),
        ((255, 220, 0), "yellow"),
        ((0, 160, 0), "green"),
        ((90, 200, 90), "green"),
        ((0, 0, 255), "blue"),
        ((90, 180, 240), "blue"),
        ((120, 60, 180), "purple"),
        ((255, 105, 180), "pink"),
        ((250, 160, 160), "pink"),
        ((120, 70, 30), "brown"),
        ((193, 105, 79), "brown"),
        ((255, 255, 255), None),
        ((240, 240, 245), None),
        ((0, 0, 0), None),
        ((40, 20, 60), None),
        ((130, 130, 130), None),
        ((144, 164, 174), None),
    ],
)
def test_plain_colours_have_their_names(rgb: tuple[int, int, int], colour: str | None) -> None:
    assert dominant_colour(painted((rgb, 100))) == colour
    assert dominant_colour(painted((rgb, 30))) == colour, "white is background"


def test_a_colour_must_clearly_dominate() -> None:
    assert dominant_colour(painted((RED, 26), (BLUE, 14))) == "red"  # 65 %
    assert dominant_colour(painted((RED, 25), (BLUE, 15))) is None
    assert dominant_colour(painted((RED, 8))) == "red"  # 8 % of the image
    assert dominant_colour(painted((RED, 7))) is None
    assert dominant_colour(painted((RED, 20), (BLACK, 30))) == "red"  # 40 % of what is drawn
    assert dominant_colour(painted((RED, 20), (BLACK, 31))) is None
    assert dominant_colour(painted((BLUE, 40), (BLACK, 30), (GREY, 20))) == "blue"


def test_where_the_pixels_are_does_not_matter() -> None:
    image = painted((BLUE, 30), (RED, 8), (BLACK, 5))
    shuffled = np.random.default_rng(0).permutation(image.reshape(-1, 3)).reshape(10, 10, 3)
    large = image.repeat(3, axis=0).repeat(3, axis=1)
    assert {dominant_colour(each) for each in (image, image[::-1, ::-1], shuffled, large)} == {"blue"}


def test_hue_saturation_and_value_are_those_of_the_standard_library() -> None:
    pixels = np.random.default_rng(0).integers(0, 230, (20, 20, 3)).astype(np.uint8)
    expected = np.array([colorsys.rgb_to_hsv(*(pixel / 255)) for pixel in pixels.reshape(-1, 3).astype(float)])
    hue, saturation, value = _drawn(pixels)
    keep = ~((expected[:, 2] >= 0.9) & (expected[:, 1] < 0.1))
    np.testing.assert_allclose(hue, 360 * expected[keep, 0], atol=1e-3)
    np.testing.assert_allclose(saturation, expected[keep, 1], atol=1e-5)
    np.testing.assert_allclose(value, expected[keep, 2], atol=1e-5)


@pytest.mark.parametrize("task", IMAGE_TASKS)
def test_each_task_asks_about_its_split_and_repeats_with_the_seed(task: str, emoji: Emoji) -> None:
    for split in ("train", "validation", "test"):
        examples = image_examples(emoji, task, split)
        assert examples and {example.image for example in examples} <= set(emoji.split(split))
        assert all(example.style in (0, 1) for example in examples)
        assert all(example.choices is None or example.answer in example.choices for example in examples)
        assert examples == image_examples(emoji, task, split)
    assert image_examples(emoji, task, "train", seed=1) != image_examples(emoji, task, "train")
    assert len(image_examples(emoji, task, "train", limit=8)) == 8
    assert sum(answer_counts(examples).values()) == len(examples)


def test_a_limit_takes_the_first(emoji: Emoji) -> None:
    for task in ("name", "colour", "code", "keyword-choice"):
        assert image_examples(emoji, task, "train", limit=5) == image_examples(emoji, task, "train")[:5]


def test_style_and_group_and_their_balance(emoji: Emoji) -> None:
    styles = image_examples(emoji, "style", "train")
    assert all(example.answer == emoji.styles[example.style] for example in styles)
    counts = answer_counts(styles)
    assert counts["drawn"] == counts["blank"] == len(emoji.split("train"))
    groups = image_examples(emoji, "group", "train")
    assert all(example.answer == emoji.labels[example.image].group.split()[0] for example in groups)
    assert groups[0].choices == ("birds", "tools", "flags")
    assert list(answer_counts(groups)) == ["birds", "tools", "flags"], "the most frequent first"


def test_only_coloured_images_are_asked_for_their_colour(emoji: Emoji) -> None:
    examples = image_examples(emoji, "colour", "train")
    assert {(example.answer, example.style) for example in examples} == {("red", 0)}
    assert len(examples) == len(emoji.split("train")) and examples[0].choices == COLOURS


def test_names_are_short_and_only_one_variant_is_asked() -> None:
    names = {
        "1F9D1-200D-1F373": "Cook",
        "1F468-200D-1F373": "man cook",
        "1F989": "owl",
        "1F481": "woman\N{RIGHT SINGLE QUOTATION MARK}s hat",
        "1F482": "face with open eyes and hand",
        "1F483": "keycap: 5",
    }
    blank = np.full((len(names), 1, 4, 4, 3), 255, dtype=np.uint8)
    labels = tuple(
        EmojiLabel(hexcode=code, character="x", label=name, tags=(), group="g", subgroup="s")
        for code, name in names.items()
    )
    few = Emoji(images=blank, labels=labels, styles=("one",), source=())
    asked = {
        example.answer for split in ("train", "validation", "test") for example in image_examples(few, "name", split)
    }
    assert asked == {"cook", "owl", "woman\N{RIGHT SINGLE QUOTATION MARK}s hat"}


def test_codes_are_a_word_a_group_whatever_the_split(emoji: Emoji) -> None:
    codes = group_codes(emoji, seed=3)
    assert set(codes) == set(emoji.groups) and len(set(codes.values())) == 3 and set(codes.values()) <= set(CODES)
    for split in ("train", "test"):
        for example in image_examples(emoji, "code", split, seed=3):
            assert (example.question, example.answer) == ("Q7 ->", codes[emoji.labels[example.image].group])
    assert len({tuple(group_codes(emoji, seed).values()) for seed in range(10)}) > 5
    with pytest.raises(UsageError, match="12 invented words, too few for 13 groups"):
        group_codes(emoji_with({f"group{i}": ("part",) for i in range(13)}, per_subgroup=1))


def test_the_next_subgroup_follows_in_order_and_wraps(emoji: Emoji) -> None:
    following = {"owl": "duck", "duck": "crow", "crow": "owl", "saw": "drill", "drill": "saw"}
    examples = image_examples(emoji, "next-subgroup", "train")
    assert {(emoji.labels[example.image].subgroup, example.answer) for example in examples} == set(following.items())
    assert examples[0].choices in (GROUPS["birds & co"], GROUPS["tools"])


def keyword_of(example: ImageExample) -> str:
    return example.question.split('"')[1]


@pytest.mark.parametrize("limit", [None, 2, 30])
def test_keywords_are_half_yes_and_true(limit: int | None, emoji: Emoji) -> None:
    examples = image_examples(emoji, "keyword", "train", limit=limit)
    assert limit is None or len(examples) == limit
    assert answer_counts(examples) in ({"yes": len(examples) // 2, "no": len(examples) // 2},)
    for example in examples:
        fits = keyword_of(example) in emoji.labels[example.image].tags
        assert example.answer == ("yes" if fits else "no")


def test_the_words_alone_never_tell_yes_from_no(emoji: Emoji) -> None:
    """Each keyword is as often right as wrong, so that whoever sees no image is at chance."""
    examples = image_examples(emoji, "keyword", "train")
    counts = {answer: Counter() for answer in ("yes", "no")}
    for example in examples:
        counts[example.answer][keyword_of(example)] += 1
    assert counts["yes"] == counts["no"] and len(counts["yes"]) >= 6


def test_one_of_four_keywords_fits_and_each_is_wrong_three_times_as_often(emoji: Emoji) -> None:
    examples = image_examples(emoji, "keyword-choice", "train")
    wrong: Counter[str] = Counter()
    for example in examples:
        assert example.choices is not None and len(set(example.choices)) == 4
        assert all(choice in example.question for choice in example.choices)
        tags = emoji.labels[example.image].tags
        assert [choice for choice in example.choices if choice in tags] == [example.answer]
        wrong.update(set(example.choices) - {example.answer})
    complete = len(examples) == 2 * len(emoji.split("train"))
    assert complete and all(wrong[word] == 3 * count for word, count in answer_counts(examples).items())
    places = Counter(example.choices.index(example.answer) for example in examples if example.choices)
    assert min(places.values()) > len(examples) / 8


def test_keywords_that_cannot_be_asked(emoji: Emoji) -> None:
    """A word of the name, one of few letters or with a sign, one that all have, and one that few have."""
    labels = tuple(
        replace(label, tags=(label.subgroup, "ab", "x-ray", "everywhere", f"once{index}", f"{label.subgroup}ish"))
        for index, label in enumerate(emoji.labels)
    )
    examples = image_examples(replace(emoji, labels=labels), "keyword", "train")
    assert {keyword_of(example) for example in examples} == {f"{label.subgroup}ish" for label in labels}


def test_a_keyword_that_too_many_have_is_asked_less_rather_than_always_right() -> None:
    """Two subgroups of very unequal size: the words of the large one find few places where they are wrong."""
    large, small = emoji_with({"a": ("large",)}).labels, emoji_with({"b": ("skip", "small")}).labels[24:30]
    labels = (
        *large,
        *small,
        *(replace(label, subgroup="blank", tags=()) for label in emoji_with({"c": ("d",)}).labels),
    )
    blank = np.full((len(labels), 1, 4, 4, 3), 255, dtype=np.uint8)
    unequal = Emoji(images=blank, labels=labels, styles=("one",), source=())
    examples = image_examples(unequal, "keyword", "train")
    counts = Counter((keyword_of(example), example.answer) for example in examples)
    assert counts["largeish", "yes"] == counts["largeish", "no"] == counts["smallish", "yes"] > 0


def test_where_no_keyword_is_wrong_none_is_asked() -> None:
    one = emoji_with({"group": ("part",)})
    assert image_examples(one, "keyword", "train") == [] == image_examples(one, "keyword-choice", "train")


@pytest.mark.parametrize(
    ("task", "split", "limit", "sentence"),
    [
        ("shape", "train", None, "no task on images is called 'shape'; known are name, group, style"),
        ("group", "dev", None, "split must be 'train', 'validation' or 'test'; got 'dev'"),
        ("group", "train", 0, "limit of examples of 'group' must be at least 1; got 0"),
        ("keyword", "train", 1, "limit of examples of 'keyword' must be at least 2; got 1"),
    ],
)
def test_what_is_refused(task: str, split: str, limit: int | None, sentence: str, emoji: Emoji) -> None:
    with pytest.raises(UsageError, match=sentence):
        image_examples(emoji, task, split, limit=limit)
