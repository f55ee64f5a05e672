"""What a reader is told of audited samples: findings, measures and sections, from the counts alone."""

from dataclasses import dataclass

from armillary.methods.ordering.audit.tally import BINS, OTHERS, OrderTally, bin_name
from armillary.numerics.intervals import Interval, binomial
from armillary.records.sections import (
    Bars,
    Cell,
    Figure,
    Finding,
    OrderPair,
    OrderPairs,
    Section,
    Table,
    interval_bars,
)

PAIRS = 12
"""Rows of the table of pairs of kinds: beyond these come rarities."""

LEAST = 5
"""Samples with a kind of step of which a finding may speak: of fewer it would tell chance."""


@dataclass(frozen=True, kw_only=True)
class AuditPage:
    """The parts of a record of audited samples."""

    title: str
    measures: dict[str, Interval]
    findings: list[Finding]
    sections: list[Section]


def audit_page(tally: OrderTally, name: str, *, format: str, order: str, logical: bool = False) -> AuditPage:
    """The page of the samples of the file or folder ``name``. ``tally`` must have counted a sample.

    ``format`` and ``order`` are named as the command line has them; ``logical`` says which graph was measured.
    """
    linked = tally.samples - tally.free
    share = binomial(tally.late, linked) if linked else None
    measures = {} if share is None else {"samples out of order": share}
    sums = {"VF": (tally.vf, (0.0, 1.0)), "weighted VF": (tally.wvf, (0.0, 1.0)), "lag": (tally.lag, (0.0, 1.0)),
            "Kendall tau": (tally.tau, (-1.0, 1.0))}  # fmt: skip
    for key, (ratio, within) in sums.items():
        if (interval := ratio.interval(within=within)) is not None:
            measures[key] = interval
    rates = {kind: rate for kind, ratio in tally.kinds.items() if (rate := ratio.interval()) is not None}
    kinds = dict(sorted(rates.items(), key=lambda item: -item[1].estimate))
    measures |= {f"late/{kind}": interval for kind, interval in kinds.items()}
    sections = [_counts(tally, share, format, logical)]
    if tally.late:
        sections += [_distances(tally), _kinds(tally, kinds)]
    if tally.examples:
        sections.append(_examples(tally, order))
    if tally.refused:
        sections.append(_refused(tally))
    samples = f"{tally.samples:,} {'sample' if tally.samples == 1 else 'samples'}"
    return AuditPage(
        title=f"Order of the steps in {samples} of {name}",
        measures=measures,
        findings=_findings(tally, share, kinds),
        sections=sections,
    )


def percent(interval: Interval) -> str:
    """ "12% [10%, 15%]", with more digits where the share is small."""
    digits = 2 if interval.upper < 0.01 else 1 if interval.upper < 0.1 else 0
    text = f"{interval.estimate:.{digits}%}"
    return text if interval.low is None or interval.high is None else (
        f"{text} [{interval.low:.{digits}%}, {interval.high:.{digits}%}]"
    )  # fmt: skip


def _findings(tally: OrderTally, share: Interval | None, kinds: dict[str, Interval]) -> list[Finding]:
    if share is None:
        text = "No sample has a step that depends on another, so that every order of them is sequential."
        return [Finding(text=text, interest=1.0, section="counts"), *_aside(tally)]
    if not tally.late:
        text = f"In all {share.n:,} samples with dependencies every step stands behind its support."
        return [Finding(text=text, interest=1.0, section="counts", basis=share.how), *_aside(tally)]
    text = (
        f"In {percent(share)} of the samples with dependencies ({tally.late:,} of {share.n:,}) a step stands before "
        "what supports it."
    )
    findings = [Finding(text=text, interest=1.0, section="counts", basis=share.how)]
    near = sum(tally.distances[bin_name(*ends)].x for ends in BINS[:2])
    one = "step" if tally.longest == 1 else "steps"
    text = (
        f"{near / tally.late_edges:.0%} of the late supports come within two steps, the latest {tally.longest:,} "
        f"{one} after the step that needs it."
    )
    findings.append(Finding(text=text, interest=0.7, section="distances", basis=f"{tally.late_edges:,} late supports"))
    frequent = {kind: rate for kind, rate in kinds.items() if rate.n >= LEAST}
    if len(frequent) > 1:
        kind, worst = next(iter(frequent.items()))
        text = f"Most often too early are steps of kind {kind}: {percent(worst)} of those that have a support."
        findings.append(Finding(text=text, interest=0.6, section="kinds", basis=worst.how))
    return [*findings, *_aside(tally)]


