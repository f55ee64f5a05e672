"""The rules of the Bricks claims decide as they say, at both sides of each threshold; the quick scale runs through."""

from pathlib import Path

import pytest

from armillary.models import load
from armillary.numerics.intervals import Interval
from armillary.records.claims import judge
from armillary.records.record import RunRecord
from armillary.report.html import render_html
from armillary.runs.parts import Parts
from replays import replay
from reproductions.bricks import editing
from reproductions.bricks.claims import ABOVE_NULL, CLAIMS, HIGH, LEFT_OUT, LOWER, configuration
from reproductions.bricks.scale import ACTIVATION_LEVEL, MAGNITUDE_LEVEL, SCALES
from reproductions.bricks.setup import Context

COMMITTED = Path(__file__).parents[3] / "results"


def about(value: float, width: float = 0.01) -> Interval:
    return Interval(estimate=value, low=value - width, high=value + width, n=3)


PERMUTED = ", permuted labels"
HALF = ", half, weakest draw"
GOOD = {
    "sparsity/share below 0.2": about(0.95),
    "sparsity/share below 0.2, random weights": about(0.9),
    "sparsity/share below 0.2, least layer": about(0.9),
    "sparsity/layers sparser than random weights": about(0.9),
    "sparsity/loss, random weights minus trained": about(7.0),
    "masking/loss at 70 % by activation": about(0.012, 0.005),
    "masking/loss at 80 % by magnitude": about(0.012, 0.005),
    "masking/loss at 50 % by magnitude": about(0.005),
    "masking/loss at 70 % by lot": about(1.0),
    "masking/activation minus magnitude, 70 %": about(0.1),
    ABOVE_NULL: about(1.0),
    f"scores/layers above the null{PERMUTED}": about(0.001),
    f"scores/layers above 0.8{PERMUTED}": about(0.0),
    **{f"scores/layers above 0.8, {name}": about(0.9) for name in HIGH},
    **{f"scores/layers above 0.8, {name}": about(0.3) for name in LOWER},
    "scores/layers above 0.8, least of the three minus most of the others": about(0.6),
    "scores/best minus top 5 per mille": about(0.2),
    f"scores/best minus top 5 per mille{PERMUTED}": about(0.05),
    "scores/mean over chance": about(1.1),
    f"scores/mean over chance{PERMUTED}": about(1.05),
    "scores/mean over chance, less permuted labels": about(0.05),
    "knockout/capabilities above matched sets": about(0.9, 0.1),
    "knockout/own effect is the largest of its row": about(1.0),
    **{f"knockout/{name}, own effect": about(2.0) for name in (*HIGH, *LOWER)},
    **{f"knockout/{name}, own minus matched sets": about(1.0) for name in (*HIGH, *LOWER)},
    "residents/collateral": about(1.0),
    "residents/own effect kept": about(0.8),
    "residents/collateral kept": about(0.3),
    "residents/collateral kept without as many others": about(0.9),
    "overlap/mean of pairs": about(0.005, 0.001),
    f"overlap/mean of pairs{PERMUTED}": about(0.01, 0.001),
    "overlap/one capability, other texts": about(0.8),
    "experts/functional experts, coactivation": about(100.0),
    "experts/functional experts, weights": about(80.0),
    "experts/functional experts, random": about(2.0),
    "experts/functional experts, null": about(2.0, 1.0),
    "experts/capabilities beyond chance, coactivation": about(1.0),
    "routing/loss at a quarter, fitted router": about(0.03),
    "routing/loss at a quarter, router by lot": about(3.0),
    "routing/loss at a quarter, oracle": about(0.02),
    "routing/lot minus fitted router, a quarter": about(2.0),
    f"routing/random minus weights{HALF}": about(0.2),
    f"routing/random minus coactivation{HALF}": about(0.5),
    "routing/rise at half, random, least draw": about(2.0),
    "retrieval/retrieved minus best fixed": about(-0.1),
    "retrieval/retrieved minus oracle": about(0.01),
    "retrieval/retrieved minus one by lot": about(-0.2),
    "retrieval/oracle minus base": about(-0.3),
    "retrieval/oracle minus best fixed": about(-0.1),
    "merging/adapters with a sure gain": about(0.9),
    "merging/retention, average": about(0.7),
    "merging/retention, foreign base": about(0.0),
    "merging/negation, own minus others": about(0.2),
    "merging/gain of the subtracted adapter": about(0.2),
    "edits/efficacy, general": about(1.0),
    "edits/efficacy, identity": about(1.0),
    "edits/efficacy, random": about(0.1),
    "edits/neighbours unchanged, general": about(0.95),
    "edits/neighbours unchanged, random": about(0.95),
    "edits/paraphrases, general": about(0.7),
    "edits/unchanged, general minus identity": about(0.1),
    "growth/largest logit difference": Interval(estimate=1e-4),
    "growth/logit difference over the model's own rounding": Interval(estimate=2.0),
    "growth/new, new neurons": about(-0.3),
    "growth/old, new neurons": about(0.0, 0.005),
    "saving/loss of the best configuration": about(0.01, 0.005),
    "saving/time ratio at equal quality": about(1.3),
    "saving/time ratio to nothing left out": about(1.1),
    **{
        f"saving/loss, {configuration(kind, share)}": about(0.1)
        for kind, shares in LEFT_OUT.items()
        for share in shares
    },
}

