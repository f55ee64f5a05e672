"""How large each preset of the Bricks reproduction is; importable without torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from armillary.cli.reproduce import Preset

TASKS = ("code", "german", "mathematics")
"""Capabilities for which an adapter is trained."""

OTHERS = ("code", "knowledge")
"""Old text that a model grown on German is looked at with."""

ACTIVATION_LEVEL, MAGNITUDE_LEVEL = 0.7, 0.8
"""Shares of masked neurons at which the paper sees nearly no loss, by its two indicators."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Sizes of one preset; numbers of texts are for each capability."""

    seeds: int
    """Draws of texts, of random sets, of adapters, of growth: what t intervals are taken over."""

    tokens: int
    """Tokens of a text that are read."""

    score_texts: int
    """Texts that neurons are scored on: few make high scores by chance easier, which the permuted labels show."""

    permutations: int
    """Of the labels: the null's 99.9 % quantile needs a thousand, of fewer the largest is taken."""

    mask_texts: int
    mask_levels: tuple[float, ...]
    """Shares of neurons left out; the two of the claims among them."""

    cett_levels: tuple[float, ...]
    ablation_texts: int
    random_sets: int
    """Random sets of neurons beside each capability's own."""

    experts: int
    calibration_texts: int
    """Texts that partitions, routers and keys are fitted to."""

    routing_texts: int
    partitions: int
    """Random partitions of the null of functional experts."""

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


# Gemma 3 270M takes two and a half hours on two cores so; more texts would narrow intervals, more steps teach more.
LAPTOP = Scale(
    seeds=3,
    tokens=96,
    score_texts=40,
    permutations=1000,
    mask_texts=6,
    mask_levels=(0.5, ACTIVATION_LEVEL, MAGNITUDE_LEVEL),
    cett_levels=(0.1, 0.2, 0.4),
    ablation_texts=5,
    random_sets=2,
    experts=32,
    calibration_texts=12,
    routing_texts=3,
    partitions=200,
    adapter_steps=24,
    adapter_tokens=64,
    adapter_texts=8,
    facts=10,
    trial_facts=3,
    trial_layers=3,
    general_texts=80,
    new_neurons=64,
    growth_steps=16,
    growth_texts=6,
    decode_steps=40,
    decode_rounds=5,
)
SCALES: dict[Preset, Scale] = {
    # As small as each stage runs through: a score needs 20 texts, a t interval two draws.
    "quick": replace(
        LAPTOP,
        seeds=2,
        tokens=16,
        score_texts=20,
        permutations=50,
        mask_texts=2,
        cett_levels=(0.1, 0.3),
        ablation_texts=2,
        random_sets=1,
        experts=4,
        calibration_texts=4,
        routing_texts=2,
        partitions=20,
        adapter_steps=4,
        adapter_tokens=16,
        adapter_texts=3,
        facts=2,
        trial_facts=1,
        trial_layers=1,
        general_texts=8,
        new_neurons=4,
        growth_steps=3,
        growth_texts=2,
        decode_steps=8,
        decode_rounds=2,
        stand_ins={"translation": "law", "german": "technical-english"},
    ),
    "laptop": LAPTOP,
    # Ten to twenty times as many texts: here losses are cheap, and the width of intervals is what decides claims.
    "gpu": replace(
        LAPTOP,
        seeds=5,
        tokens=128,
        score_texts=200,
        mask_texts=100,
        mask_levels=(0.3, 0.5, 0.6, ACTIVATION_LEVEL, MAGNITUDE_LEVEL, 0.9),
        cett_levels=(0.05, 0.1, 0.2, 0.3, 0.4),
        ablation_texts=100,
        random_sets=5,
        calibration_texts=100,
        routing_texts=60,
        adapter_steps=60,
        adapter_tokens=128,
        adapter_texts=60,
        facts=60,
        trial_facts=10,
        trial_layers=6,
        general_texts=1000,
        growth_steps=200,
        growth_texts=60,
        decode_steps=50,
        decode_rounds=7,
    ),
}
