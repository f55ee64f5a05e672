"""How large each preset of the Model-diff reproduction is; importable without torch."""

from dataclasses import dataclass, replace

from armillary.cli.reproduce import Preset


@dataclass(frozen=True, kw_only=True)
class ZooScale:
    """Size of the character models and of their training."""

    steps: int = 400
    less: float = 0.25
    """Share of the steps that "trained less" gets, with a schedule of its own."""

    further: float = 0.05
    """Share of the steps that the fine-tuned copy gets on shifted text."""

    batch_size: int = 64
    length: int = 32
    """Characters of a row, after the beginning-of-text token."""

    rows: int = 16_384
    """Different rows of a corpus."""

    learning_rate: float = 3e-3
    finetune_rate: float = 3e-4
    """Trades off how much of the shifted text the copy learns against how near it stays to its origin."""

    hidden: int = 128
    layers: int = 4
    heads: int = 4
    intermediate: int = 256


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Sizes of one preset. More repeats and samples narrow the intervals and cost time in proportion."""

    repeats: int = 300
    """Repeated runs of the tables (E1): of 300 the coverage of an interval is known to about 0.01."""

    table_samples: int = 2000
    tempering_seeds: int = 5
    sweeps: int = 400
    chains: int = 64
    grid_repeats: int = 40
    """Repeated runs of the grid models (E3)."""

    grid_samples: int = 20_000
    replicates: int = 1000
    """Bootstrap resamples."""

    zoo_seeds: int = 3
    """Families of character models, and with them what intervals of kinship rest on."""

    zoo_length: int = 20
    zoo_samples: int = 6000
    zoo: ZooScale = ZooScale()
    real_length: int = 16
    real_samples: int = 512
    finetune_steps: int = 30
    finetune_batch: int = 8
    text_samples: int = 256
    text_length: int = 12
    partner: str = "gemma-3-270m"
    """The model with another tokenizer."""


LAPTOP = Scale()

SCALES: dict[Preset, Scale] = {
    "quick": replace(
        LAPTOP,
        repeats=8,
        table_samples=500,
        tempering_seeds=1,
        sweeps=80,
        chains=16,
        grid_repeats=2,
        grid_samples=1000,
        replicates=100,
        zoo_seeds=2,  # with one there would be no stranger to compare with
        zoo_length=8,
        zoo_samples=200,
        zoo=ZooScale(steps=40, batch_size=16, rows=512, hidden=32, layers=2, heads=2, intermediate=48),
        real_length=4,
        real_samples=60,
        finetune_steps=2,
        finetune_batch=2,
        text_samples=30,
        text_length=4,
        partner="tiny-gpt2",
    ),
    "laptop": LAPTOP,
    "gpu": replace(
        LAPTOP,
        repeats=1000,
        table_samples=4000,
        tempering_seeds=20,
        sweeps=1000,
        chains=128,
        grid_repeats=200,
        grid_samples=50_000,
        zoo_seeds=10,
        zoo_length=24,
        zoo_samples=50_000,
        zoo=ZooScale(steps=4000, rows=131_072),
        real_samples=65_536,
        finetune_steps=500,
        finetune_batch=32,
        text_samples=8192,
        text_length=16,
    ),
}
