"""Flips by hand: what was right and is wrong now, beyond what base does to itself."""

from typing import Any

import numpy as np
import pytest

from armillary.diff.drift import Drift, DriftDirection, describe as describe_drift
from armillary.diff.flips import Flip, Flips, changes, describe
from armillary.records.sections import AnswerPairs


def flip(was: bool | None, now: bool | None, again: bool | None = None, tag: str = "arithmetic") -> Flip:
    return Flip(
        prompt="2 + 2?", tag=tag, wanted="4", before="four it is", after="five it is",
        pair=("", ("four", " it is"), ("five", " it is")), shared=0, was_right=was, is_right=now,
        again_right=was if again is None else again, divergence=0.5,
    )  # fmt: skip


def flips(rows: list[Flip]) -> Flips:
    return Flips(rows=rows, before_name="a", after_name="b")


def test_lost_answers_are_a_line_and_stand_first() -> None:
    kept = [flip(True, True)] * 20
    other = [flip(True, True, tag="facts")] * 6 + [flip(None, None, tag="chat")] * 3
    described = describe(flips([*kept, *other, *[flip(True, False)] * 12, *[flip(False, True)] * 2]))
    effects = {effect.id: effect for effect in described.effects}
    lost = effects["flips/arithmetic"]
    assert lost.kind == "forgot" and lost.p == pytest.approx(0.0129, abs=1e-4)  # 2 of 14 heads or fewer, twice
    assert lost.sentence == "It lost arithmetic: 12 of 32 right before are wrong now, 2 the other way round."
    assert lost.value.estimate == pytest.approx(-10 / 34)
    same = effects["flips/facts"]
    assert same.p == 1 and same.value.upper == pytest.approx(0.459, abs=1e-3)  # so few could have missed much
    data: Any = described.section.figures[0].data
    assert isinstance(data, AnswerPairs) and [row.turn for row in data.rows[:15]] == ["worse"] * 12 + [
        "better"
    ] * 2 + ["neither"]


def test_what_base_does_to_itself_is_no_flip() -> None:
    rows = [flip(True, False, again=False), flip(False, True, again=True)] * 5 + [flip(True, False)] * 3
    (change,) = changes(flips(rows))
    assert change.floor > 3 / 13 and change.p == 1


def direction(estimate: list[float], hardly: list[float]) -> DriftDirection:
    same = [0.9] * len(estimate)
    return DriftDirection(
        author="base", reader="after", estimate=estimate, lower=estimate, upper=estimate, agrees=same, hardly=hardly
    )


def test_drift_tells_its_size_and_what_the_other_would_hardly_give() -> None:
    again = direction([1e-6] * 20, [0.0] * 20)
    kl = np.linspace(0.1, 0.5, 20).tolist()
    drift = Drift(
        directions=[direction(kl, [1.0] * 5 + [0.0] * 14 + [np.nan])], again=again, tags=["x"] * 20, rounding=1e-4,
        window=3.0,
    )  # fmt: skip
    described = describe_drift(drift)
    first, hardly = described.effects
    assert first.sentence.startswith("Its answers drifted by 0.3 nats a token") and first.p < 1e-4
    assert first.floor == 1e-4 and hardly.value.estimate == pytest.approx(5 / 19)
    assert described.measures["drift/KL(base||after)"].estimate == pytest.approx(0.3)
