"""Diagnosis: effective rank and feed-forward sparsity, layer by layer, on plain texts.

The texts are split into groups; each group gives one value a layer, and the interval is over the groups.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from jaxtyping import Float
from torch import Tensor

from armillary.activations import Moments, Sparsity, run_texts, streaming
from armillary.checkup.diagnosis import Context, Diagnosed, Diagnosis, nothing_to_show
from armillary.numerics.intervals import Interval, across_seeds
from armillary.numerics.spectrum import effective_rank_from_covariance, rms_normalised, sink_rows
from armillary.progress import track
from armillary.records.sections import Figure, Finding, Lines, Section, Series

GROUPS = 4
"""Each gives one value a layer: the fewest from which a t interval is of use; more would leave few texts to each."""


@dataclass(frozen=True, kw_only=True)
class TextGroup:
    """What a group of texts gives for each layer."""

    rank: list[float]
    """Effective rank of the layer's output."""

    half: list[float]
    """Share of the neurons that carry half of the energy, mean over tokens; empty where a model has no neurons."""

    active: list[float]
    """Share of the neurons above 1 % of the largest; empty likewise."""

    tokens: int

    sinks: list[float]
    """Share of the tokens that are set apart as attention sinks, by layer."""


class OrdinaryMoments(Moments):
    """Mean and covariance of tokens' states at unit root mean square, attention sinks set apart.

    Else the covariance is that of the one huge channel that makes a sink, whatever all other tokens do.
    """

    def __init__(self, num_layers: int) -> None:
        super().__init__(num_layers)
        self.sinks = [0] * num_layers

    def update(self, layer: int, x_ND: Float[Tensor, "n d"]) -> None:
        """Take in the values of ``layer`` for some tokens, among which the median length is taken."""
        sink_N = sink_rows(x_ND)
        self.sinks[layer] += int(sink_N.sum())
        super().update(layer, rms_normalised(x_ND[~sink_N].float()))


@dataclass(frozen=True, kw_only=True)
class LayerSurvey:
    """Effective rank and sparsity by group of texts."""

    groups: list[TextGroup]
    width: int
    neurons: int
    texts: int

    def ranks(self) -> list[Interval]:
        """Effective rank by layer, over groups."""
        return _by_layer([group.rank for group in self.groups])

    def sinks(self) -> list[float]:
        """Share of the tokens that are set apart, by layer."""
        return [sum(shares) / len(shares) for shares in zip(*(group.sinks for group in self.groups), strict=True)]


def measure(context: Context) -> LayerSurvey:
    """Per group of texts and layer: effective rank of the layer outputs, sparsity of the feed-forward activations."""
    corpus = [text for _, text in context.corpus()]
    groups = [
        context.parts.decoded(
            TextGroup, f"layers, sinks apart {group}", partial(_group, context, corpus[group::GROUPS])
        )
        for group in track(range(GROUPS), f"Layers of {context.loaded.name}")
    ]
    anatomy = context.loaded.anatomy
    return LayerSurvey(groups=groups, width=anatomy.hidden_size, neurons=anatomy.intermediate_size, texts=len(corpus))


def _group(context: Context, texts: list[str]) -> TextGroup:
    anatomy = context.loaded.anatomy
    moments, sparsity = OrdinaryMoments(anatomy.num_layers), Sparsity(anatomy.num_layers)
    written = None not in anatomy.ffn_writes
    with ExitStack() as stack:
        stack.enter_context(streaming(context.loaded, "layer", moments))
        if written:
            stack.enter_context(streaming(context.loaded, "ffn", sparsity))
        tokens = run_texts(context.loaded, texts, max_tokens=context.config.text_tokens)
    layers = range(anatomy.num_layers)
    return TextGroup(
        rank=[float(effective_rank_from_covariance(moments.covariance(layer))) for layer in layers],
        half=[sparsity.layer(layer).half_mass for layer in layers] if written else [],
        active=[1 - sparsity.layer(layer).near_zero for layer in layers] if written else [],
        tokens=tokens,
        sinks=[count / tokens for count in moments.sinks],
    )


def _by_layer(groups: list[list[float]]) -> list[Interval]:
    return [
        across_seeds(list(values), how=f"t interval over {len(values)} groups of texts")
        for values in zip(*groups, strict=True)
    ]


