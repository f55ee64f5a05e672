"""What a survey of a model's functional neurons finds, as plain fields. Needs no model and no torch.

Legend: L layers.
"""

from dataclasses import dataclass

from armillary.numerics.intervals import Interval


@dataclass(frozen=True, kw_only=True)
class LayerScores:
    """One capability's functionality scores, a number a layer; scores of single neurons stay out."""

    chance: float
    """The capability's share of the texts: what a neuron scores that knows nothing."""

    best: list[float]
    top_5_per_mille: list[float]
    """Score of the neuron at this share from the top: what the top share reaches at least."""

    top_5_percent: list[float]
    mean: list[float]
    best_suppressor: list[float]
    """Best score where the least active texts come first."""

    best_of_null: list[float] | None = None
    """A high quantile of the best score under permuted labels, where these were drawn."""

    p_values: list[float] | None = None
    """Share of permutations, the true labels among them, whose best neuron is at least as good."""


@dataclass(frozen=True, kw_only=True)
class ScoreSummary:
    """Functionality scores by capability and layer."""

    relative: bool
    """Whether activity was divided by the mean of its layer in the text."""

    texts: int
    """All texts together."""

    capabilities: dict[str, LayerScores]


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """Neurons in common as a share of the smaller set; 1 for a set with itself."""

    share: Interval
    """Over all layers; the interval is a bootstrap over layers."""

    expected: float
    """Of two random sets with the same number of neurons in each layer: m chosen of M gives m / M."""

    random_low: float
    """Of such random sets 95 % lie between here and ``random_high`` (exact hypergeometric law)."""

    random_high: float
    by_layer: tuple[float, ...]
    """Share in each layer where both sets have neurons, in order of layers."""


@dataclass(frozen=True, kw_only=True)
class SetPair:
    """What two capabilities' sets of neurons have in common."""

    between: tuple[str, str]
    overlap: Overlap


@dataclass(frozen=True, kw_only=True)
class FiringText:
    """A held-out text that excites a neuron."""

    capability: str
    """What the text is of, which need not be what the neuron tells."""

    tokens: list[str]
    values: list[float]
    """Activation at each token, with its sign."""

    peak: int
    """Index of the token with the largest |activation|."""


@dataclass(frozen=True, kw_only=True)
class BestNeuron:
    """The neuron, anywhere in the model, that tells a capability best."""

    layer: int
    neuron: int
    score: float
    relative: float
    """Its score when activity is divided by the mean of its layer."""

    as_good: int
    """Neurons with this very score; the one that sets the texts apart most is named."""

    largest_of_null: float
    """The best score of any neuron under any permutation of the labels."""

    examples: list[FiringText]


@dataclass(frozen=True, kw_only=True)
class SetAblation:
    """What a capability loses without its set of neurons: rises of the loss on held-out texts, nats per token."""

    own: Interval
    matched: Interval
    """Without as many neurons that write as much on these texts."""

    random: Interval
    """Without as many neurons drawn at random."""

    elsewhere: Interval
    """Mean rise of the other capabilities without this one's set."""

    own_less_elsewhere: Interval
    own_less_matched: Interval
    own_less_random: Interval


@dataclass(frozen=True, kw_only=True)
class Survey:
    """Which neurons tell a capability, and what the model loses without them."""

    model: str
    capabilities: dict[str, str]
    """Capability to its title; "" for one of the caller's own."""

    texts: dict[str, int]
    """Texts that neurons were scored on."""

    held_out: dict[str, int]
    """Other texts, on which sets were switched off."""

    tokens: int
    """Tokens of a text that were read."""

    layers: int
    neurons: int
    """Of a layer."""

    share: float
    """Share of each layer's neurons in a set."""

    permutations: int
    weak: Interval
    """Share of neurons, over tokens, that write less than a fifth of what the strongest one writes."""

    weak_by_layer: list[float]
    scores: ScoreSummary
    relative: ScoreSummary
    best_of_layers: dict[str, Interval]
    """By capability: mean over layers of the best neuron's score."""

    best: dict[str, BestNeuron]
    sets: dict[str, list[list[int]]]
    """By capability: its neurons in each layer."""

    overlap: Interval
    """Mean over all pairs of sets."""

    pairs: list[SetPair]
    ablations: dict[str, SetAblation]
