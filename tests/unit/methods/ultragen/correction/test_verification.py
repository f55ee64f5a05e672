"""Sampled verification in a world with known error rates: what it costs, what it learns, what it leaves."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from armillary.attributes.attribute import Attribute, soft
from armillary.errors import UsageError
from armillary.methods.ultragen.correction.verification import ErrorRate, Verifier
from armillary.methods.ultragen.soft.judges import OracleJudge, Question

ERRORS = {"content": 0.03, "style": 0.08, "tone": 0.45}
"""Share of wrong attributes in each slot."""


def world(texts: int, seed: int = 0) -> list[tuple[str, list[Attribute]]]:
    """Each text has two attributes a slot; a wrong one says so in its sentence, which only the oracle reads."""
    generator = np.random.default_rng(seed)
    return [
        (
            f"text {number}",
            [
                soft(f"{'wrong' if generator.random() < rate else 'right'} {slot} {number} {copy}", slot)
                for slot, rate in ERRORS.items()
                for copy in (0, 1)
            ]
            + [Attribute(kind="word_count", params={"lo": 1, "hi": 2}, text="Write.")],
        )
        for number in range(texts)
    ]


ORACLE = OracleJudge(rule=lambda response, attribute: not attribute.text.startswith("wrong"))


def wrong(attributes: Sequence[Sequence[Attribute]], slot: str = "") -> int:
    return sum(each.text.startswith(f"wrong {slot}") for own in attributes for each in own)


def test_the_bad_cluster_is_found_verified_in_full_and_cleaned() -> None:
    documents = world(200)
    result = Verifier(judge=ORACLE, per_text=2).verify(documents)
    assert result.escalated == ["soft/tone"]
    assert wrong(result.attributes, "tone") == 0, "also in the texts that passed before that was known"
    before, after = wrong([own for _, own in documents]), wrong(result.attributes)
    assert after < 0.25 * before
    looked = {slot: result.rates[f"soft/{slot}"].wrong + result.rates[f"soft/{slot}"].right for slot in ERRORS}
    assert looked["tone"] == 400 and looked["content"] + looked["style"] < 150, "little is spent where little is wrong"
    assert result.calls == sum(looked.values()) == result.verified
    for slot, rate in ERRORS.items():
        interval = result.rates[f"soft/{slot}"].interval(0.999)
        assert interval.lower <= rate <= interval.upper
    assert all(own[-1].kind == "word_count" for own in result.attributes), "hard ones are passed on"


def test_against_looking_at_random_more_errors_are_found_at_the_same_cost() -> None:
    thompson = random = 0
    for seed in range(5):
        documents = world(100, seed)
        result = Verifier(judge=ORACLE, per_text=2, escalate=0.99, seed=seed).verify(documents)
        thompson += len(result.dropped)
        chooser = np.random.default_rng(seed)
        looked_at = [own[index] for _, own in documents for index in chooser.choice(6, 2, replace=False)]
        random += wrong([looked_at])
    assert thompson > 1.5 * random


def test_a_rejected_attribute_is_stated_anew_once_and_else_dropped() -> None:
    documents = world(30)

    def anew(text: str, attribute: Attribute) -> Attribute | None:
        number = int(text.split()[1])
        if number % 3 == 0:
            return None
        return soft(attribute.text.replace("wrong", "mended" if number % 3 == 1 else "wrong again"), "tone")

    result = Verifier(judge=ORACLE, rewrite=anew, per_text=6).verify(documents)
    assert wrong(result.attributes) == 0 and result.rewritten and result.dropped
    assert {int(old.text.split()[2]) % 3 for old, _ in result.rewritten} == {1}
    assert {int(old.text.split()[2]) % 3 for old in result.dropped} == {0, 2}
    mended = [each.text for own in result.attributes for each in own if each.text.startswith("mended")]
    assert mended == [new.text for _, new in sorted(result.rewritten, key=lambda pair: mended.index(pair[1].text))]
    rejected = [*result.dropped, *(old for old, _ in result.rewritten)]
    second_looks = sum(int(old.text.split()[2]) % 3 != 0 for old in rejected)
    assert result.calls == 180 + second_looks


@dataclass
class Silent:
    """A judge without an answer, which counts what it was asked."""

    asked_for: list[int] = field(default_factory=list)

    def __call__(self, response: str, attributes: Sequence[Attribute]) -> list[bool | None]:
        return [None] * len(attributes)

    def judge(self, questions: Sequence[Question]) -> list[list[bool | None]]:
        self.asked_for.append(len(questions))
        return [self(*question) for question in questions]


def test_without_a_verdict_an_attribute_stays_and_teaches_nothing() -> None:
    documents, judge = world(20), Silent()
    result = Verifier(judge=judge, per_text=1, batch=8).verify(documents)
    assert result.attributes == [own for _, own in documents]
    assert (result.verified, result.unjudged) == (0, 20) and judge.asked_for == [8, 8, 4]
    assert {(rate.wrong, rate.right) for rate in result.rates.values()} == {(0, 0)}


def test_the_posterior_is_that_of_beta() -> None:
    assert ErrorRate().interval().estimate == 0.5
    known = ErrorRate(wrong=3, right=5)
    assert known.interval().estimate == pytest.approx(0.4) and known.interval().n == 8
    assert ErrorRate(wrong=1, right=0).lower() == pytest.approx(np.sqrt(0.05)), "Beta(2, 1) has the distribution x^2"
    generator = np.random.default_rng(0)
    assert np.mean([known.draw(generator) for _ in range(4000)]) == pytest.approx(0.4, abs=0.01)
    with pytest.raises(UsageError, match="per_text"):
        Verifier(judge=ORACLE, per_text=-1)


def test_the_same_seed_looks_at_the_same() -> None:
    results = [Verifier(judge=ORACLE, seed=7).verify(world(40)) for _ in range(2)]
    assert results[0].attributes == results[1].attributes and results[0].calls == results[1].calls
