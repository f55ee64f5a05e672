"""A comparison as a report tells it: sections, findings and measures, as plain data that needs no model."""

import math
from collections.abc import Mapping

import numpy as np

from armillary.errors import UsageError
from armillary.methods.modeldiff.core import Direction, Side
from armillary.methods.modeldiff.figures import (
    NOTHING,
    THRESHOLDS,
    WEIGHTINGS,
    Naming,
    agreement_table,
    checks_table,
    conditional,
    curves,
    decimal,
    examples,
    samples_table,
    told,
)
from armillary.methods.modeldiff.rated import PrivateInputs, RatedDirection
from armillary.methods.modeldiff.ratings import Agreement, SheetRow, agreement_with_people
from armillary.methods.modeldiff.result import Comparison, Example, enough, reliability_by, shortage
from armillary.methods.modeldiff.source import Floats
from armillary.methods.modeldiff.text_result import TextComparison
from armillary.numerics.intervals import Interval
from armillary.records.sections import Cell, Figure, Finding, Section, Table

SIDES: tuple[Side, Side] = ("a", "b")
HALF_NAT = 0.5
"""Threshold, nats per token, of the headline by count."""

SIGN = (
    "D is the NLL (how surprising a text is, in nats) under A less that under B. Below 0 A finds the text more likely "
    "than B does, above 0 B does; 0.7 nats are a factor of two in probability. A text is plausible to a model if its "
    "NLL lies in that model's window: neither so likely that it only repeats itself nor so unlikely that it falls "
    "apart. Each model draws its own inputs, and both score them."
)
EDGE = (
    "Texts that are a little less likely are so many more that, with the window's upper edge at the most usual NLL or "
    "below it, 63 % or more of the plausible inputs by count lie within one nat of that edge. What is told by count "
    "is told of texts at the edge and changes with it. The profile, flat over the NLL window, does not lean on the "
    "edge and is less noisy, but it counts nothing."
)


def sections(comparison: Comparison, naming: Naming | None = None) -> list[Section]:
    """The report of a comparison in order. Raises InsufficientSamplesError where no sample fell in a window."""
    naming = naming or Naming()
    return [
        _differences(comparison, naming),
        _by_plausibility(comparison, naming),
        *_texts(comparison, naming),
        _samples(comparison, naming),
    ]


def findings(comparison: Comparison) -> list[Finding]:
    """What is told first: the headline, how far apart the models are, and the input that each prefers most."""
    found = [Finding(text=headline(comparison), interest=0.9, section="differences")]
    if enough(comparison, "profile") and comparison.config.weighting == "count":
        found.append(Finding(text=apart(comparison), interest=0.6, section="differences"))
    strongest = [f"{name} prefers {_quoted(one)}." for name, one in _strongest(comparison)]
    if strongest:
        found.append(Finding(text="Most of all, " + " ".join(strongest), interest=0.4, section="texts"))
    return found


def headline(comparison: Comparison) -> str:
    """The result in one sentence under the chosen weighting, or that there are not enough samples for one."""
    short = shortage(comparison)
    if short is not None:
        return short
    if comparison.config.weighting == "profile":
        return apart(comparison)
    found = comparison.agreement(HALF_NAT * comparison.space.length)
    share = comparison.overlap_share
    return (
        f"By count, B finds {told(found.share_a, '.0%')} of A's plausible inputs worse by half a nat per token or "
        f"more, and A {told(found.share_b, '.0%')} of B's; {told(share['a'], '.0%')} of A's and "
        f"{told(share['b'], '.0%')} of B's are plausible to both."
    )


def apart(comparison: Comparison) -> str:
    """Mean and spread of the difference over each model's window, flat over the NLL."""
    said = []
    for side in SIDES:
        one = comparison.spread(side)
        said.append(f"{told(one.mean, '+.2f')} on {side.upper()}'s inputs (spread {told(one.deviation)})")
    return f"Flat over the NLL window, D averages {' and '.join(said)}, in nats per token."


