"""A survey of functional neurons for a reader: figures, a table, measures and the one sentence. Needs no torch."""

from dataclasses import replace

from armillary.methods.bricks.neurons.result import BestNeuron, FiringText, Survey
from armillary.numerics.intervals import Interval
from armillary.records.sections import Cell, Figure, Finding, Heatmap, Section, Table, TokenRow, Tokens, interval_bars

AROUND = 16
"""Tokens shown on each side of the one that makes a neuron fire: about what fits on two lines."""

MINUS = "\N{MINUS SIGN}"


def score_map(survey: Survey) -> Figure:
    """How far the best neuron of each layer lies above the best under permuted labels."""
    scores = survey.scores.capabilities
    values: list[list[float | None]] = [
        [best - null for best, null in zip(row.best, row.best_of_null or [], strict=True)] for row in scores.values()
    ]
    known = [value for row in values for value in row if value is not None]
    highest = [
        f"{name} in layer {max(range(survey.layers), key=[value or 0.0 for value in row].__getitem__)}"
        for name, row in zip(scores, values, strict=True)
    ]
    return Figure(
        title="Best neuron of each layer (columns), above the best under permuted labels",
        data=Heatmap(
            rows=list(scores),
            columns=list(range(survey.layers)),
            values=values,
            low=min(0.0, *known),
            high=max(0.0, *known),
            unit=f"score above the largest of {survey.permutations} permutations",
        ),
        alt=f"Heat map, capabilities by layers; highest for {', '.join(highest)}.",
    )


def ablation_bars(survey: Survey) -> Figure:
    """What each capability loses without its own set and without the two control sets."""
    rises = {}
    for name, without in survey.ablations.items():
        rises[f"{name} without its own set"] = without.own
        rises[f"{name} without as strong a set"] = without.matched
        rises[f"{name} without a random set"] = without.random
    listed = ", ".join(
        f"{name} {without.own.estimate:.2f} (as strong {without.matched.estimate:.2f}, random "
        f"{without.random.estimate:.2f})"
        for name, without in survey.ablations.items()
    )
    title = f"What each capability loses without {survey.share:.0%} of the neurons of every layer"
    figure = interval_bars(title, rises, "rise of the loss on held-out texts, nats per token")
    return replace(figure, alt=f"Bars of the rise of the loss: {listed}.")


def overlap_map(survey: Survey) -> Figure:
    """What every two sets have in common."""
    names = list(survey.capabilities)
    shares = {frozenset(pair.between): pair.overlap.share.estimate for pair in survey.pairs}
    top = max(survey.pairs, key=lambda pair: pair.overlap.share.estimate)
    law = f"{top.overlap.random_low:.3f} to {top.overlap.random_high:.3f}"
    largest = top.overlap.share.estimate
    return Figure(
        title=f"Neurons that two sets have in common (95 % of random sets: {law})",
        data=Heatmap(
            rows=list(names),
            columns=list(names),
            values=[[shares.get(frozenset((row, column))) for column in names] for row in names],
            low=0.0,
            high=max(largest, 2 * top.overlap.expected),
            unit="share of a set",
        ),
        alt=f"Heat map of shares; the largest is {largest:.3f}, of {' and '.join(top.between)}.",
    )


def firing_tokens(survey: Survey) -> Figure:
    """Held-out texts, coloured by the activity of each capability's best neuron."""
    rows = [_token_row(name, best, text) for name, best in survey.best.items() for text in best.examples]
    return Figure(
        title="What makes the best neuron of each capability fire, on texts it was not chosen on",
        data=Tokens(
            rows=rows,
            limit=1.0,
            low_name="negative activation",
            high_name="positive (1: its strongest on these texts)",
        ),
        alt=f"{len(rows)} texts; a token is marked by how strongly the neuron is active there.",
    )


def _token_row(name: str, best: BestNeuron, text: FiringText) -> TokenRow:
    """A text around its peak; activations as shares of the neuron's largest, the first token (a sink) left bare."""
    strongest = max(abs(example.values[example.peak]) for example in best.examples) or 1.0
    shown = slice(max(0, text.peak - AROUND), text.peak + AROUND + 1)
    values = [None if index == 0 else value / strongest for index, value in enumerate(text.values)]
    kind = "one of its own" if text.capability == name else f"a text of {text.capability}"
    return TokenRow(
        label=name,
        note=f"layer {best.layer}, neuron {best.neuron}; {kind}",
        tokens=text.tokens[shown],
        values=values[shown],
    )


def best_table(survey: Survey) -> Table:
    """A row for each capability: its best neuron beside the null, and what its set is worth."""
    rows: list[list[Cell]] = []
    for name, best in survey.best.items():
        without = survey.ablations[name]
        effects = (without.own, without.own_less_matched, without.elsewhere)
        chance = survey.scores.capabilities[name].chance
        scores = [best.score, best.as_good, best.relative, best.largest_of_null]
        rows.append([name, chance, best.layer, *scores, *map(_signed, effects)])
    texts = [
        f"{survey.texts[name]} of {name}{f' ({title})' if title else ''}"
        for name, title in survey.capabilities.items()
    ]
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
        f"the best of all neurons in {survey.permutations} permutations. Effects: nats per token, 95 % intervals "
        f"over held-out texts. Texts scored on: {'; '.join(texts)}.",
    )


