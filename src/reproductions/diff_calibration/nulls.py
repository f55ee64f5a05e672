"""Pages on which nothing changed but by chance: how often such a page has a line all the same.

Two kinds. *Rounding*: the model beside itself with its FFN neurons in another order, each page with its own order and
its own draw of prompts, questions and texts; computed in bfloat16, where another order of the sums changes every
number a little. *Exchanged*: what two models that do differ said is exchanged between them at random, for each prompt,
question and text by a coin of its own. The differences are then as large as those of a real change, and
their true mean is 0, which is what the tests of a page and their correction are to see.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from armillary.diff.answers.changes import AttributeSurvey
from armillary.diff.config import DiffConfig
from armillary.diff.drift import Drift
from armillary.diff.effect import Effect, verdict
from armillary.diff.evidence import Evidence, Replies, Role
from armillary.diff.forgotten import GroupValues, QuestionSurvey, TextSurvey
from armillary.diff.kept import WAYS, Way
from armillary.diff.page import LEVEL, told
from armillary.diff.pair import Origin, Pair
from armillary.diff.phases import Phases
from armillary.diff.plan import plan
from armillary.diff.prompts import Prompt, packaged_prompts, packaged_texts, text_tokens
from armillary.diff.run import INSTRUMENTS, Measuring
from armillary.models import LoadedModel
from armillary.numerics.permutation import holm
from armillary.runs.parts import Parts
from reproductions.diff_calibration.plants import permuted
from reproductions.diff_calibration.scale import NullSizes

Null = Literal["rounding", "exchanged"]

ONE_SIDED = "drift"
"""A divergence and what is hardly given any more can only grow: they have no sign that could be turned."""

ItemT = TypeVar("ItemT")


@dataclass(frozen=True, kw_only=True)
class NullPage:
    """What a page without a change said."""

    null: Null
    of: str
    """The plant whose numbers were exchanged; empty of rounding."""

    seed: int
    ids: list[str]
    """Every comparison."""

    alarms: list[str]
    """Those with a line."""

    least: float
    """The smallest p, corrected for the page."""

    bare: list[float]
    """The p of each comparison that has a sign, by its turned signs alone: without a noise floor and uncorrected."""

    bare_alarms: list[str]
    """Comparisons that would have a line if there were no noise floor."""


def rounding_page(base: LoadedModel, after: LoadedModel, sizes: NullSizes, seed: int) -> NullPage:
    """Base beside itself in another order of its neurons; ``after`` is a copy whose weights are overwritten."""
    after.model.load_state_dict(base.model.state_dict())
    permuted(after, seed)
    generator = random.Random(seed)
    weighed = _by(packaged_prompts(), lambda prompt: prompt.tag if prompt.choices or prompt.refusal else "")
    questions = _drawn(weighed, sizes, generator)
    groups = _by(packaged_texts(), lambda text: text.name)
    names = generator.sample(sorted(groups), sizes.tags)
    texts = [text for name in names for text in generator.sample(groups[name], sizes.texts)]
    prompts = questions[: sizes.prompts]
    config = DiffConfig(
        base=base.name, dtype=sizes.dtype, answer_tokens=sizes.answer_tokens, most_prompts=len(prompts), seed=seed
    )
    planned = plan(
        config,
        parameters=sum(parameter.numel() for parameter in base.model.parameters()),
        layers=base.anatomy.num_layers,
        prompts=len(prompts),
        texts=len(texts),
        text_tokens=text_tokens(texts),
        questions=len(questions),
    )
    evidence = Evidence(
        config=config,
        sizes=planned,
        pair=Pair(Origin(name="base", ready=base), Origin(name="neurons permuted", ready=after), config),
        parts=Parts(None, ""),
        prompts=prompts,
        texts=texts,
        questions=questions,
    )
    phases = Phases(evidence)
    phases.base()
    measuring = Measuring(phases.after(), {})
    for needs in ("scores", "answers", "after answers"):
        measuring.measure(needs)
    return null_page("rounding", "", seed, measuring.results)


def _by(items: Sequence[ItemT], key: Callable[[ItemT], str]) -> dict[str, list[ItemT]]:
    groups: dict[str, list[ItemT]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    groups.pop("", None)
    return groups


def _drawn(groups: Mapping[str, list[Prompt]], sizes: NullSizes, generator: random.Random) -> list[Prompt]:
    """So many questions of each of so many tags, mixed."""
    enough = sorted(tag for tag, prompts in groups.items() if len(prompts) >= sizes.questions)
    tags = generator.sample(enough, sizes.tags)
    drawn = [prompt for tag in tags for prompt in generator.sample(groups[tag], sizes.questions)]
    generator.shuffle(drawn)
    return drawn


def exchanged(evidence: Evidence, seed: int) -> Evidence:
    """The evidence with base's and after's answers and scores exchanged at random.

    One coin for all answers to a prompt, one for a question, and one for a text: the things that a page counts as
    independent. Only what instruments read that need no divergence: replies, log-probabilities of texts, and of
    expected answers.
    """
    generator = np.random.default_rng(seed)
    coins = generator.integers(2, size=len(evidence.prompts)).astype(bool)
    replies = dict(evidence.replies)
    for way in WAYS:
        replies |= _turned(evidence.replies, way, coins)
    base, after = evidence.text_scores, evidence.text_crossed["after"]
    turned_N = np.repeat(generator.integers(2, size=len(base)).astype(bool), base.lengths)
    scores = replace(base, logprob=np.where(turned_N, after.logprob, base.logprob))
    crossed = replace(after, logprob=np.where(turned_N, base.logprob, after.logprob))
    expected = {side: list(values) for side, values in evidence.expected.items()}
    for index in np.flatnonzero(generator.integers(2, size=len(evidence.questions))):
        expected["base"][index], expected["after"][index] = expected["after"][index], expected["base"][index]
    return replace(
        evidence,
        replies=replies,
        text_scores=scores,
        text_crossed={**evidence.text_crossed, "after": crossed},
        expected=expected,
        parts=Parts(None, ""),
    )


def _turned(
    replies: Mapping[tuple[Role, Way], Replies], way: Way, coins: NDArray[np.bool_]
) -> dict[tuple[Role, Way], Replies]:
    """The answers of base and after, each prompt's exchanged where its coin says so."""
    sides: tuple[Role, Role] = ("base", "after")
    given = [replies[side, way] for side in sides]
    out: dict[tuple[Role, Way], Replies] = {}
    for own, side in enumerate(sides):
        source = [given[own ^ bool(coin)] for coin in coins]
        out[side, way] = Replies(
            ids=[of.ids[index] for index, of in enumerate(source)],
            texts=[of.texts[index] for index, of in enumerate(source)],
            ended=[of.ended[index] for index, of in enumerate(source)],
        )
    return out


