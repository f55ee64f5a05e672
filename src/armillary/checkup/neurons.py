"""Diagnosis: which feed-forward neurons tell a capability, and what the model loses without them."""

from dataclasses import replace

import numpy as np

from armillary.checkup.config import CheckupConfig
from armillary.checkup.diagnosis import Context, Diagnosed, Diagnosis, Payload
from armillary.data.sources import DataSource
from armillary.data.texts.capability import capability_source, equal_capability_texts
from armillary.errors import ModelError
from armillary.methods.bricks.neurons.config import CAPABILITIES, LEAST_TEXTS
from armillary.methods.bricks.neurons.profiling import profile
from armillary.methods.bricks.neurons.report import finding, measures, section
from armillary.methods.bricks.neurons.scores import functional_scores
from armillary.methods.bricks.neurons.sets import overlap
from armillary.methods.bricks.neurons.surveying import READING, specialised_sets, survey
from armillary.methods.bricks.payloads import Index
from armillary.numerics.intervals import Interval, paired_difference
from armillary.records.sections import Finding, Section, Table, interval_bars

QUICK = ("mathematics", "translation", "german")
"""What a check-up of few texts looks for: capabilities whose texts are read in no time."""

TITLE = "Neurons that tell a capability"
KNOCKOUT_TEXTS = 3
"""Held-out texts of a capability: few, since each is read nine times."""


def sources(config: CheckupConfig) -> tuple[DataSource, ...]:
    """Where the texts come from, each source once."""
    return tuple(dict.fromkeys(capability_source(name) for name in _asked(config)))


def measure(context: Context) -> Payload:
    """The survey of the neurons; of the earlier model also how its sets move with the texts alone."""
    loaded, store, seed, names = context.loaded, context.parts.arrays, context.config.seed, _asked(context.config)
    try:
        found = survey(
            loaded, capabilities=names, limit=LEAST_TEXTS, ablation_texts=KNOCKOUT_TEXTS, seed=seed, store=store
        )
    except ModelError as error:
        # Nothing is wrong with such a model: the check-up goes on and its report says what could not be done.
        return {"reason": str(error)}
    if context.role == "before":
        others = equal_capability_texts(names, split="calibrate", limit=LEAST_TEXTS, seed=seed)
        redrawn = specialised_sets(functional_scores(profile(loaded, others, READING, store=store)))
        found["redrawn"] = {
            name: overlap(_index(rows), redrawn[name], width=found["neurons"]).share.to_dict()
            for name, rows in found["sets"].items()
        }
    return found


def describe(payload: Payload) -> Diagnosed:
    """Scores, knock-outs, overlaps and firing examples; where neurons can't be told apart, why."""
    if "reason" in payload:
        return _without("neurons", TITLE, f"Not available for this model: {payload['reason']}")
    return Diagnosed(section=section(payload), measures=measures(payload), findings=[finding(payload)])


def compare(before: Payload, after: Payload) -> Diagnosed:
    """How many neurons of each set are still in it, beside what other texts do, and what became of the best scores."""
    title = f"{TITLE}: what changed"
    shapes = [(one.get("layers"), one.get("neurons")) for one in (before, after)]
    if "reason" in before or "reason" in after or shapes[0] != shapes[1]:
        return _without("neurons-change", title, "Not comparable: the two models must have the same neurons.")
    width, names = before["neurons"], list(before["sets"])
    kept = {
        name: overlap(_index(before["sets"][name]), _index(after["sets"][name]), width=width).share for name in names
    }
    redrawn = {name: Interval.from_dict(one) for name, one in before.get("redrawn", {}).items()}
    better = {
        name: paired_difference(*(one["scores"]["capabilities"][name]["best"] for one in (after, before)), seed=0)
        for name in names
    }
    moved = [name for name in redrawn if kept[name].upper < redrawn[name].lower]
    low, high = min(names, key=lambda name: kept[name].estimate), max(names, key=lambda name: kept[name].estimate)
    summary = (
        f"Of the neurons that tell a capability best, {kept[low].estimate:.0%} ({low}) to {kept[high].estimate:.0%} "
        f"({high}) are still among them after the tuning. For {', '.join(moved) or 'no capability'} these are fewer "
        "than the earlier model keeps when it reads other texts."
    )
    told = Section(
        id="neurons-change",
        title=title,
        summary=summary,
        meaning="Both models read the same texts, and of each the best 5 % of a layer's neurons for a capability are "
        "taken. The bar is the share that both have. The tick is the share that the earlier model alone keeps between "
        "these texts and others of the same kinds: a bar below it means more than the choice of texts.",
        caution="Sets are cut at a fixed share, so neurons near the edge change places for little. A neuron may keep "
        "its place in a set and write something else. Intervals are over layers.",
        figures=[
            interval_bars(
                "Neurons of each set before that are in it after",
                kept,
                "share of the set",
                [redrawn[name].estimate for name in kept] if redrawn else None,
                "the earlier model, other texts",
            )
        ],
        tables=[_table(kept, redrawn, better)],
    )
    found = {f"neurons change/set replaced, {name}": _rest(one) for name, one in kept.items()}
    found |= {f"neurons change/best of a layer, {name}": one for name, one in better.items()}
    interest = 0.75 if moved else 0.3
    return Diagnosed(
        section=told,
        measures=found,
        findings=[Finding(text=summary, interest=interest, section="neurons-change")],
    )


def _asked(config: CheckupConfig) -> tuple[str, ...]:
    return CAPABILITIES if config.texts >= LEAST_TEXTS else QUICK


def _index(rows: list[list[int]]) -> Index:
    return Index({layer: np.array(row, np.int64) for layer, row in enumerate(rows)})


def _rest(share: Interval) -> Interval:
    """What is left of 1."""
    return replace(share, estimate=1 - share.estimate, low=1 - share.upper, high=1 - share.lower)


def _table(kept: dict[str, Interval], redrawn: dict[str, Interval], better: dict[str, Interval]) -> Table:
    return Table(
        title="Sets and best scores",
        columns=["capability", "still in the set", "earlier model, other texts", "change of the best score"],
        rows=[
            [name, one.estimate, redrawn[name].estimate if redrawn else None, better[name].estimate]
            for name, one in kept.items()
        ],
        note="Best score: of each layer's best neuron, mean over layers. Intervals stand among the numbers below.",
    )


def _without(id: str, title: str, reason: str) -> Diagnosed:
    """A section that says why there is nothing to see."""
    return Diagnosed(
        section=Section(
            id=id,
            title=title,
            summary=reason,
            meaning="Neurons are the inputs of the one matrix with which each feed-forward network writes.",
            caution="Nothing was measured here.",
        )
    )


NEURONS = Diagnosis(name="neurons", title=TITLE, measure=measure, describe=describe, compare=compare)