def measures(comparison: Comparison) -> dict[str, Interval]:
    """Every number by name; counts only where they rest on enough samples."""
    found: dict[str, Interval] = {}
    for side in SIDES:
        inputs, one = f"{side.upper()}'s inputs", comparison.spread(side)
        found |= {
            f"profile/mean of D, {inputs}": one.mean,
            f"profile/spread of D, {inputs}": one.deviation,
            f"profile/plausible to both, share of {inputs}": one.overlap,
        }
        for weighting in WEIGHTINGS:
            rests = reliability_by(comparison, weighting)[side]
            how = f"of {rests.drawn:,} samples drawn, {rests.inside:,} inside the window"
            found[f"{weighting}/effective samples, {inputs}"] = Interval(
                estimate=rests.effective, n=rests.drawn, how=how
            )
    return found | (_counts(comparison) if enough(comparison, "count") else {})


def _counts(comparison: Comparison) -> dict[str, Interval]:
    found = {}
    for side in SIDES:
        inputs = f"{side.upper()}'s inputs"
        found[f"count/log10 of {inputs}"] = decimal(comparison.log_total[side])
        found[f"count/log10 of the overlap, from {inputs}"] = decimal(comparison.log_overlap[side])
        found[f"count/plausible to both, share of {inputs}"] = comparison.overlap_share[side]
    for threshold in THRESHOLDS:
        one = comparison.agreement(threshold * comparison.space.length)
        found[f"count/worse for B by {threshold:g} nats per token, share of A's inputs"] = one.share_a
        found[f"count/worse for A by {threshold:g} nats per token, share of B's inputs"] = one.share_b
    return found


def _differences(comparison: Comparison, naming: Naming) -> Section:
    chosen = comparison.config.weighting
    order = [chosen, *(one for one in WEIGHTINGS if one != chosen)]
    drawn = [one for one in order if enough(comparison, one)]
    lines = [headline(comparison)]
    if shortage(comparison) is not None:
        rests = reliability_by(comparison, chosen)
        lines.append(" ".join(f"{side.upper()}: {rests[side].sentence()}" for side in SIDES))
        if "profile" in drawn:
            lines.append(f"The profile rests on enough. {apart(comparison)}")
    first, second = comparison.names
    lines.append(f"A is {first}, B is {second}.")
    return Section(
        id="differences",
        title="How far the models differ",
        summary="\n\n".join(lines),
        meaning=SIGN,
        caution=EDGE,
        figures=[curves(comparison, one, naming) for one in drawn],
        tables=[agreement_table(comparison, naming, reliable=enough(comparison, "count"))],
    )


def _by_plausibility(comparison: Comparison, naming: Naming) -> Section:
    figures: list[Figure] = [conditional(comparison, side, naming) for side in SIDES]
    return Section(
        id="plausibility",
        title="Does the difference depend on how plausible a text is?",
        summary=" ".join(
            f"On {side.upper()}'s inputs, D averages {told(comparison.spread(side).mean, '+.2f')} nats per token."
            for side in SIDES
        ),
        meaning="Each row holds inputs of about the same NLL to the model that drew them, the most likely at the top, "
        "and shows how their difference is spread. Where the rows move sideways on the way down, the difference "
        "depends on how plausible a text is.",
        caution="Rows of few samples (n) are noise. A row does not show how many inputs it stands for: by count the "
        "rows at the bottom hold nearly all.",
        figures=figures,
    )


def _texts(comparison: Comparison, naming: Naming) -> list[Section]:
    figure = examples(comparison, naming)
    if figure is None:
        return []
    return [
        Section(
            id="texts",
            title="Inputs at each difference",
            summary=" ".join(f"{name} prefers {_quoted(one)} most." for name, one in _strongest(comparison))
            or "No sample is preferred by either model.",
            meaning="Inputs from five ranges of D, drawn by their weight. The colour of a token is its own part of "
            "D: where the one model was surprised and the other was not. The strongest are underlined.",
            caution="A few samples of many: they show what there is, not how often. A token is scored given those "
            "before it, so that its colour tells of the whole beginning and not of the word alone.",
            figures=[figure],
        )
    ]


