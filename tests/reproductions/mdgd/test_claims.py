"""The rules of MDGD's claims decide as they say; measures are what they are called; the quick scale runs through."""

import copy
from dataclasses import replace

import pytest

from armillary.methods.mdgd import MDGDTrainer
from armillary.numerics.intervals import Interval
from armillary.records.claims import Rule, judge
from armillary.records.sections import Heatmap
from armillary.report.html import render_html
from armillary.runs.parts import Parts
from replays import replay
from reproductions.mdgd import measures as measured
from reproductions.mdgd.claims import CLAIMS
from reproductions.mdgd.run import dataset
from reproductions.mdgd.scale import ARMS, OLD_TASKS, SCALES, SWEPT, TARGET
from reproductions.mdgd.small_models import ArmResult, Context, Evaluation, SeedResult, Start


def about(value: float, width: float = 0.005) -> Interval:
    return Interval(estimate=value, low=value - width, high=value + width, n=5)


LEARNED = {
    "before/above the majority answer": about(0.4),
    **{f"{name}/target above the majority answer": about(0.3) for name in (*ARMS, *measured.AFTERWARDS)},
}
NEGATIVE = {"fine_tuning/cosine": about(-0.2)}
LOST = {"fine_tuning/lost at the level": about(0.1), "fine_tuning/visual forgetting": about(0.1)}


def outcome(claim: str, measures: dict[str, Interval]) -> str:
    (chosen,) = [one for one in CLAIMS if one.id == claim]
    filled = dict.fromkeys(chosen.names, about(0.0)) | measures
    return judge([chosen], filled)[0].outcome


PROJECTION = [
    ("projection-alone", "full/kept beyond random"),
    ("projection-beside-alignment", "paper/kept beyond align"),
    ("signed-projection-alone", "conflict/kept beyond random"),
    ("signed-projection-beside-alignment", "signed/kept beyond align"),
]


@pytest.mark.parametrize(("claim", "decides"), PROJECTION)
def test_projection_is_judged_where_the_task_raises_the_drift(claim: str, decides: str) -> None:
    ready = LEARNED | NEGATIVE | LOST
    assert outcome(claim, ready | {decides: about(0.05)}) == "holds"
    assert outcome(claim, ready | {decides: about(-0.05)}) == "fails"
    assert outcome(claim, ready | {decides: about(0.001)}) == "undecided: interval too wide"
    restoring = ready | {"fine_tuning/cosine": about(0.1), decides: about(-0.3)}
    assert outcome(claim, restoring) == "undecided: control failed"


@pytest.mark.parametrize("claim", [claim.id for claim in CLAIMS if claim.id != "cost"])
def test_nothing_is_concluded_from_a_model_that_learned_nothing(claim: str) -> None:
    (chosen,) = [one for one in CLAIMS if one.id == claim]
    assert isinstance(chosen.decide, Rule)
    untaught = dict.fromkeys(chosen.decide.needs, about(9.0)) | {"before/above the majority answer": about(0.1)}
    assert outcome(claim, untaught) == "undecided: model too small"


def point(target: float, kept: float, sight: float | None = None, cosine: float = -0.1) -> Evaluation:
    old, new_eyes = dict.fromkeys(OLD_TASKS, kept), dict.fromkeys(OLD_TASKS, kept if sight is None else sight)
    return Evaluation(accuracies={**old, TARGET: target}, new_eyes=new_eyes, old_eyes=old, cosine=cosine)


def test_arms_are_compared_at_equal_target_by_answers_and_by_sight() -> None:
    arms = {
        "plain": [point(0.4, 0.6, 0.7), *[point(0.6, 0.5, 0.6)] * 3],
        "ours": [point(0.3, 0.7, 0.8), *[point(0.6, 0.6, 0.8)] * 3],
    }
    seed = SeedResult(
        start=Start(accuracies=point(0.0, 0.8).accuracies, majority={}, ranks=(), read_outs={}),
        arms={
            name: ArmResult(steps=[1, 2, 3, 4], evaluations=points, ranks=(), read_outs={})
            for name, points in arms.items()
        },
        swept={},
    )
    # At .54, nine tenths of both plateaus: .53 against .62, and .63 against .80 by the old reader.
    assert measured.kept_beyond(seed, "ours", "plain") == pytest.approx(0.09)
    assert measured.kept_beyond(seed, "ours", "plain", old_reader=True) == pytest.approx(0.17)


def test_the_judged_rate_is_that_of_the_pilot_s_best_target() -> None:
    assert measured.judged_rate({"0.1": [0.9, 0.2, 0.2, 0.2], "0.2": [0.1, 0.4, 0.4, 0.4], "0.3": [0.1, 0.3]}) == "0.2"


def test_quick_scale_measures_what_the_claims_need(tmp_path_factory: pytest.TempPathFactory) -> None:
    record, _ = replay("reproduce-mdgd", tmp_path_factory)
    needed = {name for claim in CLAIMS for name in claim.names}
    assert needed <= set(record.measures)
    assert [claim.id for claim in record.claims] == [claim.id for claim in CLAIMS]
    assert all(claim.verdict == "undecided" for claim in record.claims if claim.id != "cost"), "nothing was learned"
    assert [section.id for section in record.sections] == [*(claim.id for claim in CLAIMS), "curves"]
    of_seed = 1 + len(ARMS) + len(SWEPT) + len(measured.AFTERWARDS)
    assert len(record.sections[-1].tables[0].rows) == 2 * of_seed, "every curve, seed by seed"
    changes = record.sections[0].figures[0].data
    assert isinstance(changes, Heatmap) and all(arm.title in changes.rows for arm in ARMS.values())
    assert "<svg" in render_html(record), "its report can be drawn"


@pytest.mark.parametrize("name", ["lora", "osf"])
def test_adapters_are_rivals_without_anything_of_the_method(name: str) -> None:
    """Their trainer is the stock one in all but name, and trains nothing but the adapter."""
    context = Context(dataset(SCALES["quick"], 0), SCALES["quick"], 0, Parts(None, "test"))
    _, evaluations, tuned = context.tuned(ARMS[name], 1e-2, 2)
    trainer = context.trainer_of(ARMS[name], copy.deepcopy(context.pretrained), 1e-2, 2)
    assert isinstance(trainer, MDGDTrainer) and not trainer.settings.reads_images
    trained = [name for name, parameter in tuned.named_parameters() if parameter.requires_grad]
    assert trained and all("lora" in one or "osf" in one for one in trained)
    assert evaluations[-1].drift > 0 and evaluations[-1].cosine != 0


def test_an_observer_compares_the_gradients_that_the_trainer_has() -> None:
    """Of a model that has not moved there is no drift and so no cosine."""
    scale = replace(SCALES["quick"], cosine_rows=3)
    context = Context(dataset(scale, 0), scale, 0, Parts(None, "test"))
    model = copy.deepcopy(context.pretrained)
    still = context.observer(model).read(model)
    assert still.cosine == still.drift == 0.0
    assert still.new_eyes == still.old_eyes == {task: still.accuracies[task] for task in OLD_TASKS}
