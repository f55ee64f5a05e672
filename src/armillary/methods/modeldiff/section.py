"""A comparison as a report tells it: sections, findings and measures, as plain data that needs no model."""

from armillary.methods.modeldiff.direction import Side
from armillary.methods.modeldiff.report_figures import Naming, conditional, curves, examples
from armillary.methods.modeldiff.report_tables import (
    THRESHOLDS,
    WEIGHTINGS,
    agreement_table,
    checks_table,
    decimal,
    samples_table,
    told,
)
from armillary.methods.modeldiff.result import Comparison, Example
from armillary.methods.modeldiff.sufficiency import enough, reliability_by, shortage
from armillary.numerics.intervals import Interval
from armillary.runs.sections import Figure, Finding, Section, Table

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