def _aside(tally: OrderTally) -> list[Finding]:
    """What was guessed, left out or can't be written: nothing is silent."""
    findings = []
    if tally.inferred:
        text = (
            f"{tally.inferred / tally.edges:.0%} of the {tally.edges:,} dependencies were inferred from the texts; "
            "look at the examples before you rely on them."
        )
        findings.append(Finding(text=text, interest=0.5, section="counts"))
    if tally.refused:
        verb = "record was refused, since its steps are" if tally.refused == 1 else (
            "records were refused, since their steps are"
        )  # fmt: skip
        text = f"{tally.refused:,} {verb} no sample: {tally.refusals[0]}"
        findings.append(Finding(text=text, interest=0.9, section="refused"))
    if tally.unread:
        verb = "record holds" if tally.unread == 1 else "records hold"
        text = f"{tally.unread:,} {verb} no steps of this format, and count nowhere."
        findings.append(Finding(text=text, interest=0.4, section="counts"))
    if tally.unwritten:
        verb = "sample" if tally.unwritten == 1 else "samples"
        text = f"{tally.unwritten:,} {verb} out of order can't be written in another order, and stand as they were."
        findings.append(Finding(text=text, interest=0.9, section="counts"))
    return findings


def _counts(tally: OrderTally, share: Interval | None, format: str, logical: bool) -> Section:
    graph = "what a step follows from" if logical else "what helps to find a step"
    if share is None:
        summary = f"None of the {tally.samples:,} samples has a dependency between steps."
    else:
        summary = f"{percent(share)} of the samples with dependencies are out of order"
        if (vf := tally.vf.interval()) is not None:
            summary += f"; on average {percent(vf)} of a sample's dependencies point to the right"
        summary += "."
    rows: list[list[Cell]] = [
        ["samples", tally.samples],
        ["without a dependency", tally.free],
        ["out of order", tally.late],
        ["steps", tally.steps],
        ["dependencies", tally.edges],
        ["of these inferred", tally.inferred],
        ["of these to the right", tally.late_edges],
        ["records without steps", tally.unread],
        ["records refused", tally.refused],
    ]
    figures = [] if share is None else [
        interval_bars(
            "How much is out of order",
            {"samples": share} | {
                name: interval
                for name, sums in (("dependencies (VF)", tally.vf), ("the same, by words (WVF)", tally.wvf),
                                   ("distance (lag)", tally.lag))
                if (interval := sums.interval()) is not None
            },
            "share",
        )
    ]  # fmt: skip
    return Section(
        id="counts",
        title="Is each step's support to its left?",
        summary=summary,
        meaning=f"A dependency says {graph}. The data were read as {format}. VF is the share of a sample's "
        "dependencies whose support stands to the right of the step, WVF the same with each weighted by the words of "
        "the support, and lag how far to the right, as a share of the sample's steps. All are means over samples that "
        "have a dependency.",
        caution="A model that is trained on next tokens can't look to the right, but that an order is out of sequence "
        "does not say how much is lost by it. An inferred dependency may be none, and one that the reader did not see "
        "counts nowhere.",
        figures=figures,
        tables=[Table(title="What was counted", columns=["", "number"], rows=rows)],
    )


def _distances(tally: OrderTally) -> Section:
    names = [bin_name(*ends) for ends in BINS]
    # Bins beyond the longest distance would be empty bars.
    names = [name for name, (low, _) in zip(names, BINS, strict=True) if low <= tally.longest]
    shares = {name: interval for name in names if (interval := tally.distances[name].interval()) is not None}
    far = sum(tally.distances[name].x for name in names[2:])
    return Section(
        id="distances",
        title="How far to the right",
        summary=f"Of {tally.late_edges:,} late supports {far / tally.late_edges:.0%} stand more than two steps behind "
        f"the step that needs them, the farthest {tally.longest:,}.",
        meaning="A bar for each distance: the share of all late supports that stand so many steps to the right. One "
        "step means that the two are neighbours and have only to change places.",
        caution="Distances are counted in steps, not in tokens, and long samples have more of them than short ones.",
        figures=[interval_bars("Steps from a step to its late support", shares, "share of late supports")],
    )


