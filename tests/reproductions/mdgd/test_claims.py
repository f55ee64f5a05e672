"""The rules of MDGD's claims decide as they say; curves are compared at equal target; the quick scale runs through."""

import copy
from pathlib import Path

import pytest

from armillary.cli.reproduce import JOBS, ReproduceSettings
from armillary.methods.mdgd import MDGDTrainer
from armillary.numerics.intervals import Interval
from armillary.records.claims import judge
from armillary.records.sections import Heatmap
from armillary.runs.parts import Parts
from reproductions.mdgd import measures as measured
from reproductions.mdgd.claims import CLAIMS
from reproductions.mdgd.run import dataset
from reproductions.mdgd.scale import ARMS, SCALES
from reproductions.mdgd.small_models import ArmResult, Context, SeedResult, Start


def about(value: float, width: float = 0.005) -> Interval:
    return Interval(estimate=value, low=value - width, high=value + width, n=5)


def baselines(name: str, value: float) -> dict[str, Interval]:
    return {f"{name}/kept beyond {baseline}": about(value) for baseline in measured.BASELINES}


GOOD = {
    "before/above the majority answer": about(0.4),
    "fine-tuning/old tasks lost": about(0.2),
    "fine-tuning/change of rank": about(-0.1),
    "ranks/correlation with accuracy kept": about(0.8),
    "drift/correlation with accuracy lost": about(0.9),
    "paper/lost beyond a third of fine-tuning's": about(-0.03),
    "recommended/lost beyond a third of fine-tuning's": about(-0.03),
    "paper/rank kept beyond fine-tuning's": about(0.05),
    **baselines("paper", 0.1),
    **baselines("recommended", 0.1),
    "full/kept beyond random": about(0.1),
    "conflict/kept beyond random": about(0.1),
    "masked/kept beyond paper": about(0.01),
    "masked/target beyond paper": about(0.01),
    "masked/kept beyond random_mask": about(0.1),
    "masked/kept beyond lora": about(0.1),
    "cost/copy over plain": about(1.6),
    "cost/cached over plain": about(1.4),
}

KEY = {
    "forgetting-exists": ("fine-tuning/old tasks lost", 0.05, 0.1),
    "rank-falls": ("fine-tuning/change of rank", 0.1, 0.0),
    "rank-tracks-forgetting": ("ranks/correlation with accuracy kept", 0.2, 0.6),
    "retains": ("paper/lost beyond a third of fine-tuning's", 0.05, 0.0),
    "signed-retains": ("recommended/lost beyond a third of fine-tuning's", 0.05, 0.0),
    "rank-kept": ("paper/rank kept beyond fine-tuning's", -0.05, 0.0),
    "projection-contributes": ("full/kept beyond random", -0.05, 0.0),
    "signed-projection-contributes": ("recommended/kept beyond align", -0.05, 0.0),
    "masking": ("masked/kept beyond paper", -0.05, -0.01),
    "beats-simple-controls": ("paper/kept beyond lower_rate", -0.05, 0.0),
    "signed-beats-simple-controls": ("recommended/kept beyond wise", -0.05, 0.0),
    "beats-osf": ("paper/kept beyond osf", -0.05, 0.0),
    "cost": ("cost/cached over plain", 2.5, 1.8),
}
"""A measure of each claim, with a value that refutes it and one at its threshold."""


def verdict(claim: str, **changes: Interval) -> str:
    return next(result.verdict for result in judge(CLAIMS, GOOD | changes) if result.id == claim)


@pytest.mark.parametrize("claim", [claim.id for claim in CLAIMS])
def test_each_verdict_can_be_reached(claim: str) -> None:
    name, against, threshold = KEY[claim]
    assert verdict(claim) == "holds"
    assert verdict(claim, **{name: about(against)}) == "fails"
    assert verdict(claim, **{name: about(threshold, 0.02)}) == "undecided"


@pytest.mark.parametrize("claim", [claim.id for claim in CLAIMS if claim.id != "cost"])
def test_nothing_is_concluded_from_a_model_that_learned_nothing(claim: str) -> None:
    assert verdict(claim, **{"before/above the majority answer": about(0.1)}) == "undecided"
    assert verdict(claim, **{"fine-tuning/old tasks lost": about(-0.01)}) != "holds"


def test_a_curve_is_read_where_it_first_reaches_the_level() -> None:
    points = [(0.1, 0.9), (0.5, 0.7), (0.4, 0.6), (0.6, 0.5)]
    assert measured.at_level(points, 0.3) == pytest.approx(0.8)
    assert measured.at_level(points, 0.5) == 0.7
    assert measured.at_level(points, 0.55) == pytest.approx(0.525)
    assert measured.at_level(points, 0.05) == 0.9
    assert measured.at_level(points, 0.7) != measured.at_level(points, 0.7)


def test_arms_are_matched_at_what_both_reach() -> None:
    def accuracies(pairs: list[tuple[float, float]]) -> list[dict[str, float]]:
        return [{"code": target, "style": kept, "colour": kept, "group": kept} for target, kept in pairs]

    curves = {"fast": [(0.0, 0.9), (0.8, 0.5)], "slow": [(0.0, 0.9), (0.4, 0.8)]}
    arms = {
        name: ArmResult(steps=[0, 1], accuracies=accuracies(pairs), ranks=[], log=[]) for name, pairs in curves.items()
    }
    seed = SeedResult(start=Start(accuracies={}, ranks=(), majority={}, probe={}), arms=arms)
    fast, slow, level = measured.matched(seed, "fast", "slow")
    assert (fast, slow, level) == (pytest.approx(0.7), pytest.approx(0.8), 0.4)
    assert measured.matched(seed, "slow", "slow")[:2] == (pytest.approx(0.8), pytest.approx(0.8))


def test_quick_scale_measures_what_the_claims_need(tmp_path: Path) -> None:
    config = ReproduceSettings(method="mdgd", model="tiny-llama", preset="quick")
    record = JOBS["reproduce"].run(config, tmp_path / "out")
    needed = {name for claim in CLAIMS for name in claim.names}
    assert needed <= set(record.measures)
    assert [claim.id for claim in record.claims] == [claim.id for claim in CLAIMS]
    assert all(claim.verdict == "undecided" for claim in record.claims if claim.id != "cost"), "nothing was learned"
    assert [section.id for section in record.sections] == [claim.id for claim in CLAIMS]
    changes = record.sections[0].figures[0].data
    assert isinstance(changes, Heatmap) and all(arm.title in changes.rows for arm in ARMS.values())
    assert JOBS["reproduce"].run(config, tmp_path / "out").measures == record.measures


@pytest.mark.parametrize("name", ["lora", "osf"])
def test_adapters_are_rivals_without_anything_of_the_method(name: str) -> None:
    """Their trainer is the stock one in all but name, and trains nothing but the adapter."""
    context = Context(dataset(SCALES["quick"], 0), SCALES["quick"], 0, Parts(None, "test"))
    model = context.pretrained()
    seen, tuned = context.tuned(name, model)
    trainer = context.trainer_of(ARMS[name], copy.deepcopy(model))
    assert isinstance(trainer, MDGDTrainer) and not trainer.settings.reads_images and not seen.log
    trained = [name for name, parameter in tuned.named_parameters() if parameter.requires_grad]
    assert trained and all("lora" in one or "osf" in one for one in trained)
    assert (seen.ranks[-1][1].drift or 0) > 0
