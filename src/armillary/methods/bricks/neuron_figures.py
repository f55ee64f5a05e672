"""The pictures and the table of a survey of functional neurons as plain data. Needs no model and no torch."""

from typing import Any

from armillary.numerics.intervals import Interval
from armillary.runs.sections import Cell, Figure, Table

Payload = dict[str, Any]

AROUND = 16
"""Tokens shown on each side of the one that makes a neuron fire."""

CONTROLS = {"own": "its own set", "matched": "as strong a set", "random": "a random set"}
"""What is switched off, as a reader meets it."""


def score_map(payload: Payload) -> Figure:
    """How far the best neuron of each layer lies above the best under permuted labels."""
    found = payload["scores"]["capabilities"]
    values = [
        [best - null for best, null in zip(one["best"], one["best_of_null"], strict=True)] for one in found.values()
    ]
    known = [value for row in values for value in row]
    where = {name: row.index(max(row)) for name, row in zip(found, values, strict=True)}
    return Figure(
        kind="heatmap",
        title="Best neuron of each layer (columns), above the best under permuted labels",
        data={
            "rows": list(found),
            "columns": list(range(payload["layers"])),
            "values": values,
            "low": min(0.0, *known),
            "high": max(0.0, *known),
            "unit": f"score above the largest of {payload['permutations']} permutations",
        },
        alt="Heat map, capabilities by layers; highest for "
        + ", ".join(f"{name} in layer {layer}" for name, layer in where.items())
        + ".",
    )


def knockout_bars(payload: Payload) -> Figure:
    """What each capability loses without its own set and without the two control sets."""
    found = payload["knockouts"]
    rows = [(f"{name} without {label}", one[key]) for name, one in found.items() for key, label in CONTROLS.items()]
    effects = [Interval.from_dict(effect["delta_nll"]) for _, effect in rows]
    said = ", ".join(
        f"{name} {one['own']['delta_nll']['estimate']:.2f} (as strong {one['matched']['delta_nll']['estimate']:.2f}, "
        f"random {one['random']['delta_nll']['estimate']:.2f})"
        for name, one in found.items()
    )
    return Figure(
        kind="bars",
        title=f"What each capability loses without {payload['share']:.0%} of the neurons of every layer",
        data={
            "labels": [label for label, _ in rows],
            "values": [one.estimate for one in effects],
            "low": [one.low for one in effects],
            "high": [one.high for one in effects],
            "x_label": "rise of the loss on held-out texts, nats per token",
        },
        alt=f"Bars of the rise of the loss: {said}.",
    )


def overlap_map(payload: Payload) -> Figure:
    """What every two sets have in common."""
    names, pairs = list(payload["capabilities"]), payload["overlaps"]["pairs"]
    shares = {frozenset(one["between"]): one["share"]["estimate"] for one in pairs}
    values = [[shares.get(frozenset((row, column))) for column in names] for row in names]
    top = max(pairs, key=lambda one: float(one["share"]["estimate"]))
    law = f"{top['random_low']:.3f} to {top['random_high']:.3f}"
    return Figure(
        kind="heatmap",
        title=f"Neurons that two sets have in common (95 % of random sets: {law})",
        data={
            "rows": names,
            "columns": names,
            "values": values,
            "low": 0.0,
            "high": max(top["share"]["estimate"], 2 * top["expected"]),
            "unit": "share of a set",
        },
        alt=f"Heat map of shares; the largest is {top['share']['estimate']:.3f}, of {' and '.join(top['between'])}.",
    )


def firing_tokens(payload: Payload) -> Figure:
    """Held-out texts, coloured by the activity of each capability's best neuron."""
    rows = [_token_row(name, best, example) for name, best in payload["best"].items() for example in best["examples"]]
    return Figure(
        kind="tokens",
        title="What makes the best neuron of each capability fire, on texts it was not chosen on",
        data={
            "rows": rows,
            "limit": 1.0,
            "low_name": "negative activation",
            "high_name": "positive (1: its strongest on these texts)",
        },
        alt=f"{len(rows)} texts; a token is marked by how strongly the neuron is active there.",
    )


def _token_row(name: str, best: Payload, example: Payload) -> Payload:
    """A text around its peak; activations as shares of the neuron's largest, the first token (a sink) left bare."""
    strongest = max(abs(one["values"][one["peak"]]) for one in best["examples"]) or 1.0
    start = max(0, example["peak"] - AROUND)
    shown = slice(start, example["peak"] + AROUND + 1)
    values = [None if place == 0 else value / strongest for place, value in enumerate(example["values"])]
    kind = "one of its own" if example["capability"] == name else f"a text of {example['capability']}"
    return {
        "label": name,
        "note": f"layer {best['layer']}, neuron {best['neuron']}; {kind}",
        "tokens": example["tokens"][shown],
        "values": values[shown],
    }


def best_table(payload: Payload) -> Table:
    """A row for each capability: its best neuron beside the null, and what its set is worth."""
    rows: list[list[Cell]] = []
    for name, best in payload["best"].items():
        knocked = payload["knockouts"][name]
        rows.append(
            [
                name,
                payload["scores"]["capabilities"][name]["chance"],
                best["layer"],
                best["score"],
                best["as_good"],
                best["relative"],
                best["largest_of_null"],
                _told(knocked["own"]["delta_nll"]),
                _told(knocked["own_less_matched"]),
                _told(knocked["elsewhere"]),
            ]
        )
    texts = {
        f"{name} ({title})" if title else name: payload["texts"][name]
        for name, title in payload["capabilities"].items()
    }
    return Table(
        title="Best neurons, and what the sets are worth",
        columns=[
            "capability",
            "chance",
            "best layer",
            "best score",
            "as good",
            "relative to its layer",
            "permuted labels",
            "own effect",
            "own less as strong",
            "mean effect elsewhere",
        ],
        rows=rows,
        note="As good: neurons with this score; the one that sets the texts apart most is shown. Relative: its score "
        "when activity is divided by the mean of its layer. Permuted labels: "
        f"the best of all neurons in {payload['permutations']} permutations. Effects: nats per token, 95 % intervals "
        "over held-out texts. Texts scored on: "
        + "; ".join(f"{count} of {title}" for title, count in texts.items())
        + ".",
    )


def _told(interval: Payload) -> str:
    shown = f"{interval['estimate']:+.2f}"
    if interval["low"] is not None:
        shown += f" [{interval['low']:+.2f}, {interval['high']:+.2f}]"
    return shown.replace("-", "\N{MINUS SIGN}")
