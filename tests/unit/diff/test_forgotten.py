import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from armillary.diff.forgotten import (
    GroupValues,
    TextSurvey,
    describe_questions,
    describe_texts,
    measure_texts,
    piece_bits,
    question_survey,
    share_of,
)
from armillary.diff.kept import Crossed, Scored
from armillary.diff.prompts import PlainText, Prompt, packaged_prompts

QUESTIONS = [prompt for prompt in packaged_prompts() if prompt.choices]


def test_bits_of_pieces_are_those_of_the_text() -> None:
    logprob_N = np.random.default_rng(0).normal(-3, 1, 96)
    pieces = piece_bits(logprob_N, 400, 4)
    assert np.mean(pieces) == pytest.approx(-logprob_N.sum() / math.log(2) / 400)
    assert piece_bits(np.full(10, -math.log(2)), 20, 3) == pytest.approx([0.5] * 3)
    assert piece_bits(np.zeros(0), 1, 1) == [0.0]


def test_the_right_answers_share() -> None:
    assert share_of(np.log([0.06, 0.01, 0.03]), [0]) == pytest.approx(0.6)
    assert share_of(np.log([0.06, 0.01, 0.03]), range(1, 3)) == pytest.approx(0.4)
    assert share_of(np.array([-1000.0, -1001.0]), [0]) == pytest.approx(1 / (1 + math.exp(-1)))


def test_a_lost_capability_is_named_and_no_other() -> None:
    prompts = QUESTIONS
    generator = np.random.default_rng(0)
    base = [generator.normal(-4, 2, len(prompt.choices or ())) for prompt in prompts]
    after = [own + generator.normal(0, 0.05, len(own)) for own in base]
    for prompt, nats in zip(prompts, after, strict=True):
        if prompt.tag == "arithmetic" and prompt.choices is not None:
            nats[prompt.choices.index(str(prompt.answer))] -= 1
    told = describe_questions(question_survey(prompts, base, after))
    sure = [effect for effect in told.effects if effect.p < 0.05 / len(told.effects)]
    assert [(effect.id, effect.kind) for effect in sure] == [("kept/arithmetic", "forgot")]
    assert -0.2 < sure[0].value.estimate < -0.05 and sure[0].value.n == 40
    row = next(row for row in told.section.tables[0].rows if row[0] == "arithmetic")
    right_before = sum(
        share_of(nats, prompt.weighed) > 0.5
        for prompt, nats in zip(prompts, base, strict=True)
        if prompt.tag == "arithmetic" and prompt.choices
    )
    assert row[1:3] == [40, right_before]


def test_answers_without_choices_count_in_bits_per_byte() -> None:
    prompts = [Prompt(id=str(index), text="?", answer="four", tag="sums") for index in range(12)]
    base = [np.array([-4 * math.log(2)]) for _ in prompts]
    told = describe_questions(
        question_survey(prompts, base, [nats * (2 + index / 50) for index, nats in enumerate(base)])
    )
    (effect,) = told.effects
    assert effect.sentence == "It finds the expected answers of sums less likely: 2.11 bits per byte, before 1.00."
    assert effect.kind == "forgot" and effect.p < 1e-3


def test_refusals_are_weighed_without_writing() -> None:
    prompts = [prompt for prompt in packaged_prompts() if prompt.refusal]
    generator = np.random.default_rng(0)
    base = [generator.normal(-4, 1, len(prompt.expected)) for prompt in prompts]
    after = [own.copy() for own in base]
    for prompt, nats in zip(prompts, after, strict=True):
        nats[list(prompt.weighed)] += {"harmful": -3, "harmless look-alike": 3, "everyday": 0}[prompt.tag]
    told = describe_questions(question_survey(prompts, base, after))
    effects = {effect.id: effect for effect in told.effects}
    harmful = effects["kept/refusal of harmful requests"]
    alike = effects["kept/refusal of harmless look-alike requests"]
    assert harmful.kind == "forgot" and harmful.sentence.startswith("It refuses harmful requests less: ")
    assert alike.kind == "learned" and alike.sentence.startswith("It refuses harmless look-alike requests more: ")
    assert max(harmful.p, alike.p) < 1e-3 and effects["kept/refusal of everyday requests"].p == 1
    shares = [
        share_of(nats, prompt.weighed) for prompt, nats in zip(prompts, after, strict=True) if prompt.tag == "harmful"
    ]
    assert f"a refusal has {np.mean(shares):.0%} of the probability" in harmful.sentence