def _lines(title: str, y_label: str, alt: str, series: Mapping[str, list[Interval]]) -> Figure:
    """A line with its intervals for each series, over the layers."""
    drawn = [
        Series(
            name=name,
            y=[interval.estimate for interval in intervals],
            low=[interval.low for interval in intervals],
            high=[interval.high for interval in intervals],
        )
        for name, intervals in series.items()
    ]
    x = [*range(len(drawn[0].y))]
    return Figure(title=title, data=Lines(x=x, series=drawn, x_label="layer", y_label=y_label), alt=alt)


def describe_rank(survey: LayerSurvey) -> Diagnosed:
    """Effective rank over depth."""
    ranks, width = survey.ranks(), survey.width
    values = [rank.estimate for rank in ranks]
    low, high = min(range(len(values)), key=values.__getitem__), max(range(len(values)), key=values.__getitem__)
    summary = (
        f"Of {width:,} dimensions the layers use between {values[low]:,.0f} (layer {low}) and {values[high]:,.0f} "
        f"(layer {high}), measured on {survey.texts} texts."
    )
    sinks = survey.sinks()
    if max(sinks):
        most = max(range(len(sinks)), key=sinks.__getitem__)
        share = f"{sinks[most]:.1%} of the tokens in layer {most}"
        summary += f" Attention sinks stand apart: {share}, where they are most."
    figure = _lines(
        "Effective rank of the layer outputs",
        "effective rank",
        f"Effective rank by layer, from {values[0]:.0f} in the first layer to {values[-1]:.0f} in the last.",
        {"effective rank": ranks},
    )
    section = Section(
        id="rank",
        title="Effective rank by layer",
        summary=summary,
        meaning="The effective rank (Roy and Vetterli 2007: the exponential of the entropy of the normalised singular "
        "values, here of the centred layer outputs) says how many directions a layer really uses. A dip is a "
        "bottleneck: few directions carry nearly all the variance there.",
        caution=f"Each of the {GROUPS} groups of texts has about {survey.groups[0].tokens:,} tokens; more tokens "
        "raise the rank of every layer, so compare layers and models at equal tokens only. A channel that is "
        "large and varies in every token still pulls the number down while the others stay rich.",
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


def describe_sparsity(survey: LayerSurvey) -> Diagnosed:
    """Feed-forward sparsity over depth."""
    if not survey.groups[0].half:
        return nothing_to_show(
            "sparsity",
            "Feed-forward sparsity",
            "Not available: this model keeps its experts as stacked matrices.",
            "The inputs of each feed-forward write matrix are its neurons.",
        )
    halves, actives = (
        _by_layer(rows)
        for rows in ([group.half for group in survey.groups], [group.active for group in survey.groups])
    )
    values = [half.estimate for half in halves]
    low = min(range(len(values)), key=values.__getitem__)
    summary = (
        f"For one token, {min(values):.1%} (layer {low}) to {max(values):.1%} of the {survey.neurons:,} neurons "
        "of a layer carry half of its feed-forward energy."
    )
    figure = _lines(
        "How few neurons do the work",
        "share of the neurons",
        "Shares of neurons that carry half of the energy, and that are clearly active, by layer.",
        {"neurons with half of the energy": halves, "neurons above 1 % of the largest": actives},
    )
    section = Section(
        id="sparsity",
        title="Feed-forward sparsity by layer",
        summary=summary,
        meaning="The inputs of each feed-forward write matrix are its neurons. The lower the lines, the fewer neurons "
        "answer for one token, and the more could be skipped or told apart by function.",
        caution="A quiet neuron can matter: its output column may be long, and the energy here does not weigh "
        "columns. Averages over tokens hide the rare token that wakes a neuron.",
        figures=[figure],
    )
    measures = {f"half energy/layer {layer}": half for layer, half in enumerate(halves)}
    text = f"In layer {low}, {values[low]:.1%} of the neurons carry half of the feed-forward energy of a token."
    finding = Finding(text=text, interest=min(0.75, 0.2 + 0.05 / max(values[low], 0.05)), section="sparsity")
    return Diagnosed(section=section, measures=measures, findings=[finding])


LAYERS = Diagnosis(
    name="layers",
    result=LayerSurvey,
    # 7.4 s for 8 texts of 128 tokens, of which 3 are the forward passes.
    cost=lambda config: 4.4 + 0.003 * config.texts * config.text_tokens,
    measure=measure,
    descriptions=(
        describe_rank,
        describe_sparsity,
    ),
)
