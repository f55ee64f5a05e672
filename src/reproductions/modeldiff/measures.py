"""From the results of the Model-diff stages to the named measures that the claims read. Needs no model.

Legend: S seeds or runs, D bins of the difference.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from armillary.methods.modeldiff.ancestry import Lineage
from armillary.methods.modeldiff.core import Floats
from armillary.methods.modeldiff.text_mode import TextComparison
from armillary.numerics.intervals import Interval, across_seeds, bootstrap, bootstrap_mean
from reproductions.modeldiff.claims import PAIRS, STEPS
from reproductions.modeldiff.stages import BothWays, HotRuns, KnownRuns, TemperedRun, WindowEdge
from reproductions.modeldiff.zoo import DERIVATIONS, THRESHOLDS, FamilyResult

RATED_AT = 0.25
"""The threshold of the claim on ratings, nats per character."""

GRIDS = ("independent tokens", "first-order Markov")


@dataclass(frozen=True, kw_only=True)
class Results:
    """What all stages gave."""

    known: Mapping[str, KnownRuns]
    """By pair of tables or kind of grid."""

    hot: HotRuns
    tempering: Sequence[TemperedRun]
    families: Sequence[FamilyResult]
    copies: Lineage
    both_ways: BothWays
    texts: TextComparison


def measures(results: Results) -> dict[str, Interval]:
    """Every measure by name; what could not be measured is absent."""
    named: dict[str, Interval] = {}
    for name in (*PAIRS, *GRIDS):
        named |= _known(results.known[name], name)
    named |= _hot(results.hot) | _tempering(results.tempering)
    named |= _kinship(results.families) | _rated(results.families) | _copies(results.copies)
    for grid in GRIDS:
        ratios = [run.effective / run.expected_effective for run in results.known[grid].runs]
        named[f"effective samples/{grid}"] = bootstrap_mean(ratios, seed=0, how=f"bootstrap over {len(ratios)} runs")
    named["effective samples/zoo"] = _ratios([edge for family in results.families for edge in family.edges])
    named["effective samples/real"] = _ratios(results.both_ways.edges)
    return named


def _ratios(edges: Sequence[WindowEdge]) -> Interval:
    ratios = [edge.effective / edge.expected for edge in edges if edge.expected > 0]
    how = f"mean over {len(ratios)} window edges, with the smallest and the largest"
    return Interval(estimate=float(np.mean(ratios)), low=min(ratios), high=max(ratios), n=len(ratios), how=how)


def _known(known: KnownRuns, name: str) -> dict[str, Interval]:
    """Coverage, bias, distances and overlap of repeated runs with a known answer."""
    runs, histograms = known.runs, known.histograms
    how = f"bootstrap over {len(runs)} runs"
    overlap_S2 = np.array([run.overlap for run in runs])
    exact_D = np.array(histograms.exact)

    def ratio(rows: NDArray[np.int64]) -> Floats:
        mean = overlap_S2[rows].mean(axis=1)
        quotient: Floats = mean[:, 0] / mean[:, 1]
        return quotient

    def distance_of_mean(shares: list[list[float]]) -> Interval:
        """Total variation between the mean over runs and the exact histogram."""
        shares_SD = np.array(shares)
        return bootstrap(lambda rows: _distances(shares_SD, exact_D, rows), len(shares_SD), seed=0, how=how)

    return {
        f"{name}/coverage": bootstrap_mean([np.mean(run.covered) for run in runs], seed=0, how=how),
        f"{name}/bias of the total": bootstrap_mean([run.total - 1 for run in runs], seed=0, how=how),
        f"{name}/coverage of the total": bootstrap_mean([np.mean(run.total_covered) for run in runs], seed=0, how=how),
        f"{name}/raw distance": distance_of_mean(histograms.wrong),
        f"{name}/weighted distance": distance_of_mean(histograms.estimated),
        f"{name}/overlap from A over overlap from B": bootstrap(ratio, len(runs), seed=0, how=how),
    }


def _distances(shares_SD: Floats, exact_D: Floats, rows: NDArray[np.int64]) -> Floats:
    counts_RS = np.stack([np.bincount(row, minlength=len(shares_SD)) for row in rows])
    apart: Floats = np.abs(counts_RS @ shares_SD / len(shares_SD) - exact_D).sum(axis=1) / 2
    return apart


def _hot(hot: HotRuns) -> dict[str, Interval]:
    how = f"bootstrap over {len(hot.right)} runs"
    histograms = hot.histograms
    exact, right, wrong = (np.array(part) for part in (histograms.exact, histograms.estimated, histograms.wrong))
    apart = bootstrap(
        lambda rows: _distances(wrong, exact, rows) - _distances(right, exact, rows), len(right), seed=0, how=how
    )
    return {
        "hot/right over exact": bootstrap_mean(hot.right, seed=0, how=how),
        "hot/wrong over exact": bootstrap_mean(hot.wrong, seed=0, how=how),
        "hot/wrong distance minus right": apart,
    }


def _tempering(runs: Sequence[TemperedRun]) -> dict[str, Interval]:
    return {
        "tempering/error of ln Z": across_seeds([run.log_z_error for run in runs]),
        "tempering/error of ln count": across_seeds([abs(run.total) for run in runs]),
        "tempering/distance": across_seeds([run.distance for run in runs]),
        "tempering/lowest swap rate": across_seeds([run.lowest_swap_rate for run in runs]),
    }


def _kinship(families: Sequence[FamilyResult]) -> dict[str, Interval]:
    # The first relative is the candidate of ``lineage``, a sibling that stands among the others too.
    kin = [{relative.name: relative.spread for relative in family.lineage.relatives[1:]} for family in families]
    widths = [{name: spread.deviation.estimate for name, spread in spreads.items()} for spreads in kin]
    shared = [{name: spread.overlap.estimate for name, spread in spreads.items()} for spreads in kin]
    named: dict[str, Interval] = {}
    for name in (*DERIVATIONS, "other seed", "trained less", "other corpus"):
        named[f"zoo/spread, {name}"] = across_seeds([width[name] for width in widths])
        named[f"zoo/private share, {name}"] = across_seeds([1 - share[name] for share in shared])
    for near, far in STEPS:
        named[f"zoo/spread, {far} minus {near}"] = across_seeds([width[far] - width[near] for width in widths])
        named[f"zoo/private share, {far} minus {near}"] = across_seeds([share[near] - share[far] for share in shared])
    named["zoo/AUC of copies against independent models"] = _auc(widths)
    return named


def _auc(widths: Sequence[Mapping[str, float]]) -> Interval:
    """How often a copy has a narrower difference than an independently trained model, over base models."""
    copied = [[width[name] for name in DERIVATIONS] for width in widths]
    apart = [
        [value for name, value in width.items() if name == "other seed" or name.startswith("stranger")]
        for width in widths
    ]

    def auc(rows: NDArray[np.int64]) -> Floats:
        values = []
        for row in rows:
            near, far = (np.concatenate([group[index] for index in row]) for group in (copied, apart))
            gaps = far[None] - near[:, None]
            values.append(float((gaps > 0).mean() + (gaps == 0).mean() / 2))
        return np.array(values)

    each = f"{len(copied[0])} copies and {len(apart[0])} independent models each"
    how = f"bootstrap over {len(widths)} base models, {each}"
    return bootstrap(auc, len(widths), seed=0, how=how)


def _rated(families: Sequence[FamilyResult]) -> dict[str, Interval]:
    index = THRESHOLDS.index(RATED_AT)
    agreements = [family.agreements[index] for family in families]
    shuffled = [family.shuffled[index] for family in families]
    named = {
        f"zoo/verdicts {whose}": Interval(
            estimate=float(np.mean([agreement.verdict == "A agrees better" for agreement in group])),
            n=len(group),
            how=f"share of {len(group)} seeds",
        )
        for whose, group in (("for the better model", agreements), ("with shuffled ratings", shuffled))
    }
    gaps = [
        agreement.a.precision.estimate - agreement.b.precision.estimate
        for agreement in agreements
        if agreement.a.precision is not None and agreement.b.precision is not None
    ]
    if len(gaps) == len(agreements):
        named["zoo/precision, better minus worse"] = across_seeds(gaps)
    return named


def _copies(copies: Lineage) -> dict[str, Interval]:
    named: dict[str, Interval] = {}
    for relative in copies.relatives:
        name = "fine-tuned" if relative.kind == "candidate" else relative.name.removesuffix(", seed 0")
        named[f"copies/spread, {name}"] = relative.spread.deviation
        named[f"copies/mean, {name}"] = relative.spread.mean
        named[f"copies/overlap, {name}"] = relative.spread.overlap
    return named
