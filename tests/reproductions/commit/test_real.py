"""The rules of CoMMIT's claims on sounds and on real weights decide as they say; the quick scale runs through."""

import pytest

from armillary.numerics.intervals import Interval
from armillary.records.claims import judge
from armillary.report.html import render_html
from replays import replay
from reproductions.commit.real_claims import REAL_CLAIMS as CLAIMS
from reproductions.commit.scale import MODEL_ARMS, SLOW, SOUND_RUNS


def about(value: float, width: float = 0.005) -> Interval:
    return Interval(estimate=value, low=value - width, high=value + width, n=5)


ALL = {name for claim in CLAIMS for name in claim.names}
"""Measures that are shown only are 0.1."""

GOOD = dict.fromkeys(ALL, about(0.1)) | {
    "audio/ground/right, best pair less majority": about(0.3),
    "audio/kappa/late log kappa, equal, constant": about(1.0),
    "audio/kappa/late log kappa, slow encoder, constant": about(9.0),
    "audio/kappa/late log kappa, slow llm, constant": about(-4.0),
    **{name: about(1.0, 0.0) for name in ALL if "above" in name},
    **{f"audio/harm/{start}": about(0.3) for start in SLOW},
    **{f"audio/speed/{start}, lift": about(0.5) for start in SLOW},
    **{name: about(-0.1) for name in ALL if name.startswith("audio/loss/") and ", lift over" in name},
    "audio/budget/lift over matched": about(-0.1),
    "model/late log kappa, constant": about(9.0),
    "model/late log kappa, balanced": about(0.5),
    "model/size of late log kappa, lift minus constant": about(-0.5),
    "model/loss, constant minus before": about(-3.0),
    "model/loss, constant minus balanced": about(0.2),
    **{f"model/loss, lift minus {name}": about(-0.1) for name in ("constant", "exchanged")},
}
REFUTED = {
    "sounds-repairs-slow-encoder": {"audio/speed/slow encoder, lift": about(0.9)},
    "sounds-repairs-slow-llm": {"audio/speed/slow llm, lift": about(0.9)},
    "sounds-more-than-larger-rates": {"audio/budget/lift over matched": about(0.0)},
    "sounds-beats-baselines": {"audio/loss/equal, lift over language_cd": about(0.1)},
    "real-rebalances": {"model/size of late log kappa, lift minus constant": about(0.2)},
    "real-repairs-slow-encoder": {"model/loss, lift minus constant": about(0.1)},
}
UNCONTROLLED = {
    "sounds-repairs-slow-encoder": {"audio/harm/slow encoder": about(0.03)},
    "sounds-repairs-slow-llm": {"audio/kappa/late log kappa, slow llm, constant": about(1.0)},
    "sounds-more-than-larger-rates": {"audio/kappa/late log kappa, slow encoder, constant": about(1.0)},
    "sounds-beats-baselines": {"audio/floor/probes above it, equal": about(0.5)},
    "real-rebalances": {"model/late log kappa, constant": about(0.5)},
    "real-repairs-slow-encoder": {"model/loss, constant minus balanced": about(0.0)},
}


def outcome(claim: str, changes: dict[str, Interval]) -> str:
    return next(result.outcome for result in judge(CLAIMS, GOOD | changes) if result.id == claim)


@pytest.mark.parametrize("claim", [claim.id for claim in CLAIMS])
def test_each_verdict_can_be_reached(claim: str) -> None:
    assert outcome(claim, {}) == "holds"
    assert outcome(claim, REFUTED[claim]) == "fails"
    assert outcome(claim, REFUTED[claim] | UNCONTROLLED[claim]) == "undecided: control failed"


def test_quick_scale_measures_what_the_claims_need(tmp_path_factory: pytest.TempPathFactory) -> None:
    record, _ = replay("reproduce-commit_real", tmp_path_factory)
    assert set(record.measures) >= ALL
    assert all(f"audio/final/{start}, {arm}" in record.measures for start, arms in SOUND_RUNS.items() for arm in arms)
    assert [section.id for section in record.sections] == [claim.id for claim in CLAIMS]
    assert "<svg" in render_html(record), "its report can be drawn"
    given_model_was_trained(record.measures)


def given_model_was_trained(measured: dict[str, Interval]) -> None:
    """By every arm from the same weights, at the rates that the arm stands for."""
    multiplier = {
        arm: {name: measured[f"model/mean multiplier of {name}, {arm}"].estimate for name in ("encoder", "llm")}
        for arm in MODEL_ARMS
    }
    lift = multiplier["lift"]
    assert multiplier["constant"] == {"encoder": 1.0, "llm": 1.0} == multiplier["balanced"]
    assert lift["encoder"] > 1.0
    assert multiplier["exchanged"] == pytest.approx({"encoder": lift["llm"], "llm": lift["encoder"]})
    for arm in MODEL_ARMS:
        gain = measured[f"model/loss, {arm} minus before"]
        assert gain.estimate == pytest.approx(
            measured[f"model/loss, {arm}"].estimate - measured["model/loss, before"].estimate
        )
        assert gain.upper < 0  # a loss of one training batch would not be compared with the same questions
        assert measured[f"model/right, {arm}"].lower >= 0 and measured[f"model/right, {arm}"].upper <= 1
