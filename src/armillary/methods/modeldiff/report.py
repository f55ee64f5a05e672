"""A comparison as a report shows it: sections, findings and measures, as plain data that needs no model.

In order: a comparison over token sequences, what people's ratings add to it, and a comparison on text.
"""

import math
from collections.abc import Mapping

from armillary.errors import UsageError
from armillary.methods.modeldiff.core import Side
from armillary.methods.modeldiff.figures import (
    NOTHING,
    THRESHOLDS,
    WEIGHTINGS,
    Naming,
    agreement_table,
    amount,
    checks_table,
    conditional,
    curves,
    decimal,
    examples,
    samples_table,
)
from armillary.methods.modeldiff.ratings import RatingAgreement, agreement_with_people
from armillary.methods.modeldiff.result import Comparison, SampleExample, enough, reliability_by, shortage
from armillary.methods.modeldiff.sheets import BIN, rated_direction
from armillary.methods.modeldiff.text_mode import TextComparison
from armillary.numerics.intervals import Interval
from armillary.records.sections import Cell, Figure, Finding, Lines, Section, Series, Table

BOTH: tuple[Side, Side] = ("a", "b")
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
    """What a reader meets first: the headline, how far apart the models are, and the input that each prefers most."""
    sentences = [Finding(text=headline(comparison), interest=0.9, section="differences")]
    if enough(comparison, "profile") and comparison.config.weighting == "count":
        sentences.append(Finding(text=apart(comparison), interest=0.6, section="differences"))
    strongest = [f"{name} prefers {_quoted(example)}." for name, example in _strongest(comparison)]
    if strongest:
        sentences.append(Finding(text="Most of all, " + " ".join(strongest), interest=0.4, section="texts"))
    return sentences


def headline(comparison: Comparison) -> str:
    """The result in one sentence under the chosen weighting, or that there are not enough samples for one."""
    short = shortage(comparison)
    if short is not None:
        return short
    if comparison.config.weighting == "profile":
        return apart(comparison)
    agreement = comparison.agreement(HALF_NAT * comparison.space.length)
    share = comparison.overlap_share
    return (
        f"By count, B finds {amount(agreement.share_a, '.0%')} of A's plausible inputs worse by half a nat per token "
        f"or more, and A {amount(agreement.share_b, '.0%')} of B's; {amount(share['a'], '.0%')} of A's and "
        f"{amount(share['b'], '.0%')} of B's are plausible to both."
    )


def apart(comparison: Comparison) -> str:
    """Mean and spread of the difference over each model's window, flat over the NLL."""
    spreads = {side: comparison.spread(side) for side in BOTH}
    parts = [
        f"{amount(spread.mean, '+.2f')} on {side.upper()}'s inputs (spread {amount(spread.deviation)}{spread.warning})"
        for side, spread in spreads.items()
    ]
    return f"Flat over the NLL window, D averages {' and '.join(parts)}, in nats per token."


def measures(comparison: Comparison) -> dict[str, Interval]:
    """Every number by name; counts only where they rest on enough samples."""
    named: dict[str, Interval] = {}
    for side in BOTH:
        inputs, spread = f"{side.upper()}'s inputs", comparison.spread(side)
        named |= {
            f"profile/mean of D, {inputs}": spread.mean,
            f"profile/spread of D, {inputs}": spread.deviation,
            f"profile/plausible to both, share of {inputs}": spread.overlap,
        }
        for weighting in WEIGHTINGS:
            rests = reliability_by(comparison, weighting)[side]
            how = f"of {rests.drawn:,} samples drawn, {rests.inside:,} inside the window"
            named[f"{weighting}/effective samples, {inputs}"] = Interval(
                estimate=rests.effective, n=rests.drawn, how=how
            )
    return named | (_counts(comparison) if enough(comparison, "count") else {})


def _counts(comparison: Comparison) -> dict[str, Interval]:
    named = {}
    for side in BOTH:
        inputs = f"{side.upper()}'s inputs"
        named[f"count/log10 of {inputs}"] = decimal(comparison.log_total[side])
        named[f"count/log10 of the overlap, from {inputs}"] = decimal(comparison.log_overlap[side])
        named[f"count/plausible to both, share of {inputs}"] = comparison.overlap_share[side]
    for threshold in THRESHOLDS:
        agreement = comparison.agreement(threshold * comparison.space.length)
        named[f"count/worse for B by {threshold:g} nats per token, share of A's inputs"] = agreement.share_a
        named[f"count/worse for A by {threshold:g} nats per token, share of B's inputs"] = agreement.share_b
    return named