def _samples(comparison: Comparison, naming: Naming) -> Section:
    count = reliability_by(comparison, "count")
    checks = checks_table(comparison, naming)
    tables: list[Table] = [samples_table(comparison, naming)]
    return Section(
        id="samples",
        title="What this rests on",
        summary=" ".join(f"By count, {side.upper()}: {count[side].sentence()}" for side in SIDES),
        meaning="Samples come with the model's own probability and are weighed by what each stands for: an unlikely "
        "one for many inputs that were not drawn. Effective samples say how many equally weighted ones would tell as "
        "much; from 100 on a figure is shown as reliable.",
        caution="The windows were fixed before the samples were drawn and differ between the models; they decide what "
        "counts as plausible. End tokens inside a sequence make texts that a reader would call two.",
        tables=tables + ([checks] if checks else []),
    )


def _strongest(comparison: Comparison) -> list[tuple[str, Example]]:
    """The finite sample that A prefers most and the one that B does, where they prefer it at all."""
    most = len(comparison.a.own_N) + len(comparison.b.own_N)
    preferred = {"A": (-1e300, -1e-3), "B": (1e-3, 1e300)}
    return [(name, one) for name, ends in preferred.items() for one in comparison.examples(ends, most)[:1]]


def _quoted(example: Example) -> str:
    text = " ".join(example.text.split())
    shown = text if len(text) <= 90 else text[:89] + "\N{HORIZONTAL ELLIPSIS}"
    quoted = f"\N{LEFT DOUBLE QUOTATION MARK}{shown}\N{RIGHT DOUBLE QUOTATION MARK}"
    return f"{quoted} (D {told(Interval(estimate=example.difference), '+.1f')} nats)"


# Sheets of samples for people to rate, and what their ratings say: which model agrees better with people.
#
# Legend: N samples.

EACH = 60
"""Texts of each model on a sheet."""

BIN = 0.5
"""Width (nats per token) of the bins of D from which the texts of a sheet are taken in turn."""


def sheet_rows(comparison: Comparison, each: int = EACH, seed: int = 0) -> list[SheetRow]:
    """Plausible samples to be rated, at most ``each`` of either model, taken in turn from bins of the difference.

    The same comparison and seed give the same rows. Raises UsageError where the samples have no text.
    """
    return [row for held in (comparison.a, comparison.b) for row in _chosen(held, comparison, each, seed)]


def _chosen(held: Direction, comparison: Comparison, each: int, seed: int) -> list[SheetRow]:
    if held.text_N is None:
        raise UsageError(f"The samples of model {held.side.upper()} have no text, so that nobody could rate them.")
    _, first = np.unique(held.ids_NL, axis=0, return_index=True)
    rows = np.random.default_rng(seed).permutation(np.intersect1d(first, np.flatnonzero(held.inside_N)))
    bins: dict[float, list[int]] = {}
    width = BIN * comparison.space.length
    for row in rows.tolist():
        # The side of the drawing model counts as in the evaluation, so that both cut at the same places.
        preferred = -held.difference_N[row] if held.side == "a" else held.difference_N[row]
        bins.setdefault(float(np.floor(preferred / width)), []).append(row)
    turns = [(turn, place, row) for place, members in sorted(bins.items()) for turn, row in enumerate(members)]
    return [
        SheetRow(id=f"{held.side}{row}", direction=held.side, text=str(held.text_N[row]))
        for _, _, row in sorted(turns)[:each]
    ]


