"""A claim is judged by its own rule, and never from measures that are missing."""

import math
from collections.abc import Mapping

import pytest

from armillary.numerics.intervals import Interval
from armillary.records.claims import Claim, Verdict, judge, reading, settled


def above_half(measures: Mapping[str, Interval]) -> Verdict:
    low, high = measures["r"].low, measures["r"].high
    assert low is not None and high is not None
    return "holds" if low > 0.5 else "fails" if high < 0.5 else "undecided"


def claim(name: str = "c") -> Claim:
    return Claim(
        id=name, statement="r is high", quantity="r", rule="low end above 0.5", decide=above_half, needs=("r",)
    )


@pytest.mark.parametrize(
    ("low", "high", "verdict"), [(0.6, 0.8, "holds"), (0.1, 0.2, "fails"), (0.4, 0.6, "undecided")]
)
def test_the_rule_decides(low: float, high: float, verdict: Verdict) -> None:
    interval = Interval(estimate=(low + high) / 2, low=low, high=high)
    (result,) = judge([claim()], {"r": interval, "other": Interval(estimate=1.0)})
    assert (result.verdict, result.measured, result.note) == (verdict, {"r": interval}, "")


@pytest.mark.parametrize("measures", [{}, {"r": Interval(estimate=math.nan)}])
def test_a_missing_measure_leaves_the_claim_undecided(measures: dict[str, Interval]) -> None:
    (result,) = judge([claim()], measures, {"c": "The model is too small."})
    assert result.verdict == "undecided"
    assert result.note == "Not measured: r. The model is too small."


def test_mistakes_in_the_claims_are_refused() -> None:
    with pytest.raises(ValueError, match="id of its own"):
        judge([claim(), claim()], {})
    with pytest.raises(ValueError, match="belong to no claim"):
        judge([claim()], {}, {"d": "?"})
    wrong = Claim(id="w", statement="", quantity="", rule="", decide=lambda _: "maybe", needs=())  # type: ignore[arg-type,return-value]
    with pytest.raises(ValueError, match="gave 'maybe'; accepted: holds, fails, undecided"):
        judge([wrong], {})


def test_a_rule_is_given_the_intervals_that_it_names_in_their_order() -> None:
    @reading("high", "low")
    def higher(high: Interval, low: Interval) -> Verdict:
        return settled(holds=high.lower > low.upper, fails=high.upper <= low.lower)

    claim = Claim(id="a", statement="", quantity="", rule="", decide=higher, needs=("shown",))
    assert claim.names == ("high", "low", "shown")
    measures = {"low": Interval(estimate=1), "high": Interval(estimate=2), "shown": Interval(estimate=0)}
    assert judge([claim], measures)[0].verdict == "holds"
    assert judge([claim], measures | {"low": Interval(estimate=3)})[0].verdict == "fails"
    assert settled(holds=True, fails=True) == "fails" and settled(holds=False, fails=False) == "undecided"