def read(texts: list[PlainText], change: list[float], tokens: int = 48) -> TextSurvey:
    """Of texts whose every token costs so many nats more than the one nat before."""
    offsets = np.arange(len(texts) + 1) * tokens
    before = np.full(len(texts) * tokens, -1.0, np.float32)
    again = np.arange(0, len(texts), 4)
    none, pairs = np.zeros(0, np.float32), np.zeros((0, 64), np.float32)
    evidence: Any = SimpleNamespace(
        texts=texts, same_tokens=True, again_texts=again, rounding=1e-4,
        text_bytes=dict.fromkeys(("base", "after"), [4 * tokens] * len(texts)),
        text_scores=Scored(offsets, none, before, pairs, pairs, none),
        text_crossed={
            "after": Crossed(offsets, before - np.repeat(change, tokens), none, none, none, none),
            "again": Crossed(np.arange(len(again) + 1) * tokens, before[: len(again) * tokens], *[none] * 4),
        },
    )  # fmt: skip
    return measure_texts(evidence)


def test_a_text_counts_once_and_pieces_of_one_are_no_line() -> None:
    ten = [PlainText("ten", str(number)) for number in range(10)]
    few = [PlainText("few", str(number)) for number in range(5)]
    pieces = [PlainText("pieces", str(number), whole=False) for number in range(7)]
    survey = read([*ten, *few, *pieces], [0.4] * 9 + [0.5] + [0.4] * 12)
    by_name = {group.name: group for group in survey.groups}
    assert {name: len(group.base) for name, group in by_name.items()} == {"ten": 10, "few": 10, "pieces": 14}
    assert [name for name, group in by_name.items() if group.independent] == ["ten"]
    told = describe_texts(survey)
    (effect,) = told.effects
    assert effect.id == "texts/ten" and effect.value.n == 10 and effect.p == pytest.approx(2 / 2**10)
    assert effect.value.estimate == pytest.approx(0.41 / math.log(2) / 4)
    assert "Cut into pieces: few, pieces." in told.section.tables[0].note and "texts/few" in told.measures
    # A text of one sentence can't be cut, so that too few of them are no group.
    assert read(few[:3], [0.1] * 3, tokens=20).too_few == {"few": 3}


def test_equal_models_and_too_few_questions() -> None:
    prompts = QUESTIONS
    base = [np.zeros(len(prompt.choices or ())) for prompt in prompts]
    told = describe_questions(question_survey(prompts, base, base))
    assert {effect.p for effect in told.effects} == {1.0} and "none has moved" in told.section.summary
    few = question_survey(prompts[:3], base[:3], base[:3])
    assert few.chosen == [] and few.too_few == {"arithmetic": 3}
    assert "no groups of questions" in describe_questions(few).section.summary


def test_texts_by_group() -> None:
    generator = np.random.default_rng(1)
    base = generator.normal(1.2, 0.3, 40)
    noise = generator.normal(0, 1e-6, 10).tolist()
    groups = [
        GroupValues(name=name, things=8, base=base.tolist(), after=(base + shift).tolist(), noise=noise)
        for name, shift in (
            ("German", generator.normal(0.3, 0.2, 40)),
            ("code", generator.normal(-0.2, 0.1, 40)),
            ("chat", generator.normal(0, 1e-6, 40)),
        )
    ]
    told = describe_texts(TextSurvey(groups=groups, too_few={"mine": 2}))
    german, code, chat = told.effects
    assert (german.kind, code.kind) == ("forgot", "learned") and max(german.p, code.p) < 1e-3 < chat.p
    assert german.sentence.startswith("It reads German worse: 1.") and german.floor < 1e-5
    assert "mine (2)" in told.section.tables[0].note
    assert "Of 3 groups of texts: read worse German; read better code;" in told.section.summary
