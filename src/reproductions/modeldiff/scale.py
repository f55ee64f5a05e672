"""How large each preset of the Model-diff reproduction is; importable without torch."""

from dataclasses import dataclass, replace

from armillary.cli.reproduce import Preset


@dataclass(frozen=True, kw_only=True)
class ZooScale:
    """Size of the character models and of their training."""

    steps: int = 400
    less: float = 0.25
    """Share of the steps that "trained less" and "other corpus" get, with a schedule of their own."""

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

    pairs: int = 10
    """Pairs of tables of each kind, each with its own models: what their intervals rest on."""

    repeats: int = 10
    """Repeated runs of each pair, for the coverage of intervals."""

    table_samples: int = 2000
    draws: int = 1_000_000
    """Sequences a model where a bias is measured: chance is then below a tenth of its bound."""

    tempering_pairs: int = 16
    sweeps: int = 400
    chains: int = 64
    grid_pairs: int = 4
    grid_draws: int = 200_000
    replicates: int = 1000
    """Bootstrap resamples."""

    zoo_seeds: int = 3
    """Families of character models, and with them what intervals of kinship rest on."""

    zoo_length: int = 20
    zoo_samples: int = 1500
    zoo: ZooScale = ZooScale()
    real_length: int = 16
    real_samples: int = 128
    """Sequences a real model is compared with itself on; all else is the default."""

    ladder_samples: int = 64
    """Of these, sequences that noisy copies score."""

    noise_seeds: int = 3


LAPTOP = Scale()

SCALES: dict[Preset, Scale] = {
    "quick": replace(
        LAPTOP,
        pairs=2,
        repeats=2,
        table_samples=500,
        draws=20_000,
        tempering_pairs=2,
        sweeps=80,
        chains=16,
        grid_pairs=2,
        grid_draws=2000,
        replicates=100,
        zoo_seeds=2,  # with one there would be no stranger to compare with
        zoo_length=8,
        zoo_samples=200,
        zoo=ZooScale(steps=40, batch_size=16, rows=512, hidden=32, layers=2, heads=2, intermediate=48),
        real_length=4,
        real_samples=60,
        ladder_samples=30,
        noise_seeds=2,
    ),
    "laptop": LAPTOP,
    "gpu": replace(
        LAPTOP,
        pairs=40,
        repeats=50,
        draws=4_000_000,
        tempering_pairs=40,
        sweeps=1000,
        chains=128,
        grid_pairs=40,
        grid_draws=1_000_000,
        zoo_seeds=10,
        zoo_length=24,
        zoo_samples=50_000,
        zoo=ZooScale(steps=4000, rows=131_072),
        real_samples=1024,
        ladder_samples=1024,
        noise_seeds=10,
    ),
}
