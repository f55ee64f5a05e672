"""The tables of a comparison as plain data: agreement at thresholds, what the figures rest on, and checks.

Legend: N samples, R replicates.
"""

import math
from dataclasses import replace

import numpy as np

from armillary.methods.modeldiff.config import Weighting
from armillary.methods.modeldiff.curves import Table as Weights
from armillary.methods.modeldiff.direction import Side
from armillary.methods.modeldiff.estimate import replicate_sums, resampled
from armillary.methods.modeldiff.readout import ratio
from armillary.methods.modeldiff.report_figures import Naming
from armillary.methods.modeldiff.result import Comparison
from armillary.methods.modeldiff.sufficiency import reliability_by
from armillary.numerics.intervals import Interval
from armillary.runs.sections import Cell, Table

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
