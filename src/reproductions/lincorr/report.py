"""How a LinCorr reproduction is told: plain data of the stages to sections with pictures. Needs no model."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from armillary.numerics.intervals import Interval, across_seeds
from armillary.records.claims import ClaimResult, verdict_findings
from armillary.records.sections import Cell, Figure, Finding, Section, Table, interval_bars
from reproductions.lincorr.measures import envelope, forgetting

Found = dict[str, Any]

_SECTION = {
    "gradients": "gradients",
    "resilient": "resilience",
    "causal-transfer": "edits",
    "no-transfer-without-precision": "edits",
    "hallucination": "edits",
    "vocabulary": "vocabulary",
}
"""Section that shows a claim, where it is not the first."""


def findings(claims: Sequence[ClaimResult]) -> list[Finding]:
    """One sentence a claim."""
    return verdict_findings(claims, _SECTION, "correlations")


def sections(found: Found, seeds: int) -> list[Section]:
    """Correlations, edits, resilience, gradients, vocabulary."""
    return [
        _correlations([found[f"correlations {offset}"] for offset in range(seeds)]),
        _edits(found),
        _resilience(found["resilience"]),
        _gradients(found),
        _vocabulary(found["vocabulary"]),
    ]


def _correlations(studies: Sequence[Found]) -> Section:
    names = list(studies[0]["results"])

    def over_seeds(name: str, key: str) -> Interval | None:
        values = [one["results"][name].get(key) for one in studies if name in one["results"]]
        known = [Interval.from_dict(value) for value in values if value]
        return envelope(known) if known else None

    values = {name: value for name in names if (value := over_seeds(name, "correlation"))}
    values = dict(sorted(values.items(), key=lambda item: -item[1].estimate))
    random = [over_seeds(name, "random_domain") for name in values]
    reference = [None if value is None else value.estimate for value in random]
    keys = ("correlation", "correlation_ols", "centred", "rank_one", "random_domain", "excess", "permuted")
    rows: list[list[str | float | int | None]] = []
    for name in values:
        cells = [over_seeds(name, key) for key in keys]
        rows.append([name, *(None if cell is None else cell.estimate for cell in cells)])
    best, worst = next(iter(values)), list(values)[-1]
    left_out = "; ".join(f"{name}: {why}" for name, why in studies[0]["skipped"].items())
    return Section(
        id="correlations",
        title="Correlation of every relation, beside its controls",
        summary=f"From {values[best].estimate:.2f} ({best}) down to {values[worst].estimate:.2f} ({worst}), over "
        f"{len(studies)} seeds." + (f" Left out: {left_out}" if left_out else ""),
        meaning="Mean test correlation over target words of one linear map from source to target logits. The tick is "
        "the "
        "same with random words in place of the targets, under the same target prompt.",
        caution="What the tick reaches belongs to the prompt, not to the relation.",
        figures=[
            interval_bars("Correlation by relation; tick: random words", values, "mean test correlation", reference)
        ],
        tables=[Table(title="All scores (mean over seeds)", columns=["relation", *keys], rows=rows)],
    )


def _edits(found: Found) -> Section:
    edits, summary = found["edits"]["edits"], found["edits"]["summary"]
    if summary is None:
        return Section(
            id="edits",
            title="Teaching a city, reading the country",
            summary=found["edits"]["why"],
            meaning="Each edit trains the model to name one city and reads what the country prompt says after it.",
            caution="Nothing can be concluded from edits that did not take.",
        )
    success, agreement = (Interval.from_dict(summary[key]) for key in ("success", "agreement"))
    took = [edit for edit in edits if edit["steps"] and not edit["failed"]]
    bars = {
        "map": agreement,
        "permuted map": Interval.from_dict(summary["agreement_permuted"]),
        "uniform map": Interval.from_dict(summary["agreement_uniform"]),
    }
    return Section(
        id="edits",
        title="Teaching a city, reading the country",
        summary=f"{summary['edits']} edits took; the country followed rightly in {success.estimate:.0%} "
        f"(chance {summary['chance']:.1%}). Predicted and measured change agree with Spearman "
        f"{agreement.estimate:.2f}.",
        meaning="Only the city is taught. The map predicts, from how the city logits moved, how each country logit "
        "moves; the "
        "bars compare that with a map of shuffled rows and with one that ignores which city was pushed.",
        caution="The uniform map shows how much any push of the city prompt moves all countries alike; agreement up "
        "to that bar "
        "is no knowledge of the relation.",
        figures=[
            interval_bars("Predicted against measured change of the countries", bars, "Spearman over countries"),
            _points(took),
        ],
        tables=[_outcomes(took)],
    )


def _points(took: Sequence[Found]) -> Figure:
    return Figure(
        kind="points",
        title="Success of an edit against the weight of its right target",
        data={
            "x": [edit["standardized_reference"] for edit in took],
            "y": [edit["success"] for edit in took],
            "labels": [edit["source"] for edit in took],
            "groups": ["told the right country" if edit["success"] > 0.5 else "told another" for edit in took],
            "x_label": "standardised weight of the right country",
            "y_label": "share of subjects that give the right country",
        },
        alt="Each edit as a point: weight of the right country against success.",
        interactive=True,
    )


def _outcomes(took: Sequence[Found]) -> Table:
    names = ("success", "weight_reference", "weight_generalised", "weight_largest")
    rows: list[list[Cell]] = [
        [edit["source"], ", ".join(edit["gold"]), ", ".join(edit["after"]), *(edit[name] for name in names)]
        for edit in sorted(took, key=lambda edit: -edit["success"])
    ]
    columns = ["city", "right", "told after the edit", "success", "W right", "W told", "W largest"]
    return Table(title="Edits that took", columns=columns, rows=rows)


def _resilience(stage: Found) -> Section:
    looks = stage["looks"]
    before, after = (Interval.from_dict(looks[-1]["transfer"][key]) for key in ("before", "after"))
    learned = forgetting(stage)
    told = (
        ""
        if learned is None
        else f" The loss on held-out text of the new kind changed by {learned.estimate:+.2f} nats."
    )
    return Section(
        id="resilience",
        title="The old map after a real fine-tune on other text",
        summary=f"Correlation {before.estimate:.3f} before and {after.estimate:.3f} after {looks[-1]['step']} "
        f"steps.{told}",
        meaning="The map is fitted once, before; the model is then fine-tuned on text about something else and asked "
        "again. A "
        "flat line means that the tie between the two prompts outlives the tuning.",
        caution="A short fine-tune moves the weights little; the relative change of the weights is in the table.",
        figures=[
            Figure(
                kind="lines",
                title="City to country: the old map during fine-tuning",
                data={
                    "x": [0, *(look["step"] for look in looks)],
                    "series": _resilience_series(looks),
                    "x_label": "optimiser steps",
                    "y_label": "test correlation",
                },
                alt="Lines of correlation over fine-tuning steps: old map, refitted map, shuffled pairing.",
            )
        ],
        tables=[
            Table(
                title="Fine-tuning",
                columns=["step", "relative change of the weights", "nats per token on new text"],
                rows=[[look["step"], look["relative_change"], float(np.mean(look["nll"]))] for look in looks],
            )
        ],
    )


def _resilience_series(looks: Sequence[Found]) -> list[dict[str, Any]]:
    series = []
    for key, name in (("after", "old map"), ("refitted", "refitted"), ("permuted", "shuffled pairing")):
        start = looks[0]["transfer"]["permuted" if key == "permuted" else "before"]
        intervals = [Interval.from_dict(one) for one in (start, *(look["transfer"][key] for look in looks))]
        ends = {end: [getattr(interval, end) for interval in intervals] for end in ("low", "high")}
        series.append({"name": name, "y": [interval.estimate for interval in intervals], **ends})
    return series


def _gradients(found: Found) -> Section:
    values = {name: Interval.from_dict(one["correlation"]) for name, one in found["gradients"].items()}
    null = [one["permuted"]["estimate"] for one in found["gradients"].values()]
    return Section(
        id="gradients",
        title="Correlation of gradients",
        summary="Gradient correlation by relation, beside the same with the rows of the map shuffled (tick).",
        meaning="If the map holds for the weights and not only for one set of them, the gradient of a target logit "
        "is the mapped "
        "gradient of the source logits.",
        caution="Two logits of similar prompts share much of their gradient whatever the map says: see the tick.",
        figures=[interval_bars("Gradient correlation; tick: shuffled map", values, "Pearson over coordinates", null)],
    )


def _vocabulary(stage: Found) -> Section:
    values = {name: across_seeds(runs, how=f"t interval over {len(runs)} seeds") for name, runs in stage.items()}
    return Section(
        id="vocabulary",
        title="One feed-forward block over vocabulary embeddings",
        summary=", ".join(f"{name} {value.estimate:.0%}" for name, value in values.items()) + " (chance 33 %).",
        meaning="All transformer blocks are removed. Names are taught a city and some of them its country; the bars "
        "are the share "
        "of held-out names whose country is composed rightly.",
        caution="Three pairs and 128 held-out names a run; the output is restricted to the answer words and 1,000 "
        "others.",
        figures=[interval_bars("Held-out accuracy", values, "share of names", [1 / 3] * len(values))],
    )
