"""How large each preset of the Bricks reproduction is; importable without torch."""

from dataclasses import dataclass

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
    """Draws of texts, of random sets, of adapters, of growth."""

    tokens: int
    """Tokens of a text that are read."""

    score_texts: int
    permutations: int
    mask_texts: int
    mask_levels: tuple[float, ...]
    cett_levels: tuple[float, ...]
    ablation_texts: int
    random_sets: int
    experts: int
    calibration_texts: int
    routing_texts: int
    partitions: int
    """Random partitions of the null of functional experts."""

    adapter_steps: int
    adapter_tokens: int
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


SCALES: dict[Preset, Scale] = {
    "quick": Scale(
        seeds=2,
        tokens=16,
        score_texts=20,
        permutations=50,
        mask_texts=2,
        mask_levels=(0.5, 0.7, 0.8),
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
    ),
    "laptop": Scale(
        seeds=3,
        tokens=96,
        score_texts=40,
        permutations=1000,
        mask_texts=6,
        mask_levels=(0.5, 0.7, 0.8),
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
    ),
    "gpu": Scale(
        seeds=5,
        tokens=128,
        score_texts=200,
        permutations=1000,
        mask_texts=100,
        mask_levels=(0.3, 0.5, 0.6, 0.7, 0.8, 0.9),
        cett_levels=(0.05, 0.1, 0.2, 0.3, 0.4),
        ablation_texts=100,
        random_sets=5,
        experts=32,
        calibration_texts=100,
        routing_texts=60,
        partitions=200,
        adapter_steps=60,
        adapter_tokens=128,
        adapter_texts=60,
        facts=60,
        trial_facts=10,
        trial_layers=6,
        general_texts=1000,
        new_neurons=64,
        growth_steps=200,
        growth_texts=60,
        decode_steps=50,
        decode_rounds=7,
    ),
}
