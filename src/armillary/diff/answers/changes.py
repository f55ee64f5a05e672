"""Instrument: attributes of the answers that differ between the two models."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from armillary.attributes.refusals import RefusalErrors, refusal_errors
from armillary.diff.answers.checks import ATTRIBUTES, AnswerAttribute, Answered, read_off
from armillary.diff.effect import Described, Effect, Instrument, apart
from armillary.numerics.intervals import Interval
from armillary.numerics.permutation import PairedChange, paired_change
from armillary.records.sections import Bars, Cell, Figure, Section, Table

if TYPE_CHECKING:
    from armillary.diff.evidence import Evidence, Role

LEAST = 4
"""Prompts of which both models' answers must tell an attribute; of fewer no interval means anything."""


@dataclass(frozen=True, kw_only=True)
class AttributeValues:
    """One attribute of both models' answers, by prompt; prompts of which not all three know it are left out."""

    name: str
    base: list[float]
    after: list[float]
    again: list[float]
    """Base a second time, with other random numbers."""


@dataclass(frozen=True, kw_only=True)
class AttributeSurvey:
    """Every attribute that enough answers have."""

    values: list[AttributeValues]
    prompts: int
    ways: int
    """Answers of each model to each prompt."""

    seed: int


def measure(evidence: "Evidence") -> AttributeSurvey:
    """Reads the answers that are there; no model."""
    ways = sorted({way for _, way in evidence.replies})
    answers: dict[Role, list[list[Answered]]] = {"base": [], "after": [], "again": []}
    for role, lists in answers.items():
        for way in ways:
            replies = evidence.replies[role, way]
            lists.append(
                [
                    Answered(prompt=prompt, text=text, ended=ended)
                    for prompt, text, ended in zip(evidence.prompts, replies.texts, replies.ended, strict=True)
                ]
            )
    return survey(answers, evidence.config.seed)


def survey(answers: Mapping["Role", Sequence[Sequence[Answered]]], seed: int) -> AttributeSurvey:
    """The attributes of answers that are given by role, way and prompt."""
    values = []
    for attribute in ATTRIBUTES:
        columns = [read_off(attribute, answers[role]) for role in ("base", "after", "again")]
        rows = [row for row in zip(*columns, strict=True) if None not in row]
        if len(rows) >= LEAST:
            base, after, again = (list(map(float, column)) for column in zip(*rows, strict=True))
            values.append(AttributeValues(name=attribute.name, base=base, after=after, again=again))
    ways = answers["base"]
    return AttributeSurvey(values=values, prompts=len(ways[0]) if ways else 0, ways=len(ways), seed=seed)


def describe(survey: AttributeSurvey) -> Described:
    """A table and a picture of all attributes, and an effect for each."""
    attributes = {attribute.name: attribute for attribute in ATTRIBUTES}
    changes = {
        values.name: paired_change(values.after, values.base, values.again, seed=survey.seed)
        for values in survey.values
    }
    # Where no pair differs no test could ever tell a change, so that it is none of the comparisons of the page.
    differing = [values for values in survey.values if values.after != values.base]
    effects = [_effect(attributes[values.name], values, changes[values.name]) for values in differing]
    moved = [effect for effect in effects if effect.p <= 0.05]
    summary = (
        f"Of {len(survey.values)} attributes of the answers to {survey.prompts:,} prompts, {len(moved)} "
        f"{'differs' if len(moved) == 1 else 'differ'} by more than base differs from itself at a second try (each "
        "taken by itself; the verdict corrects for all)."
        if survey.values
        else "There were too few answers to compare."
    )
    section = Section(
        id="attributes",
        title="How the answers read",
        summary=summary + "".join(f" {effect.sentence}" for effect in moved[:3]),
        meaning="Each answer is read by fixed rules: how long it is, whether it refuses, whether it is in the "
        "language of the prompt, holds a list, ends by itself. The same prompts are compared, base's answers with "
        "after's; of the likeliest answer and of one drawn by the same random numbers the mean is taken. The tick is "
        "what base gives against itself with other random numbers.",
        caution=_caution(refusal_errors()),
        figures=[_figure(attributes, changes)] if changes else [],
        tables=[_table(attributes, survey, changes)] if changes else [],
    )
    measures = {f"attributes/{name}": change.value for name, change in changes.items()}
    return Described(section=section, effects=effects, measures=measures)


def _effect(attribute: AnswerAttribute, values: AttributeValues, change: PairedChange) -> Effect:
    after, base = apart(float(np.mean(values.after)), float(np.mean(values.base)), ".0%" if attribute.share else ".1f")
    return Effect(
        id=f"attributes/{attribute.name}",
        kind="reads differently",
        sentence=attribute.sentence.format(base=base, after=after),
        value=change.value,
        unit=attribute.unit,
        p=change.p,
        floor=change.floor,
        section="attributes",
        finding=f"{attribute.name} {'more' if change.value.estimate > 0 else 'less'}",
    )


def _figure(attributes: Mapping[str, AnswerAttribute], changes: Mapping[str, PairedChange]) -> Figure:
    """The changes of shares; numbers in other units are in the table."""
    shares = {name: change for name, change in changes.items() if attributes[name].share}
    return Figure(
        title="Change of the share of answers",
        data=Bars(
            labels=list(shares),
            values=[change.value.estimate for change in shares.values()],
            low=[change.value.low for change in shares.values()],
            high=[change.value.high for change in shares.values()],
            reference=[change.floor for change in shares.values()],
            reference_name="noise floor",
            x_label="after minus before",
        ),
        alt="Bars: " + ", ".join(f"{name} {change.value.estimate:+.2f}" for name, change in shares.items()) + ".",
    )


def _table(
    attributes: Mapping[str, AnswerAttribute], survey: AttributeSurvey, changes: Mapping[str, PairedChange]
) -> Table:
    rows: list[list[Cell]] = []
    for values in survey.values:
        attribute, value = attributes[values.name], changes[values.name].value
        form = ".0%" if attribute.share else ".1f"
        base, after = (format(float(np.mean(side)), form) for side in (values.base, values.after))
        rows.append([values.name, base, after, _interval(attribute, value), len(values.base)])
    return Table(
        title="Attributes of the answers",
        columns=["attribute", "before", "after", "change", "prompts"],
        rows=rows,
        note="Intervals by paired bootstrap over prompts.",
    )


def _interval(attribute: AnswerAttribute, value: Interval) -> str:
    scale, unit = (100, " points") if attribute.share else (1, "")
    ends = [value.estimate * scale, value.lower * scale, value.upper * scale]
    estimate, low, high = (f"{end:+.0f}" if attribute.share else f"{end:+.1f}" for end in ends)
    return f"{estimate} [{low}, {high}]{unit}"


def _caution(errors: RefusalErrors) -> str:
    seen, alarms = errors.seen, errors.false_alarms
    return (
        "Rules are blind to what they do not list: of written refusals that had no part in making the list it finds "
        f"{seen.estimate:.0%} [{seen.lower:.0%}, {seen.upper:.0%}] of {seen.n}, and it takes {alarms.estimate:.0%} "
        f"[{alarms.lower:.0%}, {alarms.upper:.0%}] of {alarms.n} other answers for one. A missed phrasing is missed "
        "in both models, so that a change shows smaller than it is. Answers are cut off at the budget's length, "
        "which hides how much longer one would go on."
    )


ATTRIBUTE_CHANGES = Instrument(
    name="attributes",
    result=AttributeSurvey,
    needs="answers",
    measure=measure,
    describe=describe,
    cost=lambda sizes: 0.0,
)
