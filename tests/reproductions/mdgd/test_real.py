"""MDGD on the given model: rules decide as they say, arms begin with the same weights, the quick scale runs."""

from dataclasses import replace

import pytest
import torch

from armillary.cli.reproduce import ReproduceSettings
from armillary.errors import UsageError
from armillary.methods.mdgd import VisualRank
from armillary.models import load
from armillary.numerics.intervals import Interval
from armillary.records.claims import judge
from armillary.report.html import render_html
from armillary.runs.parts import Parts
from replays import replay
from reproductions.mdgd.real.claims import REAL_CLAIMS as CLAIMS
from reproductions.mdgd.real.measures import pooled, real_measures
from reproductions.mdgd.real.model import GivenModel, RealArm, RealSeed, RealStart
from reproductions.mdgd.scale import REAL_ARMS as ARMS, SCALES


def about(value: float, width: float = 0.005) -> Interval:
    return Interval(estimate=value, low=value - width, high=value + width, n=5)


GOOD = {
    "real/above the most frequent answers": about(0.3),
    "real/fine_tuning, target above the most frequent answer": about(0.3),
    "real/fine_tuning, old tasks lost": about(0.3),
    "real/paper, lost beyond a third": about(-0.05),
    "real/paper, target beyond fine-tuning": about(0.0),
    "real/full, target beyond fine-tuning": about(0.0),
    "real/full, kept beyond fine-tuning": about(0.1),
    "real/drift against accuracy lost": about(0.9),
    "real/drift against accuracy lost, arms permuted": about(0.0, 0.5),
    "real/paper, kept beyond align": about(0.1),
    "real/paper, kept beyond lower_rate": about(0.1),
    "real/align, target beyond paper": about(0.0),
    "real/lower_rate, target beyond paper": about(0.0),
}
REFUTED = {
    "real-forgets": {"real/fine_tuning, old tasks lost": about(0.02)},
    "real-retains": {"real/paper, lost beyond a third": about(0.1)},
    "real-projection": {"real/full, kept beyond fine-tuning": about(-0.1)},
    "real-drift-follows": {"real/drift against accuracy lost": about(-0.6)},
    "real-simple-controls": {"real/paper, kept beyond lower_rate": about(-0.1)},
}


def outcome(claim: str, changes: dict[str, Interval]) -> str:
    return next(result.outcome for result in judge(CLAIMS, GOOD | changes) if result.id == claim)


@pytest.mark.parametrize("claim", [claim.id for claim in CLAIMS])
def test_each_verdict_can_be_reached(claim: str) -> None:
    assert outcome(claim, {}) == "holds"
    assert outcome(claim, REFUTED[claim]) == "fails"
    blind = {"real/above the most frequent answers": about(0.1)}
    assert outcome(claim, blind | REFUTED[claim]) == "undecided: model too small"
    untaught = {"real/fine_tuning, target above the most frequent answer": about(0.05)}
    assert outcome(claim, untaught | REFUTED[claim]) == "undecided: control failed"


def test_right_answers_are_pooled_over_seeds_and_tasks() -> None:
    right = {"style": [1.0], "colour": [0.0], "group": [1.0], "code": [0.0]}
    arm = RealArm(steps=[1, 2], right=[right, {**right, "group": [0.0]}], ranks=())
    seeds = [RealSeed(start=RealStart(right=right, majority={}, images={}, ranks=()), arms={"align": arm})] * 2
    assert pooled(seeds, "start").tolist() == [1, 0, 1] * 2
    assert pooled(seeds, "align").tolist() == [1, 0, 0] * 2 and pooled(seeds, "align", ("code",)).tolist() == [0, 0]


def test_drift_is_held_against_arms_in_any_order() -> None:
    """Of arms that lose the more the more their image states drift every order but theirs gives less."""
    names = list(ARMS)
    before = {task: [1.0] * 10 for task in ("style", "colour", "group", "code")}
    start = RealStart(right=before, majority=before, images={task: list(range(10)) for task in before}, ranks=())

    def reading(drift: float | None) -> VisualRank:
        some = {"layer": 0, "per_image": None, "per_image_centred": None, "images": 10}
        return VisualRank(**some, dataset=2.0, dataset_centred=2.0, drift=drift)  # type: ignore[arg-type]

    def arm(number: int) -> RealArm:
        after = {task: [float(index >= number) for index in range(10)] for task in before}
        ranks = (reading(float(number)),)
        return RealArm(steps=[1], right=[after], ranks=ranks)

    ranks = (reading(None),)
    arms = {name: arm(number) for number, name in enumerate(names)}
    seed = RealSeed(start=replace(start, ranks=ranks), arms=arms)
    measured = real_measures([seed] * 3)
    null = measured["real/drift against accuracy lost, arms permuted"]
    assert measured["real/drift against accuracy lost"].low == pytest.approx(1.0)
    assert abs(null.estimate) < 0.1 and null.upper < 0.8
    assert measured["real/full, kept beyond fine-tuning"].estimate == pytest.approx(-0.1 * names.index("full"))
    assert measured["real/full, kept beyond fine-tuning"].n == 10  # emoji, not questions


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


def test_quick_scale_measures_what_the_claims_need(tmp_path_factory: pytest.TempPathFactory) -> None:
    record, _ = replay("reproduce-mdgd_real", tmp_path_factory)
    assert {name for claim in CLAIMS for name in claim.names} <= set(record.measures)
    assert all(f"real/{name}, drift" in record.measures for name in ARMS)
    assert [section.id for section in record.sections] == [claim.id for claim in CLAIMS]
    assert "<svg" in render_html(record), "its report can be drawn"


def test_a_model_with_pictures_is_refused_where_nothing_reads_it() -> None:
    with pytest.raises(UsageError, match="mdgd_real alone"):
        ReproduceSettings(method="mdgd", model="tiny-llama", image_model="runs/eyes/model").check()