def _signed(interval: Interval) -> str:
    shown = f"{interval.estimate:+.2f}"
    if interval.low is not None and interval.high is not None:
        shown += f" [{interval.low:+.2f}, {interval.high:+.2f}]"
    return shown.replace("-", MINUS)


def measures(survey: Survey) -> dict[str, Interval]:
    """The survey's numbers by name; effects are rises of the loss, in nats per token."""
    null = [value for row in survey.scores.capabilities.values() for value in row.best_of_null or []]
    how = f"largest of {survey.permutations} permutations of the labels, mean over layers"
    named = {
        "neurons/best of a layer, permuted labels": Interval(
            estimate=sum(null) / len(null), n=survey.permutations, how=how
        ),
        "neurons/share below a fifth of the strongest": survey.weak,
        "neurons/overlap of two sets": survey.overlap,
    }
    for name, best in survey.best_of_layers.items():
        without = survey.ablations[name]
        named[f"neurons/best of a layer, {name}"] = best
        named[f"neurons/{name} without its own set"] = without.own
        named[f"neurons/{name} without as strong a set"] = without.matched
        named[f"neurons/{name} without a random set"] = without.random
        named[f"neurons/{name}, own less others"] = without.own_less_elsewhere
        named[f"neurons/{name}, own less as strong"] = without.own_less_matched
        named[f"neurons/{name}, own less random"] = without.own_less_random
        named[f"neurons/others without the set of {name}"] = without.elsewhere
    return named


def finding(survey: Survey) -> Finding:
    """The one sentence: whose neurons do most for it that as strong ones don't."""
    gains = {
        name: without.own_less_matched
        for name, without in survey.ablations.items()
        if survey.best[name].score > survey.best[name].largest_of_null
    }
    sure = {name: gain for name, gain in gains.items() if _is_above_zero(gain)}
    if not sure:
        text = (
            "No capability has neurons that tell its texts better than permuted labels would and do more for it than "
            "neurons that write as much."
        )
        return Finding(text=text, interest=0.25, section="neurons")
    name = max(sure, key=lambda name: sure[name].estimate)
    best, without = survey.best[name], survey.ablations[name]
    text = (
        f"The {survey.share:.0%} of neurons that tell {name} best carry it: without them its loss rises by "
        f"{without.own.estimate:.2f} nats per token, without others that write as much by "
        f"{without.matched.estimate:.2f}. The best one, in layer {best.layer}, ranks texts of {name} first with a "
        f"precision of {best.score:.2f} (permuted labels reach {best.largest_of_null:.2f})."
    )
    # 0.75 is what a change between two models gets in a check-up: a survey of one model stays behind it.
    return Finding(text=text, interest=min(0.75, 0.4 + 0.1 * sure[name].estimate), section="neurons")


def _is_above_zero(gain: Interval) -> bool:
    """True where a difference is above 0, interval and all."""
    return gain.low is not None and gain.low > 0


def section(survey: Survey) -> Section:
    """Scores by layer, ablations beside their controls, overlaps, what makes the best neurons fire."""
    held = min(survey.held_out.values())
    return Section(
        id="neurons",
        title="Neurons that tell a capability",
        summary=_summary(survey),
        meaning="A neuron is one input of a feed-forward write matrix. Its score for a capability is the average "
        "precision with which its mean activity alone ranks the texts of that capability before all others: 1 is "
        "perfect, chance is their share of the texts. The best "
        f"{survey.share:.0%} of each layer are a capability's set. Switching a set off tells what it is worth; "
        "beside it stand as many neurons drawn at random, and as many that write as much on these texts "
        '("as strong"). Only what exceeds both is the set\'s own. (Xiao and others 2024, arXiv 2409.02877.)',
        caution="The best of many thousand neurons is a selected one, so read a score against the best of the same "
        "neurons under permuted labels, not against chance. Texts of a capability also share vocabulary, language "
        "and layout, which a neuron may follow instead of any ability: even with random weights some neurons tell "
        "them. In a small model any "
        f"{survey.share:.0%} of the neurons costs a good deal, whatever they do. Only one random set and one as "
        f"strong a set were drawn, and effects rest on {held} held-out texts of a capability, cut at "
        f"{survey.tokens} tokens: their intervals cover the choice of texts alone, and of so few texts they are "
        "too narrow.",
        figures=[score_map(survey), ablation_bars(survey), overlap_map(survey), firing_tokens(survey)],
        tables=[best_table(survey)],
    )


def _summary(survey: Survey) -> str:
    best = {name: neuron.score for name, neuron in survey.best.items()}
    high, low = max(best, key=best.__getitem__), min(best, key=best.__getitem__)
    null = max(neuron.largest_of_null for neuron in survey.best.values())
    own = sum(_is_above_zero(without.own_less_elsewhere) for without in survey.ablations.values())
    strong = sum(_is_above_zero(without.own_less_matched) for without in survey.ablations.values())
    return (
        f"Of {survey.layers} layers of {survey.neurons:,} neurons the best tells {high} with a score of "
        f"{best[high]:.2f} and {low} with {best[low]:.2f}; under permuted labels the best of all reaches {null:.2f} "
        f"at most. Switching off a capability's set costs it more than the others for {own} of {len(best)} "
        f"capabilities, and more than switching off as strong a set for {strong}. Two sets share "
        f"{survey.overlap.estimate:.1%} of their neurons (random: {survey.pairs[0].overlap.expected:.1%}). At a token "
        f"{survey.weak.estimate:.0%} of the neurons write less than a fifth of what the strongest one writes."
    )
