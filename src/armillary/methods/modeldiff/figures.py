"""The figures and tables of a comparison: both directions on one axis, ``p(D | z)``, texts by token, what it rests on.

Legend: N samples, Z bins of the NLL, D bins of the difference, R replicates.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from armillary.methods.modeldiff.config import Weighting
from armillary.methods.modeldiff.core import Side
from armillary.methods.modeldiff.curves import CountTable, ratio
from armillary.methods.modeldiff.result import Comparison, SampleExample, reliability_by
from armillary.numerics.intervals import Interval
from armillary.records.sections import Cell, Figure, Heatmap, Lines, Series, Table, TokenRow, Tokens

MOST_CELLS = 24
"""Rows, and columns, of a heat map: more would be too small to tell apart on a page."""

RANGES = (("lowest 5 %", 0.0, 0.05), ("5 to 25 %", 0.05, 0.25), ("middle half", 0.25, 0.75),
          ("75 to 95 %", 0.75, 0.95), ("highest 5 %", 0.95, 1.0))  # fmt: skip
"""Ranges of D, by its quantiles over the plausible samples of both models, from which examples are taken."""

THRESHOLDS = (0.1, 0.25, 0.5, 1.0, 2.0)
"""Differences (nats per token) from which on inputs count as seen apart."""

WEIGHTINGS: tuple[Weighting, Weighting] = ("count", "profile")
NOTHING = "\N{EN DASH}"


@dataclass(frozen=True, kw_only=True)
class Naming:
    """What the two models are called in a figure."""

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


def amount(value: Interval, form: str = ".2f") -> str:
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


def curves(comparison: Comparison, weighting: Weighting, naming: Naming) -> Figure:
    """The share of each model's plausible inputs at each difference, with intervals."""
    by_side = {side: comparison.curve(side, weighting=weighting) for side in ("a", "b")}
    tallest_D = np.max([[curve.value, curve.high] for curve in by_side.values()], axis=(0, 1))
    occupied = np.flatnonzero(tallest_D > 0)
    shown = slice(max(0, int(occupied[0]) - 1), int(occupied[-1]) + 2)
    how = "by count" if weighting == "count" else "flat over the NLL window"
    data = Lines(
        x=np.round(by_side["a"].difference[shown], 6).tolist(),
        series=[
            Series(
                name=naming.inputs("a" if side == "a" else "b"),
                y=curve.value[shown].tolist(),
                low=curve.low[shown].tolist(),
                high=curve.high[shown].tolist(),
            )
            for side, curve in by_side.items()
        ],
        x_label=naming.axis,
        y_label=f"share of plausible inputs, {how}",
    )
    return Figure(
        title=f"Share of plausible inputs at each difference, {how}",
        data=data,
        alt=f"Two histograms of the difference, {how}: one over {naming.inputs_a}, one over {naming.inputs_b}.",
    )


