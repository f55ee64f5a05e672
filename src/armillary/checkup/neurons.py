"""Diagnosis: which feed-forward neurons tell a capability, and what the model loses without them."""

from dataclasses import dataclass

from armillary.checkup.config import CAPABILITIES
from armillary.checkup.diagnosis import Context, Diagnosed, Diagnosis, nothing_to_show
from armillary.data.sources import DataSource
from armillary.data.texts.capability import capability_source
from armillary.errors import ModelError
from armillary.methods.bricks.neurons.config import LEAST_TEXTS
from armillary.methods.bricks.neurons.report import finding, measures, section
from armillary.methods.bricks.neurons.result import Survey
from armillary.methods.bricks.neurons.surveying import survey

TITLE = "Neurons that tell a capability"
MEANING = "Neurons are the inputs of the one matrix with which each feed-forward network writes."
ABLATION_TEXTS = 3
"""Held-out texts of a capability: few, since each is read nine times."""


@dataclass(frozen=True, kw_only=True)
class NeuronResult:
    """The survey of a model's neurons, or why there is none."""

    survey: Survey | None = None
    reason: str = ""


def sources() -> tuple[DataSource, ...]:
    """Where the texts come from, each source once."""
    return tuple(dict.fromkeys(capability_source(name) for name in CAPABILITIES))


def measure(context: Context) -> NeuronResult:
    """The survey of the neurons."""
    loaded, store, seed, names = context.loaded, context.parts.arrays, context.config.seed, CAPABILITIES
    try:
        measured = survey(
            loaded, capabilities=names, limit=LEAST_TEXTS, ablation_texts=ABLATION_TEXTS, seed=seed, store=store
        )
    except ModelError as error:
        # Nothing is wrong with such a model: the check-up goes on and its report says what could not be done.
        return NeuronResult(reason=str(error))
    return NeuronResult(survey=measured)


def describe(result: NeuronResult) -> Diagnosed:
    """Scores, ablations, overlaps and firing examples; where neurons can't be told apart, why."""
    if result.survey is None:
        return nothing_to_show("neurons", TITLE, f"Not available for this model: {result.reason}", MEANING)
    return Diagnosed(
        section=section(result.survey), measures=measures(result.survey), findings=[finding(result.survey)]
    )


NEURONS = Diagnosis(
    name="neurons",
    result=NeuronResult,
    # Reckoned, not timed: what the others leave of the time that a whole check-up takes.
    cost=lambda config: 45.0,
    measure=measure,
    descriptions=(describe,),
)
