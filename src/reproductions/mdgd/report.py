"""What the pages of MDGD's reproductions show beside the bars of a claim: curves over training, maps, tables."""

from collections.abc import Callable, Sequence

import numpy as np

from armillary.methods.mdgd import VisualRank
from armillary.records.sections import Cell, Figure, Heatmap, Lines, Series, Table
from reproductions.mdgd.measures import but_last, curve
from reproductions.mdgd.real.model import RealSeed
from reproductions.mdgd.scale import AFTERWARDS, ARMS, OLD_TASKS, PURELY_VISUAL, REAL_ARMS, TARGET, title
from reproductions.mdgd.small_models import SeedResult

DRAWN = ("fine_tuning", "lower_rate", "align", "full", "conflict", "paper", "recommended")
"""More lines than these can't be told apart in one figure; the maps show every arm."""

Ranks = Sequence[VisualRank]


def figures(seeds: Sequence[SeedResult]) -> dict[str, Figure]:
    """By claim: what every arm forgets, and rank and drift of the image states over training and by layer."""
    return {
        "forgetting-exists": _change_by_task(seeds),
        "retains": _old_against_target(seeds),
        "rank-falls": _by_layer(seeds, "Effective rank by layer over training, relative change", _rank_changes),
        "rank-tracks-forgetting": _by_layer(
            seeds, "Drift by layer over training", lambda ranks, _: [reading.drift or 0.0 for reading in ranks]
        ),
    }


def tables(seeds: Sequence[SeedResult]) -> dict[str, list[Table]]:
    """By claim: what a read-out of the states still tells, and the gradients of the method."""
    return {
        "rank-tracks-forgetting": [_probes(seeds)],
        "projection-contributes": [_gradients(seeds)],
    }


def _old_against_target(seeds: Sequence[SeedResult]) -> Figure:
    """Mean over seeds of each evaluation; the higher a line stays, the less is lost."""
    level = np.linspace(0, 1, 21)
    series = []
    for name in DRAWN:
        points = np.array([curve(seed, name) for seed in seeds]).mean(0)
        target, kept = np.maximum.accumulate(points[:, 0]), points[:, 1]
        inside = (level >= target[0]) & (level <= target[-1])
        values = zip(np.interp(level, target, kept), inside, strict=True)
        series.append(Series(name=title(name), y=[float(value) if known else None for value, known in values]))
    return Figure(
        title="Old tasks against the target",
        data=Lines(x=level.tolist(), series=series, x_label="accuracy on the target", y_label="old tasks"),
        alt="Lines: accuracy on the old tasks as each arm learns the target.",
    )


def _change_by_task(seeds: Sequence[SeedResult]) -> Figure:
    names, tasks = [*ARMS, *AFTERWARDS], [*OLD_TASKS, TARGET]

    def change(name: str, task: str) -> float:
        ends = [seed.end(name).accuracies[task] - seed.start.accuracies[task] for seed in seeds]
        return float(np.mean(ends))

    values: list[list[float | None]] = [[change(name, task) for task in tasks] for name in names]
    return Figure(
        title="Change of accuracy",
        data=Heatmap(rows=[title(name) for name in names], columns=[*tasks], values=values, low=-0.5, high=0.5),
        alt="Table of colours: change of accuracy by arm and task.",
    )


def _rank_changes(ranks: Ranks, before: Ranks) -> list[float]:
    return [new.dataset_centred / was.dataset_centred - 1 for new, was in zip(ranks, before, strict=True)]


def _by_layer(seeds: Sequence[SeedResult], words: str, values: Callable[[Ranks, Ranks], list[float]]) -> Figure:
    """A row for each arm and layer but the last, a column for each reading; means over seeds."""
    rows: list[str | int | float] = []
    cells: list[list[float | None]] = []
    for name in ARMS:
        read = [
            [values(but_last(ranks), but_last(seed.start.ranks)) for ranks in seed.arms[name].ranks] for seed in seeds
        ]
        for layer, by_step in enumerate(np.mean(read, axis=0).T):
            rows.append(f"{title(name)}, layer {layer}")
            cells.append([float(value) for value in by_step])
    largest = max(abs(value or 0.0) for row in cells for value in row)
    columns: list[str | int | float] = [str(step) for step in seeds[0].arms["fine_tuning"].steps]
    return Figure(
        title=words,
        data=Heatmap(rows=rows, columns=columns, values=cells, low=-largest, high=largest),
        alt=f"Table of colours: {words.lower()}, by arm and layer (rows) and step (columns).",
    )


def _probes(seeds: Sequence[SeedResult]) -> Table:
    """Where a read-out works while the answers fail, the knowledge is there and the way of answering was lost."""
    readings = {"before": [seed.start.probe for seed in seeds]}
    for name in ARMS:
        probes = [seed.arms[name].probe for seed in seeds]
        if all(probe is not None for probe in probes):
            readings[title(name)] = [probe for probe in probes if probe is not None]
    rows: list[list[Cell]] = [
        [after, *(float(np.mean([probe[task][:-1] or probe[task] for probe in probes])) for task in PURELY_VISUAL)]
        for after, probes in readings.items()
    ]
    return Table(
        title="Linear read-out of the image states, fitted anew, mean over layers but the last",
        columns=["after", *PURELY_VISUAL],
        rows=rows,
        note="A read-out that works does not show that the model uses it.",
    )


def _gradients(seeds: Sequence[SeedResult]) -> Table:
    rows: list[list[Cell]] = []
    for name in ("full", "conflict", "random", "paper", "recommended"):
        logs = [seed.arms[name].log for seed in seeds]
        if all(logs):
            keys = ("gradient_cosine", "gradient_removed")
            means = [float(np.mean([np.mean([line[key] for line in log]) for log in logs])) for key in keys]
            rows.append([title(name), *means])
    return Table(
        title="Gradients, mean over training",
        columns=["arm", "cosine of task and drift gradients", "share removed"],
        rows=rows,
        note="A positive cosine means that the task's own gradient pulls the image states back; the full projection "
        "removes that too.",
    )


def real_figures(seeds: Sequence[RealSeed]) -> dict[str, Figure]:
    """By claim of the given model: drift and rank of the image states by layer, at the end of each arm."""
    return {
        "real-drift-follows": _lines(seeds, "Relative drift by layer", lambda reading: reading.drift or 0.0),
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
