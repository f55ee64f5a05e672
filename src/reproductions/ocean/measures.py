"""The quantities that OCEAN's claims are judged by, over seeds of the world.

A seed has its own facts, wrong beliefs, weights, logs and order of training. Where the note asks for an interval over
questions each seed has a paired bootstrap over its held-out questions, and the widest ends of all seeds are shown;
else the range over seeds, so that a rule is met by each of them.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from armillary.numerics.intervals import Interval, bootstrap_mean, range_over_seeds
from reproductions.ocean.small_models import ArmResult, SeedResult

Per = Callable[[ArmResult], Sequence[float]]


def measures(seeds: Sequence[SeedResult]) -> dict[str, Interval]:
    """Every measure by name."""
    measured: dict[str, Interval] = {}
    for arm in seeds[0].arms:
        measured |= _of_arm(seeds, arm)
    measured["graph policy/validity"] = range_over_seeds([seed.graph_validity for seed in seeds])
    gap = [seed.graph_validity - float(np.mean(seed.arms["base"].validity)) for seed in seeds]
    measured["graph policy/validity beyond base"] = range_over_seeds(gap)
    measured["logs/validity"] = range_over_seeds([seed.logged_validity for seed in seeds])
    measured["graph policy/mean reward"] = range_over_seeds([float(np.mean(seed.rewards)) for seed in seeds])
    return measured | _between(seeds) | _estimator(seeds) | _family(seeds)


def _between(seeds: Sequence[SeedResult]) -> dict[str, Interval]:
    """What one arm does beyond another, seed by seed."""

    def rise(arm: str, seed: SeedResult) -> float:
        return float(np.exp(np.mean(seed.arms[arm].unrelated) - np.mean(seed.arms["base"].unrelated)) - 1)

    values = {
        "sft/perplexity rise beyond kg_ips": [rise("sft", s) - rise("kg_ips", s) for s in seeds],
        "sft/perplexity rise beyond stable": [rise("sft", s) - rise("stable", s) for s in seeds],
        "stable_all/perplexity rise beyond stable": [rise("stable_all", s) - rise("stable", s) for s in seeds],
        "stable_all/well-formed below stable": [
            s.arms["stable"].well_formed - s.arms["stable_all"].well_formed for s in seeds
        ],
        "stable_all/spread of terms over stable's": [
            s.arms["stable_all"].spread / max(s.arms["stable"].spread, 1e-12) - 1 for s in seeds
        ],
        "kg_ips/never logged beyond base": [
            s.arms["kg_ips"].never_logged - s.arms["base"].never_logged for s in seeds
        ],
        "kg_ips/never logged beyond stable": [
            s.arms["kg_ips"].never_logged - s.arms["stable"].never_logged for s in seeds
        ],
    }
    return {name: range_over_seeds(numbers) for name, numbers in values.items()}


def _of_arm(seeds: Sequence[SeedResult], arm: str) -> dict[str, Interval]:
    own = [seed.arms[arm] for seed in seeds]
    base = [seed.arms["base"] for seed in seeds]
    values: dict[str, list[Any]] = {
        "validity": [np.mean(one.validity) for one in own],
        "accuracy": [np.mean(one.right) for one in own],
        "well-formed": [one.well_formed for one in own],
        "value": [np.mean(one.value) for one in own],
        "self-normalised value": [one.normalised for one in own],
        "unrelated nats": [np.mean(one.unrelated) for one in own],
        "unrelated accuracy": [np.mean(one.unrelated_right) for one in own],
        "distinct-2": [one.distinct_2 for one in own],
        "self-BLEU": [one.self_bleu for one in own],
        "never logged": [one.never_logged for one in own],
        "divergence": [one.divergence for one in own],
        "effective sample": [one.ess for one in own],
    }
    for hops in (2, 3):
        chosen = [[i for i, n in enumerate(seed.hops) if n == hops] for seed in seeds]
        values[f"accuracy, {hops} hops"] = [
            float(np.mean([one.right[i] for i in rows])) if rows else float("nan")
            for one, rows in zip(own, chosen, strict=True)
        ]
    if arm != "base":
        pairs = list(zip(own, base, strict=True))
        values |= {
            "self-normalised value beyond base": [a.normalised - b.normalised for a, b in pairs],
            # Relative, as the note's two and five percent are.
            "perplexity rise": [np.exp(np.mean(a.unrelated) - np.mean(b.unrelated)) - 1 for a, b in pairs],
            "unrelated accuracy fall": [
                1 - float(np.mean(a.unrelated_right)) / max(float(np.mean(b.unrelated_right)), 1e-9) for a, b in pairs
            ],
            "distinct-2 fall": [1 - a.distinct_2 / max(b.distinct_2, 1e-9) for a, b in pairs],
            "self-BLEU rise": [a.self_bleu - b.self_bleu for a, b in pairs],
        }
    named = {f"{arm}/{name}": range_over_seeds([float(n) for n in numbers]) for name, numbers in values.items()}
    if arm != "base":
        named |= _paired(seeds, arm, "base")
        for other in ("sft", "dpo", "weighted", "no_graph"):
            if other != arm:
                named |= _paired(seeds, arm, other)
    return named


def _paired(seeds: Sequence[SeedResult], arm: str, other: str) -> dict[str, Interval]:
    """Differences by held-out question and log."""
    columns: dict[str, Per] = {
        "validity": lambda one: one.validity,
        "accuracy": lambda one: one.right,
        "value": lambda one: one.value,
    }
    return {
        f"{arm}/{name} beyond {other}": widest(
            [np.array(column(s.arms[arm])) - np.array(column(s.arms[other])) for s in seeds]
        )
        for name, column in columns.items()
    }


def widest(differences: Sequence[np.ndarray]) -> Interval:
    """The mean over seeds, with the widest ends of each seed's bootstrap over its questions."""
    intervals = [bootstrap_mean(values, seed=0) for values in differences]
    return Interval(
        estimate=float(np.mean([interval.estimate for interval in intervals])),
        low=min(interval.lower for interval in intervals),
        high=max(interval.upper for interval in intervals),
        n=len(intervals),
        how=f"widest ends of bootstraps over {len(differences[0])} questions in each of {len(intervals)} seeds",
    )


