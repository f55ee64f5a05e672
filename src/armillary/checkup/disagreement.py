"""Pair diagnosis: where a tuned model changed its mind, over the texts that it and its earlier self write."""

from dataclasses import asdict, replace

import numpy as np

from armillary.checkup.diagnosis import Context, Diagnosed, PairDiagnosis, Payload
from armillary.errors import InsufficientSamplesError, ModelError, UsageError
from armillary.methods.modeldiff.comparison import compare
from armillary.methods.modeldiff.config import Bounds, CompareConfig, InputSpace
from armillary.methods.modeldiff.figures import Naming, curves, examples, told
from armillary.methods.modeldiff.result import Comparison, enough, shortage
from armillary.methods.modeldiff.source import ModelSource, same_vocabulary
from armillary.models import LoadedModel
from armillary.numerics.intervals import Interval
from armillary.records.sections import Figure, Finding, Section

LENGTH, SEQUENCES, PILOT = 12, 256, 64
"""Tokens of a sequence; sequences drawn from each model; sequences more that choose its window."""

QUANTILES = (0.05, 0.95)
"""Edges of each model's window, of the NLL of a pilot. Flat over the window the upper edge has no more weight than the
rest, so that it may lie where few samples do."""

NAMING = Naming(a="before", b="after", inputs_a="inputs of before", inputs_b="inputs of after")
SECTION, TITLE = "disagreement-change", "Where the tuning changed its mind"


def measure(before: Context, after: Context) -> Payload:
    """Samples of both models scored by both, flat over the NLL window; or why they can't be compared."""
    config = CompareConfig(n_samples=SEQUENCES, weighting="profile", seed=after.config.seed)
    space = InputSpace(length=LENGTH)
    parts = after.parts
    try:
        same_vocabulary(before.loaded, after.loaded)
        window = {"a": _window(before.loaded, space, config, 0), "b": _window(after.loaded, space, config, 1)}
        space = replace(space, window=window)
        comparison = compare(
            before.loaded,
            after.loaded,
            space,
            config,
            store=lambda name, draw: parts.arrays(f"disagreement {name}", draw),
        )
        return _figures(comparison)
    except (UsageError, ModelError, InsufficientSamplesError) as error:
        # Nothing is wrong with either model: the check-up goes on and its report says what could not be done.
        return {"compared": False, "reason": str(error)}


def _window(loaded: LoadedModel, space: InputSpace, config: CompareConfig, side: int) -> Bounds:
    seed = int(np.random.SeedSequence([config.seed, side]).generate_state(1)[0])
    # At temperature 1 alone the one rung is the model itself.
    log_q_N = ModelSource.of(loaded, space, config).sample(PILOT, seed=seed).log_q_KN[0]
    low, high = np.quantile(-log_q_N, QUANTILES)
    return float(low), float(high)


def _figures(comparison: Comparison) -> Payload:
    drawn: list[Figure] = [curves(comparison, "profile", NAMING)] if enough(comparison, "profile") else []
    shown = examples(comparison, NAMING)
    spreads = {"before": comparison.spread("a"), "after": comparison.spread("b")}
    return {
        "compared": True,
        "shortage": shortage(comparison),
        "figures": [asdict(figure) for figure in (*drawn, *([shown] if shown else []))],
        "mean": {name: one.mean.to_dict() for name, one in spreads.items()},
        "spread": {name: one.deviation.to_dict() for name, one in spreads.items()},
        "overlap": {name: one.overlap.to_dict() for name, one in spreads.items()},
        "windows": {"before": list(comparison.a.window), "after": list(comparison.b.window)},
        "drawn": comparison.config.n_samples,
    }


def describe(payload: Payload) -> Diagnosed:
    """Both directions on one axis and texts by token; where the pair can't be compared, why."""
    if not payload["compared"]:
        return Diagnosed(section=_section(f"The two models were not compared: {payload['reason']}", []))
    figures = [Figure(**figure) for figure in payload["figures"]]
    if payload["shortage"] is not None:
        return Diagnosed(section=_section(payload["shortage"], figures))
    mean, spread, overlap = (
        {role: Interval.from_dict(payload[name][role]) for role in ("before", "after")}
        for name in ("mean", "spread", "overlap")
    )
    said = [f"{told(mean[role], '+.2f')} on the inputs of {role} (spread {told(spread[role])})" for role in mean]
    text = (
        f"From before to after, D averages {' and '.join(said)}, in nats per token; {told(overlap['before'], '.0%')} "
        "of the texts that were plausible before still are."
    )
    measures = {f"disagreement/mean of D, inputs of {role}": value for role, value in mean.items()}
    measures |= {f"disagreement/spread of D, inputs of {role}": value for role, value in spread.items()}
    measures |= {f"disagreement/plausible to both, inputs of {role}": value for role, value in overlap.items()}
    # The spread is near 0 for a copy and grows with what the tuning changed.
    interest = min(0.85, 0.3 + max(value.estimate for value in spread.values()))
    return Diagnosed(
        section=_section(text, figures),
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


DISAGREEMENT = PairDiagnosis(name="disagreement", title=TITLE, measure=measure, describe=describe)