def _kinds(tally: OrderTally, kinds: dict[str, Interval]) -> Section:
    figure = Figure(
        title="Steps that stand before a support",
        data=Bars(
            labels=list(kinds),
            values=[rate.estimate for rate in kinds.values()],
            low=[rate.low for rate in kinds.values()],
            high=[rate.high for rate in kinds.values()],
            x_label="share of the steps that have a support",
        ),
        alt="Bars: " + ", ".join(f"{kind} {rate.estimate:.2f}" for kind, rate in kinds.items()) + ".",
    )
    pairs = sorted(tally.pairs.items(), key=lambda item: (-item[1], item[0]))[:PAIRS]
    rows: list[list[Cell]] = []
    for pair, count in pairs:
        step, _, support = pair.partition("\t")
        rows.append([step, support or OTHERS, count, count / tally.late_edges])
    worst = next(iter(kinds))
    return Section(
        id="kinds",
        title="Which steps",
        summary=f"Of the steps of kind {worst} that have a support, {percent(kinds[worst])} stand before it"
        + (f"; least often do those of kind {list(kinds)[-1]}." if len(kinds) > 1 else "; there is no other kind."),
        meaning="A bar for each kind of step: of its steps that depend on another, the share with a support on the "
        "right. The table says which kind of support the late ones wait for.",
        caution="The kinds are the reader's or the file's own words. A kind with few samples has a wide interval.",
        figures=[figure],
        tables=[
            Table(title="What is missing where", columns=["step", "support to its right", "late supports", "share"],
                  rows=rows, note="Shares of all late supports.")
        ],
    )  # fmt: skip


def _examples(tally: OrderTally, order: str) -> Section:
    rows = [
        OrderPair(
            title=f"{example.where}: {example.late} of {example.edges} dependencies point to the right, the farthest "
            f"over {example.farthest} {'step' if example.farthest == 1 else 'steps'}",
            prompt=example.prompt, before=example.before, after=example.after,
        )
        for example in tally.examples
    ]  # fmt: skip
    count = "The sample" if len(rows) == 1 else f"The {len(rows)} samples"
    return Section(
        id="examples",
        title="Examples, side by side",
        summary=f"{count} in which a step stands farthest from a support on its right, as written and in the order "
        f"{order}. Samples that can be shown whole come first.",
        meaning="On the left the steps as they are written, on the right as they are proposed. A step that moves is "
        "marked, with its place in the other order; every other step keeps its place among those that stay. Under a "
        "step stands which of its supports come only later. Long texts are cut in their middle; of long samples only "
        "what moves or waits is shown, and of those with much of it only the step that waits longest.",
        caution="These are the clearest cases, not typical ones. Whether a proposed order reads well is for you to "
        "judge: the order knows dependencies, not prose.",
        figures=[
            Figure(
                title="As written, and proposed",
                data=OrderPairs(rows=rows, before_name="as written", after_name=f"proposed ({order})"),
                alt=f"{len(rows)} samples with their steps in two orders side by side.",
            )
        ],
    )


def _refused(tally: OrderTally) -> Section:
    rows: list[list[Cell]] = [[sentence] for sentence in tally.refusals]
    return Section(
        id="refused",
        title="What could not be read as steps",
        summary=f"{tally.refused:,} of {tally.refused + tally.samples + tally.unread:,} records were refused.",
        meaning="A record is refused where its steps name an unknown support, share an id, or support one another in "
        "a circle, and where a file is no text. It counts nowhere on this page.",
        caution="Many refusals of one kind point to a mistake in how the data were made, or to the wrong format.",
        tables=[Table(title=f"The first {len(rows)}", columns=["refusal"], rows=rows)],
        folded=True,
    )
