"""A claim is judged by its own rule, and never from measures that are missing."""

import math
from dataclasses import replace

import pytest

from armillary.numerics.intervals import Interval
from armillary.records.claims import (
    Claim,
    Control,
    Rule,
    Verdict,
    above,
    above_each,
    at_most,
    below,
    below_each,
    beyond,
    equal,
    equal_each,
    judge,
    no_control,
    settled,
    short_of,
)


def claim(name: str = "c", *controls: Control) -> Claim:
    return Claim(
        id=name,
        statement="r is high",
        quantity="r",
        rule="above 0.5",
        decide=above("r", 0.5),
        controls=controls or no_control("nothing need succeed"),
        null="0.5",
    )


@pytest.mark.parametrize(
    ("low", "high", "verdict"), [(0.6, 0.8, "holds"), (0.1, 0.2, "fails"), (0.4, 0.6, "undecided")]
)
def test_the_rule_decides(low: float, high: float, verdict: Verdict) -> None:
    interval = Interval(estimate=(low + high) / 2, low=low, high=high)
    (result,) = judge([claim()], {"r": interval, "other": Interval(estimate=1.0)})
    assert (result.verdict, result.measured, result.note) == (verdict, {"r": interval}, "")


@pytest.mark.parametrize("measures", [{}, {"r": Interval(estimate=math.nan)}])
def test_a_claim_without_its_measure_is_not_tested(measures: dict[str, Interval]) -> None:
    (result,) = judge([claim()], measures, {"c": "Two sizes are needed."})
    assert (result.verdict, result.outcome) == ("not tested", "not tested")
    assert result.note == "Not measured: r. Two sizes are needed."


def about(estimate: float, half: float = 0.01) -> Interval:
    return Interval(estimate=estimate, low=estimate - half, high=estimate + half)


@pytest.mark.parametrize("value", [0.1, 0.5, 0.9])
def test_a_control_that_does_not_hold_decides_before_the_rule(value: float) -> None:
    """Whatever the rule would say; not to have been shown to hold is enough."""
    learned = Control(what="the task was learned", rule=above("target", 0.2))
    for target in (0.1, 0.2):
        (result,) = judge([claim("c", learned)], {"r": about(value), "target": about(target, 0.05)})
        assert result.outcome == "undecided: control failed"
        assert result.note == "Not so: the task was learned."
        assert [control.held for control in result.controls] == [False]
    (result,) = judge([claim("c", learned)], {"r": about(value), "target": about(0.9)})
    assert result.outcome == {0.1: "fails", 0.5: "undecided: interval too wide", 0.9: "holds"}[value]


def test_undecided_says_why_and_a_small_model_comes_first() -> None:
    small = Control(what="the model knows it", rule=above("knows"), otherwise="model too small")
    edit = Control(what="the edit took", rule=above("took"))
    measures = {"r": about(0.9), "knows": about(-1), "took": about(-1)}
    assert judge([claim("c", edit, small)], measures)[0].reason == "model too small"
    assert judge([claim("c", edit)], measures)[0].reason == "control failed"
    # A control that was not measured is no control.
    assert judge([claim("c", edit)], {"r": about(0.9)})[0].verdict == "not tested"
    assert judge([claim("c", *no_control("a time"))], measures)[0].outcome == "holds"


@pytest.mark.parametrize(
    ("rule", "holds", "fails", "wide"),
    [
        (above("r", 0.5), (0.6, 0.7), (0.4, 0.5), (0.5, 0.6)),
        (below("r", 0.5), (0.3, 0.4), (0.5, 0.6), (0.4, 0.5)),
        (at_most("r", 0.5), (0.4, 0.5), (0.51, 0.6), (0.4, 0.6)),
        (equal("r", 0.1), (-0.1, 0.1), (0.11, 0.2), (-0.05, 0.11)),
        (equal("r", 0.1, to=1), (0.95, 1.05), (0.5, 0.8), (0.5, 1.5)),
    ],
)
def test_a_condition_is_settled_by_a_whole_interval(
    rule: Rule, holds: tuple[float, float], fails: tuple[float, float], wide: tuple[float, float]
) -> None:
    for (low, high), verdict in ((holds, "holds"), (fails, "fails"), (wide, "undecided")):
        assert rule({"r": Interval(estimate=(low + high) / 2, low=low, high=high)}) == verdict
    assert rule.needs == ("r",) and rule.limits["r"]


def test_a_wide_interval_around_equality_decides_nothing() -> None:
    """Few samples must not make equality hold."""
    assert equal("r", 0.05)({"r": about(0.0, 0.5)}) == "undecided"


def test_a_drawn_null_is_held_against_its_whole_interval() -> None:
    null = about(0.5, 0.1)
    for value, verdict in ((0.7, "holds"), (0.3, "fails"), (0.55, "undecided")):
        assert beyond("r", "null")({"r": about(value, 0.05), "null": null}) == verdict
        assert short_of("r", "null")({"r": about(1 - value, 0.05), "null": null}) == verdict


def test_one_condition_on_several_measures_holds_for_all_and_fails_for_one() -> None:
    rule = above_each(["a", "b"])
    assert rule({"a": about(1), "b": about(1)}) == "holds"
    assert rule({"a": about(1), "b": about(-1)}) == "fails"
    assert rule({"a": about(1), "b": about(0)}) == "undecided"
    assert below_each(["a", "b"])({"a": about(-1), "b": about(-1)}) == "holds"
    assert equal_each(["a", "b"], 0.1)({"a": about(0), "b": about(1)}) == "fails"


def test_a_result_keeps_the_numbers_that_its_measures_were_held_against() -> None:
    (result,) = judge([claim("c", Control(what="", rule=above("r", 0.2)))], {"r": about(0.9)})
    assert result.limits == {"r": [0.5, 0.2]}


def test_mistakes_in_the_claims_are_refused() -> None:
    with pytest.raises(ValueError, match="id of its own"):
        judge([claim(), claim()], {})
    with pytest.raises(ValueError, match="belong to no claim"):
        judge([claim()], {}, {"d": "?"})
    for wrong in ({"controls": ()}, {"null": " "}):
        with pytest.raises(ValueError, match="had to succeed first"):
            replace(claim(), **wrong)


def test_a_claim_names_the_measures_that_decide_then_those_of_controls_then_those_shown() -> None:
    control = Control(what="learned", rule=above("target"))
    assert replace(claim("c", control), needs=("shown", "r")).names == ("r", "target", "shown")
    assert settled(holds=True, fails=True) == "fails" and settled(holds=False, fails=False) == "undecided"
