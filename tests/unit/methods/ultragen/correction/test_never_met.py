"""Impossible attributes are seen, hard ones are not: by simulation with known pass rates."""

import numpy as np
import pytest

from armillary.attributes.attribute import Attribute
from armillary.errors import UsageError
from armillary.methods.ultragen.correction.unmet import SetOutcomes, never_met, pass_rates

K = 8
"""Samples of a set, as the note's test has it."""


def attribute(number: int, kind: str = "keyword_include") -> Attribute:
    return Attribute(kind=kind, params={"w": f"word{number}"}, text=f"Include {kind} word{number}.")


def outcomes(rates: np.ndarray, generator: np.random.Generator, size: int = 20) -> list[SetOutcomes]:
    """Sets of ``size`` attributes, each attribute in one set, with K samples by its own pass rate."""
    sets = []
    for start in range(0, len(rates), size):
        some = rates[start : start + size]
        met = generator.random((K, len(some))) < some
        attributes = [attribute(start + index) for index in range(len(some))]
        sets.append(SetOutcomes(attributes=attributes, met=[[bool(v) for v in row] for row in met]))
    return sets


def suspects(sets: list[SetOutcomes], spread: str) -> set[str]:
    return {row.attribute.text for row in never_met(sets, spread=spread) if row.suspect}  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(2.0, 2.0), (6.0, 6.0), (1.0, 1.0), (0.6, 1.2)])
def test_of_attributes_that_can_be_met_at_most_a_twentieth_is_suspected(shape: tuple[float, float]) -> None:
    generator = np.random.default_rng(0)
    rates = generator.beta(*shape, size=2000)
    flagged = len(suspects(outcomes(rates, generator), "fitted")) / len(rates)
    # Two standard errors of a share of 5 % of 2,000.
    assert flagged <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 2000)


def test_one_rate_for_all_suspects_too_many_where_they_differ() -> None:
    generator = np.random.default_rng(1)
    sets = outcomes(generator.beta(0.6, 1.2, size=2000), generator)
    assert len(suspects(sets, "none")) / 2000 > 0.1
    alike = outcomes(np.full(2000, 0.5), generator)
    assert len(suspects(alike, "none")) / 2000 <= 0.05


def test_what_can_not_be_met_is_suspected_beside_what_is_only_hard() -> None:
    """15 % impossible ones among attributes with pass rates around a half: as much noise as claim 8 injects."""
    generator = np.random.default_rng(2)
    rates = np.where(generator.random(1000) < 0.15, 0.0, generator.beta(6, 6, size=1000))
    sets = outcomes(rates, generator)
    impossible = {attribute(index).text for index in np.flatnonzero(rates == 0)}
    flagged = suspects(sets, "fitted")
    assert len(flagged & impossible) / len(impossible) == 1.0, "recall"
    assert len(flagged & impossible) / len(flagged) > 0.8, "precision"


def test_p_values_are_those_of_the_formula_and_pool_over_sets() -> None:
    # 40 attributes, each met in half of 10 samples, and one never: Beta(1 + 200, 1 + 200) is known of their one rate.
    half = SetOutcomes(
        attributes=[attribute(n) for n in range(41)],
        met=[[(n + sample) % 2 == 0 for n in range(40)] + [False] for sample in range(10)],
    )
    [row] = never_met([half], spread="none")
    product = np.prod([(201 + j) / (402 + j) for j in range(10)])
    assert row.p == pytest.approx(product) and row.samples == 10 and row.sets == [0]
    assert row.p == pytest.approx(0.5**10, rel=0.15), "nearly (1 - q)^K"
    again = SetOutcomes(attributes=[attribute(40)], met=[[False]] * 10)
    [pooled] = never_met([half, again], spread="none")
    assert pooled.samples == 20 and pooled.sets == [0, 1] and pooled.p < row.p
    met_there = SetOutcomes(attributes=[attribute(40)], met=[[True]])
    assert never_met([half, met_there], spread="none") == [], "met once is met"
    assert pass_rates([half, met_there]) == {"keyword_include": (201, 411)}


def test_what_was_not_judged_counts_as_no_sample() -> None:
    unjudged = SetOutcomes(attributes=[attribute(0), attribute(1)], met=[[None, True], [None, False]])
    assert never_met([unjudged]) == []
    half = SetOutcomes(attributes=[attribute(0)], met=[[None], [False]])
    assert [row.samples for row in never_met([half])] == [1]
    with pytest.raises(UsageError, match="2 verdicts"):
        SetOutcomes(attributes=[attribute(0), attribute(1)], met=[[True]])
    with pytest.raises(UsageError, match="level"):
        never_met([unjudged], level=0)
