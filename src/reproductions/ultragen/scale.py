"""How large each preset of the UltraGen reproduction is; importable without torch.

[derived] World, model, rates and sizes are ours: the paper tunes models of 3 and 8 billion parameters on FineWeb and
Dolma with another model as extractor and judge, which is out of reach; its equations and released settings are kept
where they carry over (beta, margin, bound on gradients).
"""

from dataclasses import dataclass

from armillary.cli.reproduce import Preset

PILOT = 1000
"""What is added to the seed for the one that rates are chosen on: none that is judged."""

COUNTS = (3, 5, 10, 16, 24)
"""Attributes of the nested sets; the note's 30 and the paper's 45 would exceed what texts of 16 tokens have."""

FEW, DENSE, MOST = 5, 16, 24
"""Attributes that the reference model is trained on at most, that are many, and that reconstruction is trained on."""

GLOBAL_COUNT = 16
"""Attributes of a held-out global set: in the middle of what preferences are drawn for."""

BEST_OF = 8
"""Responses of best-of-K: as many as preferences are made from."""

MARGIN, BETA = 0.10, 0.1
"""Least difference of satisfaction in a pair (the note's delta) and DPO's beta (the released setting)."""


REAL_COUNTS = (5, 10, 20, 40)
"""Attributes that the given model is asked for; nested."""


@dataclass(frozen=True, kw_only=True)
class RealScale:
    """Sizes of one preset on the given model and real texts; the defaults are laptop's: half an hour of one core."""

    prompts: int = 40
    """Texts whose attributes are asked for: the pilot of the note saw the fall with so many."""

    counts: tuple[int, ...] = REAL_COUNTS
    new_tokens: int = 150
    """Of an answer at most: the texts have 60 to 130 words."""

    batch: int = 20
    best_count: int = 20
    best_of: int = 4
    witnesses: int = 4000
    """Texts of the round trip; at least 2,000 are asked for."""


TUNED_COUNTS = (5, 20, 40)
"""Attributes that the given model is asked for before and after tuning: few, as many as training prompts and global
sets have (the note's), and most."""

TUNED_BEST_OF = 4
"""Responses that best-of-K chooses from, and that preferences are made of."""


@dataclass(frozen=True, kw_only=True)
class TunedScale:
    """Sizes of one preset of the given model's tuning; the defaults are laptop's: an hour of one core."""

    counts: tuple[int, int, int] = TUNED_COUNTS
    texts: int = 180
    """To reconstruct, once each: a step forward and back over 380 tokens takes 4 seconds of a core."""

    prompts: int = 28
    """Held-out texts whose attributes are asked for, and held-out global sets."""

    rank: int = 16
    accumulation: int = 4
    """Rows of an optimiser step of reconstruction: 45 steps; the pilot of the note saw a gain within 30."""

    rate: float = 5e-4
    """Of reconstruction: that of the note's pilot, whose loss fell within 120 texts."""

    max_tokens: int = 640
    """Of prompt and text: all have fewer."""

    sets: int = 32
    """Global sets that preferences are drawn for, with ``TUNED_BEST_OF`` responses each."""

    triplets: int = 10_000
    """On which the space is tuned: ten for each attribute of the training texts, about."""

    preference_rate: float = 2e-4
    """For some fifteen steps: at the default rate, which is for hundreds, nothing would move."""

    preference_epochs: float = 1
    preference_accumulation: int = 2

    margin: float = 0.1
    new_tokens: int = 130
    """Of an answer at most: the texts have 116 in the mean."""

    batch: int = 32
    attended: int = 12
    """Held-out texts on which attention is read."""

    reader: str = "gemma-3-270m"
    """The frozen model of another family under which answers are read."""

    @property
    def dense(self) -> int:
        """Attributes of a training prompt and of a global set."""
        return self.counts[1]


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Sizes of one preset of the toy world; the defaults are laptop's: three seeds in some minutes of one core."""

    seeds: int = 3
    layers: int = 3
    width: int = 96
    heads: int = 4
    inner: int = 256
    texts: int = 5000
    """Training texts, the world's corpus; drawn from again and again."""

    held_out: int = 200
    """Texts whose attributes are asked for, and as many global sets of each strategy."""

    start_steps: int = 600
    """On at most five attributes: the reference model's training, from which every arm goes on."""

    steps: int = 450
    """Of every arm of reconstruction, and of the reference model beside them."""

    batch: int = 24
    start_rate: float = 3e-3
    rate: float = 3e-3
    """Of 2e-3, 3e-3, 5e-3 and 8e-3 on the pilot seed that at which the loss fell fastest."""

    sets: int = 400
    """Global sets that preferences are drawn for, of each strategy (the note's)."""

    samples: int = BEST_OF
    """Responses to each."""

    epochs: int = 4
    preference_batch: int = 16
    preference_rate: float = 1e-4
    """Chosen on the pilot seed, of 1e-4 to 1e-3 for two or four epochs: satisfaction on global sets rose most, by 2.8
    points; from 3e-4 on answers repeat themselves."""

    triplets: int = 20_000
    dimensions: int = 32
    """Of the space of attributes (the note's)."""

    candidates: int = 1000
    """Nearest attributes a set is chosen from (the paper's 1,024): a quarter of all, so that quotas are filled."""

    attended: int = 64
    """Texts on which attention is read."""

    real: RealScale = RealScale()
    """Of the experiment on the given model."""

    tuned: TunedScale = TunedScale()
    """Of the experiment that tunes it."""


SCALES: dict[Preset, Scale] = {
    "quick": Scale(
        seeds=1, layers=1, width=16, heads=2, inner=16, texts=30, held_out=4, start_steps=2, steps=2, batch=4, sets=4,
        samples=4, epochs=1, preference_batch=4, triplets=200, dimensions=4, candidates=60, attended=3,
        real=RealScale(prompts=6, counts=(4, 8, 12, 16), best_count=12, new_tokens=20, batch=24, witnesses=12),
        tuned=TunedScale(
            counts=(2, 6, 8), texts=8, prompts=6, rank=2, accumulation=2, sets=16, triplets=64,
            max_tokens=512, margin=0.0, new_tokens=30, batch=24, attended=2, reader="tiny-gpt2",
        ),
    ),
    "laptop": Scale(),
    "gpu": Scale(
        seeds=5, layers=4, width=192, heads=6, inner=768, texts=50_000, held_out=1000, start_steps=6000, steps=3000,
        batch=64, sets=2000, triplets=100_000, attended=300, preference_rate=1e-4,
        real=RealScale(prompts=400, new_tokens=300, batch=64, best_of=16, witnesses=20_000),
        tuned=TunedScale(prompts=48, sets=400, attended=48, batch=128),
    ),
}  # fmt: skip
