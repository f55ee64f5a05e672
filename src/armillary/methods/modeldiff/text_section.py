"""A comparison on text, of models with different tokenizers, as a report tells it: plain data that needs no model."""

import math

from armillary.methods.modeldiff.report_figures import Naming
from armillary.methods.modeldiff.report_tables import told
from armillary.methods.modeldiff.text_result import TextComparison
from armillary.numerics.intervals import Interval
from armillary.runs.sections import Cell, Figure, Finding, Section, Table

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
