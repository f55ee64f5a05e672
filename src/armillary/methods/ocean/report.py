"""Measures, sections and findings of policies' values, and of an alignment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from armillary.methods.ocean.estimate import Estimate
from armillary.numerics.intervals import Interval
from armillary.records.sections import Cell, Figure, Finding, Lines, Section, Series, Table, interval_bars

WATCHED = {
    "ocean/value": "value, nats a token", "ocean/kl": "divergence from the base policy, nats a token",
    "ocean/ess": "effective sample, share of tokens", "ocean/entity_ratio_mean": "model over graph policy on entities",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class OceanPage:
    """What a report shows of one run."""

    measures: dict[str, Interval]
    sections: list[Section]
    findings: list[Finding] = field(default_factory=list)


def value_page(estimates: Mapping[str, Estimate]) -> OceanPage:
    """The values by name (of a model, or of one by several estimators), each with what tells how far to trust it."""
    measures = {name: estimate.bootstrap for name, estimate in estimates.items()}
    rows: list[list[Cell]] = [
        [
            name,
            estimate.estimator,
            estimate.value,
            estimate.stderr,
            None if estimate.hoeffding is None else estimate.hoeffding.low,
            None if estimate.hoeffding is None else estimate.hoeffding.high,
            estimate.ess / estimate.tokens,
            estimate.max_weight,
            estimate.clipped_share,
            estimate.floored_share,
            "yes" if estimate.unbiased else "no",
        ]
        for name, estimate in estimates.items()
    ]
    first = next(iter(estimates.values()))
    columns = [
        "value of", "estimator", "nats a token", "standard error", "Hoeffding, low", "Hoeffding, high",
        "effective sample, share", "largest weight", "clipped", "floored", "unbiased",
    ]  # fmt: skip
    cautions = list(dict.fromkeys(caution for estimate in estimates.values() for caution in estimate.cautions))
    cautions.append("Values of different base policies have different units and are not to be compared.")
    by_range = [e.hoeffding for e in estimates.values() if e.hoeffding and "no bound" in e.hoeffding.how]
    if by_range:
        cautions.append("Hoeffding's interval is taken from the observed range, which bounds nothing undrawn.")
    section = Section(
        id="value",
        title="Value by logged chains",
        summary="; ".join(
            f"{name}: {estimate.value:.3f} [{estimate.bootstrap.lower:.3f}, {estimate.bootstrap.upper:.3f}]"
            for name, estimate in estimates.items()
        )
        + f" nats a token, from {first.chains:,} chains.",
        meaning=f"Chains written by: {first.logging}. What is estimated: {first.estimand}.",
        caution=" ".join(caution[0].upper() + caution[1:].rstrip(".") + "." for caution in cautions),
        figures=[interval_bars("Value with its bootstrap over chains", measures, "nats a token")],
        tables=[Table(title="What the values rest on", columns=columns, rows=rows)],
    )
    return OceanPage(measures=measures, sections=[section])


def alignment_page(log: Sequence[Mapping[str, float]], before: Estimate, after: Estimate) -> OceanPage:
    """The log of an ``OceanTrainer``, and its value on the same chains before and after."""
    lines = [line for line in log if "ocean/value" in line]
    figures = [
        Figure(
            title=title,
            data=Lines(
                x=[float(line.get("step", place + 1)) for place, line in enumerate(lines)],
                series=[Series(name=title, y=[line.get(name) for line in lines])],
                x_label="step",
                y_label=title,
            ),
            alt=f"Line: {title} over the steps of training.",
        )
        for name, title in WATCHED.items()
        if any(name in line for line in lines)
    ]
    values = value_page({"before": before, "after": after})
    lower = after.bootstrap.upper < before.bootstrap.lower
    higher = after.bootstrap.lower > before.bootstrap.upper
    turn = "rose" if higher else "fell" if lower else "did not clearly move"
    text = f"The value {turn}: {before.value:.3f} to {after.value:.3f} nats a token on the same chains."
    training = Section(
        id="training",
        title="What training did",
        summary=f"{len(lines)} lines of log. {text}",
        meaning="Value of each step's chains, and how far the model is from the base policy.",
        caution=(
            "All rewards are below 0, so that the plain value also rises where a model says less of what was logged; "
            "the self-normalised one does not."
        ),
        figures=figures,
    )
    return OceanPage(
        measures=values.measures,
        sections=[training, *values.sections],
        findings=[Finding(text=text, interest=0.7 if higher or lower else 0.3, section="training")],
    )
