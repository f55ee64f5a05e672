"""What the pages of MDGD's reproductions show beside the bars of a claim: curves over training, maps, tables."""

from collections.abc import Callable, Sequence

import numpy as np

from armillary.methods.mdgd import VisualRank
from armillary.records.sections import Cell, Figure, Heatmap, Lines, Section, Series, Table
from reproductions.mdgd.measures import curve, old
from reproductions.mdgd.real.model import RealSeed
from reproductions.mdgd.scale import ARMS, OLD_TASKS, PURELY_VISUAL, REAL_ARMS, SHARES, SWEPT, TARGET, title
from reproductions.mdgd.small_models import ArmResult, Evaluation, SeedResult

DRAWN = ("fine_tuning", "lower_rate", "text_gradient", "align", "full", "conflict", "paper")
"""More lines than these can't be told apart in one figure; the maps show every arm."""


def figures(seeds: Sequence[SeedResult]) -> dict[str, Figure]:
    """By claim: what every arm forgets, whose fault it is, and how it goes with what is learned."""
    return {
        "forgetting-exists": _change_by_task(seeds),
        "mostly-visual": _grafts(seeds),
        "retains": _old_against_target(seeds),
    }


def tables(seeds: Sequence[SeedResult]) -> dict[str, list[Table]]:
    """By claim: what a read-out of the states still tells, and the arms of the sweep by rate."""
    return {"visual-forgetting": [_read_outs(seeds)], "projection-alone": [_by_rate(seeds)]}


def _old_against_target(seeds: Sequence[SeedResult]) -> Figure:
    """Mean over seeds of each evaluation; the higher a line stays, the less is lost."""
    level = np.linspace(0, 1, 21)
    series = []
    for name in DRAWN:
        curves = [curve(seed.start.accuracies, seed.arms[name].evaluations) for seed in seeds]
        points = np.array(curves).mean(0)
        target, kept = np.maximum.accumulate(points[:, 0]), points[:, 1]
        inside = (level >= target[0]) & (level <= target[-1])
        values = zip(np.interp(level, target, kept), inside, strict=True)
        series.append(Series(name=title(name), y=[float(value) if known else None for value, known in values]))
    return Figure(
        title="Old tasks against the target",
        data=Lines(x=level.tolist(), series=series, x_label="accuracy on the target", y_label="old tasks"),
        alt="Lines: accuracy on the old tasks as each arm learns the target.",
    )


def _ends(seeds: Sequence[SeedResult], name: str) -> list[Evaluation]:
    return [seed.arms[name].evaluations[-1] for seed in seeds]


def _change_by_task(seeds: Sequence[SeedResult]) -> Figure:
    tasks = [*OLD_TASKS, TARGET]
    values: list[list[float | None]] = [
        [
            float(
                np.mean(
                    [end.accuracies[task] - seed.start.accuracies[task] for end, seed in zip(ends, seeds, strict=True)]
                )
            )
            for task in tasks
        ]
        for ends in (_ends(seeds, name) for name in ARMS)
    ]
    return Figure(
        title="Change of accuracy",
        data=Heatmap(rows=[title(name) for name in ARMS], columns=[*tasks], values=values, low=-0.5, high=0.5),
        alt="Table of colours: change of accuracy by arm and task.",
    )


def _grafts(seeds: Sequence[SeedResult]) -> Figure:
    before = float(np.mean([old(seed.start.accuracies) for seed in seeds]))

    def lost(ends: Sequence[Evaluation]) -> list[float | None]:
        kept = [(old(end.new_eyes), old(end.old_eyes), old(end.accuracies)) for end in ends]
        return [before - float(value) for value in np.mean(kept, axis=0)]

    return Figure(
        title="Points lost on the old tasks at each arm's end",
        data=Heatmap(
            rows=[title(name) for name in ARMS],
            columns=["new eyes, old reader", "old eyes, new reader", "both new"],
            values=[lost(_ends(seeds, name)) for name in ARMS],
            low=-0.5,
            high=0.5,
        ),
        alt="Table of colours: points lost by arm, with the image states or the reading taken from before.",
    )


def _read_outs(seeds: Sequence[SeedResult]) -> Table:
    """Where a read-out works while the answers fail, the knowledge is there and the way of answering was lost."""
    readings = {"before": [seed.start.read_outs for seed in seeds]}
    readings |= {title(name): [seed.arms[name].read_outs for seed in seeds] for name in ARMS}
    rows: list[list[Cell]] = [
        [after, *(float(np.mean([read_outs[task] for read_outs in of_seeds])) for task in PURELY_VISUAL)]
        for after, of_seeds in readings.items()
    ]
    return Table(
        title="Linear read-out of the image states, fitted anew, mean over layers but the last",
        columns=["after", *PURELY_VISUAL],
        rows=rows,
        note="A read-out that works does not show that the model uses it.",
    )


