"""The claims on data order: run, measured, judged; ``armillary reproduce ordering, ordering_multiplication``;
``ordering_logic`` holds the judges of proofs against Coq.

Small models of two worlds carry the claims; the model given only names the record.
"""

from functools import partial

from armillary.cli.reproduce import ReproduceSettings, Reproduction
from armillary.records.sections import Figure, Table
from armillary.runs.run import Outcome, Run
from reproductions.ordering.arms import ArmResult, Experiment, WorldResult, arm, controls, require_equal_starts
from reproductions.ordering.checkers.checks import judged_checkers, require_coq
from reproductions.ordering.claims import LOGIC_CLAIMS, MULTIPLICATION_CLAIMS
from reproductions.ordering.logic import logic
from reproductions.ordering.measures import judged_reading, logic_measures, multiplication_measures
from reproductions.ordering.multiplication import multiplication
from reproductions.ordering.report import by_error, by_size, doses, every_order, success_by_steps, success_by_vf
from reproductions.ordering.scale import (
    DOSES,
    LADDER,
    LOGIC_ORDERS,
    LONGER,
    MULTIPLICATION_ORDERS,
    NULL,
    REARRANGED,
    SAME_TOKENS,
    SCALES,
    SEQ,
    SEQ_ADDRESSED,
    SHUFFLED,
    STATELESS,
)
from reproductions.page import judged_outcome
from reproductions.stages import Stages, counted_stages


def _trained(stage: Stages, experiment: Experiment, orders: tuple[str, ...], seeds: range) -> WorldResult:
    """Every order and seed, and the null once; seeds outermost, so that an order's reference rows are made once a
    seed."""
    arms: dict[str, list[ArmResult]] = {order: [] for order in orders}
    for seed in seeds:
        for order in orders:
            arms[order].append(stage.run(ArmResult, f"{order} {seed}", partial(arm, experiment, order, seed)))
    arms[NULL] = [stage.run(ArmResult, NULL, partial(arm, experiment, NULL, seeds[0]))]
    require_equal_starts(arms)
    oracle, constant = controls(experiment, orders)
    return WorldResult(
        sizes=[problem.size for problem in experiment.test], arms=arms, oracle=oracle, constant=constant
    )


def judged_logic(run: Run[ReproduceSettings]) -> Outcome:
    """Every claim that proofs carry, judged."""
    scale, seed = SCALES[run.settings.preset], run.settings.seed
    seeds = range(seed, seed + scale.seeds)
    experiment = logic(scale, seed)
    with counted_stages(run.parts, "Orders of proofs", len(LOGIC_ORDERS) * scale.seeds + 1) as stage:
        result = _trained(stage, experiment, LOGIC_ORDERS, seeds)
    measured, reading = logic_measures(result), judged_reading(result)
    families = {SEQ: (*REARRANGED, STATELESS), SEQ_ADDRESSED: ("bfs", "random", *DOSES[1:])}
    figures: dict[str, Figure] = {
        "order-matters": success_by_steps(result.arms, (SEQ, *REARRANGED, STATELESS), "Theorems proved"),
        "any-extension": success_by_steps(
            result.arms, (SEQ_ADDRESSED, "bfs", "random", *DOSES[1:]), "Theorems proved"
        ),
        "seq-best": success_by_vf(
            result, (SEQ, *REARRANGED, SEQ_ADDRESSED, "bfs", "random"), reading, "Theorems proved"
        ),
        "dose-response": doses(result, reading),
    }
    tables: dict[str, list[Table]] = {
        "order-matters": [every_order(result, measured, families), by_size(result, reading, "steps of the proof")],
        "seq-best": [by_error(result)],
    }
    return judged_outcome(
        f"Orders of proofs, {scale.seeds} seeds", LOGIC_CLAIMS, measured, figures=figures, tables=tables, data=[]
    )


def judged_multiplication(run: Run[ReproduceSettings]) -> Outcome:
    """Every claim that multiplication carries, judged."""
    scale, seed = SCALES[run.settings.preset], run.settings.seed
    seeds = range(seed, seed + scale.seeds)
    experiment = multiplication(scale, seed)
    stages = (len(MULTIPLICATION_ORDERS) + len(LONGER)) * scale.seeds + 1
    longer: dict[str, list[ArmResult]] = {order: [] for order in LONGER}
    with counted_stages(run.parts, "Orders of multiplication", stages) as stage:
        result = _trained(stage, experiment, MULTIPLICATION_ORDERS, seeds)
        for own in seeds:
            for order in LONGER:
                train = partial(arm, experiment, order, own, times=scale.longer)
                longer[order].append(stage.run(ArmResult, f"{order} {own}, longer", train))
    require_equal_starts(longer)
    measured, reading = multiplication_measures(result, longer), judged_reading(result)
    shown = [order for order in MULTIPLICATION_ORDERS if order != "noscratch"]
    figures: dict[str, Figure] = {
        "order-ladder": success_by_steps(result.arms, MULTIPLICATION_ORDERS, "Right products"),
        "products-before-sums": success_by_vf(result, shown, reading, "Right products"),
        "gap-shrinks-multiplication": success_by_steps(longer, LONGER, "Right products"),
    }
    families = {SEQ: (*SAME_TOKENS, LADDER[-1]), SEQ_ADDRESSED: (SHUFFLED,)}
    tables: dict[str, list[Table]] = {"order-ladder": [every_order(result, measured, families), by_error(result)]}
    return judged_outcome(
        f"Orders of multiplication, {scale.seeds} seeds",
        MULTIPLICATION_CLAIMS,
        measured,
        figures=figures,
        tables=tables,
        data=[],
    )


REPRODUCTIONS = {
    "ordering": Reproduction(work=judged_logic),
    "ordering_multiplication": Reproduction(work=judged_multiplication),
    "ordering_logic": Reproduction(work=judged_checkers, check=require_coq),
}
