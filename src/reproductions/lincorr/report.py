"""What the page of the LinCorr reproduction shows beside the measures that decide: all relations, edits, a curve."""

from collections.abc import Mapping, Sequence

from armillary.methods.lincorr import EditOutcome, StudyScores
from armillary.numerics.intervals import Interval
from armillary.records.sections import Cell, Figure, Points, Table, interval_bars
from reproductions.lincorr.measures import CORRELATIONS, LincorrStages


def figures(stages: LincorrStages, measures: Mapping[str, Interval]) -> dict[str, Figure]:
    """By claim id."""
    figures = {"fit-exists": _correlations(measures)}
    if took := [edit for edit in stages.edits.edits if edit.took]:
        figures["hallucination"] = _success(took)
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
            edit.agreement,
            edit.agreement_same_tokens,
            edit.weight_reference,
            edit.weight_generalised,
            edit.weight_largest,
        ]
        for edit in sorted(stages.edits.edits, key=lambda edit: -edit.success)
        if edit.took
    ]
    tuning: list[list[Cell]] = [
        [seed, tune.relative_change, tune.nll_before, tune.nll, tune.before,
         tune.after, tune.untrained]
        for seed, tune in enumerate(stages.tunes)
    ]  # fmt: skip
    return {
        "fit-exists": [
            Table(
                title="All scores (city-country, city-color and add1-add2: mean over splits; others: one split)",
                columns=["relation", *CORRELATIONS.values()],
                rows=correlations,
                note=f"Left out: {left_out}" if left_out else "",
            )
        ],
        "mirrors-world": [_precision(stages.correlations[0])],
        "causal-transfer": [
            Table(
                title="Edits that took",
                columns=[
                    "city",
                    "right",
                    "given after the edit",
                    "success",
                    "agreement of the map",
                    "of the same tokens",
                    "W right",
                    "W given",
                    "W largest",
                ],
                rows=edits,
            )
        ],
        "resilient": [
            Table(
                title="Fine-tuning",
                columns=[
                    "seed",
                    "relative change of the weights",
                    "nats per token before",
                    "after",
                    "old map before",
                    "after",
                    "untrained map",
                ],
                rows=tuning,
            )
        ],
    }


def _precision(study: StudyScores) -> Table:
    hits = {name: hit for name, row in study.results.items() if (hit := row.precision) is not None}
    rows: list[list[Cell]] = [
        [name, hit.n, hit.rate.estimate, hit.chance, hit.p_value, min(1.0, hit.p_value * len(hits))]
        for name, hit in hits.items()
    ]
    return Table(
        title="Do the weights of each relation name right answers?",
        columns=["relation", "N", "hit@N", "answers exchanged", "exchanges as good", "times relations"],
        rows=rows,
        note="Raw ridge weights, first split. The last column is corrected for the number of relations looked at.",
    )


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
