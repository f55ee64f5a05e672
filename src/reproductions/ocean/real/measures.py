"""The quantities that OCEAN's claims on the given model are judged by, and what its page shows beside them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from armillary.numerics.intervals import Interval, range_over_seeds
from armillary.records.sections import Cell, Table
from reproductions.ocean.measures import widest
from reproductions.ocean.real.given_model import REAL_ARMS, RealArm, RealSeed


def real_measures(seeds: Sequence[RealSeed]) -> dict[str, Interval]:
    """Every measure by name."""
    measured: dict[str, Interval] = {}
    arms = list(seeds[0].arms)
    for arm in arms:
        own = [seed.arms[arm] for seed in seeds]
        shares: dict[str, list[Any]] = {
            "accuracy": [one.right for one in own],
            "supported": [one.supported for one in own],
            "contradicted": [one.contradicted for one in own],
            "value": [one.value for one in own],
            "unrelated nats": [one.unrelated for one in own],
        }
        for name, values in shares.items():
            measured[f"real/{arm}/{name}"] = range_over_seeds([float(np.mean(value)) for value in values])
        for other in arms:
            if arm != "base" and other != arm:
                measured |= _beyond(seeds, arm, other)
        if arm != "base":
            measured[f"real/{arm}/perplexity rise"] = range_over_seeds([_rise(seed, arm) for seed in seeds])
            measured[f"real/{arm}/self-normalised value beyond base"] = range_over_seeds(
                [seed.arms[arm].normalised - seed.arms["base"].normalised for seed in seeds]
            )
    measured["real/sft/perplexity rise beyond stable"] = range_over_seeds(
        [_rise(seed, "sft") - _rise(seed, "stable") for seed in seeds]
    )
    measured["real/graph policy/accuracy"] = range_over_seeds([float(np.mean(seed.graph_right)) for seed in seeds])
    measured["real/graph policy/accuracy beyond base"] = widest(
        [np.array(s.graph_right, float) - np.array(s.arms["base"].right, float) for s in seeds]
    )
    return measured


def _beyond(seeds: Sequence[RealSeed], arm: str, other: str) -> dict[str, Interval]:
    """Paired by held-out question, and for values by held-out log."""
    named = {}
    for name, column in (("accuracy", "right"), ("supported", "supported"), ("contradicted", "contradicted"),
                         ("value", "value")):  # fmt: skip
        pairs = [(getattr(seed.arms[arm], column), getattr(seed.arms[other], column)) for seed in seeds]
        named[f"real/{arm}/{name} beyond {other}"] = widest(
            [np.array(own, float) - np.array(theirs, float) for own, theirs in pairs]
        )
    return named


def _rise(seed: RealSeed, arm: str) -> float:
    own, base = (np.mean(one.unrelated) for one in (seed.arms[arm], seed.arms["base"]))
    return float(np.exp(own - base) - 1)


def real_tables(seeds: Sequence[RealSeed]) -> dict[str, list[Table]]:
    """By claim: every arm, and a question with the model's own chain."""

    def mean(arm: str, column: str) -> float:
        arms: list[RealArm] = [seed.arms[arm] for seed in seeds]
        return float(np.mean([np.mean(getattr(one, column)) for one in arms]))

    columns = ("right", "supported", "contradicted", "value", "normalised", "unrelated")
    rows: list[list[Cell]] = [[REAL_ARMS[arm], *(mean(arm, name) for name in columns)] for arm in seeds[0].arms]
    titles = [
        "arm",
        "right answers",
        "steps supported",
        "steps contradicted",
        "value",
        "self-normalised",
        "nats elsewhere",
    ]
    first = seeds[0]
    note = (
        f"Means of {len(seeds)} seeds; in the first {first.logged} logged chains, {100 * first.logged_right:.0f} % of "
        f"them right, {first.pairs} pairs of a right and a wrong one, {100 * first.entity_share:.0f} % of their "
        "tokens entities."
    )
    example = Table(
        title="A question and what the given model said", columns=["question", "chain"], rows=[[*seeds[0].example]]
    )
    return {"real-faithful-stable": [Table(title="Every arm", columns=titles, rows=rows, note=note), example]}
