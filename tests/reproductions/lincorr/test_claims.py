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
    "city-country minus city-color/centred": about(0.3),
    "city-country/influenced hit@5": about(0.4),
    "city-country/influenced hit@5, excess": about(0.2),
    "city-country/exchanged hit@5": about(0.2),
    "city-country/knows target, excess hit@5": about(0.3),
    "city-country/knows source, excess hit@5": about(0.3),
    "add1-add2/correlation": about(0.9),
    "add1-add2/influenced hit@1": about(0.1),
    "add1-add2/influenced hit@1, excess": about(0.0),
    "add1-add2/exchanged hit@1": about(0.1),
    "add1-add2/knows target, excess hit@1": about(0.8),
    "add1-add2/knows source, excess hit@1": about(0.8),
    "add1-add2/gradient correlation over shuffled weights": about(0.5),
    "resilience/before": about(0.8),
    "resilience/after": about(0.75),
    "resilience/drop": about(0.05),
    "resilience/untrained map": about(0.0),
    "resilience/before minus untrained map": about(0.8),
    "resilience/fall of the loss": about(0.4),
    "gradients/rank correlation with logits": about(0.6),
    "edits/took": about(0.9),
    "edits/map": about(0.5),
    "edits/same tokens": about(0.3),
    "edits/mean of the other edits": about(0.3),
    "edits/taught word's row": about(0.1),
    "edits/permuted weights": about(0.0),
    "edits/map, shared change taken out": about(0.5),
    "edits/same tokens, shared change taken out": about(0.3),
    "edits/map minus same tokens": about(0.2),
    "edits/map minus mean of the other edits": about(0.2),
    "edits/map minus taught word's row": about(0.4),
    "edits/success": about(0.3),
    "edits/success over exchanged": about(0.2),
    "edits/rarer outcome": about(0.3),
    "edits/logistic slope": about(1.0),
    "edits/logistic slope, outcomes exchanged": about(0.0, 0.5),
    "edits add1-add2/took": about(0.9),
    "edits add1-add2/carried over": about(0.1),
    "edits add1-add2/success over exchanged": about(0.0),
    "vocabulary/true, pretrained": about(0.9),
    "vocabulary/shuffled, pretrained": about(0.3),
    "vocabulary/taught": about(0.98),
    "vocabulary/true minus shuffled, over random embeddings": about(0.6),
    "completeness/whole minus first word, excess hit@5": about(0.3),
    "completeness/whole minus first word, correlation": about(0.0),
    "completeness/whole, excess hit@5": about(0.3),
    "completeness/first-word, excess hit@5": about(0.0),
}

REFUTED = {
    "fit-exists": {"city-country/excess over random words": about(-0.05)},
    "graded": {"city-country minus city-color/centred": about(-0.05)},
    "mirrors-world": {"city-country/influenced hit@5, excess": about(-0.05)},
    "correlation-without-precision": {"add1-add2/influenced hit@1": about(0.6)},
    "resilient": {"resilience/drop": about(0.2)},
    "gradients": {"gradients/rank correlation with logits": about(-0.5)},
    "causal-transfer": {"edits/map minus same tokens": about(-0.13)},
    "no-transfer-without-precision": {"edits add1-add2/carried over": about(0.6)},
    "hallucination": {"edits/logistic slope": about(-1.0)},
    "vocabulary": {"vocabulary/true minus shuffled, over random embeddings": about(0.02)},
    "completeness": {"completeness/whole minus first word, excess hit@5": about(-0.2)},
}

UNSURE = {
    "fit-exists": {"city-country/excess over random words": about(0.05, 0.2)},
    "mirrors-world": {"city-country/influenced hit@5, excess": about(0.01, 0.02)},
    "resilient": {"resilience/drop": about(0.15, 0.05)},
    "causal-transfer": {"edits/map minus mean of the other edits": about(0.0)},
    "vocabulary": {"vocabulary/true minus shuffled, over random embeddings": about(0.2, 0.1)},
}

CONTROLS = {
    "mirrors-world": ({"city-country/knows source, excess hit@5": about(0.0)}, "model too small"),
    "correlation-without-precision": ({"city-country/influenced hit@5, excess": about(0.0)}, "control failed"),
    "resilient": ({"resilience/fall of the loss": about(-0.06)}, "control failed"),
    "causal-transfer": ({"edits/took": about(0.4)}, "control failed"),
    "no-transfer-without-precision": ({"edits/success over exchanged": about(0.0)}, "model too small"),
    "hallucination": ({"edits/rarer outcome": about(0.05)}, "model too small"),
    "completeness": ({"completeness/whole minus first word, correlation": about(0.08)}, "control failed"),
}


def verdict(claim: str, changes: dict[str, Interval]) -> str:
    return next(result.outcome for result in judge(CLAIMS, GOOD | changes) if result.id == claim)


@pytest.mark.parametrize("claim", REFUTED)
def test_good_measures_hold(claim: str) -> None:
    assert verdict(claim, {}) == "holds"


@pytest.mark.parametrize("claim", REFUTED)
def test_refuting_measures_fail(claim: str) -> None:
    assert verdict(claim, REFUTED[claim]) == "fails"


@pytest.mark.parametrize("claim", UNSURE)
def test_unclear_measures_stay_undecided(claim: str) -> None:
    assert verdict(claim, UNSURE[claim]) == "undecided: interval too wide"


@pytest.mark.parametrize("claim", CONTROLS)
def test_a_failed_control_is_said(claim: str) -> None:
    changes, reason = CONTROLS[claim]
    assert verdict(claim, changes) == f"undecided: {reason}"


def test_scaling_needs_two_models() -> None:
    assert verdict("scaling", {}) == "not tested"
