"""The pictures of a comparison as plain data: both directions on one axis, ``p(D | z)``, and texts by token.

Legend: N samples, Z bins of the NLL, D bins of the difference.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from armillary.methods.modeldiff.config import Weighting
from armillary.methods.modeldiff.direction import Side
from armillary.methods.modeldiff.result import Comparison, Example
from armillary.runs.sections import Figure

MOST_CELLS = 24
"""Rows, and columns, of a heat map."""

RANGES = (("lowest 5 %", 0.0, 0.05), ("5 to 25 %", 0.05, 0.25), ("middle half", 0.25, 0.75),
          ("75 to 95 %", 0.75, 0.95), ("highest 5 %", 0.95, 1.0))  # fmt: skip
"""Ranges of D, by its quantiles over the plausible samples of both models, from which examples are taken."""


@dataclass(frozen=True, kw_only=True)
class Naming:
    """What the two models are called in a picture."""

    a: str = "A"
    b: str = "B"
    inputs_a: str = "A's inputs"
    inputs_b: str = "B's inputs"

    @property
    def axis(self) -> str:
        """Label of an axis that shows the difference."""
        return f"{self.a} prefers \N{LEFTWARDS ARROW} 0 \N{RIGHTWARDS ARROW} {self.b} prefers (D, nats per token)"

    def inputs(self, side: Side) -> str:
        """Name of a model's plausible inputs."""
        return self.inputs_a if side == "a" else self.inputs_b


def curves(comparison: Comparison, weighting: Weighting, naming: Naming) -> Figure:
    """The share of each model's plausible inputs at each difference, with intervals."""
    found = {side: comparison.curve(side, weighting=weighting) for side in ("a", "b")}
    occupied_D = np.flatnonzero(np.max([[one.value, one.high] for one in found.values()], axis=(0, 1)) > 0)
    shown = slice(max(0, int(occupied_D[0]) - 1), int(occupied_D[-1]) + 2)
    series: list[dict[str, Any]] = [
        {"name": naming.inputs("a" if side == "a" else "b"), "y": one.value[shown].tolist(),
         "low": one.low[shown].tolist(), "high": one.high[shown].tolist()}
        for side, one in found.items()
    ]  # fmt: skip
    how = "by count" if weighting == "count" else "flat over the NLL window"
    return Figure(
        kind="lines",
        title=f"Share of plausible inputs at each difference, {how}",
        data={
            "x": np.round(found["a"].difference[shown], 6).tolist(),
            "series": series,
            "x_label": naming.axis,
            "y_label": f"share of plausible inputs, {how}",
        },
        alt=f"Two histograms of the difference, {how}: one over {naming.inputs_a}, one over {naming.inputs_b}.",
    )


def conditional(comparison: Comparison, side: Side, naming: Naming) -> Figure:
    """How the difference is spread at each NLL of the model that drew: ``p(D | z)``, every row summing to 1."""
    table = comparison.tables[0 if side == "a" else 1]
    table_ZD, edges_Z = table.conditional()
    rows = np.array_split(np.arange(table.rows), min(MOST_CELLS, table.rows))
    occupied_D = np.flatnonzero(np.nansum(table_ZD, axis=0) > 0)
    span_D = np.arange(occupied_D[0], occupied_D[-1] + 1)
    columns = np.array_split(span_D, min(MOST_CELLS, len(span_D)))
    centres_D = comparison.bins.centres_D / comparison.space.length
    values = [[_share(table_ZD[np.ix_(row, column)]) for column in columns] for row in rows]
    ends_Z = [*edges_Z[1:].tolist(), table.direction.window[1]]
    samples_Z = np.bincount(table.cell_N[table.cell_N >= 0] // 2 // table.columns, minlength=table.rows)
    labels = [f"{edges_Z[row[0]]:.1f} to {ends_Z[row[-1]]:.1f} (n {samples_Z[row].sum()})" for row in rows]
    name = naming.inputs(side)
    return Figure(
        kind="heatmap",
        title=f"{name[0].upper()}{name[1:]}: the difference (columns, nats per token) at each NLL (rows, nats)",
        data={
            "rows": labels,
            "columns": [round(float(centres_D[column].mean()), 2) for column in columns],
            "values": values,
            "low": 0.0,
            "unit": "share of the row",
        },
        alt=f"Heat map over {name}: rows are the NLL of the model that drew them, columns the difference.",
    )


def _share(cells_ZD: np.ndarray[Any, Any]) -> float | None:
    """Mean over the rows that hold samples of what they have in these columns; None where no row does."""
    known = cells_ZD[~np.isnan(cells_ZD).any(axis=1)]
    return float(known.sum(axis=1).mean()) if len(known) else None


def examples(comparison: Comparison, naming: Naming, each: int = 3) -> Figure | None:
    """Texts from five ranges of the difference, each token coloured by its own; None where no sample has both NLL."""
    inside = [one.difference_N[one.inside_N] for one in (comparison.a, comparison.b)]
    difference_N = np.concatenate(inside)
    difference_N = difference_N[np.isfinite(difference_N)]
    if not len(difference_N):
        return None
    chosen: dict[tuple[str, float], tuple[str, Example]] = {}
    for name, low, high in RANGES:
        ends = np.quantile(difference_N, [low, high])
        for example in comparison.examples((float(ends[0]), float(ends[1])), each):
            chosen.setdefault((example.text, example.difference), (name, example))
    ordered = sorted(chosen.values(), key=lambda one: one[1].difference)
    known = np.abs([value for _, example in ordered for value in example.token_differences if math.isfinite(value)])
    # Differences of copies are rounding alone; at such a scale nothing should look coloured.
    limit = max(0.1, float(f"{np.quantile(known, 0.98):.2g}")) if len(known) else 1.0
    return Figure(
        kind="tokens",
        title="Inputs at each difference, from the one end to the other",
        data={
            "rows": [_row(name, example, naming) for name, example in ordered],
            "limit": limit,
            "low_name": f"{naming.a} prefers",
            "high_name": f"{naming.b} prefers (D of the token, nats)",
        },
        alt=f"{len(ordered)} texts; a token is marked by how much more one model expected it than the other.",
    )


def _row(name: str, example: Example, naming: Naming) -> dict[str, Any]:
    nobody = abs(example.difference) < 0.05
    whom = "neither prefers it" if nobody else f"{naming.a if example.difference < 0 else naming.b} prefers it"
    return {
        "label": f"D {example.difference:+.1f} nats".replace("-", "\N{MINUS SIGN}"),
        "note": f"{whom}; one of {naming.inputs(example.drawn_from)}; {name} of all D",
        "tokens": list(example.tokens),
        "values": list(example.token_differences) or [None] * len(example.tokens),
    }
