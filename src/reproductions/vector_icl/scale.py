"""How large each preset of the Vector-ICL reproduction is; importable without torch.

All sizes are ours: the paper trains on a language model of 8B parameters for hours. Rows are those of our
specification: R1 texts, R2 topics, R3 numbers, R4 digits, R5 series, R6 molecules, R7 emoji, R8 graphs, R9 signals as
of a brain, R10 tables.
"""

from dataclasses import dataclass, replace

from armillary.cli.reproduce import Preset

TOPICS = ("animal", "food", "person", "artifact", "location", "act")
"""Lexicographer files of WordNet that R2 tells apart."""

ENCODERS = ("MiniLM", "MiniLM, 64 dimensions", "TF-IDF and SVD", "hashed words")

SNRS = ("inf", "1", "0.3")
"""Signal over noise of R9, as variances."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """Of one projector."""

    steps: int
    batch: int
    pack: tuple[int, int] | None = None
    """Examples of a sequence. A range, since a projector that saw one length does badly at others."""

    rate: float = 3e-3


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Sizes of one preset; numbers of shots are per class, except in R3 and R6."""

    seeds: int = 3
    """Of R3 to R5; the others have one."""

    synthetic: bool = False
    """Synthetic data instead of real ones: for CI, which has no network."""

    queries: int = 120
    text_queries: int = 60
    """Of the arms that show text, which cost most; the first of the same queries."""

    texts: int = 1500
    """Of R1's training, and of R6's and R9's."""

    held_out_texts: int = 128
    shots: tuple[int, ...] = (1, 4, 8)
    episode_shots: tuple[int, ...] = (1, 2, 5)
    number_shots: tuple[int, ...] = (2, 4, 8)
    """8 is among them at every preset: the claim on regression is read there."""

    caption_shots: tuple[int, ...] = (1, 4, 8)
    ways: int = 4
    """Classes of an episode."""

    episodes: int = 4
    asked_per_episode: int = 32
    number_episodes: int = 8
    topic_examples: int = 1200
    examples: int = 1000
    """Of the training of R7, R8 and R10."""

    pretraining: Training = Training(steps=50, batch=16)
    topics: Training = Training(steps=40, batch=24, pack=(4, 48))
    numbers: Training = Training(steps=40, batch=8, pack=(4, 12))
    digits: Training = Training(steps=80, batch=32, pack=(4, 48))
    series: Training = Training(steps=30, batch=32, pack=(4, 48))
    molecules: Training = Training(steps=40, batch=8, pack=(1, 10))
    classes: Training = Training(steps=30, batch=24, pack=(4, 48))
    """R7, R8 and R10."""

    signals: Training = Training(steps=10, batch=16)


LAPTOP = Scale()
"""The scale of the committed results. More steps, seeds and queries narrow its intervals and cost time."""

_FEW = Training(steps=2, batch=6, pack=(2, 6))

SCALES: dict[Preset, Scale] = {
    "quick": Scale(
        seeds=1,
        synthetic=True,
        queries=6,
        text_queries=4,
        texts=24,
        held_out_texts=6,
        shots=(1, 2),
        episode_shots=(1, 2),
        number_shots=(2, 8),
        caption_shots=(1, 2),
        ways=2,
        episodes=2,
        asked_per_episode=4,
        number_episodes=3,
        topic_examples=24,
        examples=20,
        pretraining=replace(_FEW, pack=None),
        topics=replace(_FEW, pack=None),
        numbers=_FEW,
        digits=_FEW,
        series=_FEW,
        molecules=Training(steps=2, batch=4, pack=(1, 4)),
        classes=replace(_FEW, pack=None),
        signals=Training(steps=1, batch=6),
    ),
    "laptop": LAPTOP,
    "gpu": replace(
        LAPTOP,
        seeds=5,
        queries=300,
        text_queries=300,
        texts=20000,
        held_out_texts=512,
        shots=(1, 2, 4, 8),
        number_shots=(2, 4, 8, 16),
        episodes=20,
        asked_per_episode=50,
        number_episodes=200,
        topic_examples=4000,
        examples=2500,
        pretraining=Training(steps=1000, batch=64),
        topics=Training(steps=500, batch=48, pack=(4, 48)),
        numbers=Training(steps=1000, batch=32, pack=(4, 20)),
        digits=Training(steps=1000, batch=48, pack=(4, 48)),
        series=Training(steps=500, batch=48, pack=(4, 48)),
        molecules=Training(steps=500, batch=32, pack=(1, 10)),
        classes=Training(steps=300, batch=48, pack=(4, 48)),
        signals=Training(steps=300, batch=32),
    ),
}
