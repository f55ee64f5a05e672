"""The rules of the CoMMIT claims decide as they say, at both sides of each threshold; the quick scale runs through."""

from pathlib import Path

import pytest

from armillary.cli.reproduce import JOBS, ReproduceSettings
from armillary.numerics.intervals import Interval
from armillary.records.claims import judge
from reproductions.commit.claims import CLAIMS
from reproductions.commit.measures import reached
from reproductions.commit.scale import BASELINES, RATE, RUNS, SCALES, STARTS, at_fixed_mean, with_one_lowered
from reproductions.commit.small_models import RunResult
from reproductions.commit.trainer import TrainingRecord


def about(value: float, width: float = 0.005) -> Interval:
    return Interval(estimate=value, low=value - width, high=value + width, n=5)


DEVIATION, EQUAL = "law/largest deviation, small steps", "kappa/log kappa at equal rates"
SPREAD, ADDED = "kappa/oscillation, lift minus constant", "regulariser/oscillation, full minus lift"
GOOD = {
    DEVIATION: about(0.02),
    EQUAL: about(1.0),
    **{
        f"ratio/{path}, rise to slow {name}": about(0.2)
        for path in ("one lowered", "fixed mean")
        for name in ("encoder", "llm")
    },
    **{f"gradient/{name}, slow over equal": about(-0.5) for name in ("encoder", "llm")},
    **{f"harm/{start}": about(0.3) for start in ("slow encoder", "slow llm")},
    **{f"speed/{start}, lift": about(0.5) for start in ("slow encoder", "slow llm")},
    **{f"speed/{start}, exchanged": about(1.0) for start in ("slow encoder", "slow llm")},
    "loss/best, lift over constant": about(0.0),
    "budget/lift over matched": about(-0.1),
    SPREAD: about(-0.2),
    "regulariser/loss, full over lift": about(-0.05),
    ADDED: about(-0.1),
    **{f"loss/equal, full over {name}": about(-0.1) for name in BASELINES},
    "overhead/time ratio": about(1.1),
}

REFUTED = {
    "kappa-follows-rates": {DEVIATION: about(0.3)},
    "unbalanced-at-equal-rates": {EQUAL: about(0.1)},
    "imbalance-hurts": {"ratio/one lowered, rise to slow encoder": about(-0.1)},
    "ratio-has-an-optimum": {"ratio/fixed mean, rise to slow encoder": about(-0.1)},
    "lagging-gradients-diminish": {"gradient/llm, slow over equal": about(0.3)},
    "repairs-slow-encoder": {"speed/slow encoder, lift": about(0.9)},
    "repairs-slow-llm": {"speed/slow llm, lift": about(0.9)},
    "no-harm": {"loss/best, lift over constant": about(0.05)},
    "more-than-larger-rates": {"budget/lift over matched": about(0.0)},
    "oscillation-shrinks": {SPREAD: about(0.1)},
    "regulariser-adds": {"regulariser/loss, full over lift": about(0.0)},
    "beats-baselines": {"loss/equal, full over language_cd": about(0.1)},
    "overhead": {"overhead/time ratio": about(1.3)},
}

UNSURE = {
    "kappa-follows-rates": {DEVIATION: about(0.15)},
    "unbalanced-at-equal-rates": {EQUAL: about(0.2)},
    "imbalance-hurts": {"ratio/one lowered, rise to slow llm": about(0.0)},
    "ratio-has-an-optimum": {"ratio/fixed mean, rise to slow llm": about(0.0)},
    "lagging-gradients-diminish": {"gradient/encoder, slow over equal": about(0.0)},
    "repairs-slow-encoder": {"harm/slow encoder": about(0.03)},
    "repairs-slow-llm": {"speed/slow llm, exchanged": about(0.4)},
    "no-harm": {"loss/best, lift over constant": about(0.02)},
    "more-than-larger-rates": {"budget/lift over matched": about(-0.01, 0.03)},
    "oscillation-shrinks": {SPREAD: about(0.0)},
    "regulariser-adds": {ADDED: about(0.0)},
    "beats-baselines": {"loss/equal, full over feature_cd": about(0.0)},
    "overhead": {"overhead/time ratio": about(1.15)},
}


def verdict(claim: str, changes: dict[str, Interval]) -> str:
    return next(result.verdict for result in judge(CLAIMS, GOOD | changes) if result.id == claim)


@pytest.mark.parametrize("claim", [claim.id for claim in CLAIMS])
def test_each_verdict_can_be_reached(claim: str) -> None:
    assert verdict(claim, {}) == "holds"
    assert verdict(claim, REFUTED[claim]) == "fails"
    assert verdict(claim, UNSURE[claim]) == "undecided"


def test_both_paths_end_at_the_slow_starts() -> None:
    for path in (at_fixed_mean, with_one_lowered):
        assert path(-2.0) == pytest.approx(STARTS["slow encoder"])
        assert path(2.0) == pytest.approx(STARTS["slow llm"])
    assert with_one_lowered(0.0) == STARTS["equal"] == (RATE, RATE)
    encoder, llm = at_fixed_mean(1.0)
    assert encoder / llm == pytest.approx(10) and encoder * llm == pytest.approx(RATE**2 / 100)
    assert all(scale.ratios[0] == -2 and scale.ratios[-1] == 2 for scale in SCALES.values())


def record(log_kappa: list[float]) -> TrainingRecord:
    return TrainingRecord(steps=[*range(len(log_kappa))], log_kappa=log_kappa, noted=[0, 9], rates={}, norms={})


def test_readings_of_one_run() -> None:
    made = RunResult(
        steps=[0, 5, 10], losses=[3.0, 2.0, 1.0], final=1.0, right=1.0, record=record([9.0, 1.0, 3.0]), multipliers={}
    )
    assert [reached(made, goal) for goal in (2.0, 1.5, 0.5)] == [0.5, 1.0, 1.5]
    assert made.record.oscillation == pytest.approx(2**0.5) and made.record.kappas == [9.0, None]
    assert record([1.0]).oscillation is None


def test_quick_scale_measures_what_the_claims_need(tmp_path: Path) -> None:
    made = JOBS["reproduce"].run(
        ReproduceSettings(method="commit", model="tiny-llama", preset="quick"), tmp_path / "run"
    )
    assert {name for claim in CLAIMS for name in claim.names} <= set(made.measures)
    assert all(f"final/{start}, {arm}" in made.measures for start, arms in RUNS.items() for arm in arms)
    # The law of small steps holds for any model, and a scheduler that speeds up what lags is seen in its rates.
    assert made.measures[DEVIATION].estimate < 0.15
    assert made.measures["kappa/late log kappa, slow encoder, exchanged"].estimate > (
        made.measures["kappa/late log kappa, slow encoder, lift"].estimate
    )
    assert [section.id for section in made.sections] == [claim.id for claim in CLAIMS]
    assert (tmp_path / "run" / "report.html").exists()
