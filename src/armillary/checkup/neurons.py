"""Diagnosis: which feed-forward neurons tell a capability, and what the model loses without them."""

from dataclasses import dataclass, field, replace

import numpy as np

from armillary.checkup.config import CAPABILITIES
from armillary.checkup.diagnosis import Context, Description, Diagnosed, Diagnosis, nothing_to_show
from armillary.data.sources import DataSource
from armillary.data.texts.capability import capability_source, equal_capability_texts
from armillary.errors import ModelError
from armillary.methods.bricks.neurons.config import LEAST_TEXTS
from armillary.methods.bricks.neurons.profiling import profile
from armillary.methods.bricks.neurons.report import finding, measures, section
from armillary.methods.bricks.neurons.result import Survey
from armillary.methods.bricks.neurons.scores import functional_scores
from armillary.methods.bricks.neurons.sets import overlap
from armillary.methods.bricks.neurons.surveying import READING, specialised_sets, survey
from armillary.methods.bricks.payloads import Index
from armillary.numerics.intervals import Interval, paired_difference
from armillary.records.sections import Finding, Section, Table, interval_bars

TITLE = "Neurons that tell a capability"
MEANING = "Neurons are the inputs of the one matrix with which each feed-forward network writes."
ABLATION_TEXTS = 3
"""Held-out texts of a capability: few, since each is read nine times."""


@dataclass(frozen=True, kw_only=True)
class NeuronResult:
    """The survey of a model's neurons, or why there is none."""

    survey: Survey | None = None
    reason: str = ""
    redrawn: dict[str, Interval] = field(default_factory=dict)
    """Of the earlier model: share of each set that it keeps when it reads other texts."""


def sources() -> tuple[DataSource, ...]:
    """Where the texts come from, each source once."""
    return tuple(dict.fromkeys(capability_source(name) for name in CAPABILITIES))


def measure(context: Context) -> NeuronResult:
    """The survey of the neurons; of the earlier model also how its sets move with the texts alone."""
    loaded, store, seed, names = context.loaded, context.parts.arrays, context.config.seed, CAPABILITIES
    try:
        result = survey(
            loaded, capabilities=names, limit=LEAST_TEXTS, ablation_texts=ABLATION_TEXTS, seed=seed, store=store
        )
    except ModelError as error:
        # Nothing is wrong with such a model: the check-up goes on and its report says what could not be done.
        return NeuronResult(reason=str(error))
    if context.role != "before":
        return NeuronResult(survey=result)
    others = equal_capability_texts(names, split="calibrate", limit=LEAST_TEXTS, seed=seed)
    sets = specialised_sets(functional_scores(profile(loaded, others, READING, store=store)))
    redrawn = {
        name: overlap(_index(rows), sets[name], width=result.neurons).share for name, rows in result.sets.items()
    }
    return NeuronResult(survey=result, redrawn=redrawn)


def describe(result: NeuronResult) -> Diagnosed:
    """Scores, ablations, overlaps and firing examples; where neurons can't be told apart, why."""
    if result.survey is None:
        return nothing_to_show("neurons", TITLE, f"Not available for this model: {result.reason}", MEANING)
    return Diagnosed(
        section=section(result.survey), measures=measures(result.survey), findings=[finding(result.survey)]
    )


def compare(earlier: NeuronResult, later: NeuronResult) -> Diagnosed:
    """How many neurons of each set are still in it, beside what other texts do, and what became of the best scores."""
    title = f"{TITLE}: what changed"
    before, after, redrawn = earlier.survey, later.survey, earlier.redrawn
    if before is None or after is None or (before.layers, before.neurons) != (after.layers, after.neurons):
        return nothing_to_show(
            "neurons-change", title, "Not comparable: the two models must have the same neurons.", MEANING
        )
    width, names = before.neurons, list(before.sets)
    kept = {name: overlap(_index(before.sets[name]), _index(after.sets[name]), width=width).share for name in names}
    better = {
        name: paired_difference(*(survey.scores.capabilities[name].best for survey in (after, before)), seed=0)
        for name in names
    }
    moved = [name for name in redrawn if kept[name].upper < redrawn[name].lower]
    low, high = min(names, key=lambda name: kept[name].estimate), max(names, key=lambda name: kept[name].estimate)
    summary = (
        f"Of the neurons that tell a capability best, {kept[low].estimate:.0%} ({low}) to {kept[high].estimate:.0%} "
        f"({high}) are still among them after the tuning. For {', '.join(moved) or 'no capability'} these are fewer "
        "than the earlier model keeps when it reads other texts."
    )
    changes = Section(
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
    values = {
        f"neurons change/set replaced, {name}": replace(
            share, estimate=1 - share.estimate, low=1 - share.upper, high=1 - share.lower
        )
        for name, share in kept.items()
    }
    values |= {f"neurons change/best of a layer, {name}": change for name, change in better.items()}
    interest = 0.75 if moved else 0.3
    return Diagnosed(
        section=changes,
        measures=values,
        findings=[Finding(text=summary, interest=interest, section="neurons-change")],
    )


def _index(rows: list[list[int]]) -> Index:
    return Index({layer: np.array(row, np.int64) for layer, row in enumerate(rows)})


def _table(kept: dict[str, Interval], redrawn: dict[str, Interval], better: dict[str, Interval]) -> Table:
    return Table(
        title="Sets and best scores",
        columns=["capability", "still in the set", "earlier model, other texts", "change of the best score"],
        rows=[
            [name, share.estimate, redrawn[name].estimate if redrawn else None, better[name].estimate]
            for name, share in kept.items()
        ],
        note="Best score: of each layer's best neuron, mean over layers. Intervals stand among the numbers below.",
    )


NEURONS = Diagnosis(
    name="neurons",
    result=NeuronResult,
    measure=measure,
    descriptions=(Description(describe=describe, compare=compare),),
)
