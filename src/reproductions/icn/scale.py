"""How large each preset of the ICN reproduction is; importable without torch."""

from dataclasses import dataclass

from armillary.cli.reproduce import Preset

PROBES = (
    *("countries", "european-countries", "african-countries"),
    *("cities", "cities-in-india", "cities-in-the-united-states"),
    *("us-states", "us-states-that-begin-with-m", "languages"),
    *("mammals", "birds", "birds-of-prey"),
    *("fruits", "citrus-fruits", "vegetables"),
    *("musical-instruments", "string-instruments", "wind-instruments"),
    *("sports", "water-sports", "colors"),
    *("chemical-elements", "chemical-elements-that-are-metals", "occupations"),
)
"""Twenty-four probes: half about places and languages, half about things."""

OPEN = (
    "Please write some positive sentences.",
    "Please write some negative sentences.",
    "Please write some sentences about food.",
    "Please write some sentences about travel.",
    "Please write some sentences about the weather.",
    "Please write some questions about history.",
)
"""Open-ended instructions; the first is the paper's."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Sizes of one preset."""

    probes: int
    ranks: int
    """First tokens of each probe that are continued and judged (N)."""

    top: int
    """The top ranks (K)."""

    rounds: int
    per_round: int
    """Navigation and every rival give rounds x per_round answers."""

    seeds: int
    replicates: int
    open_instructions: int
    open_rounds: int
    open_per_round: int
    open_tokens: int
    problems: int
    path_tokens: int
    passes: int
    """Passes of k-means at most."""

    steps: int
    """Optimiser steps of the fine-tune on five target tokens."""


SCALES: dict[Preset, Scale] = {
    "quick": Scale(
        probes=2,
        ranks=30,
        top=10,
        rounds=3,
        per_round=2,
        seeds=2,
        replicates=100,
        open_instructions=2,
        open_rounds=2,
        open_per_round=3,
        open_tokens=8,
        problems=2,
        path_tokens=8,
        passes=5,
        steps=3,
    ),
    "laptop": Scale(
        probes=24,
        ranks=100,
        top=10,
        rounds=10,
        per_round=3,
        seeds=3,
        replicates=2000,
        open_instructions=6,
        open_rounds=5,
        open_per_round=6,
        open_tokens=24,
        problems=30,
        path_tokens=96,
        passes=10,
        steps=40,
    ),
    "gpu": Scale(
        probes=24,
        ranks=100,
        top=10,
        rounds=10,
        per_round=10,
        seeds=5,
        replicates=5000,
        open_instructions=6,
        open_rounds=10,
        open_per_round=10,
        open_tokens=64,
        problems=300,
        path_tokens=256,
        passes=25,
        steps=100,
    ),
}
