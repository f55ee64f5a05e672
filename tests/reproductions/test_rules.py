"""Every claim carries what its verdict rests on: controls, a drawn null and one condition."""

import importlib
import pkgutil

import pytest

import reproductions
from armillary.numerics.intervals import Interval
from armillary.records.claims import Claim, judge


def claims() -> dict[str, Claim]:
    """Every claim of every reproduction, by room and id."""
    by_name: dict[str, Claim] = {}
    for module in pkgutil.walk_packages(reproductions.__path__, "reproductions."):
        room, file = module.name.split(".")[1], module.name.rpartition(".")[2]
        if not file.endswith("claims"):
            continue
        for name, value in vars(importlib.import_module(module.name)).items():
            if name.endswith("CLAIMS"):
                by_name |= {f"{room} {claim.id}": claim for claim in value}
    return by_name


CLAIMS = claims()
each_claim = pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS.keys())


@each_claim
def test_a_claim_names_its_controls_its_null_and_one_condition(claim: Claim) -> None:
    """That there are some, ``Claim`` itself asks; that they say something is asked here."""
    assert all(len(control.what.split()) > 2 for control in claim.controls)
    assert len(claim.null.split()) > 1 and claim.rule.strip() and claim.decide.needs


@each_claim
def test_a_claim_is_never_decided_where_a_control_fails(claim: Claim) -> None:
    """NaN stands for no measure, so a control is failed by intervals that are as wide as can be."""
    wide = dict.fromkeys(claim.names, Interval(estimate=0.0, low=-1e12, high=1e12))
    (result,) = judge([claim], wide)
    assert result.verdict == "undecided"
    controlled = any(control.rule for control in claim.controls)
    assert result.reason in (("control failed", "model too small") if controlled else ("interval too wide",))


@each_claim
def test_a_claim_can_hold_fail_and_be_undecided(claim: Claim) -> None:
    """A condition that intervals of no kind settle, or settle one way only, is no condition."""
    values = sorted({limit + shift for limits in claim.decide.limits.values() for limit in limits
                     for shift in (-1.0, -1e-3, 0.0, 1e-3, 1.0)} or {-1.0, 0.0, 1.0})  # fmt: skip
    verdicts = {
        claim.decide({name: Interval(estimate=first if name == claim.decide.needs[0] else second,
                                     low=first if name == claim.decide.needs[0] else second,
                                     high=first if name == claim.decide.needs[0] else second)
                      for name in claim.decide.needs})
        for first in values for second in values
    }  # fmt: skip
    assert {"holds", "fails"} <= verdicts
    wide = dict.fromkeys(claim.decide.needs, Interval(estimate=0.0, low=-1e12, high=1e12))
    assert claim.decide(wide) == "undecided"
