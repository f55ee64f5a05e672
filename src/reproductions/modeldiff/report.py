"""Figures and tables of the Model-diff reproduction that say what the bars of a claim cannot."""

from collections.abc import Mapping

import numpy as np

from armillary.methods.modeldiff.figures import NOTHING, amount
from armillary.numerics.intervals import Interval
from armillary.records.sections import Cell, Figure, Lines, Series, Table, interval_bars
from reproductions.modeldiff.measures import Results
from reproductions.modeldiff.stages import Histograms


def figures(results: Results, measured: Mapping[str, Interval]) -> dict[str, Figure]:
    """By claim id: histograms of one pair beside the exact one, the spread of every relative."""
    spreads = {
        name.removeprefix("zoo/spread, "): value
        for name, value in measured.items()
        if name.startswith("zoo/spread, ") and " minus " not in name
    }
    perturbed = results.counted["perturbed"][0].histograms[0]
    return {
        "weights-matter": _shares(perturbed, "A perturbed pair of tables", "not weighed"),
        "exact-proposal": _shares(results.hot[0].histograms, "Tables sampled at T = 1.6", "weighed by exp(z / T)"),
        "kinship": interval_bars("Spread of the difference by kin", spreads, "nats per character"),
    }


def _shares(histograms: Histograms, title: str, wrong: str) -> Figure:
    by_name = {"exact": histograms.exact, "weighed": histograms.estimated, wrong: histograms.wrong}
    data = Lines(
        x=[*histograms.centres],
        series=[Series(name=name, y=[*shares]) for name, shares in by_name.items()],
        x_label="A prefers  <-  difference (nats)  ->  B prefers",
        y_label="share of A's plausible inputs",
    )
    alt = f"Lines: the weighed histogram lies on the exact one; {wrong} it need not."
    return Figure(title=title, data=data, alt=alt)


def tables(results: Results) -> dict[str, list[Table]]:
    """By claim id: quality of the models, verdicts of the rater, what the weights say of each model."""
    families = results.families
    rows: list[list[Cell]] = [
        [kind, float(np.mean([family.held_out[kind] for family in families]))] for kind in families[0].held_out
    ]
    quality = Table(title="Held-out text of the base language", columns=["model", "nats per character"], rows=rows)
    rows = []
    for seed, family in enumerate(families):
        for agreement, shuffled in zip(family.agreements, family.shuffled, strict=True):
            precisions = [agreement.a.precision, agreement.b.precision]
            shown = [NOTHING if precision is None else amount(precision) for precision in precisions]
            rows.append([seed, agreement.threshold, *shown, agreement.verdict, shuffled.verdict])
    rated = Table(
        title="Rated by the grammar: fully trained (A) against trained less (B)",
        columns=["seed", "threshold, nats", "precision of A", "precision of B", "verdict", "shuffled ratings"],
        rows=rows,
    )
    rows = [
        [seed, name, family.related[name], verdict]
        for seed, family in enumerate(families)
        for name, verdict in family.verdicts.items()
    ]
    related = Table(
        title="What lineage says of the base model and another, by the weights",
        columns=["family", "other model", "share of matrices related", "verdict"],
        rows=rows,
    )
    return {"kinship": [quality], "ratings": [rated], "lineage": [related]}
