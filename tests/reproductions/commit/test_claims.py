"""The rules of the CoMMIT claims decide as they say, with their controls; the quick scale runs through."""

import math

import numpy as np
import pytest

from armillary.numerics.intervals import Interval
from armillary.records.claims import ClaimResult, judge
from armillary.report.html import render_html
from replays import replay
from reproductions.commit.claims import CLAIMS
from reproductions.commit.measures import at_equal_loss, reached
from reproductions.commit.scale import NULLS, RATE, RUNS, SCALES, SLOW, STARTS, at_fixed_mean
from reproductions.commit.small_models import RunResult
from reproductions.commit.trainer import TrainingRecord


def about(value: float, width: float = 0.005) -> Interval:
    return Interval(estimate=value, low=value - width, high=value + width, n=5)


ALL = {name for claim in CLAIMS for name in claim.names}
"""Measures that are shown only, and have no side on which they must lie, are 0.1."""

DEVIATION, SPREAD = "law/largest deviation, small steps", "kappa/oscillation, lift minus constant"
GOOD = dict.fromkeys(ALL, about(0.1)) | {
    DEVIATION: about(0.02),
    "law/least change over floor, log10": about(3.0),
    "ground/right, best pair less majority": about(0.3),
    "kappa/late log kappa, equal, constant": about(1.0),
    "kappa/late log kappa, slow encoder, constant": about(9.0),
    "kappa/late log kappa, slow llm, constant": about(-4.0),
    "kappa/size of log kappa at equal rates": about(1.0),
    **{name: about(1.0, 0.0) for name in ALL if name.startswith("floor/")},
    **{name: about(0.4) for name in ALL if name.startswith("harm")},
    **{name: about(-0.5) for name in ALL if name.startswith("gradient/") and not name.endswith("range")},
    **{f"gradient/{name}, lagging over low, shared range": about(1.0) for name in ("encoder", "llm")},
    **{f"speed/{start}, lift": about(0.5) for start in SLOW},
    **{f"mended/{start}, lift": about(0.95) for start in SLOW},
    **{name: about(-0.1) for name in ALL if name.startswith("loss/") and ", lift over" in name},
    "right/best, constant less lift": about(0.0),
    "multiplier/best, lift, larger": about(2.0),
    "budget/lift over matched": about(-0.1),
    SPREAD: about(-0.2),
    "regulariser/loss, with over without": about(-0.1),
    "overhead/time ratio": about(1.1),
}

REFUTED = {
    "kappa-follows-rates": {DEVIATION: about(0.3)},
    "unbalanced-at-equal-rates": {"kappa/size of log kappa at equal rates": about(0.1)},
    "imbalance-hurts": {"ratio/one lowered, rise to slow encoder": about(-0.1)},
    "ratio-has-an-optimum": {"ratio/fixed mean, rise to slow encoder": about(-0.1)},
    "lagging-gradients-diminish": {"gradient/llm, lagging over low": about(0.3)},
    **{f"repairs-{start.replace(' ', '-')}": {f"speed/{start}, lift": about(0.9)} for start in SLOW},
    **{f"aims-{start.replace(' ', '-')}": {f"loss/{start}, lift over random": about(0.1)} for start in SLOW},
    **{
        f"answers-repaired-{start.replace(' ', '-')}": {f"right/{start}, lift less exchanged": about(-0.1)}
        for start in SLOW
    },
    "mends-the-imbalance": {"mended/slow encoder, lift": about(0.5)},
    "no-harm": {"right/best, constant less lift": about(0.05)},
    "more-than-larger-rates": {"budget/lift over matched": about(0.0)},
    "oscillation-shrinks": {SPREAD: about(0.1)},
    "regulariser-adds": {"regulariser/loss, with over without": about(0.0)},
    "beats-baselines": {"loss/equal, lift over language_cd": about(0.1)},
    "answers-better": {"right/equal, lift less constant": about(-0.1)},
    "overhead": {"overhead/time ratio": about(1.3)},
}

UNCONTROLLED = {
    "model too small": {"ground/right, best pair less majority": about(0.05)},
    "control failed": {
        "law/least change over floor, log10": about(0.1),
        "kappa/late log kappa, slow encoder, constant": about(1.0),
        "kappa/late log kappa, slow llm, constant": about(1.0),
        "floor/probes above it, equal": about(0.5),
        "multiplier/best, lift, larger": about(1.0),
        "regulariser/movement, with over without": about(0.0),
    },
}
"""A task that isn't learned; probes in the noise, no imbalance planted, arms that do nothing."""


def result(claim: str, changes: dict[str, Interval]) -> ClaimResult:
    return next(judged for judged in judge(CLAIMS, GOOD | changes) if judged.id == claim)


@pytest.mark.parametrize("claim", [claim.id for claim in CLAIMS])
def test_each_verdict_can_be_reached(claim: str) -> None:
    assert result(claim, {}).verdict == "holds"
    assert result(claim, REFUTED[claim]).verdict == "fails"
    if claim != "overhead":  # a time needs no control
        outcome = result(claim, REFUTED[claim] | UNCONTROLLED["control failed"]).outcome
        assert outcome == "undecided: control failed"