def _by_rate(seeds: Sequence[SeedResult]) -> Table:
    """Means over seeds, at the end of each training."""
    rows: list[list[Cell]] = []
    for rate in seeds[0].swept:
        for name in SWEPT:
            arms = [seed.swept[rate][name] for seed in seeds]
            ends = [arm.evaluations[-1] for arm in arms]
            moments = [point for arm in arms for point in arm.evaluations]
            means: list[list[float]] = [
                [end.accuracies[TARGET] for end in ends],
                [old(end.accuracies) for end in ends],
                [old(end.new_eyes) for end in ends],
                [point.cosine for point in moments],
                [float(point.cosine < 0) for point in moments],
                [arm.evaluations[0].drift for arm in arms],
                [end.drift for end in ends],
            ]
            rows.append([rate, title(name), *(float(np.mean(values)) for values in means)])
    return Table(
        title="Arms by learning rate",
        columns=["rate", "arm", TARGET, "old tasks", "new eyes, old reader", "cosine", "cosine below 0",
                 "drift, first moment", "drift, end"],
        rows=rows,
        note="A positive cosine means that the task's own gradient pulls the image states back; the full projection "
        "removes that too. Drift is relative, of rows of unit root mean square.",
    )  # fmt: skip


def curves(seeds: Sequence[SeedResult]) -> Section:
    """Everything that was read while arms were trained, seed by seed, so that each comparison can be made again."""
    rows: list[list[Cell]] = []
    for number, seed in enumerate(seeds):
        before = old(seed.start.accuracies)
        rows.append(
            [number, "before", "", "", _numbers([seed.start.accuracies[TARGET]]), _numbers([before]), "", "", ""]
        )
        trained = {(rate, name): arm for rate, arms in seed.swept.items() for name, arm in arms.items()}
        trained |= {("judged", name): arm for name, arm in seed.arms.items() if name not in SWEPT}
        rows += [[number, title(name), rate, *_read(arm)] for (rate, name), arm in trained.items()]
        for name, points in seed.arms["fine_tuning"].afterwards.items():
            shares = " ".join(map(str, SHARES[name]))
            read = (_numbers([point[TARGET] for point in points]), _numbers([old(point) for point in points]))
            rows.append([number, title(name), "judged", shares, *read, "", "", ""])
    return Section(
        id="curves",
        title="Every curve",
        summary="What was read of each arm over its training, by seed.",
        meaning="The moments of each training: accuracy on the target and, mean over tasks, on the old ones; the same "
        "by the old reader from new image states and by the new reader from old ones; cosine of both gradients.",
        caution="One moment of one seed has a standard error of 1 to 2 points.",
        tables=[
            Table(
                title="Curves",
                columns=["seed", "arm", "rate", "step", TARGET, "old tasks", "new eyes", "old eyes", "cosine"],
                rows=rows,
            )
        ],
    )


def _read(arm: ArmResult) -> list[Cell]:
    points = arm.evaluations
    return [
        " ".join(map(str, arm.steps)),
        _numbers([point.accuracies[TARGET] for point in points]),
        _numbers([old(point.accuracies) for point in points]),
        _numbers([old(point.new_eyes) for point in points if point.new_eyes]),
        _numbers([old(point.old_eyes) for point in points if point.old_eyes]),
        _numbers([point.cosine for point in points]),
    ]


def _numbers(values: Sequence[float]) -> str:
    return " ".join(f"{value:.3f}" for value in values)


def real_figures(seeds: Sequence[RealSeed]) -> dict[str, Figure]:
    """By claim of the given model: drift and rank of the image states by layer, at the end of each arm."""
    return {
        "real-drift-follows": _lines(
            seeds, "Relative drift by layer", lambda reading: np.nan if reading.drift is None else reading.drift
        ),
        "real-retains": _lines(seeds, "Effective rank over images by layer", lambda reading: reading.dataset_centred),
    }


def _lines(seeds: Sequence[RealSeed], words: str, value: Callable[[VisualRank], float]) -> Figure:
    """Mean over seeds, by layer; the last layer's image states are read by no answer."""
    series = []
    for name, arm in REAL_ARMS.items():
        values = [[value(reading) for reading in seed.arms[name].ranks] for seed in seeds]
        series.append(Series(name=arm.title, y=np.mean(values, axis=0).tolist()))
    before = [[value(reading) for reading in seed.start.ranks] for seed in seeds]
    series.append(Series(name="before", y=np.mean(before, axis=0).tolist()))
    layers: list[str | int | float] = [reading.layer for reading in seeds[0].start.ranks]
    return Figure(
        title=words,
        data=Lines(x=layers, series=series, x_label="layer", y_label=words.split(" by ")[0].lower()),
        alt=f"{words}, mean over seeds, of {', '.join(line.name for line in series)}.",
    )