def rated_direction(held: Direction, ratings: Mapping[str, float]) -> RatedDirection:
    """Samples with their ratings by the ids of a sheet; a sequence that was drawn twice is rated twice alike."""
    _, first, same_N = np.unique(held.ids_NL, axis=0, return_index=True, return_inverse=True)
    of_first: Floats = np.array([ratings.get(f"{held.side}{row}", np.nan) for row in first.tolist()])
    return RatedDirection.of(held, of_first[same_N.reshape(-1)])


def rated(comparison: Comparison, ratings: Mapping[str, float]) -> tuple[Section, Finding, dict[str, Interval]]:
    """Which model agrees better with the people who rated, at each threshold. Raises UsageError for no ratings."""
    if not ratings:
        raise UsageError("The sheet holds no ratings; fill the column rating with numbers from 0 to 1.")
    length = comparison.space.length
    found = agreement_with_people(
        rated_direction(comparison.a, ratings),
        rated_direction(comparison.b, ratings),
        [threshold * length for threshold in THRESHOLDS],
        bin_width=BIN * length,
        seed=comparison.config.seed,
        replicates=comparison.config.replicates,
        level=comparison.config.level,
    )
    decided = [one for one in found if one.verdict != "undecided"]
    said = "; ".join(f"{one.verdict} at {one.threshold / length:g} nats per token" for one in decided)
    summary = f"{len(ratings)} ratings. " + (f"{said}." if said else "Undecided at every threshold.")
    measures = {
        f"people/mean rating of what {name} prefers by {one.threshold / length:g} nats per token": private.precision
        for one in found
        for name, private in (("A", one.a), ("B", one.b))
        if private.precision is not None
    }
    section = Section(
        id="people",
        title="Which model agrees better with people",
        summary=summary,
        meaning="Of the inputs that only one model prefers, people said how good they are (1 good, 0 bad). The model "
        "whose own inputs are rated higher agrees better, where the two intervals do not overlap. Good inputs are "
        "told as multiples of the inputs plausible to both.",
        caution="A few ratings stand for a bin of differences each, and by count nearly all inputs lie at the upper "
        "edge of the window. Where not all is covered by ratings, the number of good inputs is a lower bound.",
        tables=[_table(found, length)],
    )
    return section, Finding(text=summary, interest=0.8 if decided else 0.5, section=section.id), measures


def _table(found: list[Agreement], length: int) -> Table:
    rows: list[list[Cell]] = []
    for one in found:
        for name, private in (("A", one.a), ("B", one.b)):
            rows.append([one.threshold / length, name, *_figures(private), one.verdict, one.reason])
    return Table(
        title="Inputs that one model prefers by a threshold or more",
        columns=["nats per token", "preferred by", "mean rating", "good ones, times the overlap", "rated",
                 "covered by ratings", "verdict", "because"],
        rows=rows,
    )  # fmt: skip


def _figures(private: PrivateInputs) -> list[Cell]:
    precision, good = (NOTHING if one is None else told(one) for one in (private.precision, private.good))
    return [precision, good, f"{private.rated} of {private.found}", f"{private.covered:.0%}"]


# A comparison on text, of models with different tokenizers, as a report tells it: plain data that needs no model.

SECTION = "text-differences"


def text_sections(comparison: TextComparison) -> list[Section]:
    """One section: the histogram of both directions, what could be compared, and the texts that part them most."""
    return [
        Section(
            id=SECTION,
            title="How far the models differ, per byte of text",
            summary=f"{text_headline(comparison)}\n\nA is {comparison.model_a}, B is {comparison.model_b}.",
            meaning="The models cut text into different tokens, so there is no common set of token sequences to count "
            "over. Instead each writes texts, both score them, and the difference is told per byte: D is the NLL in "
            "nats under A less that under B. Below 0 A finds the text more likely than B does, above 0 B does.",
            caution="These are means over what each model writes, not counts. The other model could write a text with "
            "other tokens than its tokenizer's own, so that its probability is a lower bound and the differences lean "
            "towards the writer. Draws whose tokens are not the tokenizer's own reading of their text are left out.",
            figures=[_histogram(comparison)],
            tables=[_compared(comparison), _examples(comparison)],
        )
    ]


