"""How a Bricks reproduction is told: plain data of the stages to sections with pictures. Needs no model."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from armillary.methods.bricks.neurons.config import CAPABILITIES
from armillary.numerics.intervals import Interval
from armillary.records.claims import ClaimResult, verdict_findings
from armillary.records.sections import Cell, Figure, Finding, Section, Table, interval_bars
from reproductions.bricks.scale import TASKS

Found = dict[str, Any]
Measures = Mapping[str, Interval]

_SECTION = {
    **dict.fromkeys(("sparse", "masking-is-free", "magnitude-beats-activation"), "sparsity"),
    **dict.fromkeys(("functional-neurons", "high-in-most-layers", "few-neurons", "sets-are-apart"), "neurons"),
    **dict.fromkeys(("knockout-is-specific", "residents-cause-collateral"), "knockouts"),
    **dict.fromkeys(("partitionable", "routing-keeps-quality", "clusters-beat-lots"), "routing"),
    **dict.fromkeys(("retrieval", "merging", "subtracting"), "adapters"),
    **dict.fromkeys(("editing-is-local", "second-moment-helps"), "edits"),
    **dict.fromkeys(("growing", "saves-computation"), "growth"),
}


def findings(claims: Sequence[ClaimResult]) -> list[Finding]:
    """One sentence a claim."""
    return verdict_findings(claims, _SECTION, "neurons")


def notes(found: Found) -> dict[str, str]:
    """A sentence to a claim where a stage has something to say."""
    told: dict[str, str] = {}
    pairs: dict[str, list[float]] = {}
    for one in found["neurons"]:
        for pair, value in one["overlaps"].items():
            pairs.setdefault(pair, []).append(value["share"]["estimate"])
    above = [pair for pair, values in pairs.items() if np.mean(values) > 0.05]
    if above:
        told["sets-are-apart"] = f"Above random: {', '.join(above)}."
    if not found["edits"]["facts"]:
        told["editing-is-local"] = f"The model knows {found['edits']['known']} of the capitals: too few to edit."
    return told


def sections(found: Found, m: Measures) -> list[Section]:
    """Neurons, knock-outs, sparsity, groups, added bricks, edits, growth and saving."""
    return [
        _neurons(found["neurons"], m),
        _knockouts(found["knockouts"], m),
        _sparsity(found["masks"], m),
        _routing(m),
        _adapters(m),
        _edits(found["edits"], m),
        _growth(found["preserved"], m),
    ]


def _some(m: Measures, prefix: str) -> dict[str, Interval]:
    return {name.removeprefix(prefix): value for name, value in m.items() if name.startswith(prefix)}


def _neurons(draws: Sequence[Found], m: Measures) -> Section:
    best = np.mean([[one["capabilities"][name]["best"] for name in CAPABILITIES] for one in draws], axis=0).T
    null = np.mean([one["null"] for one in draws], axis=0)
    rows = [f"layer {layer}" for layer in range(len(best))]
    overlap, same = m["overlap/mean of pairs"], m["overlap/one capability, other texts"]
    table: list[list[Cell]] = [
        [
            name,
            draws[0]["capabilities"][name]["chance"],
            m[f"scores/best, {name}"].estimate,
            m[f"scores/best on other texts, {name}"].estimate,
            m[f"scores/layers above 0.8, {name}"].estimate,
        ]
        for name in CAPABILITIES
    ]
    return Section(
        id="neurons",
        title="Neurons that tell a capability",
        summary=f"Sets of two capabilities share {overlap.estimate:.3f} of their neurons (random 0.050), those of one "
        f"capability on other texts {same.estimate:.2f}; the best neuron under permuted labels scores "
        f"{null.mean():.2f}.",
        meaning="A score is the average precision with which a neuron's mean activity alone ranks the texts of a "
        "capability before all others. The colour is the best neuron of each layer.",
        caution="The best of many is looked at, so compare with the best of the same neurons under permuted labels. "
        "Texts of a capability share words and form as well as what is done with them.",
        figures=[
            Figure(
                kind="heatmap",
                title="Best score of each layer",
                data={"rows": rows, "columns": list(CAPABILITIES), "values": best.tolist(), "low": 0.0, "high": 1.0},
                alt=f"Table of colours, {len(best)} layers by {len(CAPABILITIES)} capabilities.",
            ),
            interval_bars("Overlap of two sets (random 0.05)", _pairs(m), "share of neurons in common"),
        ],
        tables=[
            Table(
                title="Best neurons, mean over layers",
                columns=["capability", "chance", "best", "the same on other texts", "layers above 0.8"],
                rows=table,
            )
        ],
    )


def _pairs(m: Measures) -> dict[str, Interval]:
    return {name: value for name, value in _some(m, "overlap/").items() if " and " in name}


def _knockouts(draws: Sequence[Found], m: Measures) -> Section:
    names = list(draws[0]["effects"])
    values = np.mean(
        [[[one["effects"][row][c]["delta_nll"]["estimate"] for c in CAPABILITIES] for row in names] for one in draws],
        axis=0,
    )
    largest = m["knockout/own effect is the largest of its row"]
    controls = {name: value for name, value in _some(m, "knockout/").items() if "own minus" in name}
    return Section(
        id="knockouts",
        title="Switching neurons off",
        summary=f"The own effect is the largest of its row in {largest.estimate:.0%} of {largest.n} rows.",
        meaning="Rows are sets of neurons that write nothing, columns the texts whose loss is looked at. Random sets "
        "have as many neurons in every layer, matched ones also write as much.",
        caution="A small model loses a good deal by any 5 % of its neurons: only what exceeds the random rows is the "
        "set's own.",
        figures=[
            Figure(
                kind="heatmap",
                title="Rise of the loss, nats per token, mean over draws",
                data={"rows": names, "columns": list(CAPABILITIES), "values": values.tolist(), "unit": "nats"},
                alt=f"Table of colours, {len(names)} sets by {len(CAPABILITIES)} capabilities.",
            ),
            interval_bars("Own effect less its controls", controls, "nats per token"),
        ],
        tables=[_residents(draws)],
    )


def _residents(draws: Sequence[Found]) -> Table:
    rows: list[list[Cell]] = [
        [
            one["set"],
            one["neurons"],
            one["residents"],
            *(one[arm][key]["estimate"] for arm in ("less residents", "less others") for key in ("own", "collateral")),
        ]
        for draw in draws
        for one in draw["cleaned"]
    ]
    return Table(
        title="Without resident neurons, and without as many others",
        columns=["set", "neurons", "residents", "own kept", "collateral kept", "own kept *", "collateral kept *"],
        rows=rows,
        note="* without as many other neurons of the set.",
    )


def _sparsity(masks: Found, m: Measures) -> Section:
    points = {kind: masks[kind]["points"] for kind in ("activation", "magnitude")}
    levels = [point["level"] for point in points["activation"]]
    series = [
        {
            "name": kind,
            "y": [point["all"]["delta_nll"]["estimate"] for point in rows],
            "low": [point["all"]["delta_nll"]["low"] for point in rows],
            "high": [point["all"]["delta_nll"]["high"] for point in rows],
        }
        for kind, rows in points.items()
    ]
    share, cett = m["sparsity/share below 0.2"], m["masking/sparsity at 1 % more perplexity (CETT)"]
    return Section(
        id="sparsity",
        title="How many neurons a token needs",
        summary=f"{share.estimate:.0%} of the neurons write less than a fifth of what the strongest one of the token "
        f"does; leaving out {cett.estimate:.0%} by a common error of each layer costs 1 % of perplexity.",
        meaning="At every token and in every layer the weakest neurons are left out, by how active they are or by how "
        "much they write.",
        caution="That most neurons are weak does not make them useless: many weak ones add up.",
        figures=[
            Figure(
                kind="lines",
                title="Loss against the share of neurons left out",
                data={"x": levels, "series": series, "x_label": "share left out", "y_label": "nats per token"},
                alt="Two rising lines, by activation and by magnitude.",
            )
        ],
    )


def _routing(m: Measures) -> Section:
    losses = _some(m, "routing/loss at ")
    losses.pop("a quarter, best fitted router")
    beyond = _some(m, "experts/cells beyond chance, ")
    told = ", ".join(f"{name} {value.estimate:.0%}" for name, value in beyond.items())
    return Section(
        id="routing",
        title="Groups of neurons, and running only some",
        summary=f"Capabilities with more functional groups than chance: {told}. A quarter of the groups costs "
        f"{m['routing/loss at a quarter, best fitted router'].estimate:+.0%} of the loss at best.",
        meaning="Every FFN is split into groups of equal size, by weights, by what fires together, or by lot. The "
        "oracle sees what each group would write; the ridge router predicts it from the FFN's input.",
        caution="Nothing was trained after the split; published mixtures are.",
        figures=[
            interval_bars("Relative rise of the loss", losses, "share of the loss"),
            interval_bars("Cells with more functional groups than 99 % of random partitions", beyond, "share"),
        ],
    )


def _adapters(m: Measures) -> Section:
    kept = _some(m, "merging/retention, ")
    right = m["retrieval/own brick first"]
    return Section(
        id="adapters",
        title="Adapters retrieved and merged",
        summary=f"The right one of {len(TASKS)} adapters is retrieved for {right.estimate:.0%} of the texts; their "
        "average keeps "
        + (f"{kept['average'].estimate:.0%} of each one's gain." if "average" in kept else "nothing that is sure."),
        meaning="Adapters are trained for one capability each; a key tells which fits a text. Merged ones are "
        "measured by the share of each adapter's own gain that stays.",
        caution="Short trainings: gains are small, and so is what there is to keep.",
        figures=[
            interval_bars("Share of each gain that a merged adapter keeps", kept, "share of the gain"),
            interval_bars("Differences of the loss", _some(m, "retrieval/retrieved minus "), "nats per token"),
        ],
    )


def _edits(edits: Found, m: Measures) -> Section:
    if not edits["facts"]:
        return Section(
            id="edits",
            title="Facts edited",
            summary=f"The model knows {edits['known']} of the capitals it was asked: too few to edit.",
            meaning="Only facts that the model knows can show what an edit does.",
            caution="Another model may know more.",
        )
    bars = {name: value for name, value in _some(m, "edits/").items() if " minus " not in name and "other" not in name}
    rows: list[list[Cell]] = [
        [one["subject"], one["new"], one["edited"], one["paraphrases"], one["unchanged"], one["generated"].strip()]
        for one in edits["arms"]["general"]["facts"]
    ]
    return Section(
        id="edits",
        title="Facts edited",
        summary=f"At layer {edits['layer']} the new capital becomes the likelier one in "
        f"{m['edits/efficacy, general'].estimate:.0%} of {len(rows)} edits, and "
        f"{m['edits/neighbours unchanged, general'].estimate:.0%} of the neighbours keep their likeliest next token.",
        meaning="One matrix of one layer is changed in closed form. General weighs keys by their second moment over "
        "prose, identity does not, random writes the same change along a key of no subject.",
        caution="Likelier than the old answer is not yet what the model writes: see the last column.",
        figures=[interval_bars("What edits do", bars, "share")],
        tables=[
            Table(
                title="Each edit",
                columns=["subject", "new capital", "edited", "paraphrases", "neighbours unchanged", "it now writes"],
                rows=rows,
            )
        ],
    )


def _growth(preserved: Found, m: Measures) -> Section:
    change = {
        name: m[f"growth/{name}"] for arm in ("new neurons", "whole model") for name in (f"new, {arm}", f"old, {arm}")
    }
    rows: list[list[Cell]] = [[name, one["prefill"], one["decode"]] for name, one in preserved.items()]
    fastest = m["saving/time ratio at equal quality"]
    return Section(
        id="growth",
        title="Growing, and saving",
        summary=f"New neurons alone change the loss on German by {m['growth/new, new neurons'].estimate:+.3f} and on "
        f"old texts by {m['growth/old, new neurons'].estimate:+.3f} nats per token; at equal quality the fastest part "
        f"of the model decodes {fastest.estimate:.2f} times as fast as the whole.",
        meaning="Below 0 is better. The whole model is trained on the same batches for as many steps.",
        caution="The rates differ (few new numbers bear a larger one), so compare what is lost for what is gained.",
        figures=[
            interval_bars("Change of the loss", change, "nats per token"),
            interval_bars("Time of a token, dense over part", _some(m, "saving/time ratio, "), "ratio"),
            interval_bars("Relative rise of the loss", _some(m, "saving/loss, "), "share of the loss"),
        ],
        tables=[
            Table(
                title="Largest difference of a logit before training",
                columns=["grown by", "at once", "with a cache"],
                rows=rows,
            )
        ],
    )
