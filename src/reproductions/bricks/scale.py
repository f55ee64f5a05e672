"""How large each preset of the Bricks reproduction is; importable without torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from armillary.cli.reproduce import Preset

TASKS = ("code", "german", "mathematics")
"""Capabilities for which an adapter is trained."""

OTHERS = ("code", "knowledge")
"""Old text that a model grown on German is looked at with."""

RATES = (1e-4, 3e-4, 1e-3, 3e-3)
"""Of adapters and of new neurons: the one that teaches most on a pilot of the same model, on other texts, is taken."""

ACTIVATION_LEVEL, MAGNITUDE_LEVEL = 0.7, 0.8
"""Shares of masked neurons at which the paper sees nearly no loss, by its two indicators."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Sizes of one preset; numbers of texts are for each capability."""

    seeds: int
    """Draws of texts, none of which they share, of adapters and of growth: what t intervals are taken over."""

    tokens: int
    """Tokens of a text that are read."""

    score_texts: int
    """Texts that neurons are scored on: few make high scores by chance easier, which the permuted labels show."""

    permutations: int
    """Of the labels: the null's 99.9 % quantile needs a thousand, of fewer the largest is taken."""

    shuffles: int
    """Of the labels of each draw, under which all that is read off the scores is read again."""

    untrained: int
    """Networks of the model's shape with random weights."""

    untrained_texts: int
    mask_texts: int
    mask_levels: tuple[float, ...]
    """Shares of neurons left out; the two of the claims among them."""

    knockout_texts: int
    """Texts of a capability that its own set and the matched ones are switched off on."""

    other_texts: int
    """Texts of each capability on which every set, and sets less their residents, are switched off."""

    matched_sets: int
    """Sets matched in magnitude to each capability's own: what its own is compared with."""

    random_sets: int
    """Random sets of as many neurons; and draws of as many others as a set has residents."""

    experts: int
    calibration_texts: int
    """Texts that partitions, routers and keys are fitted to."""

    routing_texts: int
    partitions: int
    """Random partitions of the null of functional experts."""

    pilot_texts: int
    """Texts on which rates are chosen, and on which an adapter shows whether it learned: none of them judges."""

    adapter_steps: int
    adapter_tokens: int
    """Tokens of a training text, of adapters and of growth: shorter ones train faster and teach less."""

    adapter_texts: int
    facts: int
    trial_facts: int
    """Facts on which the layer to edit is chosen; none of them is edited afterwards."""

    trial_layers: int
    general_texts: int
    """Texts of general prose for the second moment of keys."""

    new_neurons: int
    growth_steps: int
    growth_texts: int
    decode_steps: int
    decode_rounds: int
    """Rounds in which a dense and a sparse model take turns: what the interval of a time is taken over."""

    stand_ins: Mapping[str, str] = field(default_factory=dict)
    """Capability -> the one whose texts are read in its place, where its own would have to be downloaded."""


LAPTOP = Scale(
    seeds=3, tokens=96, score_texts=25, permutations=1000, shuffles=10, untrained=3, untrained_texts=2,
    mask_texts=5, mask_levels=(0.5, ACTIVATION_LEVEL, MAGNITUDE_LEVEL), knockout_texts=8, other_texts=3,
    matched_sets=6, random_sets=2, experts=32, calibration_texts=8, routing_texts=3, partitions=200, pilot_texts=6,
    adapter_steps=12, adapter_tokens=64, adapter_texts=6, facts=10, trial_facts=2, trial_layers=2, general_texts=60,
    new_neurons=64, growth_steps=10, growth_texts=6, decode_steps=40, decode_rounds=5,
)  # fmt: skip
"""Half an hour on one core for SmolLM2 135M."""

QUICK = replace(
    LAPTOP, seeds=2, tokens=16, score_texts=20, permutations=50, shuffles=2, untrained=2, mask_texts=2,
    knockout_texts=2, other_texts=2, matched_sets=2, experts=4, calibration_texts=4, routing_texts=2, partitions=20,
    pilot_texts=3, adapter_steps=4, adapter_tokens=16, adapter_texts=3, facts=2, trial_facts=1, trial_layers=1,
    general_texts=8, new_neurons=4, growth_steps=3, growth_texts=2, decode_steps=8, decode_rounds=2,
    stand_ins={"translation": "law", "german": "technical-english"},
)  # fmt: skip
"""As small as each stage runs through: a score needs 20 texts, a t interval two draws."""

GPU = replace(
    LAPTOP, seeds=5, tokens=128, untrained_texts=10, mask_texts=100,
    mask_levels=(0.3, 0.5, 0.6, ACTIVATION_LEVEL, MAGNITUDE_LEVEL, 0.9), score_texts=40, knockout_texts=100,
    other_texts=50,
    matched_sets=20, random_sets=5, calibration_texts=20, routing_texts=60, adapter_steps=60, adapter_tokens=128,
    adapter_texts=20, facts=60, trial_facts=10, trial_layers=6, general_texts=1000, growth_steps=200,
    growth_texts=20, decode_steps=50, decode_rounds=7,
)  # fmt: skip
"""Here losses are cheap, and the width of intervals is what decides claims: as many texts as there are."""

LARGE = 200_000_000
"""Parameters above which a laptop reads fewer texts: one of Gemma 3 270M costs 2.6 times as much, mostly the head."""

SCALES: dict[Preset, Scale] = {"quick": QUICK, "laptop": LAPTOP, "gpu": GPU}


def scale_of(preset: Preset, parameters: int) -> Scale:
    """The sizes of a preset for a model of so many parameters."""
    if preset != "laptop" or parameters <= LARGE:
        return SCALES[preset]
    return replace(LAPTOP, knockout_texts=6, adapter_texts=5, pilot_texts=4, facts=8, growth_texts=5)
