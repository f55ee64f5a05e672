"""MDGD on the given model: rules decide as they say, arms begin with the same weights, the quick scale runs."""

from pathlib import Path

import pytest
import torch

from armillary.cli.reproduce import JOBS, ReproduceSettings
from armillary.models import load
from armillary.numerics.intervals import Interval
from armillary.records.claims import judge
from armillary.runs.parts import Parts
from reproductions.mdgd.claims import REAL_CLAIMS as CLAIMS
from reproductions.mdgd.measures import pooled
from reproductions.mdgd.real_model import GivenModel, RealArm, RealSeed, RealStart
from reproductions.mdgd.scale import REAL_ARMS as ARMS, SCALES


def about(value: float, width: float = 0.005) -> Interval:
    return Interval(estimate=value, low=value - width, high=value + width, n=5)


GOOD = {
    "real/above the most frequent answers": about(0.3),
    "real/fine_tuning, old tasks lost": about(0.3),
    "real/paper, lost beyond a third": about(-0.05),
    "real/paper, target beyond fine-tuning": about(0.0),
    "real/drift against accuracy lost": about(0.9),
    "real/paper, kept beyond align": about(0.1),
    "real/paper, kept beyond lower_rate": about(0.1),
}
REFUTED = {
    "real-forgets": {"real/fine_tuning, old tasks lost": about(0.02)},
    "real-retains": {"real/paper, target beyond fine-tuning": about(-0.2)},
    "real-drift-follows": {"real/drift against accuracy lost": about(0.2)},
    "real-simple-controls": {"real/paper, kept beyond lower_rate": about(-0.1)},
}


def verdict(claim: str, changes: dict[str, Interval]) -> str:
    return next(result.verdict for result in judge(CLAIMS, GOOD | changes) if result.id == claim)


@pytest.mark.parametrize("claim", [claim.id for claim in CLAIMS])
def test_each_verdict_can_be_reached(claim: str) -> None:
    assert verdict(claim, {}) == "holds"
    assert verdict(claim, REFUTED[claim]) == "fails"
    blind = {"real/above the most frequent answers": about(0.0)}
    assert verdict(claim, blind) == "undecided"
    assert verdict(claim, blind | REFUTED[claim]) == "undecided"


def test_right_answers_are_pooled_over_seeds_and_tasks() -> None:
    right = {"style": [1.0], "colour": [0.0], "group": [1.0], "code": [0.0]}
    arm = RealArm(steps=[1, 2], right=[right, {**right, "group": [0.0]}], ranks=())
    seeds = [RealSeed(start=RealStart(right=right, majority={}, ranks=()), arms={"align": arm})] * 2
    assert pooled(seeds, "start").tolist() == [1, 0, 1] * 2
    assert pooled(seeds, "align").tolist() == [1, 0, 0] * 2 and pooled(seeds, "align", ("code",)).tolist() == [0, 0]


def test_every_arm_begins_with_the_weights_of_the_start_and_leaves_them() -> None:
    scale = SCALES["quick"]
    context = GivenModel(load("tiny-llama"), scale.real, 3, Parts(None, "test"), synthetic=scale.synthetic)
    with context.seeing():
        before = {name: value.clone() for name, value in context.setup.model.state_dict().items()}
        first = context.arm("fine_tuning")
        after = context.setup.model.state_dict()
        assert all(torch.equal(value, after[name]) for name, value in before.items())
        assert first == context.arm("fine_tuning")
        assert [len(right) for right in first.right[-1].values()] == [scale.real.questions] * 4
        assert max(reading.drift or 0 for reading in first.ranks) > 0


def test_quick_scale_measures_what_the_claims_need(tmp_path: Path) -> None:
    record = JOBS["reproduce"].run(
        ReproduceSettings(method="mdgd_real", model="tiny-llama", preset="quick"), tmp_path / "run"
    )
    assert {name for claim in CLAIMS for name in claim.names} <= set(record.measures)
    assert all(f"real/{name}, drift" in record.measures for name in ARMS)
    assert [section.id for section in record.sections] == [claim.id for claim in CLAIMS]
    assert (tmp_path / "run" / "report.html").exists()
