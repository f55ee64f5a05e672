"""The rules of the Bricks claims decide as they say, at both sides of each threshold; the quick scale runs through."""

from pathlib import Path

import pytest

from armillary.cli.reproduce import JOBS, ReproduceSettings
from armillary.models import load
from armillary.numerics.intervals import Interval
from armillary.records.claims import judge
from armillary.records.record import RunRecord
from armillary.runs.parts import Parts
from reproductions.bricks import editing
from reproductions.bricks.claims import CLAIMS, HIGH, LOWER
from reproductions.bricks.scale import ACTIVATION_LEVEL, MAGNITUDE_LEVEL, SCALES
from reproductions.bricks.setup import Context

COMMITTED = Path(__file__).parents[3] / "results"


def about(value: float, width: float = 0.01) -> Interval:
    return Interval(estimate=value, low=value - width, high=value + width, n=3)


CELLS = "experts/cells beyond chance, "
HALF = ", half, weakest draw"
GOOD = {
    "sparsity/share below 0.2": about(0.95),
    "sparsity/share below 0.2, least layer": about(0.9),
    "masking/loss at 70 % by activation": about(0.005),
    "masking/loss at 80 % by magnitude": about(0.005),
    "masking/activation minus magnitude, 70 %": about(0.1),
    "scores/layers above the null, least capability": about(1.0),
    "scores/layers above the null, shuffled": about(0.0),
    **{f"scores/layers above 0.8, {name}": about(0.9) for name in HIGH},
    **{f"scores/layers above 0.8, {name}": about(0.3) for name in LOWER},
    "scores/best minus top 5 per mille": about(0.2),
    "scores/mean over chance": about(1.1),
    "knockout/capabilities hurt most, above random and matched": about(1.0),
    "residents/own effect kept": about(0.8),
    "residents/collateral kept": about(0.3),
    "residents/collateral kept without as many others": about(0.9),
    "overlap/mean of pairs": about(0.02),
    f"{CELLS}weights": about(0.95),
    f"{CELLS}coactivation": about(0.9),
    f"{CELLS}random": about(0.0),
    "routing/loss at a quarter, best fitted router": about(0.03),
    f"routing/random minus weights{HALF}": about(0.2),
    f"routing/random minus coactivation{HALF}": about(0.5),
    "retrieval/retrieved minus best fixed": about(-0.1),
    "retrieval/retrieved minus oracle": about(0.01),
    "retrieval/oracle minus base": about(-0.3),
    "merging/retention, average": about(0.7),
    "merging/retention, foreign base": about(0.0),
    "merging/negation, own minus others": about(0.2),
    "edits/efficacy, general": about(1.0),
    "edits/neighbours unchanged, general": about(0.95),
    "edits/efficacy, random": about(0.1),
    "edits/unchanged, general minus identity": about(0.1),
    "growth/largest logit difference": Interval(estimate=1e-5),
    "growth/new, new neurons": about(-0.3),
    "growth/old, new neurons": about(0.0, 0.005),
    "saving/time ratio at equal quality": about(1.3),
}

REFUTED = {
    "sparse": {"sparsity/share below 0.2": about(0.6)},
    "masking-is-free": {"masking/loss at 80 % by magnitude": about(0.1)},
    "magnitude-beats-activation": {"masking/activation minus magnitude, 70 %": about(-0.1)},
    "functional-neurons": {"scores/layers above the null, least capability": about(0.5)},
    "high-in-most-layers": {"scores/layers above 0.8, code": about(0.3)},
    "few-neurons": {"scores/best minus top 5 per mille": about(0.05)},
    "knockout-is-specific": {"knockout/capabilities hurt most, above random and matched": about(0.5)},
    "residents-cause-collateral": {"residents/collateral kept": about(0.8)},
    "sets-are-apart": {"overlap/mean of pairs": about(0.1)},
    "partitionable": {f"{CELLS}weights": about(0.2), f"{CELLS}coactivation": about(0.3)},
    "routing-keeps-quality": {"routing/loss at a quarter, best fitted router": about(0.5)},
    "clusters-beat-lots": {
        f"routing/random minus weights{HALF}": about(-0.2),
        f"routing/random minus coactivation{HALF}": about(-0.2),
    },
    "retrieval": {"retrieval/retrieved minus best fixed": about(0.1)},
    "merging": {"merging/retention, average": about(0.3)},
    "subtracting": {"merging/negation, own minus others": about(-0.1)},
    "editing-is-local": {"edits/neighbours unchanged, general": about(0.5)},
    "second-moment-helps": {"edits/unchanged, general minus identity": about(-0.1)},
    "growing": {"growth/old, new neurons": about(0.1)},
    "saves-computation": {"saving/time ratio at equal quality": Interval(estimate=1.0)},
}