def test_a_task_that_is_not_learned_decides_nothing_about_learning() -> None:
    of_the_measure_alone = {"kappa-follows-rates", "lagging-gradients-diminish", "mends-the-imbalance"}
    for claim in CLAIMS:
        if claim.id not in {*of_the_measure_alone, "oscillation-shrinks", "overhead"}:
            assert result(claim.id, UNCONTROLLED["model too small"]).outcome == "undecided: model too small"


def test_as_much_rate_elsewhere_is_shown_beside_every_repair() -> None:
    for claim in CLAIMS:
        if claim.id.startswith(("repairs", "aims", "answers-repaired", "mends")):
            assert all(any(null in name for name in claim.names) for null in NULLS)
            assert any(name.startswith(("right/", "mended/")) for name in claim.names)


def test_starts() -> None:
    assert at_fixed_mean(-2.0) == pytest.approx(STARTS["slow encoder"])
    assert at_fixed_mean(2.0) == pytest.approx(STARTS["slow llm"])
    assert at_fixed_mean(0.0) == pytest.approx(STARTS["low"])
    assert STARTS["equal"] == (RATE, RATE)
    encoder, llm = at_fixed_mean(1.0)
    assert encoder / llm == pytest.approx(10) and encoder * llm == pytest.approx(RATE**2 / 100)
    assert all(-2 < ratio < 2 for scale in SCALES.values() for ratio in scale.ratios)


def record(
    log_kappa: list[float], losses: list[float] | None = None, norms: list[float] | None = None, below_floor: int = 0
) -> TrainingRecord:
    return TrainingRecord(
        steps=[*range(len(log_kappa))],
        log_kappa=log_kappa,
        changes={"feature_encoder": [1e-4, 4e-4, 16e-4], "llm": [0.0, 0.0, 0.0]},
        multipliers={},
        floors=[],
        below_floor=below_floor,
        noted=[0, 9],
        rates={},
        losses=losses or [],
        norms={"llm": norms or []},
    )


def test_readings_of_one_run() -> None:
    made = RunResult(
        steps=[0, 5, 10], losses=[3.0, 2.0, 1.0], final=1.0, right=1.0, record=record([9.0, 1.0, 3.0]), multipliers={}
    )
    assert [reached(made, goal) for goal in (2.0, 1.5, 0.5)] == [0.5, 1.0, 1.5]
    assert made.record.oscillation == pytest.approx(2**0.5) and made.record.kappas == [9.0, None]
    assert record([1.0]).oscillation is None
    assert made.movement == pytest.approx(4e-4)
    assert record([1.0, 1.0, 1.0], below_floor=1).above_floor == 0.75 and math.isnan(record([]).above_floor)


def test_gradients_are_compared_where_the_loss_is_equal() -> None:
    """A gradient that is a function of the loss alone differs by nothing, however slowly the loss comes down."""

    def of(losses: np.ndarray, factor: float) -> TrainingRecord:
        return record([], losses.tolist(), (factor * losses**2).tolist())

    fast, slow = np.linspace(4.0, 1.0, 100), np.linspace(4.0, 2.0, 400)
    compared = at_equal_loss(of(slow, 1.0), of(fast, 1.0), "llm")
    assert compared is not None
    assert compared[0] == pytest.approx(0.0, abs=0.02) and compared[1] == pytest.approx(2.0, abs=0.1)
    smaller = at_equal_loss(of(slow, 0.5), of(fast, 1.0), "llm")
    assert smaller is not None and smaller[0] == pytest.approx(math.log(0.5), abs=0.02)
    # At equal steps the slower one would seem to have the larger gradient, for its larger loss.
    assert (slow[:100] ** 2).mean() > (fast**2).mean()
    assert at_equal_loss(of(fast, 1.0), of(np.full(100, 5.0), 1.0), "llm") is None


def test_quick_scale_measures_what_the_claims_need(tmp_path_factory: pytest.TempPathFactory) -> None:
    made, _ = replay("reproduce-commit", tmp_path_factory)
    # In so few steps two trainings may go through no loss in common.
    assert {name for name in ALL - set(made.measures) if not name.startswith("gradient/")} == set()
    assert all(f"final/{start}, {arm}" in made.measures for start, arms in RUNS.items() for arm in arms)
    # The law of small steps holds for any model, and a scheduler that speeds up what lags is seen in its rates.
    assert made.measures[DEVIATION].estimate < 0.15
    assert made.measures["kappa/late log kappa, slow encoder, exchanged"].estimate > (
        made.measures["kappa/late log kappa, slow encoder, lift"].estimate
    )
    assert (
        made.measures["mended/slow encoder, exchanged"].estimate
        < 0
        < made.measures["mended/slow encoder, lift"].estimate
    )
    assert [section.id for section in made.sections] == [claim.id for claim in CLAIMS]
    assert "<svg" in render_html(made), "its report can be drawn"
