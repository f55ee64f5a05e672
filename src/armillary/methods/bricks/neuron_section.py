"""How a survey of functional neurons is told: plain data to words and pictures. Needs no model and no torch."""

from typing import Any

from armillary.methods.bricks.neuron_figures import (
    CONTROLS,
    best_table,
    firing_tokens,
    knockout_bars,
    overlap_map,
    score_map,
)
from armillary.numerics.intervals import Interval
from armillary.runs.sections import Finding, Section

Payload = dict[str, Any]


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
        figures=[score_map(payload), knockout_bars(payload), overlap_map(payload), firing_tokens(payload)],
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