UNSURE = {
    "sparse": {"sparsity/share below 0.2": about(0.8, 0.05)},
    "masking-is-free": {"masking/loss at 70 % by activation": about(0.02, 0.01)},
    "magnitude-beats-activation": {"masking/activation minus magnitude, 70 %": about(0.0)},
    "functional-neurons": {"scores/layers above the null, shuffled": about(0.2)},
    "high-in-most-layers": {"scores/layers above 0.8, code": about(0.5, 0.2)},
    "few-neurons": {"scores/mean over chance": about(1.7)},
    "knockout-is-specific": {"knockout/capabilities hurt most, above random and matched": about(0.67)},
    "residents-cause-collateral": {"residents/collateral kept without as many others": about(0.3)},
    "sets-are-apart": {"overlap/mean of pairs": about(0.05)},
    "partitionable": {f"{CELLS}random": about(0.5)},
    "routing-keeps-quality": {"routing/loss at a quarter, best fitted router": about(0.05, 0.02)},
    "clusters-beat-lots": {f"routing/random minus weights{HALF}": about(0.0)},
    "retrieval": {"retrieval/oracle minus base": about(0.1)},
    "merging": {"merging/retention, foreign base": about(0.8)},
    "subtracting": {"merging/negation, own minus others": about(0.0)},
    "editing-is-local": {"edits/efficacy, general": about(0.7)},
    "second-moment-helps": {"edits/unchanged, general minus identity": about(0.0)},
    "growing": {"growth/new, new neurons": about(0.0)},
    "saves-computation": {"saving/time ratio at equal quality": about(1.0)},
}


def verdict(claim: str, changes: dict[str, Interval]) -> str:
    return next(result.verdict for result in judge(CLAIMS, GOOD | changes) if result.id == claim)


@pytest.mark.parametrize("claim", [claim.id for claim in CLAIMS])
def test_each_verdict_can_be_reached(claim: str) -> None:
    assert verdict(claim, {}) == "holds"
    assert verdict(claim, REFUTED[claim]) == "fails"
    assert verdict(claim, UNSURE[claim]) == "undecided"


def test_levels_of_the_claims_are_measured() -> None:
    for scale in SCALES.values():
        assert {ACTIVATION_LEVEL, MAGNITUDE_LEVEL} <= set(scale.mask_levels)


def test_quick_scale_measures_what_the_claims_need(tmp_path: Path) -> None:
    settings = ReproduceSettings(method="bricks", model="tiny-llama", preset="quick")
    record = JOBS["reproduce"].run(settings, tmp_path / "run")
    needed = {name for claim in CLAIMS for name in claim.names}
    missing = needed - set(record.measures)
    # A tiny random model knows no capital, its adapters gain nothing for sure, and none of its neurons is resident.
    assert all(name.split("/")[0] in ("edits", "merging", "residents") for name in missing)
    assert record.measures["growth/largest logit difference"].estimate < 1e-4
    assert [section.id for section in record.sections] == [claim.id for claim in CLAIMS]
    assert (tmp_path / "run" / "report.html").exists()


def test_measures_of_edits_have_the_names_of_the_committed_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tiny random model knows nothing; where it is said to, the stage of edits runs through."""
    monkeypatch.setattr(editing, "base_answers_right", lambda loaded, facts: [True] * len(facts))
    results = editing.edits(Context(load("tiny-llama"), SCALES["quick"], 0, Parts(tmp_path, "edits")))
    committed = RunRecord.load(COMMITTED / "bricks-laptop-smollm2-135m-instruct.json").measures
    assert set(results.measures) == {name for name in committed if name.startswith("edits/")}
    assert results.table is not None and len(results.table.rows) == SCALES["quick"].facts


@pytest.mark.parametrize("model", ["smollm2-135m-instruct", "gemma-3-270m"])
def test_committed_records_have_every_measure_and_their_verdicts(model: str) -> None:
    record = RunRecord.load(COMMITTED / f"bricks-laptop-{model}.json")
    judged = {result.id: result.verdict for result in judge(CLAIMS, record.measures)}
    assert judged == {claim.id: claim.verdict for claim in record.claims}
