"""How large each preset of the Model-diff reproduction is; importable without torch."""

from dataclasses import dataclass

from armillary.cli.reproduce import Preset


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Sizes of one preset."""

    repeats: int
    """Repeated runs of the tables (E1)."""

    table_samples: int
    tempering_seeds: int
    sweeps: int
    chains: int
    grid_repeats: int
    """Repeated runs of the grid models (E3)."""

    grid_samples: int
    replicates: int
    """Bootstrap resamples."""

    zoo_seeds: int
    zoo_length: int
    zoo_samples: int
    real_length: int
    real_samples: int
    finetune_steps: int
    finetune_batch: int
    text_samples: int
    text_length: int
    partner: str
    """The model with another tokenizer."""


SCALES: dict[Preset, Scale] = {
    "quick": Scale(
        repeats=8,
        table_samples=500,
        tempering_seeds=1,
        sweeps=80,
        chains=16,
        grid_repeats=2,
        grid_samples=1000,
        replicates=100,
        zoo_seeds=2,
        zoo_length=8,
        zoo_samples=200,
        real_length=4,
        real_samples=60,
        finetune_steps=2,
        finetune_batch=2,
        text_samples=30,
        text_length=4,
        partner="tiny-gpt2",
    ),
    "laptop": Scale(
        repeats=300,
        table_samples=2000,
        tempering_seeds=5,
        sweeps=400,
        chains=64,
        grid_repeats=40,
        grid_samples=20_000,
        replicates=1000,
        zoo_seeds=3,
        zoo_length=20,
        zoo_samples=6000,
        real_length=16,
        real_samples=512,
        finetune_steps=30,
        finetune_batch=8,
        text_samples=256,
        text_length=12,
        partner="gemma-3-270m",
    ),
    "gpu": Scale(
        repeats=1000,
        table_samples=4000,
        tempering_seeds=20,
        sweeps=1000,
        chains=128,
        grid_repeats=200,
        grid_samples=50_000,
        replicates=1000,
        zoo_seeds=10,
        zoo_length=24,
        zoo_samples=50_000,
        real_length=16,
        real_samples=65_536,
        finetune_steps=500,
        finetune_batch=32,
        text_samples=8192,
        text_length=16,
        partner="gemma-3-270m",
    ),
}
