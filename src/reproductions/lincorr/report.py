"""What the page of the LinCorr reproduction shows beside the measures that decide: all relations, edits, a curve."""

from collections.abc import Mapping, Sequence

import numpy as np

from armillary.methods.lincorr import EditOutcome
from armillary.numerics.intervals import Interval
from armillary.records.sections import Cell, Figure, Lines, Points, Series, Table, interval_bars
from reproductions.lincorr.measures import CORRELATIONS, LincorrStages
from reproductions.lincorr.stages import Evaluation


def figures(stages: LincorrStages, measures: Mapping[str, Interval]) -> dict[str, Figure]:
    """By claim id."""
    figures = {"fit-exists": _correlations(measures)}
    if took := [edit for edit in stages.edits.edits if edit.took]:
        figures["hallucination"] = _success(took)
    if stages.resilience.evaluations:
        figures["resilient"] = _resilience(stages.resilience.evaluations)
    return figures


def tables(stages: LincorrStages, measures: Mapping[str, Interval]) -> dict[str, list[Table]]:
    """By claim id."""
    correlations: list[list[Cell]] = [
        [name, *(_estimate(measures, f"{name}/{label}") for label in CORRELATIONS.values())]
        for name in stages.correlations[0].results
    ]
    left_out = "; ".join(f"{name}: {why}" for name, why in stages.correlations[0].skipped.items())
    edits: list[list[Cell]] = [
        [
            edit.source,
            ", ".join(edit.gold),
            ", ".join(edit.after),
            edit.success,
            edit.weight_reference,
            edit.weight_generalised,
            edit.weight_largest,
        ]
        for edit in sorted(stages.edits.edits, key=lambda edit: -edit.success)
        if edit.took
    ]
    tuning: list[list[Cell]] = [
        [evaluation.step, evaluation.relative_change, float(np.mean(evaluation.nll))]
        for evaluation in stages.resilience.evaluations
    ]
    return {
        "fit-exists": [
            Table(
                title="All scores (mean over seeds)",
                columns=["relation", *CORRELATIONS.values()],
                rows=correlations,
                note=f"Left out: {left_out}" if left_out else "",
            )
        ],
        "causal-transfer": [
            Table(
                title="Edits that took",
                columns=["city", "right", "given after the edit", "success", "W right", "W given", "W largest"],
                rows=edits,
            )
        ],
        "resilient": [
            Table(
                title="Fine-tuning",
                columns=["step", "relative change of the weights", "nats per token on new text"],
                rows=tuning,
            )
        ],
    }


def _estimate(measures: Mapping[str, Interval], name: str) -> float | None:
    return measures[name].estimate if name in measures else None


def _correlations(measures: Mapping[str, Interval]) -> Figure:
    values = {
        name.removesuffix("/correlation"): value for name, value in measures.items() if name.endswith("/correlation")
    }
    values = dict(sorted(values.items(), key=lambda item: -item[1].estimate))
    return interval_bars(
        "Correlation by relation; what the tick reaches belongs to the prompt",
        values,
        "mean test correlation",
        [_estimate(measures, f"{name}/random words") for name in values],
        "random words",
    )


def _success(took: Sequence[EditOutcome]) -> Figure:
    return Figure(
        title="Success of an edit against the weight of its right target",
        data=Points(
            x=[edit.standardized_reference for edit in took],
            y=[edit.success for edit in took],
            labels=[edit.source for edit in took],
            groups=["gave the right country" if edit.success > 0.5 else "gave another" for edit in took],
            x_label="standardised weight of the right country",
            y_label="share of subjects that give the right country",
        ),
        alt="Each edit as a point: weight of the right country against success.",
        interactive=True,
    )


def _resilience(evaluations: Sequence[Evaluation]) -> Figure:
    first, steps = evaluations[0].transfer, [evaluation.transfer for evaluation in evaluations]
    return Figure(
        title="City to country: the old map during fine-tuning",
        data=Lines(
            x=[0, *(evaluation.step for evaluation in evaluations)],
            series=[
                _series("old map", [first.before, *(step.after for step in steps)]),
                _series("refitted", [first.before, *(step.refitted for step in steps)]),
                _series("shuffled pairing", [first.permuted, *(step.permuted for step in steps)]),
            ],
            x_label="optimiser steps",
            y_label="test correlation",
        ),
        alt="Lines of correlation over fine-tuning steps: old map, refitted map, shuffled pairing.",
    )


def _series(name: str, intervals: Sequence[Interval]) -> Series:
    return Series(
        name=name,
        y=[interval.estimate for interval in intervals],
        low=[interval.low for interval in intervals],
        high=[interval.high for interval in intervals],
    )