def _estimator(seeds: Sequence[SeedResult]) -> dict[str, Interval]:
    """Bias in standard errors, and how the variance compares with its bound and falls."""

    def errors(means: Sequence[float], exact: float) -> float:
        return float((np.mean(means) - exact) / (np.std(means, ddof=1) / np.sqrt(len(means))))

    own = [seed.by_enumeration for seed in seeds]
    of_bound, slopes = [], []
    for one in own:
        sizes = np.array([float(size) for size in one.variances])
        variances = np.array([*one.variances.values()])
        of_bound.append(float(np.max(variances / (one.span**2 / (4 * sizes)))))
        slopes.append(float(np.polyfit(np.log(sizes), np.log(variances), 1)[0]))
    on_chains, literal = [], []
    for seed in seeds:
        terms = np.array(seed.terms)
        on_chains.append(float(terms.var() / (np.ptp(terms) ** 2 / 4)))
        literal.append(float(terms.var() / (np.abs(terms).max() ** 2 / 4)))
    return {
        "enumeration/bias by slot": range_over_seeds([errors(one.means, one.exact) for one in own]),
        "enumeration/bias by word, size": range_over_seeds(
            [abs(errors(one.means_by_word, one.exact_by_word)) for one in own]
        ),
        "enumeration/variance over its bound": range_over_seeds(of_bound),
        "enumeration/bound beyond the variance": range_over_seeds([1 - ratio for ratio in of_bound]),
        "enumeration/slope of the variance": range_over_seeds(slopes),
        "chains/variance over its bound": range_over_seeds(on_chains),
        "chains/variance over the literal lower bound": range_over_seeds(literal),
    }


def _family(seeds: Sequence[SeedResult]) -> dict[str, Interval]:
    """Rank correlations with the validity of what each policy says."""
    columns = {
        "value": [seed.family.value for seed in seeds],
        "value, lambda's chains": [seed.family.value_lambda for seed in seeds],
        "self-normalised value": [seed.family.normalised for seed in seeds],
        "likelihood": [seed.family.likelihood for seed in seeds],
    }
    ranks = {
        name: [
            # 0 where one of them does not vary.
            float(spearmanr(seed.family.validity, values).statistic)
            if min(np.ptp(values), np.ptp(seed.family.validity)) > 0
            else 0.0
            for seed, values in zip(seeds, rows, strict=True)
        ]
        for name, rows in columns.items()
    }
    named = {f"family/{name}": range_over_seeds(values) for name, values in ranks.items()}
    for other in ("value, lambda's chains", "likelihood"):
        differences = [a - b for a, b in zip(ranks["value"], ranks[other], strict=True)]
        named[f"family/value beyond {other}"] = range_over_seeds(differences)
    named["family/range of validity"] = range_over_seeds([float(np.ptp(seed.family.validity)) for seed in seeds])
    return named
