"""The rules of the claims on order decide as they say, measures are those of the marks, and a small run is whole."""

from pathlib import Path

import pytest

from armillary.methods.ordering.training.config import DecoderShape
from armillary.numerics.intervals import Interval
from armillary.records.claims import judge
from armillary.runs.parts import Parts
from reproductions.ordering.arms import ArmResult, SolvedAt, WorldResult, arm, controls, require_equal_starts
from reproductions.ordering.claims import LOGIC_CLAIMS, MULTIPLICATION_CLAIMS
from reproductions.ordering.logic import logic
from reproductions.ordering.measures import (
    compared,
    judged_reading,
    multiplication_measures,
    p_values,
    shrinking,
    surplus,
    worst,
)
from reproductions.ordering.multiplication import multiplication
from reproductions.ordering.report import by_error, by_size, every_order, success_by_steps
from reproductions.ordering.scale import MULTIPLICATION_ORDERS, NULL, REARRANGED, SCALES, Scale, WorldScale
from reproductions.stages import Stages


def outcome(claim: str, measures: dict[str, Interval]) -> str:
    (chosen,) = [one for one in (*LOGIC_CLAIMS, *MULTIPLICATION_CLAIMS) if one.id == claim]
    met = {
        "oracle/success": about(1.0, 0.0),
        f"{NULL}/success at the end": about(0.0),
        "seq beyond twice the null": about(0.5),
        "seq/success": about(0.6),
        "seq@/success": about(0.6),
        "seq/success at the end": about(0.97),
        "seq/success after longer training": about(0.99),
    }
    return judge([chosen], dict.fromkeys(chosen.names, about(0.3, 0.2)) | met | measures)[0].outcome


def about(value: float, width: float = 0.004) -> Interval:
    return Interval(estimate=value, low=value - width, high=value + width)


@pytest.mark.parametrize(
    ("gap", "width", "verdict"),
    [(0.11, 0.02, "holds"), (0.06, 0.07, "undecided: interval too wide"), (0.01, 0.005, "fails"),
     (0.04, 0.01, "undecided: interval too wide"), (-0.1, 0.02, "fails")],
)  # fmt: skip
def test_a_gap_of_five_points_is_asked_for_and_less_than_two_is_none(gap: float, width: float, verdict: str) -> None:
    assert outcome("order-matters", {"seq beyond the worst order": about(gap, width)}) == verdict


def test_nothing_is_judged_where_seq_solves_too_little_or_all() -> None:
    for success in (0.1, 0.99):
        measures = {"seq beyond the worst order": about(0.1), "seq/success": about(success)}
        assert outcome("order-matters", measures) == "undecided: model too small"
    learned = {"seq beyond the worst order": about(0.1), "seq beyond twice the null": about(-0.1)}
    assert outcome("order-matters", learned) == "undecided: control failed"


def test_ties_are_allowed_to_the_best_and_another_that_is_better_refutes_it() -> None:
    tie = {f"seq beyond {order}": about(0.0, 0.015) for order in REARRANGED}
    assert outcome("seq-best", tie) == "holds"
    assert outcome("seq-best", tie | {"seq beyond logical": about(-0.05, 0.02)}) == "fails"
    assert outcome("any-extension", {"seq@ beyond bfs": about(0.01, 0.03)}) == "holds"
    assert outcome("any-extension", {"seq@ beyond bfs": about(0.12, 0.03)}) == "fails"
    assert outcome("dose-response", {"dose/spearman": about(-0.95, 0.04)}) == "holds"
    assert outcome("dose-response", {"dose/spearman": about(-0.5, 0.1)}) == "fails"


def test_a_post_hoc_index_is_judged_on_both_sides() -> None:
    names = [f"{order}/post hoc" for order in ("sumfirst", "revsteps", "answer_first")]
    high = {**dict.fromkeys(names, about(0.8)), "seq/post hoc": about(0.01)}
    high |= {f"{order}/agrees with either": about(0.5) for order in ("seq", "sumfirst", "revsteps", "answer_first")}
    assert outcome("post-hoc", high) == "holds"
    assert outcome("post-hoc", high | {"sumfirst/post hoc": about(0.2)}) == "fails"
    assert outcome("post-hoc", high | {"seq/post hoc": about(0.3)}) == "fails"
    assert outcome("post-hoc", high | {"revsteps/agrees with either": about(0.1)}) == "undecided: control failed"


def made(*lenient: str, nats: float = 0.0, vf: float = 0.0) -> ArmResult:
    solved = [SolvedAt(step=10 * (n + 1), lenient=marks, strict=marks) for n, marks in enumerate(lenient)]
    parts = {"action": [0.5 + nats] * 20, "state": [0.1] * 20, "sum": [0.5 + nats] * 20, "product": [0.1] * 20}
    return ArmResult(start="w", steps=20, losses=[(1, 1.0)], solved=solved, errors={"": 1}, drawn=[0, 3], nats=parts,
                     vf=vf)  # fmt: skip


