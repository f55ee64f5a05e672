"""Open-ended texts and chains of thought, with navigation and without."""

import random
from dataclasses import dataclass

import numpy as np

from armillary.methods.icn.baselines import SAMPLINGS, generated
from armillary.methods.icn.chains import Solution, solve
from armillary.methods.icn.navigator import Navigator
from armillary.methods.icn.probing import Probing
from armillary.methods.icn.result import Diversity, diversity
from reproductions.icn.scale import OPEN
from reproductions.icn.stages import Context


@dataclass(frozen=True, kw_only=True)
class OpenTexts:
    """What one way wrote to an open instruction."""

    texts: list[str]
    diversity: Diversity


DEALS = 20
"""How often the texts of two ways are dealt out anew: the difference that nothing gives."""


@dataclass(frozen=True, kw_only=True)
class OpenStage:
    """One open instruction."""

    arms: dict[str, OpenTexts]
    dealt: float
    """Distinct-2 of navigation less that of the static ranks where their texts are dealt out anew, mean of deals."""


def open_stage(context: Context, index: int) -> OpenStage:
    """Texts to one open instruction: navigated, static, and drawn."""
    scale, instruction = context.scale, OPEN[index]
    count = scale.open_rounds * scale.open_per_round
    probing = Probing(context.loaded, instruction, max_new_tokens=scale.open_tokens)
    navigator = Navigator(
        context.loaded,
        rounds=scale.open_rounds,
        per_round=scale.open_per_round,
        max_new_tokens=scale.open_tokens,
    )
    arms = {
        "navigation": navigator.explore(instruction).texts,
        "static": probing.answers(probing.ranked(count)),
        "sampling": generated(probing, count, context.seed, **SAMPLINGS["sampling"]),
    }
    mix, pooled = random.Random(context.seed), [*arms["navigation"], *arms["static"]]
    deals = [mix.sample(pooled, len(pooled)) for _ in range(DEALS)]
    gains = [diversity(deal[:count]).distinct_2 - diversity(deal[count:]).distinct_2 for deal in deals]
    return OpenStage(
        arms={name: OpenTexts(texts=texts, diversity=diversity(texts)) for name, texts in arms.items()},
        dealt=float(np.mean(gains)),
    )


_STORIES = (
    (
        "Tom has {a} apples. He buys {b} more apples and gives {c} apples to Ann. How many apples does Tom have?",
        "a+b-c",
    ),
    ("A box holds {a} pens. There are {b} boxes, and {c} pens are lost. How many pens are left?", "a*b-c"),
    ("Ann has {a} books and Tom has {b} books. They buy {c} books together. How many books do they have?", "a+b+c"),
)


def problems(count: int, seed: int) -> list[tuple[str, str]]:
    """Word problems of two steps with their answers (written for this project)."""
    drawn = random.Random(seed)
    pairs = []
    for number in range(count):
        story, rule = _STORIES[number % len(_STORIES)]
        a, b = drawn.randint(3, 12), drawn.randint(2, 9)
        c = drawn.randint(1, 5)
        answer = {"a+b-c": a + b - c, "a*b-c": a * b - c, "a+b+c": a + b + c}[rule]
        pairs.append((story.format(a=a, b=b, c=c), str(answer)))
    return pairs


@dataclass(frozen=True, kw_only=True)
class ChainStage:
    """Solutions of the word problems, with navigation and without."""

    answers: list[str]
    """The right ones."""

    navigation: list[Solution]
    static: list[Solution]


def chain_stage(context: Context) -> ChainStage:
    """Four paths a problem, either way."""
    pairs = problems(context.scale.problems, context.seed)
    questions = [question for question, _ in pairs]
    navigated, static = (
        solve(context.loaded, questions, max_new_tokens=context.scale.path_tokens, navigate=navigate)
        for navigate in (True, False)
    )
    return ChainStage(answers=[answer for _, answer in pairs], navigation=navigated, static=static)
