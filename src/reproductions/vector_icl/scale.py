"""How large each preset of the Vector-ICL reproduction is; importable without torch.

[derived] All sizes are ours: the paper trains on a language model of 8B parameters for hours. Rows are those of our
specification: R1 texts, R2 topics, R3 numbers, R4 digits, R5 series, R6 molecules, R7 emoji, R8 graphs, R9 signals as
of a brain, R10 tables.
"""

from dataclasses import dataclass

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
    rate: float = 3e-3


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Sizes of one preset; numbers of shots are per class, except in R3 and R6."""

    seeds: int
    """Of R3 to R5; the others have one."""

    synthetic: bool
    """Made-up data instead of real ones: for CI, which has no network."""

    queries: int
    text_queries: int
    """Of the arms that show text, which cost most; the first of the same queries."""

    texts: int
    """Of R1's training, and of R9's."""

    held_out_texts: int
    shots: tuple[int, ...]
    episode_shots: tuple[int, ...]
    number_shots: tuple[int, ...]
    caption_shots: tuple[int, ...]
    ways: int
    episodes: int
    asked_per_episode: int
    number_episodes: int
    topic_examples: int
    examples: int
    """Of the training of R7, R8 and R10."""

    pretraining: Training
    topics: Training
    numbers: Training
    digits: Training
    series: Training
    molecules: Training
    classes: Training
    """R7, R8 and R10."""

    signals: Training


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
        pretraining=Training(steps=2, batch=6),
        topics=Training(steps=2, batch=6),
        numbers=Training(steps=2, batch=6, pack=(2, 6)),
        digits=Training(steps=2, batch=6, pack=(2, 6)),
        series=Training(steps=2, batch=6, pack=(2, 6)),
        molecules=Training(steps=2, batch=4, pack=(1, 4)),
        classes=Training(steps=2, batch=6),
        signals=Training(steps=1, batch=6),
    ),
    "laptop": Scale(
        seeds=3,
        synthetic=False,
        queries=120,
        text_queries=60,
        texts=1500,
        held_out_texts=128,
        shots=(1, 4, 8),
        episode_shots=(1, 2, 5),
        number_shots=(2, 4, 8),
        caption_shots=(1, 4, 8),
        ways=4,
        episodes=4,
        asked_per_episode=32,
        number_episodes=8,
        topic_examples=1200,
        examples=1000,
        pretraining=Training(steps=50, batch=16),
        topics=Training(steps=40, batch=24, pack=(4, 48)),
        numbers=Training(steps=40, batch=8, pack=(4, 12)),
        digits=Training(steps=80, batch=32, pack=(4, 48)),
        series=Training(steps=30, batch=32, pack=(4, 48)),
        molecules=Training(steps=40, batch=8, pack=(1, 10)),
        classes=Training(steps=30, batch=24, pack=(4, 48)),
        signals=Training(steps=10, batch=16),
    ),
    "gpu": Scale(
        seeds=5,
        synthetic=False,
        queries=300,
        text_queries=300,
        texts=20000,
        held_out_texts=512,
        shots=(1, 2, 4, 8),
        episode_shots=(1, 2, 5),
        number_shots=(2, 4, 8, 16),
        caption_shots=(1, 4, 8),
        ways=4,
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