def conditional(comparison: Comparison, side: Side, naming: Naming) -> Figure:
    """How the difference is spread at each NLL of the model that drew: ``p(D | z)``, every row summing to 1."""
    counts = comparison.count_table(side)
    share_ZD, edges_Z = counts.conditional()
    rows = np.array_split(np.arange(counts.rows), min(MOST_CELLS, counts.rows))
    occupied_D = np.flatnonzero(np.nansum(share_ZD, axis=0) > 0)
    span_D = np.arange(occupied_D[0], occupied_D[-1] + 1)
    columns = np.array_split(span_D, min(MOST_CELLS, len(span_D)))
    centres_D = comparison.bins.centres_D / comparison.space.length

    def share(row: Any, column: Any) -> float | None:
        """Mean over the rows that hold samples of what they have in these columns; None where no row does."""
        cells_ZD = share_ZD[np.ix_(row, column)]
        known = cells_ZD[~np.isnan(cells_ZD).any(axis=1)]
        return float(known.sum(axis=1).mean()) if len(known) else None

    ends_Z = [*edges_Z[1:].tolist(), counts.direction.window[1]]
    samples_Z = np.bincount(counts.cell_N[counts.cell_N >= 0] // 2 // counts.columns, minlength=counts.rows)
    name = naming.inputs(side)
    return Figure(
        title=f"{name[0].upper()}{name[1:]}: the difference (columns, nats per token) at each NLL (rows, nats)",
        data=Heatmap(
            rows=[f"{edges_Z[row[0]]:.1f} to {ends_Z[row[-1]]:.1f} (n {samples_Z[row].sum()})" for row in rows],
            columns=[round(float(centres_D[column].mean()), 2) for column in columns],
            values=[[share(row, column) for column in columns] for row in rows],
            low=0.0,
            unit="share of the row",
        ),
        alt=f"Heat map over {name}: rows are the NLL of the model that drew them, columns the difference.",
    )


def examples(comparison: Comparison, naming: Naming, each: int = 3) -> Figure | None:
    """Texts from five ranges of the difference, each token coloured by its own; None where no sample has both NLL."""
    inside = [direction.difference_N[direction.inside_N] for direction in (comparison.a, comparison.b)]
    difference_N = np.concatenate(inside)
    difference_N = difference_N[np.isfinite(difference_N)]
    if not len(difference_N):
        return None
    chosen: dict[tuple[str, float], tuple[str, SampleExample]] = {}
    for name, low, high in RANGES:
        ends = np.quantile(difference_N, [low, high])
        for example in comparison.examples((float(ends[0]), float(ends[1])), each):
            chosen.setdefault((example.text, example.difference), (name, example))
    ordered = sorted(chosen.values(), key=lambda choice: choice[1].difference)
    known = np.abs([value for _, example in ordered for value in example.token_differences if math.isfinite(value)])
    # Differences of copies are rounding alone; at such a scale nothing should look coloured.
    limit = max(0.1, float(f"{np.quantile(known, 0.98):.2g}")) if len(known) else 1.0
    data = Tokens(
        rows=[_token_row(name, example, naming) for name, example in ordered],
        limit=limit,
        low_name=f"{naming.a} prefers",
        high_name=f"{naming.b} prefers (D of the token, nats)",
    )
    return Figure(
        title="Inputs at each difference, from the one end to the other",
        data=data,
        alt=f"{len(ordered)} texts; a token is marked by how much more one model expected it than the other.",
    )


def _token_row(name: str, example: SampleExample, naming: Naming) -> TokenRow:
    # Where the bound lies trades off naming a side for what may be rounding.
    nobody = abs(example.difference) < 0.05
    whom = "neither prefers it" if nobody else f"{naming.a if example.difference < 0 else naming.b} prefers it"
    values = [value if math.isfinite(value) else None for value in example.token_differences]
    return TokenRow(
        label=f"D {example.difference:+.1f} nats".replace("-", "\N{MINUS SIGN}"),
        note=f"{whom}; one of {naming.inputs(example.drawn_from)}; {name} of all D",
        tokens=list(example.tokens),
        values=values or [None] * len(example.tokens),
    )


def multiple(counts: CountTable, threshold: float, level: float) -> Interval:
    """Inputs that the other model finds worse by ``threshold`` (nats) or more, over the inputs plausible to both.

    Both numbers come from the samples of one direction and are resampled together.
    """
    direction = counts.direction
    worse_N = direction.other_N - direction.own_N >= threshold
    sums_4, sums_R4 = counts.sums(lambda cell_N: np.where(cell_N >= 0, worse_N + 2 * (cell_N % 2), -1), 4)
    worse = (float(sums_4[[1, 3]].sum()), sums_R4[:, [1, 3]].sum(axis=1))
    both = (float(sums_4[[2, 3]].sum()), sums_R4[:, [2, 3]].sum(axis=1))
    return ratio(worse, both, level, counts)


def agreement_table(comparison: Comparison, naming: Naming, *, reliable: bool) -> Table:
    """Numbers of inputs seen apart and alike at each threshold, by count."""
    length = comparison.space.length
    rows: list[list[Cell]] = []
    for threshold in THRESHOLDS:
        agreement = comparison.agreement(threshold * length)
        for side, other, private, share in (
            ("a", naming.b, agreement.private_a, agreement.share_a),
            ("b", naming.a, agreement.private_b, agreement.share_b),
        ):
            counts = comparison.count_table("a" if side == "a" else "b")
            times = multiple(counts, threshold * length, comparison.config.level)
            inputs = naming.inputs(counts.direction.side)
            rows.append([f"{threshold:g}", f"{inputs}, worse for {other} by this or more",
                         amount(decimal(private), ".1f"), amount(times), amount(share, ".1%")])  # fmt: skip
        for inputs, shared in ((naming.inputs_a, agreement.shared_a), (naming.inputs_b, agreement.shared_b)):
            rows.append([f"{threshold:g}", f"plausible to both and within this, from {inputs}",
                         amount(decimal(shared), ".1f"), NOTHING, NOTHING])  # fmt: skip
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
    facts_a, facts_b = _sample_facts(comparison, "a"), _sample_facts(comparison, "b")
    prefix = comparison.space.prefix
    return Table(
        title="What the figures rest on",
        columns=["what", naming.inputs_a, naming.inputs_b],
        rows=[[name, value, facts_b[name]] for name, value in facts_a.items()],
        note=f"Sequences of {comparison.space.length} tokens after "
        + ("the beginning-of-text token" if prefix is None else f"the prefix {prefix!r}")
        + ("; end tokens are left out." if comparison.space.ban_eos else "; end tokens are tokens like others."),
    )


def _sample_facts(comparison: Comparison, side: Side) -> dict[str, Cell]:
    direction, length = comparison.direction(side), comparison.space.length
    count, profile = (reliability_by(comparison, weighting)[side] for weighting in WEIGHTINGS)
    low, high = direction.window
    return {
        "drawn from": comparison.names[0 if side == "a" else 1],
        "window of the NLL, nats": f"{low:.1f} to {high:.1f}",
        "the same per token": f"{low / length:.2f} to {high / length:.2f}",
        "by count": count.sentence(),
        "by count: share of the heaviest sample": f"{count.largest:.1%}",
        "by count: tail of the weights (Pareto k)": count.pareto_k,
        "flat over the NLL window": profile.sentence(),
        "plausible inputs, log10 of their number": amount(decimal(comparison.log_total[side]), ".1f"),
        "of these plausible to both, log10": amount(decimal(comparison.log_overlap[side]), ".1f"),
        "samples that the other model can't give": int(np.isinf(direction.other_N[direction.inside_N]).sum()),
    }


def checks_table(comparison: Comparison, naming: Naming) -> Table | None:
    """Exact identities beside what the samples give; None where several temperatures were drawn."""
    rows: list[list[Cell]] = []
    for side, means in comparison.identities().items():
        if means:
            name, mean = naming.inputs(side), means["mean_exponential"]
            rows += [
                [name, "mean of exp(NLL of the model that drew - NLL of the other)", 1.0, mean],
                [name, "mean of NLL of the other - NLL of the model that drew", "0 or more", means["divergence"]],
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