REFUTED = {
    "sparse": {"sparsity/share below 0.2": about(0.8)},
    "masking-is-free": {"masking/loss at 80 % by magnitude": about(0.1)},
    "magnitude-beats-activation": {"masking/activation minus magnitude, 70 %": about(-0.1)},
    "functional-neurons": {ABOVE_NULL: about(0.7)},
    "high-in-most-layers": {"scores/layers above 0.8, code": about(0.3)},
    "others-score-lower": {"scores/layers above 0.8, least of the three minus most of the others": about(-0.2)},
    "few-neurons": {"scores/best minus top 5 per mille": about(0.02)},
    "mean-score-is-chance": {"scores/mean over chance, less permuted labels": about(0.4)},
    "knockout-is-specific": {"knockout/capabilities above matched sets": about(0.5, 0.2)},
    "residents-cause-collateral": {"residents/collateral kept": about(0.8)},
    "sets-are-apart": {"overlap/mean of pairs": about(0.03)},
    "partitionable": {"experts/functional experts, coactivation": about(0.5)},
    "routing-keeps-quality": {"routing/loss at a quarter, fitted router": about(0.5)},
    "clusters-beat-lots": {f"routing/random minus weights{HALF}": about(-0.2)},
    "retrieval": {"retrieval/retrieved minus best fixed": about(0.1)},
    "merging": {"merging/retention, average": about(0.3)},
    "subtracting": {"merging/negation, own minus others": about(-0.1)},
    "editing-is-local": {"edits/neighbours unchanged, general": about(0.5)},
    "second-moment-helps": {"edits/unchanged, general minus identity": about(-0.1)},
    "growing": {"growth/old, new neurons": about(0.1)},
    "saves-computation": {"saving/time ratio at equal quality": about(0.9)},
}

UNCONTROLLED = {
    "sparse": {"sparsity/loss, random weights minus trained": about(0.5)},
    "masking-is-free": {"masking/loss at 70 % by lot": about(0.01)},
    "functional-neurons": {f"scores/layers above the null{PERMUTED}": about(0.2)},
    "knockout-is-specific": {"knockout/code, own effect": about(0.0)},
    "sets-are-apart": {"overlap/one capability, other texts": about(0.1)},
    "merging": {"merging/adapters with a sure gain": Interval(estimate=4 / 9)},
    "editing-is-local": {"edits/efficacy, general": about(0.3)},
    "growing": {"growth/new, new neurons": about(0.0)},
    "saves-computation": {"saving/loss of the best configuration": about(0.1)},
}


def verdict(claim: str, changes: dict[str, Interval]) -> str:
    return next(result.verdict for result in judge(CLAIMS, GOOD | changes) if result.id == claim)


@pytest.mark.parametrize("claim", [claim.id for claim in CLAIMS])
def test_each_verdict_can_be_reached(claim: str) -> None:
    assert verdict(claim, {}) == "holds"
    assert verdict(claim, REFUTED[claim]) == "fails"
    if claim in UNCONTROLLED:
        assert verdict(claim, REFUTED[claim] | UNCONTROLLED[claim]) == "undecided"


def test_a_gain_that_is_the_kernels_alone_is_no_saving() -> None:
    assert verdict("saves-computation", {"saving/time ratio to nothing left out": about(1.0)}) == "undecided"


def test_no_time_is_judged_where_none_was_taken() -> None:
    measures = {name: value for name, value in GOOD.items() if name != "saving/time ratio at equal quality"}
    verdicts = {result.id: result.verdict for result in judge(CLAIMS, measures)}
    assert verdicts["saves-computation"] == "not tested"


def test_levels_of_the_claims_are_measured() -> None:
    for scale in SCALES.values():
        assert {ACTIVATION_LEVEL, MAGNITUDE_LEVEL} <= set(scale.mask_levels)


def test_quick_scale_measures_what_the_claims_need(tmp_path_factory: pytest.TempPathFactory) -> None:
    record, _ = replay("reproduce-bricks", tmp_path_factory)
    needed = {name for claim in CLAIMS for name in claim.names}
    missing = needed - set(record.measures)
    # A tiny random model knows no capital, its adapters gain nothing for sure, and none of its neurons is resident.
    assert all(name.split("/")[0] in ("edits", "merging", "residents", "saving") for name in missing)
    assert record.measures["growth/logit difference over the model's own rounding"].estimate < 10
    assert [section.id for section in record.sections] == [claim.id for claim in CLAIMS]
    assert "<svg" in render_html(record), "its report can be drawn"


def test_edits_measure_what_the_claims_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiny random model knows nothing; where it is said to, the stage of edits runs through."""
    monkeypatch.setattr(editing, "base_answers_right", lambda loaded, facts: [True] * len(facts))
    results = editing.edits(Context(load("tiny-llama"), SCALES["quick"], 0, Parts(tmp_path, "edits")))
    needed = {name for claim in CLAIMS for name in claim.names if name.startswith("edits/")}
    assert needed <= set(results.measures)
    assert results.table is not None and len(results.table.rows) == SCALES["quick"].facts


@pytest.mark.parametrize("model", ["smollm2-135m-instruct", "gemma-3-270m"])
def test_committed_records_have_every_measure_and_their_verdicts(model: str) -> None:
    record = RunRecord.load(COMMITTED / f"bricks-laptop-{model}.json")
    if not any(claim.controls for claim in record.claims):
        return  # made before claims had controls: judged by the rules of its day
    judged = {result.id: result.verdict for result in judge(CLAIMS, record.measures)}
    assert judged == {claim.id: claim.verdict for claim in record.claims}
