"""How large each preset of the ICN reproduction is; importable without torch."""

from dataclasses import dataclass, replace

from armillary.cli.reproduce import Preset

PROBES = (
    *("countries", "fruits", "us-states", "languages", "mammals", "birds", "vegetables", "musical-instruments"),
    *("sports", "colors", "chemical-elements", "occupations", "cities"),
    *("european-countries", "african-countries", "cities-in-india", "cities-in-the-united-states"),
    *("us-states-that-begin-with-m", "birds-of-prey", "citrus-fruits", "string-instruments", "wind-instruments"),
    *("water-sports", "chemical-elements-that-are-metals"),
)
"""Twenty-four probes: thirteen base classes, then restrictions of them."""

OPEN = (
    "Please write some positive sentences.",
    "Please write some negative sentences.",
    "Please write some sentences about food.",
    "Please write some sentences about travel.",
    "Please write some sentences about the weather.",
    "Please write some questions about history.",
    "Please write some sentences about animals.",
    "Please write some sentences about school.",
)
"""Open-ended instructions; the first is the paper's."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Sizes of one preset; the defaults are a laptop's: twenty minutes on one core for the smaller packaged model."""

    probes: int = 24
    ranks: int = 100
    """First tokens of each probe that are continued and judged (N)."""

    top: int = 10
    """The top ranks (K)."""

    rounds: int = 10
    per_round: int = 2
    """Navigation and every rival give rounds x per_round answers, 20 like the lists that users ask for; the official
    code takes ten a round."""

    seeds: int = 3
    """Starts of k-means, and draws of each rival that draws."""

    open_instructions: int = 8
    open_rounds: int = 5
    open_per_round: int = 4
    open_tokens: int = 24
    """A short sentence; the official code allows 64."""

    problems: int = 12
    """Word problems; small models solve none, also of one step, so that more would only narrow an interval at 0."""

    path_tokens: int = 40
    """Tokens of a chain of thought: two steps in words; the official code allows 256."""

    passes: int = 7
    """Passes of k-means at most."""

    steps: int = 40
    """Optimiser steps of the fine-tune on a target token at most."""

    targets: int = 6
    """Target tokens."""


LAPTOP = Scale()
SCALES: dict[Preset, Scale] = {
    # As little as lets every stage and every measure run.
    "quick": Scale(
        probes=2,
        ranks=30,
        rounds=3,
        per_round=2,
        seeds=2,
        open_instructions=2,
        open_rounds=2,
        open_per_round=3,
        open_tokens=8,
        problems=2,
        path_tokens=8,
        passes=5,
        steps=3,
        targets=2,
    ),
    "laptop": LAPTOP,
    # The official code's numbers of answers and tokens.
    "gpu": replace(
        LAPTOP,
        per_round=10,
        seeds=5,
        targets=8,
        open_rounds=10,
        open_per_round=10,
        open_tokens=64,
        problems=300,
        path_tokens=256,
        passes=25,
        steps=100,
    ),
}
