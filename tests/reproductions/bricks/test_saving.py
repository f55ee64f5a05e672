"""What each configuration leaves out is all that it changes, and a time is taken only of what keeps the quality."""

from dataclasses import replace

import pytest

from armillary.methods.bricks.experts.quality import routing_curve
from armillary.methods.bricks.experts.router import oracle
from armillary.methods.bricks.losses import text_losses
from armillary.models import load
from armillary.runs.parts import Parts
from reproductions.bricks import routing
from reproductions.bricks.claims import LEFT_OUT, configuration
from reproductions.bricks.scale import SCALES
from reproductions.bricks.setup import Context

ROUNDING = 1e-5
"""Nats a token, by which float32 sums in another order may differ: losses here are about 6."""


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Context:
    return Context(load("tiny-llama"), SCALES["quick"], 0, Parts(tmp_path_factory.mktemp("saving"), "saving"))


def test_a_configuration_without_anything_left_out_is_the_dense_model(context: Context) -> None:
    arms = routing.parts_of_model(context)
    texts = {routing.OWN: context.calibration[routing.OWN]}

    def loss(name: str) -> float:
        with arms[name]():
            return text_losses(context.loaded, texts, max_tokens=context.scale.tokens).per_token()

    dense = loss("dense")
    for kind, shares in LEFT_OUT.items():
        assert loss(configuration(kind, 0)) == pytest.approx(dense, abs=ROUNDING)
        for share in shares:
            assert abs(loss(configuration(kind, share)) - dense) > 10 * ROUNDING, "what is left out is missed"
    assert loss("dense") == dense, "and comes back"


@pytest.mark.parametrize("limit", [-1.0, 1.0])
def test_times_are_taken_of_what_keeps_the_quality(
    context: Context, monkeypatch: pytest.MonkeyPatch, limit: float
) -> None:
    monkeypatch.setattr(routing, "ALMOST_NOTHING", limit)
    measures = routing.saving(context)
    names = {configuration(kind, share) for kind, shares in LEFT_OUT.items() for share in shares}
    whole = {configuration(kind, 0) for kind in LEFT_OUT}
    assert {f"saving/loss, {name}" for name in names} <= set(measures)
    best = measures["saving/loss of the best configuration"]
    assert best.how.partition(";")[0] in names
    times = {name for name in measures if name.startswith("saving/time ratio")}
    judged = {"saving/time ratio at equal quality", "saving/time ratio to nothing left out"}
    assert times == ({f"saving/time ratio, {name}" for name in names | whole} | judged if limit > 0 else set())


def test_a_gain_is_above_0_where_the_second_curve_is_the_better_one(context: Context) -> None:
    texts = {routing.OWN: context.calibration[routing.OWN]}
    split = context.partition("coactivation")
    few = routing_curve(context.loaded, split, oracle(), texts, shares=[0.25], **context.reading)
    dense = replace(few, after=(few.before,))
    wanted = few.after[0].per_token() - few.before.per_token()
    assert routing.gain(few, dense).estimate == pytest.approx(wanted, abs=1e-9)
    assert routing.gain(dense, few).estimate == pytest.approx(-wanted, abs=1e-9)
    assert abs(wanted) > ROUNDING
