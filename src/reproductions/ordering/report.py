"""What the pages show beside the bars of a claim: success against steps and VF, every order, sizes and errors."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from armillary.numerics.intervals import Interval
from armillary.records.sections import Cell, Figure, Lines, Points, Series, Table
from reproductions.ordering.arms import ArmResult, WorldResult
from reproductions.ordering.measures import p_values, rate, solved
from reproductions.ordering.scale import DOSES, NULL, SAMPLES, SEQ, SEQ_ADDRESSED


def success_by_steps(arms: Mapping[str, Sequence[ArmResult]], orders: Sequence[str], what: str) -> Figure:
    """A line an order, mean over seeds with their range."""
    first = arms[orders[0]][0]
    series = []
    for order in orders:
        by_reading = [[solved(arm, n).mean() for arm in arms[order]] for n in range(len(first.solved))]
        series.append(
            Series(
                name=order,
                y=[float(np.mean(values)) for values in by_reading],
                low=[float(min(values)) for values in by_reading],
                high=[float(max(values)) for values in by_reading],
            )
        )
    return Figure(
        title=f"{what} against steps of training",
        data=Lines(x=[at.step for at in first.solved], series=series, x_label="steps", y_label="share"),
        alt=f"Lines: {what.lower()} of each order after more and more steps, with the range over seeds.",
    )


def success_by_vf(result: WorldResult, orders: Sequence[str], reading: int, what: str) -> Figure:
    """A point an order and seed."""
    rows = [(order, arm) for order in orders for arm in result.arms[order] if arm.vf is not None]
    return Figure(
        title=f"{what} against the share of supports to the right",
        data=Points(
            x=[arm.vf for _, arm in rows],
            y=[float(solved(arm, reading).mean()) for _, arm in rows],
            groups=[order for order, _ in rows],
            x_label="VF: edges whose support stands to the right",
            y_label="share",
        ),
        alt=f"Points: {what.lower()} of each order and seed over its share of violated edges.",
    )


def every_order(result: WorldResult, measures: Mapping[str, Interval], families: Mapping[str, Sequence[str]]) -> Table:
    """Success of each order; ``families``: the orders that are compared with each sequential one."""
    p_by_order: dict[str, float] = {}
    for reference, others in families.items():
        p_by_order |= p_values(result, reference, others)

    def estimate(name: str) -> float | None:
        return measures[name].estimate if name in measures else None

    rows: list[list[Cell]] = [
        [
            order,
            estimate(f"{order}/vf"),
            estimate(f"{order}/success"),
            estimate(f"{order}/success at the end"),
            estimate(f"{order}/strict success at the end"),
            estimate(f"{order}/one of {SAMPLES} draws"),
            p_by_order.get(order),
        ]
        for order in result.arms
    ]
    return Table(
        title="Every order",
        columns=["order", "VF", "success", "at the end", "strict", f"one of {SAMPLES} draws", "p, Holm"],
        rows=rows,
        note=(
            "Shares solved, means over seeds, greedy unless drawn. p: against the sequential order of its framing, "
            "by turning signs of each problem's mean over seeds, corrected for the orders of the framing (Holm)."
        ),
    )


def by_size(result: WorldResult, reading: int, what: str) -> Table:
    """Success by the size of a problem."""
    sizes = sorted(set(result.sizes))
    of_size = np.array(result.sizes)
    rows: list[list[Cell]] = []
    for order, arms in result.arms.items():
        if order != NULL:
            mean = np.mean([solved(arm, reading) for arm in arms], axis=0)
            rows.append([order, *(float(mean[of_size == size].mean()) for size in sizes)])
    counts = Counter(result.sizes)
    return Table(
        title=f"Success by {what}",
        columns=["order", *(f"{size} ({counts[size]})" for size in sizes)],
        rows=rows,
        note=f"By {what}, with the number of test problems; means over seeds.",
    )


def by_error(result: WorldResult) -> Table:
    """What is first wrong in answers at the end."""
    classes = sorted({name for arms in result.arms.values() for arm in arms for name in arm.errors if name})
    rows: list[list[Cell]] = []
    for order, arms in result.arms.items():
        total = sum(sum(arm.errors.values()) for arm in arms)
        rows.append([order, *(sum(arm.errors.get(name, 0) for arm in arms) / total for name in ("", *classes))])
    return Table(
        title="What is first wrong at the end",
        columns=["order", "nothing", *classes],
        rows=rows,
        note="Shares of all answers over seeds.",
    )


def doses(result: WorldResult, reading: int) -> Figure:
    """Success over the five levels of displacement."""
    levels = [float(np.mean([arm.vf or 0.0 for arm in result.arms[dose]])) for dose in DOSES]
    by_dose = [[float(solved(arm, reading).mean()) for arm in result.arms[dose]] for dose in DOSES]
    series = Series(
        name="proved",
        y=[rate(result.arms[dose], reading) for dose in DOSES],
        low=[min(values) for values in by_dose],
        high=[max(values) for values in by_dose],
    )
    return Figure(
        title="Proved against displacement",
        data=Lines(x=[round(level, 3) for level in levels], series=[series], x_label="VF", y_label="share"),
        alt="A line: share of theorems proved at five levels of displacement, with the range over seeds.",
    )


REFERENCES = (SEQ, SEQ_ADDRESSED)
"""Orders that the others of their framing are compared with."""