def text_headline(comparison: TextComparison) -> str:
    """The result in one sentence."""
    a, b = comparison.a.difference_per_byte, comparison.b.difference_per_byte
    return (
        f"D averages {told(a, '+.3f')} nats per byte over the {a.n:,} texts that A wrote and {told(b, '+.3f')} over "
        f"the {b.n:,} that B wrote."
    )


def text_findings(comparison: TextComparison) -> list[Finding]:
    """The headline."""
    return [Finding(text=text_headline(comparison), interest=0.9, section=SECTION)]


def text_measures(comparison: TextComparison) -> dict[str, Interval]:
    """Every number by name."""
    found: dict[str, Interval] = {}
    for name, one in (("A's texts", comparison.a), ("B's texts", comparison.b)):
        found |= {
            f"text/mean of D per byte, {name}": one.difference_per_byte,
            f"text/log ratio of writer to other per byte (bound), {name}": one.log_ratio_bound,
            f"text/canonical draws, {name}": one.acceptance,
            f"text/of these canonical in both, {name}": one.canonical_in_both,
        }
    return found


def _histogram(comparison: TextComparison) -> Figure:
    series = [
        {"name": name, "y": [one.estimate for one in shares], "low": [one.lower for one in shares],
         "high": [one.upper for one in shares]}
        for name, shares in (("A's texts", comparison.a.histogram_D), ("B's texts", comparison.b.histogram_D))
    ]  # fmt: skip
    return Figure(
        kind="lines",
        title="Share of texts at each difference",
        data={
            "x": [round(float(centre), 6) for centre in comparison.bins.centres_D],
            "series": series,
            "x_label": Naming().axis.replace("per token", "per byte"),
            "y_label": "share of the texts of one writer",
        },
        alt="Two histograms of the difference per byte: one over what A wrote, one over what B wrote.",
    )


def _compared(comparison: TextComparison) -> Table:
    a, b = comparison.a, comparison.b
    rows: list[list[Cell]] = [
        ["sequences drawn", a.drawn, b.drawn],
        ["canonical: the tokenizer's own reading", told(a.acceptance, ".1%"), told(b.acceptance, ".1%")],
        ["of these, given back by the other tokenizer", told(a.canonical_in_both, ".1%"),
         told(b.canonical_in_both, ".1%")],
        ["texts compared", a.difference_per_byte.n, b.difference_per_byte.n],
        ["mean of D, nats per byte", told(a.difference_per_byte, "+.3f"), told(b.difference_per_byte, "+.3f")],
        ["log ratio of writer to other, nats per byte (upper bound)", told(a.log_ratio_bound, ".3f"),
         told(b.log_ratio_bound, ".3f")],
        ["draws are cut before the last", comparison.cut_a, comparison.cut_b],
    ]  # fmt: skip
    rows += [[f"left out: {reason}", a.dropped[reason], b.dropped[reason]] for reason in a.dropped]
    start = "the beginning-of-text token" if comparison.prefix is None else f"the prefix {comparison.prefix!r}"
    return Table(
        title="What was compared",
        columns=["what", "A's texts", "B's texts"],
        rows=rows,
        note=f"{comparison.length} tokens drawn at temperature 1 after {start}, each model with its own tokens.",
    )


def _examples(comparison: TextComparison, each: int = 8) -> Table:
    rows: list[list[Cell]] = [
        [name, row.difference_per_byte, row.side.upper(), row.text]
        for name, found in comparison.examples(each).items()
        for row in found
        if math.isfinite(row.difference_per_byte)
    ]
    return Table(
        title="The texts that part the models most",
        columns=["who prefers", "D, nats per byte", "written by", "text"],
        rows=rows,
        note="Sorted by the difference, so that short and odd texts stand first.",
    )
