"""The toy world: what is derived holds, what is made false is false, oracles and conflicts say what they are."""

from dataclasses import replace

import numpy as np
import pytest

from reproductions.ultragen.global_sets import Pool, drawn_sets
from reproductions.ultragen.noise import impossible, noisy, planted
from reproductions.ultragen.scale import SCALES
from reproductions.ultragen.world import (
    BAR,
    FIRST_WORD,
    LONGEST_TEXT,
    STOP,
    Attribute,
    Reading,
    conflict,
    derive,
    draw_text,
    false_one,
    overlap,
    rates,
    satisfied,
)

TEXT = (*(FIRST_WORD + word for word in (3, 4, 3)), STOP, BAR, *(FIRST_WORD + word for word in (11, 12, 25)), STOP)
"""Topic 0 in the first paragraph, mostly topic 1 in the second."""


@pytest.fixture(scope="module")
def texts() -> list[tuple[int, ...]]:
    draw = np.random.default_rng(0)
    return [draw_text(draw) for _ in range(150)]


def test_everything_derived_holds_and_nothing_derived_conflicts(texts: list[tuple[int, ...]]) -> None:
    draw = np.random.default_rng(1)
    for text in texts:
        attributes = derive(text, draw)
        assert all(rates(attributes, text)) and len(text) < LONGEST_TEXT
        assert not any(conflict(a, b) for i, a in enumerate(attributes) for b in attributes[:i])
        assert sum(a.kind == "exclude" for a in attributes) <= len(attributes) / 5


def test_what_is_made_false_is_false(texts: list[tuple[int, ...]]) -> None:
    draw = np.random.default_rng(2)
    sets = [derive(text, draw) for text in texts[:40]]
    noise = noisy(sets, texts[:40], draw)
    for own, wrong, text in zip(noise.sets, noise.injected, texts, strict=False):
        assert rates(own, text) == [not bad for bad in wrong]
    assert 0.1 < np.mean([bad for row in noise.injected for bad in row]) < 0.2
    assert false_one(Attribute("sentences", (2,)), TEXT, draw) != Attribute("sentences", (2,))


@pytest.mark.parametrize(
    ("kind", "met", "missed"),
    [
        ("include", (4,), (5,)), ("exclude", (5,), (4,)), ("count", (3, 2), (3, 1)), ("bigram", (3, 4), (3, 11)),
        ("sentences", (2,), (3,)), ("paragraphs", (2,), (1,)), ("starts", (3,), (4,)), ("ends", (25,), (12,)),
        ("words", (1,), (0,)), ("topic", (0,), (1,)), ("paragraph_topic", (1, 1), (2, 1)),
    ],
)  # fmt: skip
def test_oracles_count_what_they_say(kind: str, met: tuple[int, ...], missed: tuple[int, ...]) -> None:
    # The topic of the whole: three words of six are of topic 0, which is less than most.
    reading = Reading.of(TEXT if kind != "topic" else TEXT[:-2])
    assert satisfied(Attribute(kind, met), reading)  # type: ignore[arg-type]
    assert not satisfied(Attribute(kind, missed), reading)  # type: ignore[arg-type]
    assert not satisfied(Attribute("exclude", (1,)), Reading.of(()))


def test_conflicts_and_overlap() -> None:
    assert conflict(Attribute("include", (3,)), Attribute("exclude", (3,)))
    assert conflict(Attribute("exclude", (4,)), Attribute("bigram", (3, 4)))
    assert conflict(Attribute("paragraphs", (3,)), Attribute("sentences", (2,)))
    assert not conflict(Attribute("include", (3,)), Attribute("exclude", (4,)))
    assert overlap(TEXT, TEXT) == 1 and overlap((FIRST_WORD + 50,), TEXT) == 0
    assert overlap(TEXT[:3], TEXT) == pytest.approx(2 * 3 / 9)


def test_global_sets_have_their_sizes_no_conflict_and_are_no_text_s(texts: list[tuple[int, ...]]) -> None:
    draw = np.random.default_rng(3)
    documents = [derive(text, draw) for text in texts]
    pool = Pool(documents, replace(SCALES["quick"], candidates=400), 0)
    own = [set(document) for document in documents]
    for strategy in ("hclr", "random"):
        for attributes in drawn_sets(pool, strategy, [8] * 12, draw):
            assert 5 <= len(attributes) <= 8 and attributes[0] in pool.attributes
            assert not any(conflict(a, b) for i, a in enumerate(attributes) for b in attributes[:i])
            assert sum(a.soft for a in attributes) <= 1
            if strategy == "random":
                assert not any(set(attributes) <= document for document in own)


def test_the_impossible_is_planted_and_found_when_the_rest_is_met() -> None:
    draw = np.random.default_rng(4)
    sets = impossible([[Attribute("count", (word, 2)), Attribute("sentences", (2,))] for word in range(60)] * 4, draw)
    bad = [a for _, a in sets if a is not None]
    assert 15 < len(bad) < 60 and not any(rates([a], draw_text(draw))[0] for a in bad for _ in range(5))
    verdicts = [[[a != wrong and draw.random() < 0.9 for a in own] for _ in range(8)] for own, wrong in sets]
    found = planted(sets, verdicts)
    assert found.right == found.planted and found.suspected <= 0.1 * found.tested
