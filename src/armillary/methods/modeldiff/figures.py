"""The pictures of a comparison as plain data: both directions on one axis, ``p(D | z)``, and texts by token.

Legend: N samples, Z bins of the NLL, D bins of the difference.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from armillary.methods.modeldiff.config import Weighting
from armillary.methods.modeldiff.core import Side, replicate_sums, resampled
from armillary.methods.modeldiff.curves import Table as Weights, ratio
from armillary.methods.modeldiff.result import Comparison, Example, reliability_by
from armillary.numerics.intervals import Interval
from armillary.records.sections import Cell, Figure, Table

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


# The tables of a comparison as plain data: agreement at thresholds, what the figures rest on, and checks.
#
# Legend: N samples, R replicates.

THRESHOLDS = (0.1, 0.25, 0.5, 1.0, 2.0)
"""Differences (nats per token) from which on inputs count as seen apart."""

WEIGHTINGS: tuple[Weighting, Weighting] = ("count", "profile")
NOTHING = "\N{EN DASH}"


def told(value: Interval, form: str = ".2f") -> str:
    """An estimate with its interval in words; "none" for the log of a count of 0."""
    parts = [_number(end, form) for end in (value.estimate, value.low, value.high) if end is not None]
    return parts[0] if len(parts) < 3 or parts[0] == NOTHING else f"{parts[0]} [{parts[1]}, {parts[2]}]"


def _number(value: float, form: str) -> str:
    if value == -math.inf:
        return "none"
    if not math.isfinite(value):
        return NOTHING
    shown = f"{value:{form}}"
    # A difference that rounds to nothing has no sign.
    shown = shown if float(shown.rstrip("%")) else shown.lstrip("+-")
    return shown.replace("-", "\N{MINUS SIGN}")


def decimal(log: Interval) -> Interval:
    """A natural log as a decimal one."""
    low, high = (None if end is None else end / math.log(10) for end in (log.low, log.high))
    return replace(log, estimate=log.estimate / math.log(10), low=low, high=high)


def multiple(weights: Weights, threshold: float, level: float) -> Interval:
    """Inputs that the other model finds worse by ``threshold`` (nats) or more, over the inputs plausible to both.

    Both numbers come from the samples of one direction and are resampled together.
    """
    held = weights.direction
    worse_N = held.other_N - held.own_N >= threshold
    cell_N = np.where(held.inside_N, worse_N + 2 * held.overlap_N, -1)
    counts = resampled(held.unit_N, held.stratum_N, weights.replicates, weights.seed)
    sums_R4 = replicate_sums(weights.weight_N, cell_N, 4, counts)
    kept_N = cell_N >= 0
    sums_4 = np.bincount(cell_N[kept_N], weights.weight_N[kept_N], minlength=4)
    worse = (float(sums_4[[1, 3]].sum()), sums_R4[:, [1, 3]].sum(axis=1))
    both = (float(sums_4[[2, 3]].sum()), sums_R4[:, [2, 3]].sum(axis=1))
    return ratio(worse, both, level, len(cell_N))


def agreement_table(comparison: Comparison, naming: Naming, *, reliable: bool) -> Table:
    """Numbers of inputs seen apart and alike at each threshold, by count."""
    length = comparison.space.length
    rows: list[list[Cell]] = []
    for threshold in THRESHOLDS:
        level = f"{threshold:g}"
        found = comparison.agreement(threshold * length)
        times = [multiple(weights, threshold * length, comparison.config.level) for weights in comparison.tables]
        first, second = (f"{one}, worse for {other} by this or more"
                         for one, other in ((naming.inputs_a, naming.b), (naming.inputs_b, naming.a)))  # fmt: skip
        rows += [
            [level, first, told(decimal(found.private_a), ".1f"), told(times[0]), told(found.share_a, ".1%")],
            [level, second, told(decimal(found.private_b), ".1f"), told(times[1]), told(found.share_b, ".1%")],
            [level, f"plausible to both and within this, from {naming.inputs_a}",
             told(decimal(found.shared_a), ".1f"), NOTHING, NOTHING],
            [level, f"plausible to both and within this, from {naming.inputs_b}",
             told(decimal(found.shared_b), ".1f"), NOTHING, NOTHING],
        ]  # fmt: skip
    warning = "" if reliable else " These counts rest on too few samples: their intervals are too narrow."
    return Table(
        title="Agreement by threshold, by count" + ("" if reliable else " (not enough samples)"),
        columns=["nats per token", "inputs", "log10 of number", "times overlap", "share"],
        rows=rows,
        note=f"A threshold of 0.5 means {0.5 * length:g} nats over {length} tokens. The overlap is what both models "
        "find plausible, each by its own window. The last two rows of a threshold count the same inputs, from either "
        "model's samples, and should agree." + warning,
    )


def samples_table(comparison: Comparison, naming: Naming) -> Table:
    """On how many samples each direction rests, by count and by profile, with windows and prefix."""
    of_a, of_b = _facts(comparison, "a"), _facts(comparison, "b")
    prefix = comparison.space.prefix
    return Table(
        title="What the figures rest on",
        columns=["what", naming.inputs_a, naming.inputs_b],
        rows=[[name, value, of_b[name]] for name, value in of_a.items()],
        note=f"Sequences of {comparison.space.length} tokens after "
        + ("the beginning-of-text token" if prefix is None else f"the prefix {prefix!r}")
        + ("; end tokens are left out." if comparison.space.ban_eos else "; end tokens are tokens like others."),
    )


def _facts(comparison: Comparison, side: Side) -> dict[str, Cell]:
    held, length = (comparison.a if side == "a" else comparison.b), comparison.space.length
    count, profile = (reliability_by(comparison, weighting)[side] for weighting in WEIGHTINGS)
    low, high = held.window
    return {
        "drawn from": comparison.names[0 if side == "a" else 1],
        "window of the NLL, nats": f"{low:.1f} to {high:.1f}",
        "the same per token": f"{low / length:.2f} to {high / length:.2f}",
        "by count": count.sentence(),
        "by count: share of the heaviest sample": f"{count.largest:.1%}",
        "by count: tail of the weights (Pareto k)": count.pareto_k,
        "flat over the NLL window": profile.sentence(),
        "plausible inputs, log10 of their number": told(decimal(comparison.log_total[side]), ".1f"),
        "of these plausible to both, log10": told(decimal(comparison.log_overlap[side]), ".1f"),
        "samples that the other model can't give": int(np.isinf(held.other_N[held.inside_N]).sum()),
    }


def checks_table(comparison: Comparison, naming: Naming) -> Table | None:
    """Exact identities beside what the samples give; None where several temperatures were drawn."""
    rows: list[list[Cell]] = []
    for side, found in comparison.identities().items():
        if found:
            name = naming.inputs(side)
            rows += [
                [name, "mean of exp(NLL of the model that drew - NLL of the other)", 1.0, found["mean_exponential"]],
                [name, "mean of NLL of the other - NLL of the model that drew", "0 or more", found["divergence"]],
            ]
    if not rows:
        return None
    return Table(
        title="Identities that must hold over all samples",
        columns=["samples", "quantity", "must be", "is"],
        rows=rows,
        note="The second is the Kullback-Leibler divergence of the two models in nats. Where it is more than some 3 "
        "nats, the first mean rests on samples too rare to be drawn, and a value far below 1 says nothing.",
    )
