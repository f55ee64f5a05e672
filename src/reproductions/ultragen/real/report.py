"""What the page of the given model shows beside the bars of a claim: the curve, kinds by number, and one answer."""

from collections.abc import Sequence

import numpy as np

from armillary.records.sections import Cell, Figure, Heatmap, Lines, Series, Table
from reproductions.ultragen.real.given_model import Judged, RealResult
from reproductions.ultragen.real.measures import shares


def real_figures(result: RealResult) -> dict[str, Figure]:
    """By claim: satisfaction against the number of attributes, by kind, and by place."""
    counts = sorted(map(int, result.by_count))
    answers = [result.by_count[str(count)] for count in counts]
    lines = {
        "all": [shares(rows) for rows in answers],
        "without what forbids": [shares(rows, asked_for=True) for rows in answers],
        "answers to another prompt": [shares(rows, swapped=True) for rows in answers],
    }
    return {
        "real-degrades": Figure(
            title="Satisfaction against the number of attributes",
            data=Lines(
                x=[*counts],
                series=[Series(name=name, y=[float(np.nanmean(v)) for v in values]) for name, values in lines.items()],
                x_label="attributes in the prompt",
                y_label="share met",
            ),
            alt="Lines: share of attributes met as prompts grow.",
        ),
        "real-order-of-difficulty": _by_kind(counts, answers),
        "real-position": _by_place(answers[-1]),
    }


def _by_kind(counts: Sequence[int], answers: Sequence[Sequence[Judged]]) -> Figure:
    kinds = sorted({kind for rows in answers for answer in rows for kind in answer.kinds})
    values: list[list[float | None]] = []
    for kind in kinds:
        row: list[float | None] = []
        for answered in answers:
            met = [
                verdict
                for answer in answered
                for name, verdict in zip(answer.kinds, answer.satisfied, strict=True)
                if name == kind and verdict is not None
            ]
            row.append(float(np.mean(met)) if met else None)
        values.append(row)
    return Figure(
        title="Share met by kind",
        data=Heatmap(rows=[*kinds], columns=[str(count) for count in counts], values=values, low=0, high=1),
        alt="Table of colours: share met by kind of attribute and number of attributes.",
    )


def _by_place(answers: Sequence[Judged]) -> Figure:
    rows = np.array([[np.nan if met is None else met for met in answer.satisfied] for answer in answers], float)
    fifths = [float(np.nanmean(fifth)) for fifth in np.array_split(rows, 5, axis=1)]
    return Figure(
        title=f"Share met by place in a prompt of {rows.shape[1]}",
        data=Lines(
            x=[1, 2, 3, 4, 5],
            series=[Series(name="untuned", y=[*fifths])],
            x_label="fifth of the prompt",
            y_label="share met",
        ),
        alt="A line: share of attributes met from the first to the last fifth of the prompt.",
    )


def real_tables(result: RealResult) -> dict[str, list[Table]]:
    """By claim: one prompt with its answer."""
    rows: list[list[Cell]] = [["prompt", result.example[0]], ["answer", result.example[1]]]
    return {"real-degrades": [Table(title="One prompt and its answer", columns=["", "text"], rows=rows)]}
