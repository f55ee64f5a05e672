"""What the page of the ICN reproduction shows beside the measures that decide: every arm, a curve, examples."""

from collections.abc import Mapping, Sequence

import numpy as np

from armillary.numerics.intervals import Interval
from armillary.records.sections import Cell, Figure, Lines, Series, Table, interval_bars
from reproductions.icn.measures import IcnStages
from reproductions.icn.stages import ProbeStage

WIDTH = 10
"""Ranks that a point of the curve is the mean of."""


def figures(stages: IcnStages, measures: Mapping[str, Interval]) -> dict[str, Figure]:
    """By claim id."""
    arms = {arm: measures[f"answers/{arm}"] for arm in stages.probes[0].arms}
    return {
        "top-better-than-middle": _accuracy_by_rank(stages.probes),
        "more-correct-answers": interval_bars(
            "Different correct answers, mean over probes",
            dict(sorted(arms.items(), key=lambda item: -item[1].estimate)),
            "different correct answers",
        ),
    }


def tables(stages: IcnStages) -> dict[str, list[Table]]:
    """By claim id."""
    arms = list(stages.probes[0].arms)
    clusters: list[list[Cell]] = [
        [metric, example.size, "  ".join(example.tokens)]
        for metric, starts in stages.clusters.items()
        for example in starts[0].examples
    ]
    by_probe: list[list[Cell]] = [
        [probe.id, probe.answers, *(probe.arms[arm].distinct_correct for arm in arms)] for probe in stages.probes
    ]
    texts: list[list[Cell]] = [
        [arm, text] for arm, written in stages.open[0].items() for text in list(dict.fromkeys(written.texts))[:5]
    ]
    return {
        "clusters": [
            Table(title="Largest clusters and a middling one", columns=["metric", "tokens", "nearest"], rows=clusters)
        ],
        "more-correct-answers": [
            Table(
                title="By probe",
                columns=["probe", "right answers known", *arms],
                rows=by_probe,
                note="A list at once may stop early, and then gives fewer answers. The list given for free holds up "
                "to ten right answers beforehand, which still count when it repeats them.",
            )
        ],
        "diverse-texts": [
            Table(title="First texts to the first instruction", columns=["way", "text"], rows=texts),
        ],
    }


def _accuracy_by_rank(probes: Sequence[ProbeStage]) -> Figure:
    length = len(probes[0].gold) // WIDTH * WIDTH
    gold = np.array([probe.gold[:length] for probe in probes], float).reshape(len(probes), -1, WIDTH).mean((0, 2))
    return Figure(
        title="Accuracy by rank",
        data=Lines(
            x=[int((step + 0.5) * WIDTH) for step in range(len(gold))],
            series=[Series(name="mean over probes", y=gold.tolist())],
            x_label="rank of the first token",
            y_label="share of right answers",
        ),
        alt="Accuracy over ranks in steps of ten.",
    )
