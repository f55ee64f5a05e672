"""The quantities that MDGD's claims on a given model are judged by.

Each seed has its own invented words and order of rows, and where no model that sees was given its own connector and
adapters. A few are too few for an interval over trainings, so intervals are over the emoji that are asked about (all
questions about an emoji, of all seeds, are drawn together); what differs by training is told as a range over seeds.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from armillary.numerics.intervals import Interval, bootstrap_weighted, range_over_seeds
from reproductions.mdgd.measures import drift, rank_change
from reproductions.mdgd.real.model import RealSeed
from reproductions.mdgd.scale import OLD_TASKS, REAL_ARMS, TARGET

Array = NDArray[np.float64]

PERMUTATIONS = 500
SIMPLE = ("align", "lower_rate")
"""What MDGD is compared with beside fine-tuning."""


def pooled(seeds: Sequence[RealSeed], name: str, tasks: Sequence[str] = OLD_TASKS) -> Array:
    """1 for each question of these tasks answered rightly, seed after seed, at the end of an arm (or at the start)."""
    return np.array([right for seed in seeds for task in tasks for right in seed.right(name)[task]], dtype=np.float64)


def real_measures(seeds: Sequence[RealSeed]) -> dict[str, Interval]:
    """Every measure of the given model by name."""

    def mean(values: Array, tasks: Sequence[str] = OLD_TASKS) -> Interval:
        return _over_emoji(values, [image for seed in seeds for task in tasks for image in seed.start.images[task]])

    def target(name: str) -> Array:
        return pooled(seeds, name, (TARGET,))

    start, plain, paper = (pooled(seeds, name) for name in ("start", "fine_tuning", "paper"))
    most = np.array([right for seed in seeds for task in OLD_TASKS for right in seed.start.majority[task]])
    common = np.array([right for seed in seeds for right in seed.start.majority[TARGET]])
    measured = {
        "real/old tasks before": mean(start),
        "real/above the most frequent answers": mean(start - most),
        "real/target before": mean(target("start"), (TARGET,)),
        "real/paper, lost beyond a third": mean((start - paper) - (start - plain) / 3),
        **_correlations(seeds),
    }
    for name in REAL_ARMS:
        changes = [rank_change(seed.arms[name].ranks, seed.start.ranks) for seed in seeds]
        measured[f"real/{name}, old tasks lost"] = mean(start - pooled(seeds, name))
        measured[f"real/{name}, target"] = mean(target(name), (TARGET,))
        measured[f"real/{name}, target above the most frequent answer"] = mean(target(name) - common, (TARGET,))
        measured[f"real/{name}, target beyond fine-tuning"] = mean(target(name) - target("fine_tuning"), (TARGET,))
        measured[f"real/{name}, kept beyond fine-tuning"] = mean(pooled(seeds, name) - plain)
        measured[f"real/{name}, drift"] = range_over_seeds([drift(seed.arms[name].ranks) for seed in seeds])
        measured[f"real/{name}, change of rank"] = range_over_seeds(changes)
    for name in SIMPLE:
        measured[f"real/paper, kept beyond {name}"] = mean(paper - pooled(seeds, name))
        beyond = mean(target(name) - target("paper"), (TARGET,))
        measured[f"real/{name}, target beyond paper"] = beyond
    lost = [float(np.mean(pooled([seed], "start") - pooled([seed], "fine_tuning"))) for seed in seeds]
    measured["real/fine_tuning, old tasks lost, by seed"] = range_over_seeds(lost)
    return measured


def _over_emoji(values: Array, images: Sequence[int]) -> Interval:
    """The mean of a value a question, with a bootstrap interval over the emoji asked about."""
    _, group_N = np.unique(images, return_inverse=True)
    sums_G, sizes_G = np.bincount(group_N, weights=values), np.bincount(group_N).astype(np.float64)

    def mean(counts_RG: Array) -> Array:
        means_R: Array = (counts_RG @ sums_G) / (counts_RG @ sizes_G)
        return means_R

    how = f"bootstrap over {len(sums_G):,} emoji, {len(values):,} questions of all seeds"
    return bootstrap_weighted(mean, len(sums_G), seed=0, how=how)


def _correlations(seeds: Sequence[RealSeed]) -> dict[str, Interval]:
    """Spearman over the arms of each seed between drift and accuracy lost; the null permutes the arms of each seed."""
    drifts = [[drift(seed.arms[name].ranks) for name in REAL_ARMS] for seed in seeds]
    lost = [[float(np.mean(pooled([s], "start") - pooled([s], name))) for name in REAL_ARMS] for s in seeds]
    draw = np.random.default_rng(0)
    shuffled = [
        float(np.mean([_spearman(draw.permutation(x), y) for x, y in zip(drifts, lost, strict=True)]))
        for _ in range(PERMUTATIONS)
    ]
    low, high = (float(end) for end in np.quantile(shuffled, [0.025, 0.975]))
    how = f"{PERMUTATIONS} permutations of the arms of each seed"
    null = Interval(estimate=float(np.mean(shuffled)), low=low, high=high, n=len(seeds), how=how)
    own = [_spearman(np.array(x), y) for x, y in zip(drifts, lost, strict=True)]
    return {
        "real/drift against accuracy lost": range_over_seeds(own),
        "real/drift against accuracy lost, arms permuted": null,
    }


def _spearman(first: Array, second: Sequence[float]) -> float:
    """0 where one of the two is the same throughout."""
    from scipy.stats import spearmanr

    return 0.0 if np.ptp(first) == 0 or np.ptp(second) == 0 else float(spearmanr(first, second).statistic)
