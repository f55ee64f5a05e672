"""How MDGD's run on real weights is told. Needs no torch."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from armillary.experiments.mdgd_real_claims import pooled
from armillary.experiments.mdgd_real_scale import ARMS
from armillary.experiments.mdgd_scale import OLD_TASKS, TARGET
from armillary.numerics.intervals import Interval
from armillary.runs.sections import Cell, Figure, Section, Table, interval_bars

Found = Mapping[str, Any]


def sections(seeds: Sequence[Found], m: Mapping[str, Interval]) -> list[Section]:
    """What was forgotten, and what image states did meanwhile."""
    return [_forgetting(seeds, m), _states(seeds, m)]


def _forgetting(seeds: Sequence[Found], m: Mapping[str, Interval]) -> Section:
    rows: list[list[Cell]] = []
    for name, arm in ARMS.items():
        for task in (*OLD_TASKS, TARGET):
            before, after = pooled(seeds, "start", (task,)).mean(), pooled(seeds, name, (task,)).mean()
            rows.append([arm.title, task, float(before), float(after), float(after - before)])
    lost, kept = m["real/fine_tuning, old tasks lost"], m["real/paper, old tasks lost"]
    return Section(
        id="forgetting",
        title="Old tasks and the new one on a real model",
        summary=f"Fine-tuning loses {100 * lost.estimate:.0f} points [{100 * lost.lower:.0f}, {100 * lost.upper:.0f}] "
        f"of old accuracy, MDGD {100 * kept.estimate:.0f} [{100 * kept.lower:.0f}, {100 * kept.upper:.0f}].",
        meaning="The language model has learned to read style, colour and group of emoji drawings through a new "
        "connector. Its last layers are then tuned to answer a made-up word for the group.",
        caution="Two seeds and few questions: the direction counts. Arms are compared after as many steps, not at "
        "equal accuracy on the new task, which stands beside them.",
        figures=[
            interval_bars(
                "Old accuracy lost by each arm",
                {arm.title: m[f"real/{name}, old tasks lost"] for name, arm in ARMS.items()},
                "share of answers",
            ),
            interval_bars(
                "Accuracy on the new task",
                {arm.title: m[f"real/{name}, target"] for name, arm in ARMS.items()},
                "share of answers",
            ),
        ],
        tables=[Table(title="By task", columns=["arm", "task", "before", "after", "change"], rows=rows)],
    )


def _states(seeds: Sequence[Found], m: Mapping[str, Interval]) -> Section:
    found = m["real/drift against accuracy lost"]
    return Section(
        id="states",
        title="Image states by layer",
        summary=f"Over arms, drift and accuracy lost go together with a rank correlation of {found.estimate:.2f} "
        f"[{found.lower:.2f}, {found.upper:.2f}].",
        meaning="Relative drift of the image tokens' hidden states from the weights before tuning, and the change of "
        "their effective rank over pictures. Layers below the trained ones can't move.",
        caution="The last layer's image states are read by no answer.",
        figures=[
            _lines(seeds, "drift", "Relative drift by layer"),
            _lines(seeds, "dataset_centred", "Effective rank over pictures by layer"),
        ],
    )


def _lines(seeds: Sequence[Found], key: str, title: str) -> Figure:
    layers = [reading["layer"] for reading in seeds[0]["start"]["ranks"]]
    series = []
    for name, arm in ARMS.items():
        values = [[reading[key] for reading in seed[name]["ranks"]] for seed in seeds]
        series.append({"name": arm.title, "y": [float(value) for value in np.mean(values, axis=0)]})
    if key != "drift":
        values = [[reading[key] for reading in seed["start"]["ranks"]] for seed in seeds]
        series.append({"name": "before", "y": [float(value) for value in np.mean(values, axis=0)]})
    return Figure(
        kind="lines",
        title=title,
        data={"x": layers, "series": series, "x_label": "layer", "y_label": title.split(" by ")[0].lower()},
        alt=f"{title}, mean over seeds, of " + ", ".join(str(one["name"]) for one in series) + ".",
    )
