"""From the results of the ICN stages to the named measures that the claims read. Needs no model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from armillary.errors import NumericError
from armillary.methods.icn.core import mantel_haenszel, permutation_within, rank_strata
from armillary.numerics.intervals import Interval, across_seeds, bootstrap, bootstrap_mean, paired_difference
from reproductions.icn.fixed_keys import FixedKeysStage
from reproductions.icn.stages import ChainStage, ClusterStage, Metric, OpenTexts, ProbeStage

RANK_BAND = 15
"""Ranks in a band: narrow enough to take away what rank explains, wide enough to hold both groups."""

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class IcnStages:
    """What all stages gave."""

    clusters: Mapping[Metric, Sequence[ClusterStage]]
    """By metric, one for each start of k-means."""

    probes: Sequence[ProbeStage]
    open: Sequence[Mapping[str, OpenTexts]]
    """By instruction and arm."""

    chains: ChainStage
    training: FixedKeysStage


def measures(stages: IcnStages, top: int) -> dict[str, Interval]:
    """Every measure by name; what could not be measured is absent. ``top`` is how many ranks count as the top."""
    return {
        **_clusters(stages.clusters["cosine"], "clusters"),
        **_clusters(stages.clusters["euclidean"], "euclidean clusters"),
        **_spread(stages.probes),
        **_ranks(stages.probes, top),
        **_in_cluster(stages.probes, top),
        **_lists(stages.probes),
        **_answers(stages.probes),
        **_open(stages.open),
        **_chains(stages.chains),
        **_training(stages.training),
    }


def _clusters(starts: Sequence[ClusterStage], label: str) -> dict[str, Interval]:
    gaps = [start.cohesion.difference for start in starts]
    how = f"t interval over {len(starts)} starts"
    return {
        f"{label}/within minus between": Interval(
            estimate=float(np.mean([gap.estimate for gap in gaps])),
            low=min(gap.lower for gap in gaps),
            high=max(gap.upper for gap in gaps),
            n=len(gaps),
            how=f"mean of {len(gaps)} starts, widest ends of their intervals ({gaps[0].how})",
        ),
        f"{label}/within": across_seeds([start.cohesion.within.estimate for start in starts], how=how),
        f"{label}/between": across_seeds([start.cohesion.between.estimate for start in starts], how=how),
        **{
            f"{label}/{group} in two clusters": across_seeds(
                [start.groups[group].largest_two for start in starts], how=how
            )
            for group in starts[0].groups
        },
    }


def _spread(probes: Sequence[ProbeStage]) -> dict[str, Interval]:
    inside = np.array([np.mean([np.mean(ranks.inside) for ranks in probe.clusters]) for probe in probes])
    nulls = {
        "uniform": np.array([np.mean([ranks.uniform for ranks in probe.clusters]) for probe in probes]),
        "frequency-matched": np.array([np.mean([ranks.banded for ranks in probe.clusters]) for probe in probes]),
    }
    out = {"spread/in-cluster share": _mean(inside, probes)}
    for label, null in nulls.items():
        out[f"spread/{label} share"] = _mean(null, probes)
        if null.sum() > 0:

            def ratio(rows: NDArray[np.int64], null: Array = null) -> Array:
                shares: Array = inside[rows].sum(-1) / np.maximum(null[rows].sum(-1), 1e-12)
                return shares

            how = f"ratio of means, bootstrap over {len(probes)} probes"
            out[f"spread/ratio to {label}"] = bootstrap(ratio, len(probes), seed=0, how=how)
    return out


def _ranks(probes: Sequence[ProbeStage], top: int) -> dict[str, Interval]:
    high = [float(np.mean(probe.gold[:top])) for probe in probes]
    middle = [float(np.mean(probe.gold[top:])) for probe in probes]
    return {
        "ranks/top": _mean(high, probes),
        "ranks/middle": _mean(middle, probes),
        "ranks/top minus middle": _paired(high, middle, probes),
    }


def _in_cluster(probes: Sequence[ProbeStage], top: int) -> dict[str, Interval]:
    """At the first start of k-means, over all clusters and over those that are not giants."""
    gold = [torch.tensor(probe.gold[top:]) for probe in probes]
    inside = [torch.tensor(probe.clusters[0].inside) for probe in probes]
    all_ranks = [torch.ones(len(row), dtype=torch.bool) for row in gold]
    without_giants = [~torch.tensor(probe.clusters[0].giant, dtype=torch.bool) for probe in probes]
    return _within_ranks(gold, inside, all_ranks, "") | _within_ranks(
        gold, inside, without_giants, ", giants left out"
    )


def _within_ranks(
    gold: Sequence[torch.Tensor], inside: Sequence[torch.Tensor], masks: Sequence[torch.Tensor], label: str
) -> dict[str, Interval]:
    """The difference within rank bands: resampled over probes, and permuted within bands."""
    strata = [rank_strata([len(row)], RANK_BAND) for row in gold]
    width = max(int(row.max()) for row in strata) + 1

    def pooled(rows: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        # Each draw of a probe has bands of its own, also where it is drawn twice.
        parts = [
            (inside[row][masks[row]], gold[row][masks[row]], strata[row][masks[row]] + width * draw)
            for draw, row in enumerate(rows)
        ]
        return tuple(torch.cat(column) for column in zip(*parts, strict=True))  # type: ignore[return-value]

    def difference(rows_RN: NDArray[np.int64]) -> Array:
        return np.array([mantel_haenszel(*pooled(rows.tolist())).estimate for rows in rows_RN])

    try:
        how = f"Mantel-Haenszel within bands of {RANK_BAND} ranks, bootstrap over {len(gold)} probes"
        permuted = permutation_within(*pooled(range(len(gold))))
        return {
            # Fewer replicates than elsewhere: each pools all ranks anew.
            f"in-cluster/accuracy minus out, same ranks{label}": bootstrap(
                difference, len(gold), seed=0, replicates=500, how=how
            ),
            f"in-cluster/accuracy minus out, raw{label}": Interval(
                estimate=permuted.difference, n=permuted.n, how="all probes together, no interval"
            ),
            f"in-cluster/permutation p{label}": Interval(
                estimate=permuted.p_lower, n=permuted.n, how="exact, one-sided: in-cluster less accurate"
            ),
        }
    except NumericError:
        return {}


def _lists(probes: Sequence[ProbeStage]) -> dict[str, Interval]:
    out: dict[str, Interval] = {}
    lengths = sorted({int(name.split()[1]) for name in probes[0].lists if name.startswith("own")})

    def falls(name: str) -> list[float]:
        """Doublings of the rank under the list of this name, mean over the explored tokens of each probe."""
        return [
            float(np.mean(np.log2(probe.lists[name].ranks) - np.log2(probe.lists["none"].ranks))) for probe in probes
        ]

    for length in lengths:
        by_kind = {kind: falls(f"{kind} {length}") for kind in ("own", "shuffled", "foreign")}
        for kind, values in by_kind.items():
            out[f"lists/{kind} fall, {length}"] = _mean(values, probes)
        out[f"lists/own fall minus foreign fall, {length}"] = _paired(by_kind["own"], by_kind["foreign"], probes)
        for kind in ("own", "foreign"):
            change = [
                float(np.mean(np.subtract(probe.lists[f"{kind} {length}"].logits, probe.lists["none"].logits)))
                for probe in probes
            ]
            out[f"lists/{kind} change of logit, {length}"] = _mean(change, probes)
    return out


def _answers(probes: Sequence[ProbeStage]) -> dict[str, Interval]:
    out: dict[str, Interval] = {}
    ours = [probe.arms["navigation"].distinct_correct for probe in probes]
    for arm in probes[0].arms:
        theirs = [probe.arms[arm].distinct_correct for probe in probes]
        out[f"answers/{arm}"] = _mean(theirs, probes)
        out[f"precision/{arm}"] = _mean([probe.arms[arm].precision for probe in probes], probes)
        if arm != "navigation":
            out[f"answers/navigation minus {arm}"] = _paired(ours, theirs, probes)
    return out


def _open(instructions: Sequence[Mapping[str, OpenTexts]]) -> dict[str, Interval]:
    out: dict[str, Interval] = {}
    over = f"bootstrap over {len(instructions)} instructions"
    names = {"distinct_1": "distinct-1", "distinct_2": "distinct-2", "overlap": "overlap", "valid": "valid"}
    for field, label in names.items():
        values = {
            arm: [float(getattr(texts[arm].diversity, field)) for texts in instructions] for arm in instructions[0]
        }
        for arm, row in values.items():
            out[f"open/{label}, {arm}"] = bootstrap_mean(row, seed=0, how=over)
        for arm in ("static", "temperature 1"):
            out[f"open/{label} minus {arm}"] = paired_difference(
                values["navigation"], values[arm], seed=0, how=f"paired {over}"
            )
    return out


def _chains(chains: ChainStage) -> dict[str, Interval]:
    over = f"bootstrap over {len(chains.answers)} problems"
    values: dict[str, dict[str, list[float]]] = {"vote": {}, "paths": {}}
    for arm, solutions in (("navigation", chains.navigation), ("static", chains.static)):
        judged = list(zip(solutions, chains.answers, strict=True))
        values["vote"][arm] = [float(solution.vote == right) for solution, right in judged]
        values["paths"][arm] = [
            float(np.mean([answer == right for answer in solution.answers] or [False])) for solution, right in judged
        ]
    out: dict[str, Interval] = {}
    for label, by_arm in values.items():
        for arm, row in by_arm.items():
            out[f"chains/{label}, {arm}"] = bootstrap_mean(row, seed=0, how=over)
        out[f"chains/{label} minus static"] = paired_difference(
            by_arm["navigation"], by_arm["static"], seed=0, how=f"paired {over}"
        )
    return out


def _training(training: FixedKeysStage) -> dict[str, Interval]:
    targets = list(training.targets.values())
    if not targets:
        return {}
    trained, frozen = [target.trained for target in targets], [target.frozen for target in targets]
    values = {
        "head over blocks": [token.head / token.blocks for token in trained],
        "relative change of the head": [token.head for token in trained],
        "relative change of the blocks": [token.blocks for token in trained],
        "spearman": [token.spearman for token in frozen],
        "spearman, head trained": [token.spearman for token in trained],
        "spearman, shuffled keys": [token.shuffled for token in frozen],
        "rise of neighbours minus random tokens": [token.neighbours - token.random for token in frozen],
        "rise of the target": [token.target for token in frozen],
    }
    how = f"t interval over {len(targets)} target tokens"
    return {f"training/{name}": across_seeds(row, how=how) for name, row in values.items()}


def _mean(values: Sequence[float] | Array, probes: Sequence[ProbeStage]) -> Interval:
    return bootstrap_mean(values, seed=0, how=f"bootstrap over {len(probes)} probes")


def _paired(a: Sequence[float], b: Sequence[float], probes: Sequence[ProbeStage]) -> Interval:
    return paired_difference(a, b, seed=0, how=f"paired bootstrap over {len(probes)} probes")
