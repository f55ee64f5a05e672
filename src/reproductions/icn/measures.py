"""From the results of the ICN stages to the named measures that the claims read. Needs no model.

Probes of one base class share what the model knows of it, so that classes are resampled, each with all its probes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from armillary.errors import NumericError
from armillary.methods.icn.core import mantel_haenszel, permutation_within, rank_strata
from armillary.numerics.intervals import (
    Interval,
    across_seeds,
    bootstrap,
    bootstrap_mean,
    bootstrap_weighted,
    paired_difference,
)
from reproductions.icn.answers import Answered
from reproductions.icn.fixed_keys import RATES, FixedKeysStage
from reproductions.icn.stages import ClusterStage, ProbeStage, Prompt
from reproductions.icn.texts import ChainStage, OpenStage

RANK_BAND = 15
"""Ranks in a band: narrow enough to take away what rank explains, wide enough to hold both groups."""

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class IcnStages:
    """What all stages gave."""

    clusters: Sequence[ClusterStage]
    """One for each start of k-means."""

    probes: Sequence[ProbeStage]
    answers: Mapping[Prompt, Mapping[str, Sequence[Answered]]]
    """By prompt, of which the first decides, and way: one for each probe."""

    open: Sequence[OpenStage]
    chains: ChainStage
    training: FixedKeysStage


def measures(stages: IcnStages, top: int) -> dict[str, Interval]:
    """Every measure by name; what could not be measured is absent. ``top`` is how many ranks count as the top."""
    first, out = next(iter(stages.answers)), _clusters(stages.clusters)
    for prompt, answers in stages.answers.items():
        label = "" if prompt == first else f", {prompt} prompt"
        out |= {f"{name}{label}": each for name, each in _answers(stages.probes, answers).items()}
    return {
        **out,
        **_ranks(stages.probes, top),
        **_lists(stages.probes),
        **_open(stages.open),
        **_chains(stages.chains),
        **_training(stages.training),
    }


def _clusters(starts: Sequence[ClusterStage]) -> dict[str, Interval]:
    how = f"mean of {len(starts)} starts, widest ends of their intervals"
    gaps = {
        "": [start.cohesion.difference for start in starts],
        ", shuffled keys": [start.shuffled.difference for start in starts],
    }
    out = {
        f"clusters/within minus between{label}": Interval(
            estimate=float(np.mean([gap.estimate for gap in row])),
            low=min(gap.lower for gap in row),
            high=max(gap.upper for gap in row),
            n=len(row),
            how=f"{how} ({row[0].how})",
        )
        for label, row in gaps.items()
    }
    names = list(starts[0].together)
    if not names:
        return out
    groups = f"bootstrap over {len(names)} groups"
    together = [float(np.mean([start.together[name] for start in starts])) for name in names]
    drawn = [float(np.mean([start.drawn[name] for start in starts])) for name in names]
    return {
        **out,
        "clusters/pairs together": bootstrap_mean(together, seed=0, how=groups),
        "clusters/pairs together, like ids": bootstrap_mean(drawn, seed=0, how=groups),
        "clusters/pairs together minus like ids": paired_difference(together, drawn, seed=0, how=f"paired {groups}"),
    }


def _ranks(probes: Sequence[ProbeStage], top: int) -> dict[str, Interval]:
    inside = [float(np.mean([np.mean(ranks.inside) for ranks in probe.clusters])) for probe in probes]
    shuffled = [float(np.mean([np.mean(ranks.inside) for ranks in probe.shuffled])) for probe in probes]
    banded = [float(np.mean([ranks.banded for ranks in probe.clusters])) for probe in probes]
    high = np.array([np.mean(probe.gold[:top]) for probe in probes])
    middle = np.array([np.mean(probe.gold[top:]) for probe in probes])
    out = {
        "spread/in-cluster share": over_classes(inside, probes),
        "spread/in-cluster share, shuffled keys": over_classes(shuffled, probes),
        "spread/frequency-matched share": over_classes(banded, probes),
        "ranks/top": over_classes(high, probes),
        "ranks/middle": over_classes(middle, probes),
        "ranks/top minus middle": over_classes(high - middle, probes),
        "ranks/accuracy": over_classes([float(np.mean(probe.gold)) for probe in probes], probes),
        "ranks/accuracy, lists of other classes": over_classes([probe.others for probe in probes], probes),
        **_within_ranks(probes, top),
    }
    if sum(banded) > 0:
        out["spread/ratio to frequency-matched"] = over_classes(inside, probes, per=banded)
    return out


def _within_ranks(probes: Sequence[ProbeStage], top: int) -> dict[str, Interval]:
    """The difference within rank bands at the first start of k-means: resampled over classes, permuted in bands."""
    gold = [torch.tensor(probe.gold[top:]) for probe in probes]
    inside = [torch.tensor(probe.clusters[0].inside) for probe in probes]
    strata = [rank_strata([len(row)], RANK_BAND) for row in gold]
    width = max(int(row.max()) for row in strata) + 1
    members = _members(probes)

    def pooled(drawn: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        # Each draw of a probe has bands of its own, also where it is drawn twice.
        rows = [row for name in drawn for row in members[name]]
        parts = [(inside[row], gold[row], strata[row] + width * draw) for draw, row in enumerate(rows)]
        return tuple(torch.cat(column) for column in zip(*parts, strict=True))  # type: ignore[return-value]

    def difference(rows_RN: NDArray[np.int64]) -> Array:
        return np.array([mantel_haenszel(*pooled(rows.tolist())).estimate for rows in rows_RN])

    try:
        how = f"Mantel-Haenszel within bands of {RANK_BAND} ranks, bootstrap over {len(members)} classes"
        permuted = permutation_within(*pooled(range(len(members))))
        return {
            # Fewer replicates than elsewhere: each pools all ranks anew.
            "in-cluster/accuracy minus out, same ranks": bootstrap(
                difference, len(members), seed=0, replicates=500, how=how
            ),
            "in-cluster/permutation p": Interval(
                estimate=permuted.p_lower, n=permuted.n, how="exact, one-sided: in-cluster less accurate"
            ),
        }
    except NumericError:
        return {}


def _lists(probes: Sequence[ProbeStage]) -> dict[str, Interval]:
    out: dict[str, Interval] = {}
    by_prompt = {"": [probe.lists for probe in probes], ", plain prompt": [probe.plain_lists for probe in probes]}
    for label, effects in by_prompt.items():
        held = [index for index, lists in enumerate(effects) if lists]
        listed = [probes[index] for index in held]
        for field in ("fall", "rise") if held else ():
            values = {
                kind: np.array([float(getattr(effects[index][kind], field)) for index in held])
                for kind in ("own", "same-class", "foreign")
            }
            for kind, row in values.items():
                out[f"lists/{kind} {field}{label}"] = over_classes(row, listed)
                if kind != "same-class":
                    difference = over_classes(row - values["same-class"], listed)
                    out[f"lists/{kind} {field} minus same-class {field}{label}"] = difference
    return out


def _answers(probes: Sequence[ProbeStage], answers: Mapping[str, Sequence[Answered]]) -> dict[str, Interval]:
    out: dict[str, Interval] = {}
    distinct = {arm: np.array([answered.distinct for answered in row]) for arm, row in answers.items()}
    for arm, row in answers.items():
        out[f"answers/{arm}"] = over_classes(distinct[arm], probes)
        out[f"answers/{arm}, lists of other classes"] = over_classes([answered.others for answered in row], probes)
        out[f"tokens/{arm}"] = over_classes([answered.tokens for answered in row], probes)
        for way in ("navigation", "navigation from the list"):
            if not arm.startswith("navigation"):
                out[f"answers/{way} minus {arm}"] = over_classes(distinct[way] - distinct[arm], probes)
    return out


def _open(instructions: Sequence[OpenStage]) -> dict[str, Interval]:
    over = f"bootstrap over {len(instructions)} instructions"
    out = {
        "open/distinct-2 minus static, dealt anew": bootstrap_mean(
            [stage.dealt for stage in instructions], seed=0, how=over
        )
    }
    for field, label in (("distinct_2", "distinct-2"), ("valid", "valid")):
        values = {
            arm: [float(getattr(stage.arms[arm].diversity, field)) for stage in instructions]
            for arm in instructions[0].arms
        }
        for arm, row in values.items():
            out[f"open/{label}, {arm}"] = bootstrap_mean(row, seed=0, how=over)
        for arm in ("static", "sampling"):
            out[f"open/{label} minus {arm}"] = paired_difference(
                values["navigation"], values[arm], seed=0, how=f"paired {over}"
            )
    return out


def _chains(chains: ChainStage) -> dict[str, Interval]:
    over, answers = f"bootstrap over {len(chains.answers)} problems", chains.answers
    votes = {
        arm: [float(solution.vote == right) for solution, right in zip(solutions, answers, strict=True)]
        for arm, solutions in (("navigation", chains.navigation), ("static", chains.static))
    }
    # Each vote against the answers of all problems but its own.
    other = [
        float(np.mean([solution.vote == right for right in [*answers[:index], *answers[index + 1 :]] or [""]]))
        for index, solution in enumerate(chains.static)
    ]
    return {
        **{f"chains/vote, {arm}": bootstrap_mean(row, seed=0, how=over) for arm, row in votes.items()},
        "chains/vote, static, other problems": bootstrap_mean(other, seed=0, how=over),
        "chains/vote minus static": paired_difference(
            votes["navigation"], votes["static"], seed=0, how=f"paired {over}"
        ),
    }


def _training(training: FixedKeysStage) -> dict[str, Interval]:
    if not training.targets:
        return {}
    how = f"t interval over {len(training.targets)} target tokens"
    out = {"training/head over blocks, equal steps": Interval(estimate=training.equal_steps, how="from norms alone")}
    for name in RATES:
        tokens = [by_optimiser[name] for by_optimiser in training.targets.values()]
        values = {
            "rise of the target": [token.rise for token in tokens],
            "share of the keys": [token.keys for token in tokens],
            "share of the queries": [token.queries for token in tokens],
            "share of the keys in all logits": [token.keys_in_all for token in tokens],
            "share of the queries in all logits": [token.queries_in_all for token in tokens],
            "head over blocks": [token.head / token.blocks for token in tokens],
            "steps": [float(token.steps) for token in tokens],
        }
        out |= {f"training/{label}, {name}": across_seeds(row, how=how) for label, row in values.items()}
    adam = [by_optimiser[next(iter(RATES))] for by_optimiser in training.targets.values()]
    near = {
        "near keys": [token.near for token in adam],
        "those of other targets": [token.near_others for token in adam],
        "near keys minus those of other targets": [token.near - token.near_others for token in adam],
    }
    return out | {f"training/rise of {label}": across_seeds(row, how=how) for label, row in near.items()}


def _members(probes: Sequence[ProbeStage]) -> list[list[int]]:
    """The probes of each base class."""
    bases = list(dict.fromkeys(probe.base for probe in probes))
    return [[index for index, probe in enumerate(probes) if probe.base == base] for base in bases]


def over_classes(
    values: Sequence[float] | Array, probes: Sequence[ProbeStage], *, per: Sequence[float] | None = None
) -> Interval:
    """Mean over probes, or the ratio of sums to ``per``, with a bootstrap over base classes."""
    members = _members(probes)
    sums_C, sizes_C = (
        np.array([sum(float(row[index]) for index in rows) for rows in members])
        for row in (values, per if per is not None else np.ones(len(probes)))
    )

    def statistic(counts_RC: Array) -> Array:
        mean: Array = (counts_RC @ sums_C) / np.maximum(counts_RC @ sizes_C, 1e-12)
        return mean

    how = f"bootstrap over {len(members)} base classes with their {len(probes)} probes"
    return bootstrap_weighted(statistic, len(members), seed=0, how=how)
