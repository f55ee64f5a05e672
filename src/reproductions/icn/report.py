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
    first = next(iter(stages.answers))
    bars = {
        f"{arm}{'' if prompt == first else ', plain prompt'}": measures[
            f"answers/{arm}{'' if prompt == first else f', {prompt} prompt'}"
        ]
        for prompt, arms in stages.answers.items()
        for arm in arms
    }
    return {
        "top-better-than-middle": _accuracy_by_rank(stages.probes),
        "more-correct-answers": interval_bars(
            "Different correct answers of 20, mean over probes",
            dict(sorted(bars.items(), key=lambda item: -item[1].estimate)),
            "different correct answers",
        ),
    }


def tables(stages: IcnStages) -> dict[str, list[Table]]:
    """By claim id."""
    first = next(iter(stages.answers))
    answers = stages.answers[first]
    clusters: list[list[Cell]] = [[example.size, "  ".join(example.tokens)] for example in stages.clusters[0].examples]
    groups: list[list[Cell]] = [
        [name, share, stages.clusters[0].drawn[name]] for name, share in stages.clusters[0].together.items()
    ]
    by_probe: list[list[Cell]] = [
        [probe.id, probe.answers, *(row[index].distinct for row in answers.values())]
        for index, probe in enumerate(stages.probes)
    ]
    examples: list[list[Cell]] = [[arm, ", ".join(row[0].texts)] for arm, row in answers.items()]
    texts: list[list[Cell]] = [
        [arm, text] for arm, written in stages.open[0].arms.items() for text in list(dict.fromkeys(written.texts))[:5]
    ]
    taught: list[list[Cell]] = [
        [word, name, token.steps, token.rise, token.keys, token.queries, token.keys_in_all, token.queries_in_all]
        for word, by_optimiser in stages.training.targets.items()
        for name, token in by_optimiser.items()
    ]
    return {
        "clusters": [
            Table(title="Pairs in one cluster", columns=["group", "together", "tokens of like ids"], rows=groups),
            Table(title="Largest clusters and a middling one", columns=["tokens", "nearest"], rows=clusters),
        ],
        "more-correct-answers": [
            Table(
                title="Different correct answers by probe",
                columns=["probe", "right answers known", *answers],
                rows=by_probe,
                note="A list in one answer may stop early, and then gives fewer answers.",
            ),
            Table(title="Answers to the first probe", columns=["way", "answers"], rows=examples),
        ],
        "diverse-texts": [
            Table(title="First texts to the first instruction", columns=["way", "text"], rows=texts),
        ],
        "fixed-keys": [
            Table(
                title="Each target token",
                columns=["target", "optimiser", "steps", "rise", "keys", "queries", "keys, all", "queries, all"],
                rows=taught,
                note="Shares of the change of the target's logit, and of all logits; what is missing to 1 is of new "
                "keys and queries together.",
            )
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
