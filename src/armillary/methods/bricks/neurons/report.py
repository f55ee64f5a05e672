"""How a survey of functional neurons is told: plain data to words and pictures. Needs no model and no torch."""

from typing import Any

from armillary.numerics.intervals import Interval
from armillary.records.sections import Cell, Figure, Finding, Section, Table

# The pictures and the table of a survey of functional neurons as plain data. Needs no model and no torch.

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


def ablation_bars(payload: Payload) -> Figure:
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


def measures(payload: Payload) -> dict[str, Interval]:
    """The survey's numbers by name; effects are rises of the loss, in nats per token."""
    null = [value for one in payload["scores"]["capabilities"].values() for value in one["best_of_null"]]
    how = f"largest of {payload['permutations']} permutations of the labels, mean over layers"
    found = {
        "neurons/best of a layer, permuted labels": Interval(
            estimate=sum(null) / len(null), n=payload["permutations"], how=how
        ),
        "neurons/share below a fifth of the strongest": Interval.from_dict(payload["sparsity"]["share"]),
        "neurons/overlap of two sets": Interval.from_dict(payload["overlaps"]["mean"]),
    }
    for name, best in payload["best_of_layers"].items():
        found[f"neurons/best of a layer, {name}"] = Interval.from_dict(best)
        knocked = payload["knockouts"][name]
        for key, label in CONTROLS.items():
            found[f"neurons/{name} without {label}"] = Interval.from_dict(knocked[key]["delta_nll"])
        found[f"neurons/{name}, own less others"] = Interval.from_dict(knocked["own_less_elsewhere"])
        found[f"neurons/{name}, own less as strong"] = Interval.from_dict(knocked["own_less_matched"])
        found[f"neurons/{name}, own less random"] = Interval.from_dict(knocked["own_less_random"])
        found[f"neurons/others without the set of {name}"] = Interval.from_dict(knocked["elsewhere"])
    return found


def finding(payload: Payload) -> Finding:
    """The one sentence: whose neurons do most for it that as strong ones don't."""
    gains = {
        name: Interval.from_dict(one["own_less_matched"])
        for name, one in payload["knockouts"].items()
        if payload["best"][name]["score"] > payload["best"][name]["largest_of_null"]
    }
    sure = {name: gain for name, gain in gains.items() if gain.low is not None and gain.low > 0}
    if not sure:
        text = (
            "No capability has neurons that tell its texts better than permuted labels would and do more for it than "
            "neurons that write as much."
        )
        return Finding(text=text, interest=0.25, section="neurons")
    name = max(sure, key=lambda one: sure[one].estimate)
    best, effect = payload["best"][name], payload["knockouts"][name]
    own, matched = (effect[key]["delta_nll"]["estimate"] for key in ("own", "matched"))
    text = (
        f"The {payload['share']:.0%} of neurons that tell {name} best carry it: without them its loss rises by "
        f"{own:.2f} nats per token, without others that write as much by {matched:.2f}. The best one, in layer "
        f"{best['layer']}, ranks texts of {name} first with a precision of {best['score']:.2f} (permuted labels reach "
        f"{best['largest_of_null']:.2f})."
    )
    return Finding(text=text, interest=min(0.75, 0.4 + 0.1 * sure[name].estimate), section="neurons")


def section(payload: Payload) -> Section:
    """Scores by layer, knock-outs beside their controls, overlaps, what makes the best neurons fire."""
    held = min(payload["held_out"].values())
    return Section(
        id="neurons",
        title="Neurons that tell a capability",
        summary=_summary(payload),
        meaning="A neuron is one input of a feed-forward write matrix. Its score for a capability is the average "
        "precision with which its mean activity alone ranks the texts of that capability before all others: 1 is "
        "perfect, chance is their share of the texts. The best "
        f"{payload['share']:.0%} of each layer are a capability's set. Switching a set off tells what it is worth; "
        "beside it stand as many neurons drawn at random, and as many that write as much on these texts "
        '("as strong"). Only what exceeds both is the set\'s own. (Xiao and others 2024, arXiv 2409.02877.)',
        caution="The best of many thousand neurons is a selected one, so read a score against the best of the same "
        "neurons under permuted labels, not against chance. Texts of a capability also share vocabulary, language "
        "and layout, which a neuron may follow instead of any ability: even with random weights some neurons tell "
        "them. In a small model any "
        f"{payload['share']:.0%} of the neurons costs a good deal, whatever they do. Only one random set and one as "
        f"strong a set were drawn, and effects rest on {held} held-out texts of a capability, cut at "
        f"{payload['tokens']} tokens: their intervals cover the choice of texts alone, and of so few texts they are "
        "too narrow.",
        figures=[score_map(payload), ablation_bars(payload), overlap_map(payload), firing_tokens(payload)],
        tables=[best_table(payload)],
    )


def _summary(payload: Payload) -> str:
    best = {name: one["score"] for name, one in payload["best"].items()}
    high, low = max(best, key=best.__getitem__), min(best, key=best.__getitem__)
    null = max(one["largest_of_null"] for one in payload["best"].values())
    own, strong = (_above_zero(payload, key) for key in ("own_less_elsewhere", "own_less_matched"))
    weak = payload["sparsity"]
    return (
        f"Of {payload['layers']} layers of {payload['neurons']:,} neurons the best tells {high} with a score of "
        f"{best[high]:.2f} and {low} with {best[low]:.2f}; under permuted labels the best of all reaches {null:.2f} "
        f"at most. Switching off a capability's set costs it more than the others for {own} of {len(best)} "
        f"capabilities, and more than switching off as strong a set for {strong}. Two sets share "
        f"{payload['overlaps']['mean']['estimate']:.1%} of their neurons (random: "
        f"{payload['overlaps']['pairs'][0]['expected']:.1%}). At a token "
        f"{weak['share']['estimate']:.0%} of the neurons write less than a fifth of what the strongest one writes."
    )


def _above_zero(payload: Payload, key: str) -> int:
    """For how many capabilities a difference is above 0, interval and all."""
    found = [Interval.from_dict(one[key]) for one in payload["knockouts"].values()]
    return sum(one.low is not None and one.low > 0 for one in found)