def exchanged_page(evidence: Evidence, of: str, seed: int) -> NullPage:
    """The page of the exchanged evidence: every instrument of answers and scores."""
    turned = exchanged(evidence, seed)
    results = {
        instrument.name: instrument.measure(turned)
        for instrument in INSTRUMENTS
        if instrument.needs in ("scores", "answers")
    }
    return null_page("exchanged", of, seed, results)


def null_page(null: Null, of: str, seed: int, results: Mapping[str, Any]) -> NullPage:
    """What the results of a page's instruments say together, with the noise floor and without."""
    effects = effects_of(results)
    signed = {name: without_floor(result) for name, result in results.items() if name != ONE_SIDED}
    bare = effects_of(signed)
    return NullPage(
        null=null,
        of=of,
        seed=seed,
        ids=[effect.id for effect in effects],
        alarms=alarms_of(effects),
        least=min(holm([effect.p for effect in effects]), default=1.0),
        bare=[effect.p for effect in bare],
        bare_alarms=alarms_of([replace(effect, floor=0.0) for effect in bare]),
    )


def effects_of(results: Mapping[str, Any]) -> list[Effect]:
    """Every comparison of these results, by instrument, in the order of the page."""
    named = [instrument for instrument in INSTRUMENTS if instrument.name in results]
    return [effect for one in named for effect in one.describe(results[one.name]).effects]


def alarms_of(effects: Sequence[Effect]) -> list[str]:
    """Ids of the comparisons that get into the verdict."""
    lines = told(verdict(effects, LEVEL, most=max(1, len(effects))))
    return [effect.id for effect in effects if effect.id in lines]


def without_floor(result: Any) -> Any:
    """The same result as if base's second reading were base's first, and nothing rounded."""
    if isinstance(result, TextSurvey):
        return replace(result, groups=[_bare(group) for group in result.groups])
    if isinstance(result, QuestionSurvey):
        return replace(
            result,
            chosen=[*map(_bare, result.chosen)],
            given=[*map(_bare, result.given)],
            refused=[*map(_bare, result.refused)],
        )
    if isinstance(result, AttributeSurvey):
        return replace(result, values=[replace(values, again=values.base) for values in result.values])
    if isinstance(result, Drift):
        return replace(result, again=None, rounding=0.0)
    return result  # the least change of a flip is one answer, which is no noise


def _bare(group: GroupValues) -> GroupValues:
    return replace(group, noise=[], least=0.0)
