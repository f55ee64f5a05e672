"""Diagnosis: effective rank and feed-forward sparsity, layer by layer, on plain texts.

The texts are split into groups; each group gives one value a layer, and the interval is over the groups.
"""

from contextlib import ExitStack
from functools import partial

from armillary.activations import Moments, Sparsity, run_texts, streaming
from armillary.checkup.diagnosis import Context, Diagnosed, Diagnosis, Payload
from armillary.numerics.intervals import Interval, across_seeds
from armillary.numerics.spectrum import effective_rank_from_covariance
from armillary.progress import track
from armillary.records.sections import Figure, Finding, Section

GROUPS = 4


def measure(context: Context) -> Payload:
    """Per group of texts and layer: effective rank of the layer outputs, sparsity of the feed-forward activations."""
    corpus = [text for _, text in context.corpus()]
    ranks, halves, actives, tokens = [], [], [], []
    for group in track(range(GROUPS), f"Layers of {context.loaded.name}"):
        members = corpus[group::GROUPS]
        part = context.parts.json(f"{context.role} layers {group}", partial(_group, context, members))
        ranks.append(part["rank"])
        halves.append(part["half"])
        actives.append(part["active"])
        tokens.append(part["tokens"])
    anatomy = context.loaded.anatomy
    return {
        "rank": ranks,
        "half": halves,
        "active": actives,
        "tokens": tokens,
        "width": anatomy.hidden_size,
        "neurons": anatomy.intermediate_size,
        "texts": len(corpus),
    }


def _group(context: Context, texts: list[str]) -> Payload:
    anatomy = context.loaded.anatomy
    moments, sparsity = Moments(anatomy.num_layers), Sparsity(anatomy.num_layers)
    written = any(write is not None for write in anatomy.ffn_writes)
    with ExitStack() as stack:
        stack.enter_context(streaming(context.loaded, "layer", moments))
        if written:
            stack.enter_context(streaming(context.loaded, "ffn", sparsity))
        tokens = run_texts(context.loaded, texts, max_tokens=context.config.text_tokens)
    layers = range(anatomy.num_layers)
    return {
        "rank": [float(effective_rank_from_covariance(moments.covariance(layer))) for layer in layers],
        "half": [sparsity.layer(layer).half_mass for layer in layers] if written else [],
        "active": [1 - sparsity.layer(layer).near_zero for layer in layers] if written else [],
        "tokens": tokens,
    }


def _by_layer(groups: list[list[float]]) -> list[Interval]:
    return [
        across_seeds(list(values), how=f"t interval over {len(values)} groups of texts")
        for values in zip(*groups, strict=True)
    ]


def _series(name: str, intervals: list[Interval]) -> dict[str, object]:
    return {
        "name": name,
        "y": [interval.estimate for interval in intervals],
        "low": [interval.low for interval in intervals],
        "high": [interval.high for interval in intervals],
    }


def describe_rank(payload: Payload) -> Diagnosed:
    """Effective rank over depth."""
    ranks, width = _by_layer(payload["rank"]), payload["width"]
    values = [rank.estimate for rank in ranks]
    low, high = min(range(len(values)), key=values.__getitem__), max(range(len(values)), key=values.__getitem__)
    summary = (
        f"Of {width:,} dimensions the layers use between {values[low]:,.0f} (layer {low}) and {values[high]:,.0f} "
        f"(layer {high}), measured on {payload['texts']} texts."
    )
    figure = Figure(
        kind="lines",
        title="Effective rank of the layer outputs",
        data={
            "x": list(range(len(values))),
            "series": [_series("effective rank", ranks)],
            "x_label": "layer",
            "y_label": "effective rank",
        },
        alt=f"Effective rank by layer, from {values[0]:.0f} in the first layer to {values[-1]:.0f} in the last.",
    )
    section = Section(
        id="rank",
        title="Effective rank by layer",
        summary=summary,
        meaning="The effective rank (Roy and Vetterli 2007: the exponential of the entropy of the normalised singular "
        "values, here of the centred layer outputs) says how many directions a layer really uses. A dip is a "
        "bottleneck: few directions carry nearly all the variance there.",
        caution=f"Each of the {GROUPS} groups of texts has about {payload['tokens'][0]:,} tokens; more tokens raise "
        "the "
        "rank of every layer, so compare layers and models at equal tokens only. One direction of huge norm, common "
        "in language models, can pull the number down while the others stay rich.",
        figures=[figure],
    )
    measures = {f"rank/layer {layer}": rank for layer, rank in enumerate(ranks)}
    ratio = values[high] / max(values[low], 1e-9)
    text = (
        f"Layer {low} squeezes everything into about {values[low]:,.0f} of {width:,} directions; layer {high} uses "
        f"{values[high]:,.0f}."
    )
    finding = Finding(text=text, interest=min(0.8, 0.15 + 0.08 * ratio), section="rank")
    return Diagnosed(section=section, measures=measures, findings=[finding])


