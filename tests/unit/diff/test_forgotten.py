import math

import numpy as np
import pytest

from armillary.diff.forgotten import (
    GroupValues,
    TextSurvey,
    describe_questions,
    describe_texts,
    piece_bits,
    question_survey,
    share_of,
)
from armillary.diff.prompts import Prompt, packaged_prompts

QUESTIONS = [prompt for prompt in packaged_prompts() if prompt.choices]


def test_bits_of_pieces_are_those_of_the_text() -> None:
    logprob_N = np.random.default_rng(0).normal(-3, 1, 96)
    pieces = piece_bits(logprob_N, 400, 4)
    assert np.mean(pieces) == pytest.approx(-logprob_N.sum() / math.log(2) / 400)
    assert piece_bits(np.full(10, -math.log(2)), 20, 3) == pytest.approx([0.5] * 3)
    assert piece_bits(np.zeros(0), 1, 1) == [0.0]


def test_the_right_answers_share() -> None:
    assert share_of(np.log([0.06, 0.01, 0.03]), 0) == pytest.approx(0.6)
    assert share_of(np.array([-1000.0, -1001.0]), 0) == pytest.approx(1 / (1 + math.exp(-1)))


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
        share_of(nats, prompt.choices.index(str(prompt.answer))) > 0.5
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
    assert "1 are read worse (German) and 1 are read better (code)" in told.section.summary