def marks(count: int) -> str:
    return "1" * count + "0" * (20 - count)


def test_measures_are_those_of_the_marks() -> None:
    arms = {
        "seq": [made(marks(4), marks(12), marks(20)), made(marks(6), marks(14), marks(20))],
        "a": [made(marks(0), marks(6), marks(18), nats=0.4), made(marks(0), marks(8), marks(18), nats=0.2)],
        "b": [made(marks(2), marks(12), marks(19)), made(marks(2), marks(14), marks(20))],
    }
    result = WorldResult(sizes=[1] * 10 + [2] * 10, arms=arms, oracle=[1.0], constant=0.0)
    assert judged_reading(result) == 1, "the last at which seq solves 95 % or less"
    gaps = compared(result, "seq", ("a", "b"))
    assert gaps["seq beyond a"].estimate == pytest.approx(0.3) and gaps["seq beyond b"].estimate == 0
    assert gaps["seq beyond a"].level == 0.975 and worst(result, ("a", "b")) == "a"
    p = p_values(result, "seq", ("a", "b"))
    assert p["a"] == pytest.approx(2 * 2 * 0.5**8) and p["b"] == 1.0, "eight of eight problems, twice for two orders"
    closed = shrinking(result, "seq", "a")
    assert closed["gap/widest"].estimate == pytest.approx(0.3)
    assert closed["gap/at the end"].estimate == pytest.approx(0.1)
    assert closed["gap/shrunk by"].estimate == pytest.approx(0.2)
    more = surplus(result, "a", "seq", "action", ("state",))
    assert more["a/surplus of action"].estimate == pytest.approx(0.3)
    assert more["a/surplus of the rest"].estimate == 0
    table = by_size(result, 1, "size")
    assert table.rows[0] == ["seq", 1.0, pytest.approx(0.3)]
    assert by_error(result).rows[0][:2] == ["seq", 1.0]
    assert success_by_steps(arms, ("seq", "a"), "Solved").data.x == [10, 20, 30]  # type: ignore[union-attr]
    require_equal_starts(arms)
    with pytest.raises(AssertionError, match="seed 0"):
        require_equal_starts({**arms, "c": [ArmResult(**{**vars(made(marks(1))), "start": "v"})]})


TINY = WorldScale(
    train=16, test=5, steps=2, batch=4, rate=1e-3, readings=1, drawn=1, shape=DecoderShape(width=8, layers=1, heads=2)
)


def test_an_arm_of_each_world_is_trained_asked_and_kept(tmp_path: Path) -> None:
    scale = Scale(seeds=1, multiplication=TINY, digits=1, logic=TINY, logic_config=SCALES["quick"].logic_config)
    experiment = multiplication(scale, 0)
    stage = Stages(Parts(tmp_path, "x"), _Bar())  # type: ignore[arg-type]
    results = {
        order: [stage.run(ArmResult, order, lambda order=order: arm(experiment, order, 0))]  # type: ignore[misc]
        for order in ("seq", "sumfirst", NULL)
    }
    require_equal_starts(results)
    assert results["seq"][0].more.keys() == {"agrees with conclusion", "agrees with truth", "agrees with neither"}
    assert set(results["sumfirst"][0].nats) == {"end", "mark", "sum", "product"} and not results[NULL][0].nats
    oracle, constant = controls(experiment, ("seq", "sumfirst", "shuffle"))
    assert oracle == [1.0, 1.0, 1.0] and constant < 0.5
    proved = arm(logic(scale, 0), "seq", 0)
    assert len(proved.more["searched"]) == len(proved.solved[-1].lenient) == 5
    assert sum(proved.errors.values()) == 5 and proved.vf == 0


class _Bar:
    def advance(self, by: int = 1) -> None:
        pass


def test_the_orders_that_are_learned_are_those_that_are_judged() -> None:
    named = {name.split("/")[0] for claim in MULTIPLICATION_CLAIMS for name in claim.names if "/success" in name}
    named -= {"oracle", "constant", NULL}
    arms = {order: [made(marks(4), marks(12))] for order in (*MULTIPLICATION_ORDERS, NULL)}
    for order in ("seq", "sumfirst", "revsteps", "answer_first"):
        arms[order][0].more.update(
            {"agrees with conclusion": [1.0], "agrees with truth": [3.0], "agrees with neither": [4.0]}
        )
    result = WorldResult(sizes=[1] * 20, arms=arms, oracle=[1.0], constant=0.0)
    measured = multiplication_measures(result, {"seq": arms["seq"], "sumfirst": arms["sumfirst"]})
    assert named <= {name.split("/")[0] for name in measured}
    assert measured["seq/post hoc"].estimate == 0.25 and measured["seq/agrees with either"].estimate == 0.5
    results = judge(MULTIPLICATION_CLAIMS, measured)
    assert not [claim for claim in results if claim.verdict == "not tested"]
    assert every_order(result, measured, {"seq": ("msb",)}).rows[1][0] == "msb"