def compare_rank(before: Payload, after: Payload) -> Diagnosed:
    """Change of the effective rank, paired by group of texts."""
    if len(before["rank"][0]) != len(after["rank"][0]):
        return _incomparable("rank-change", "Effective rank: before and after", "different numbers of layers")
    pairs = zip(before["rank"], after["rank"], strict=True)
    changes = _by_layer([[new - old for old, new in zip(olds, news, strict=True)] for olds, news in pairs])
    moved = [layer for layer, change in enumerate(changes) if change.excludes(0.0)]
    largest = max(range(len(changes)), key=lambda layer: abs(changes[layer].estimate))
    summary = (
        f"The effective rank moved in {len(moved)} of {len(changes)} layers (interval without 0); the largest change "
        "is "
        f"{changes[largest].estimate:+.1f} in layer {largest}."
    )
    figure = Figure(
        kind="lines",
        title="Effective rank before and after",
        data={
            "x": list(range(len(changes))),
            "series": [_series("before", _by_layer(before["rank"])), _series("after", _by_layer(after["rank"]))],
            "x_label": "layer",
            "y_label": "effective rank",
        },
        alt="Two lines of effective rank by layer, before and after.",
    )
    section = Section(
        id="rank-change",
        title="Effective rank: before and after",
        summary=summary,
        meaning="Both models read the same texts. A fall after tuning means that representations became poorer there.",
        caution="Both lines move with the number of tokens; only their difference at equal texts means something. "
        "With "
        f"{len(changes)} layers tested at 95 %, about one in twenty moves by chance alone.",
        figures=[figure],
    )
    measures = {f"rank change/layer {layer}": change for layer, change in enumerate(changes)}
    interest = 0.8 if moved else 0.3
    return Diagnosed(
        section=section, measures=measures, findings=[Finding(text=summary, interest=interest, section="rank-change")]
    )


def _incomparable(id: str, title: str, reason: str) -> Diagnosed:
    section = Section(
        id=id,
        title=title,
        summary=f"Not comparable: {reason}.",
        meaning="This comparison needs two models of one shape.",
        caution="Nothing was measured here.",
    )
    return Diagnosed(section=section)


def describe_sparsity(payload: Payload) -> Diagnosed:
    """Feed-forward sparsity over depth."""
    if not payload["half"][0]:
        return _incomparable("sparsity", "Feed-forward sparsity", "this model keeps its experts as stacked matrices")
    halves, actives = _by_layer(payload["half"]), _by_layer(payload["active"])
    values = [half.estimate for half in halves]
    low = min(range(len(values)), key=values.__getitem__)
    summary = (
        f"For one token, {min(values):.1%} (layer {low}) to {max(values):.1%} of the {payload['neurons']:,} neurons "
        "of a "
        "layer carry half of its feed-forward energy."
    )
    figure = Figure(
        kind="lines",
        title="How few neurons do the work",
        data={
            "x": list(range(len(values))),
            "series": [
                _series("neurons with half of the energy", halves),
                _series("neurons above 1 % of the largest", actives),
            ],
            "x_label": "layer",
            "y_label": "share of the neurons",
        },
        alt="Shares of neurons that carry half of the energy, and that are clearly active, by layer.",
    )
    section = Section(
        id="sparsity",
        title="Feed-forward sparsity by layer",
        summary=summary,
        meaning="The inputs of each feed-forward write matrix are its neurons. The lower the lines, the fewer neurons "
        "answer for one token, and the more could be skipped or told apart by function.",
        caution="A quiet neuron can matter: its output column may be long, and the energy here does not weigh "
        "columns. "
        "Averages over tokens hide the rare token that wakes a neuron.",
        figures=[figure],
    )
    measures = {f"half energy/layer {layer}": half for layer, half in enumerate(halves)}
    text = f"In layer {low}, {values[low]:.1%} of the neurons carry half of the feed-forward energy of a token."
    finding = Finding(text=text, interest=min(0.75, 0.2 + 0.05 / max(values[low], 0.05)), section="sparsity")
    return Diagnosed(section=section, measures=measures, findings=[finding])


RANK = Diagnosis(
    name="layers", title="Effective rank by layer", measure=measure, describe=describe_rank, compare=compare_rank
)
SPARSITY = Diagnosis(name="layers", title="Feed-forward sparsity", measure=measure, describe=describe_sparsity)
