"""Figures and tables of the Model-diff reproduction that say what the bars of a claim cannot."""

from collections.abc import Mapping

import numpy as np

from armillary.methods.modeldiff.figures import NOTHING, amount
from armillary.numerics.intervals import Interval
from armillary.records.sections import Cell, Figure, Lines, Series, Table, interval_bars
from reproductions.modeldiff.measures import Results
from reproductions.modeldiff.stages import Histograms


def figures(results: Results, measured: Mapping[str, Interval]) -> dict[str, Figure]:
    """By claim id: histograms beside the exact one, the spread of every relative, a real model and its copy."""
    spreads = {
        name.removeprefix("zoo/spread, "): value
        for name, value in measured.items()
        if name.startswith("zoo/spread, ") and " minus " not in name
    }
    return {
        "weights-matter": _shares(results.known["perturbed"].histograms, "A perturbed pair of tables", "not weighed"),
        "exact-proposal": _shares(results.hot.histograms, "Tables sampled at T = 1.6", "weighed by exp(z / T)"),
        "kinship": interval_bars("Spread of the difference by kin", spreads, "nats per character"),
        "noise-ladder": results.both_ways.curves,
    }


def _shares(histograms: Histograms, title: str, wrong: str) -> Figure:
    series = [Series(name="exact", y=[*histograms.exact])]
    for name, shares in (("weighed", histograms.estimated), (wrong, histograms.wrong)):
        low, high = np.quantile(shares, [0.025, 0.975], axis=0)
        mean = np.mean(shares, axis=0)
        series.append(Series(name=name, y=mean.tolist(), low=low.tolist(), high=high.tolist()))
    data = Lines(
        x=[*histograms.centres],
        series=series,
        x_label="A prefers  <-  difference (nats)  ->  B prefers",
        y_label="share of A's plausible inputs",
    )
    alt = f"Lines: the weighed histogram lies on the exact one; {wrong} it need not."
    return Figure(title=title, data=data, alt=alt)


def tables(results: Results) -> dict[str, list[Table]]:
    """By claim id: quality of the models, verdicts of the rater, window edges, inputs of a real model and its copy."""
    qualities = [family.quality for family in results.families]
    rows: list[list[Cell]] = [[kind, float(np.mean([row[kind] for row in qualities]))] for kind in qualities[0]]
    quality = Table(title="Held-out text of the base language", columns=["model", "nats per character"], rows=rows)
    rows = []
    for seed, family in enumerate(results.families):
        for agreement, shuffled in zip(family.agreements, family.shuffled, strict=True):
            precisions = [agreement.a.precision, agreement.b.precision]
            shown = [NOTHING if precision is None else amount(precision) for precision in precisions]
            rows.append([seed, agreement.threshold, *shown, agreement.verdict, shuffled.verdict])
    rated = Table(
        title="Rated by the grammar: fully trained (A) against trained less (B)",
        columns=["seed", "threshold, nats", "precision of A", "precision of B", "verdict", "shuffled ratings"],
        rows=rows,
    )
    rows = [[edge.quantile, edge.effective, edge.expected] for edge in results.both_ways.edges]
    edges = Table(
        title="Effective samples by the window's upper edge, real weights",
        columns=["quantile of the NLL", "effective", "2 N h(z+)"],
        rows=rows,
    )
    rows = [[example.difference, example.text, example.drawn_from.upper()] for example in results.both_ways.examples]
    inputs = Table(
        title="Inputs that the model (A) or its fine-tuned copy (B) prefers most",
        columns=["difference (nats)", "text", "drawn from"],
        rows=rows,
    )
    return {"kinship": [quality], "ratings": [rated], "effective-samples": [edges], "noise-ladder": [inputs]}
