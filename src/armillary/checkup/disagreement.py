"""Pair diagnosis: where a tuned model changed its mind, over the texts that it and its earlier self write."""

from dataclasses import dataclass, field

from armillary.checkup.diagnosis import Context, Diagnosed, PairDiagnosis
from armillary.errors import InsufficientSamplesError, ModelError, UsageError
from armillary.methods.modeldiff.comparison import compare
from armillary.methods.modeldiff.config import CompareConfig, InputSpace
from armillary.methods.modeldiff.curves import Spread
from armillary.methods.modeldiff.figures import Naming, amount, curves, examples
from armillary.methods.modeldiff.result import enough, shortage
from armillary.records.sections import Figure, Finding, Section

LENGTH, SEQUENCES, PILOT = 12, 256, 128
"""Tokens of a sequence; sequences drawn from each model; sequences more of each that choose the windows."""

QUANTILES = (0.05, 0.95)
"""Edges of each model's window, of the NLL of a pilot. Flat over the window the upper edge has no more weight than the
rest, so that it may lie where few samples do."""

NAMING = Naming(a="before", b="after", inputs_a="inputs of before", inputs_b="inputs of after")
SECTION, TITLE = "disagreement-change", "Where the tuning changed its mind"


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """How far two models disagree, or why they were not compared."""

    reason: str = ""
    shortage: str | None = None
    """That too few samples were drawn to say anything; None where there were enough."""

    figures: list[Figure] = field(default_factory=list)
    directions: dict[str, Spread] = field(default_factory=dict)
    """By the role of the model whose inputs they are: before, after."""


def measure(before: Context, after: Context) -> Disagreement:
    """Samples of both models scored by both, flat over the NLL window; or why they can't be compared."""
    config = CompareConfig(samples=SEQUENCES, pilot=PILOT, weighting="profile", seed=after.config.seed)
    space = InputSpace(length=LENGTH, quantiles=QUANTILES)
    parts = after.parts
    try:
        comparison = compare(
            before.loaded,
            after.loaded,
            space,
            config,
            store=lambda name, draw: parts.arrays(f"disagreement {name}", draw),
        )
        drawn = [curves(comparison, "profile", NAMING)] if enough(comparison, "profile") else []
        texts = examples(comparison, NAMING)
        return Disagreement(
            shortage=shortage(comparison),
            figures=[*drawn, *([texts] if texts else [])],
            directions={"before": comparison.spread("a"), "after": comparison.spread("b")},
        )
    except (UsageError, ModelError, InsufficientSamplesError) as error:
        # Nothing is wrong with either model: the check-up goes on and its report says what could not be done.
        return Disagreement(reason=str(error))


def describe(result: Disagreement) -> Diagnosed:
    """Both directions on one axis and texts by token; where the pair can't be compared, why."""
    if result.reason:
        return Diagnosed(section=_section(f"The two models were not compared: {result.reason}", []))
    if result.shortage is not None:
        return Diagnosed(section=_section(result.shortage, result.figures))
    directions = result.directions
    averages = [
        f"{amount(direction.mean, '+.2f')} on the inputs of {role} "
        f"(spread {amount(direction.deviation)}{direction.warning})"
        for role, direction in directions.items()
    ]
    text = (
        f"From before to after, D averages {' and '.join(averages)}, in nats per token; "
        f"{amount(directions['before'].overlap, '.0%')} of the texts that were plausible before still are."
    )
    measures = {f"disagreement/mean of D, inputs of {role}": spread.mean for role, spread in directions.items()}
    for role, spread in directions.items():
        measures[f"disagreement/spread of D, inputs of {role}"] = spread.deviation
    for role, spread in directions.items():
        measures[f"disagreement/plausible to both, inputs of {role}"] = spread.overlap
    # The spread is near 0 for a copy and grows with what the tuning changed.
    interest = min(0.85, 0.3 + max(spread.deviation.estimate for spread in directions.values()))
    return Diagnosed(
        section=_section(text, result.figures),
        measures=measures,
        findings=[Finding(text=text, interest=interest, section=SECTION)],
    )


def _section(summary: str, figures: list[Figure]) -> Section:
    return Section(
        id=SECTION,
        title=TITLE,
        summary=summary,
        meaning="Each model writes short sequences from nothing, and both score them. D is the surprise (NLL, nats) "
        "of the earlier model less that of the tuned one: below 0 the earlier model finds the text more likely, above "
        "0 the tuned one does. The two lines show how D is spread over what the one and the other find plausible, all "
        "surprises in a window counting the same; the colours show which tokens the difference comes from. No "
        "benchmark is needed, so that it also shows what nobody thought of asking.",
        caution=f"Sequences of {LENGTH} tokens that begin at nothing, few of them: what the tuning does after a "
        "chat template or late in a text does not show. `armillary modeldiff` looks longer and counts.",
        figures=figures,
    )


DISAGREEMENT = PairDiagnosis(name="disagreement", result=Disagreement, measure=measure, describe=describe)
