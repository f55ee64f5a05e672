"""The rules of the LinCorr claims decide as they say, at both sides of each threshold."""

import pytest

from armillary.numerics.intervals import Interval
from armillary.records.claims import judge
from reproductions.lincorr.claims import CLAIMS


def about(value: float, width: float = 0.01) -> Interval:
    return Interval(estimate=value, low=value - width, high=value + width, n=3)


GOOD = {
    "city-country/correlation": about(0.8),
    "city-country/correlation minus rank one": about(0.3),
    "city-country/permuted": about(0.0),
    "city-country/excess over random words": about(0.1),
    "city-country/centred": about(0.7),
    "city-color/centred": about(0.4),
    "city-country/influenced hit@5": about(0.4),
    "city-country/chance hit@5": about(0.05),
    "add1-add2/correlation": about(0.9),
    "add1-add2/influenced hit@1": about(0.1),
    "add1-add2/chance hit@1": about(0.1),
    "resilience/before": about(0.8),
    "resilience/after": about(0.75),
    "resilience/permuted": about(0.0),
    "gradients/rank correlation with logits": about(0.6),
    "edits/predicted against measured": about(0.5),
    "edits/permuted weights": about(0.0),
    "edits/success": about(0.3),
    "edits/chance": about(0.01),
    "edits add1-add2/success": about(0.1),
    "edits/chance add1-add2": about(0.1),
    "edits/logistic slope": about(1.0),
    "vocabulary/true minus shuffled": about(0.6),
    "vocabulary/true minus shuffled, random embeddings": about(0.02),
    "completeness/whole minus first word hit@5": about(0.3),
}

REFUTED = {
    "fit-exists": {"city-country/correlation minus rank one": about(0.0)},
    "graded": {"city-color/centred": about(0.75)},
    "mirrors-world": {"city-country/influenced hit@5": about(0.05)},
    "correlation-without-precision": {"add1-add2/influenced hit@1": about(0.6)},
    "resilient": {"resilience/after": about(0.005)},
    "gradients": {"gradients/rank correlation with logits": about(-0.5)},
    "causal-transfer": {"edits/predicted against measured": about(0.0)},
    "no-transfer-without-precision": {"edits add1-add2/success": about(0.5)},
    "hallucination": {"edits/logistic slope": about(-1.0)},
    "vocabulary": {"vocabulary/true minus shuffled": about(0.02)},
    "completeness": {"completeness/whole minus first word hit@5": about(-0.2)},
}

UNSURE = {
    "fit-exists": {"city-country/excess over random words": about(0.05, 0.2)},
    "graded": {"city-country/centred": about(0.5, 0.3)},
    "mirrors-world": {"city-country/influenced hit@5": about(0.12)},
    "resilient": {"resilience/after": about(0.5)},
    "gradients": {"gradients/rank correlation with logits": about(0.1, 0.5)},
    "causal-transfer": {"edits/predicted against measured": about(0.2)},
    "hallucination": {"edits/logistic slope": about(0.1, 0.5)},
    "vocabulary": {"vocabulary/true minus shuffled, random embeddings": about(0.3)},
    "completeness": {"completeness/whole minus first word hit@5": about(0.1, 0.5)},
}


def verdict(claim: str, changes: dict[str, Interval]) -> str:
    return next(result.verdict for result in judge(CLAIMS, GOOD | changes) if result.id == claim)


@pytest.mark.parametrize("claim", REFUTED)
def test_good_measures_hold(claim: str) -> None:
    assert verdict(claim, {}) == "holds"


@pytest.mark.parametrize("claim", REFUTED)
def test_refuting_measures_fail(claim: str) -> None:
    assert verdict(claim, REFUTED[claim]) == "fails"


@pytest.mark.parametrize("claim", UNSURE)
def test_unclear_measures_stay_undecided(claim: str) -> None:
    assert verdict(claim, UNSURE[claim]) == "undecided"


def test_scaling_needs_two_models() -> None:
    assert verdict("scaling", {}) == "undecided"