def _differences(comparison: Comparison, naming: Naming) -> Section:
    chosen = comparison.config.weighting
    order = [chosen, *(weighting for weighting in WEIGHTINGS if weighting != chosen)]
    drawn = [weighting for weighting in order if enough(comparison, weighting)]
    lines = [headline(comparison)]
    if shortage(comparison) is not None:
        rests = reliability_by(comparison, chosen)
        lines.append(" ".join(f"{side.upper()}: {rests[side].sentence()}" for side in BOTH))
        if "profile" in drawn:
            lines.append(f"The profile rests on enough. {apart(comparison)}")
    first, second = comparison.names
    lines.append(" ".join([f"A is {first}, B is {second}.", *comparison.notes]))
    return Section(
        id="differences",
        title="How far the models differ",
        summary="\n\n".join(lines),
        meaning=SIGN,
        caution=EDGE,
        figures=[curves(comparison, weighting, naming) for weighting in drawn],
        tables=[agreement_table(comparison, naming, reliable=enough(comparison, "count"))],
    )


def _by_plausibility(comparison: Comparison, naming: Naming) -> Section:
    figures: list[Figure] = [conditional(comparison, side, naming) for side in BOTH]
    return Section(
        id="plausibility",
        title="Does the difference depend on how plausible a text is?",
        summary=" ".join(
            f"On {side.upper()}'s inputs, D averages {amount(comparison.spread(side).mean, '+.2f')} nats per token."
            for side in BOTH
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
            summary=" ".join(f"{name} prefers {_quoted(example)} most." for name, example in _strongest(comparison))
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
        summary=" ".join(f"By count, {side.upper()}: {count[side].sentence()}" for side in BOTH),
        meaning="Samples come with the model's own probability and are weighed by what each stands for: an unlikely "
        "one for many inputs that were not drawn. Effective samples say how many equally weighted ones would tell as "
        "much; from 100 on a figure is shown as reliable.",
        caution="The windows decide what counts as plausible. Where a pilot chose them, both models scored the same "
        "draws, and the intervals hold what another pilot would change. End tokens "
        "inside a sequence make texts that a reader would call two.",
        tables=tables + ([checks] if checks else []),
    )


def _strongest(comparison: Comparison) -> list[tuple[str, SampleExample]]:
    """The finite sample that A prefers most and the one that B does, where they prefer it at all."""
    most = len(comparison.a.own_N) + len(comparison.b.own_N)
    # Infinite differences are left out, and what is nearer to 0 than rounding.
    preferred = {"A": (-1e300, -1e-3), "B": (1e-3, 1e300)}
    return [(name, example) for name, ends in preferred.items() for example in comparison.examples(ends, most)[:1]]


def _quoted(example: SampleExample) -> str:
    text = " ".join(example.text.split())
    shown = text if len(text) <= 90 else text[:89] + "\N{HORIZONTAL ELLIPSIS}"
    quoted = f"\N{LEFT DOUBLE QUOTATION MARK}{shown}\N{RIGHT DOUBLE QUOTATION MARK}"
    return f"{quoted} (D {amount(Interval(estimate=example.difference), '+.1f')} nats)"


# What the ratings of a sheet say: which model agrees better with people.


def people_section(
    comparison: Comparison, ratings: Mapping[str, float]
) -> tuple[Section, Finding, dict[str, Interval]]:
    """Which model agrees better with the people who rated, at each threshold. Raises UsageError for no ratings."""
    if not ratings:
        raise UsageError("The sheet holds no ratings; fill the column rating with numbers from 0 to 1.")
    length = comparison.space.length
    agreements = agreement_with_people(
        rated_direction(comparison.a, ratings),
        rated_direction(comparison.b, ratings),
        [threshold * length for threshold in THRESHOLDS],
        bin_width=BIN * length,
        seed=comparison.config.seed,
        replicates=comparison.config.replicates,
        level=comparison.config.level,
    )
    decided = [
        f"{agreement.verdict} at {agreement.threshold / length:g} nats per token"
        for agreement in agreements
        if agreement.verdict != "undecided"
    ]
    summary = f"{len(ratings)} ratings. " + (f"{'; '.join(decided)}." if decided else "Undecided at every threshold.")
    measures = {
        f"people/mean rating of what {name} prefers by {agreement.threshold / length:g} nats per token": precision
        for agreement in agreements
        for name, precision in (("A", agreement.a.precision), ("B", agreement.b.precision))
        if precision is not None
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
        tables=[_people_table(agreements, length)],
    )
    return section, Finding(text=summary, interest=0.8 if decided else 0.5, section=section.id), measures


def _people_table(agreements: list[RatingAgreement], length: int) -> Table:
    rows: list[list[Cell]] = []
    for agreement in agreements:
        for name, inputs in (("A", agreement.a), ("B", agreement.b)):
            shown = [NOTHING if value is None else amount(value) for value in (inputs.precision, inputs.good)]
            rows.append([agreement.threshold / length, name, *shown, f"{inputs.rated} of {inputs.beyond}",
                         f"{inputs.covered:.0%}", agreement.verdict, agreement.reason])  # fmt: skip
    return Table(
        title="Inputs that one model prefers by a threshold or more",
        columns=["nats per token", "preferred by", "mean rating", "good ones, times the overlap", "rated",
                 "covered by ratings", "verdict", "because"],
        rows=rows,
    )  # fmt: skip


# A comparison on text, of models with different tokenizers.

SECTION = "text-differences"


def text_sections(comparison: TextComparison) -> list[Section]:
    """One section: the histogram of both directions, what could be compared, and the texts that part them most."""
    starts = f" A reads every text after {comparison.start_a!r}, B after {comparison.start_b!r}."
    names = f"A is {comparison.model_a}, B is {comparison.model_b}."
    return [
        Section(
            id=SECTION,
            title="How far the models differ, per byte of text",
            summary=f"{text_headline(comparison)}\n\n{names}"
            + (starts if comparison.start_a != comparison.start_b else ""),
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
        f"D averages {amount(a, '+.3f')} nats per byte over the {a.n:,} texts that A wrote and {amount(b, '+.3f')} "
        f"over the {b.n:,} that B wrote."
    )


def text_findings(comparison: TextComparison) -> list[Finding]:
    """The headline."""
    return [Finding(text=text_headline(comparison), interest=0.9, section=SECTION)]


def text_measures(comparison: TextComparison) -> dict[str, Interval]:
    """Every number by name."""
    named: dict[str, Interval] = {}
    for name, direction in (("A's texts", comparison.a), ("B's texts", comparison.b)):
        named |= {
            f"text/mean of D per byte, {name}": direction.difference_per_byte,
            f"text/log ratio of writer to other per byte (bound), {name}": direction.log_ratio_bound,
            f"text/canonical draws, {name}": direction.acceptance,
            f"text/of these canonical in both, {name}": direction.canonical_in_both,
        }
    return named


def _histogram(comparison: TextComparison) -> Figure:
    data = Lines(
        x=[round(float(centre), 6) for centre in comparison.bins.centres_D],
        series=[
            Series(
                name=name,
                y=[share.estimate for share in shares],
                low=[share.lower for share in shares],
                high=[share.upper for share in shares],
            )
            for name, shares in (("A's texts", comparison.a.histogram_D), ("B's texts", comparison.b.histogram_D))
        ],
        x_label=Naming().axis.replace("per token", "per byte"),
        y_label="share of the texts of one writer",
    )
    return Figure(
        title="Share of texts at each difference",
        data=data,
        alt="Two histograms of the difference per byte: one over what A wrote, one over what B wrote.",
    )


def _compared(comparison: TextComparison) -> Table:
    a, b = comparison.a, comparison.b
    rows: list[list[Cell]] = [
        ["sequences drawn", a.drawn, b.drawn],
        ["canonical: the tokenizer's own reading", amount(a.acceptance, ".1%"), amount(b.acceptance, ".1%")],
        ["of these, given back by the other tokenizer", amount(a.canonical_in_both, ".1%"),
         amount(b.canonical_in_both, ".1%")],
        ["texts compared", a.difference_per_byte.n, b.difference_per_byte.n],
        ["mean of D, nats per byte", amount(a.difference_per_byte, "+.3f"), amount(b.difference_per_byte, "+.3f")],
        ["log ratio of writer to other, nats per byte (upper bound)", amount(a.log_ratio_bound, ".3f"),
         amount(b.log_ratio_bound, ".3f")],
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
        for name, strongest in comparison.examples(each).items()
        for row in strongest
        if math.isfinite(row.difference_per_byte)
    ]
    return Table(
        title="The texts that part the models most",
        columns=["who prefers", "D, nats per byte", "written by", "text"],
        rows=rows,
        note="Sorted by the difference, so that short and odd texts stand first.",
    )
