"""From the results of the Model-diff stages to the named measures that the claims read. Needs no model."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from armillary.numerics.intervals import Interval, across_seeds, binomial, range_over_seeds
from reproductions.modeldiff.claims import PAIRS, SIZES, STEPS
from reproductions.modeldiff.stages import CountedPair, CoveredPair, Edge, HotPair, RealResult, TemperedRun
from reproductions.modeldiff.zoo import DERIVATIONS, THRESHOLDS, FamilyResult

RATED_AT = 0.25
"""The threshold of the claim on ratings, nats per character."""

SHARE, GAP = (0.0, 1.0), (-1.0, 1.0)
"""What a share and the gap of two shares can be."""

ALIKE = 1e-4
"""Nats per character up to which two spreads are one: rounding of float32 must not order two models."""


@dataclass(frozen=True, kw_only=True)
class Results:
    """What all stages gave."""

    counted: Mapping[str, Sequence[CountedPair]]
    """By pair of tables or kind of grid."""

    covered: Mapping[str, Sequence[CoveredPair]]
    """By pair of tables."""

    hot: Sequence[HotPair]
    tempering: Sequence[TemperedRun]
    itself: Sequence[Interval]
    """Shares of the overlap of tables with themselves."""

    families: Sequence[FamilyResult]
    real: RealResult


def measures(results: Results) -> dict[str, Interval]:
    """Every measure by name; what could not be measured is absent."""
    named: dict[str, Interval] = {}
    for kind, pairs in results.counted.items():
        named |= _counted(pairs, kind)
    for kind, pairs_covered in results.covered.items():
        for name in pairs_covered[0].shares:
            figure, _, windows = name.partition(", ")
            shares = [pair.shares[name] for pair in pairs_covered]
            named[f"{kind}/coverage of {figure}, {windows}"] = _over(shares, "pairs", SHARE)
    named |= _hot(results.hot) | _tempering(results.tempering) | _real(results.real)
    named |= _kinship(results.families) | _told(results.families) | _rated(results.families)
    named |= _edges([family.edge for family in results.families], "character models")
    shares_itself = {
        "tables": results.itself,
        "character models": [share for family in results.families for share in family.itself],
        "the model given": results.real.itself,
        # The null.
        "another seed": [share for family in results.families for share in family.another],
    }
    return named | {f"itself/overlap, {models}": _span(shares) for models, shares in shares_itself.items()}


def _over(values: Sequence[float], units: str, within: tuple[float, float] | None = None) -> Interval:
    return across_seeds(values, within=within, how=f"t interval over {len(values)} {units}")


def _span(shares: Sequence[Interval]) -> Interval:
    """Mean of the estimates, with the lowest and the highest end of any interval."""
    return Interval(
        estimate=float(np.mean([share.estimate for share in shares])),
        low=min(share.lower for share in shares),
        high=max(share.upper for share in shares),
        n=len(shares),
        how=f"mean of {len(shares)} shares, with the lowest and the highest end of their intervals",
    )


def _counted(pairs: Sequence[CountedPair], kind: str) -> dict[str, Interval]:
    """Errors of counts, of the overlap and of histograms over pairs of one kind."""
    named = {
        f"{kind}/count over exact, {side}": _over([pair.total[index] for pair in pairs], "pairs")
        for index, side in enumerate("AB")
    }
    if kind not in PAIRS:
        return named | _edges([pair.edge for pair in pairs], kind)
    plain, weighed = (
        np.array([[sides.distance(getattr(sides, which)) for sides in pair.histograms] for pair in pairs]).mean(axis=1)
        for which in ("wrong", "estimated")
    )
    # Errors of what is many times off as logs, so that one pair can't hide the others.
    errors = {
        "error of the plain count": [float(np.abs(np.log(pair.plain_total)).mean()) for pair in pairs],
        "distance, plain minus weighed": plain - weighed,
        "distance, weighed": weighed,
        "distance, plain": plain,
        "overlap from A over overlap from B": [pair.overlap[0] / pair.overlap[1] for pair in pairs],
        "error of the plain overlap": [abs(math.log(pair.plain_overlap[0] / pair.plain_overlap[1])) for pair in pairs],
    }
    return named | {f"{kind}/{what}": _over(list(values), "pairs") for what, values in errors.items()}


def _edges(edges: Sequence[Edge], where: str) -> dict[str, Interval]:
    return {
        f"effective samples/{where}, log2 of the ratio": across_seeds([edge.ratio for edge in edges]),
        f"effective samples/{where}, log2 by number": across_seeds([edge.by_number for edge in edges]),
    }


def _hot(pairs: Sequence[HotPair]) -> dict[str, Interval]:
    apart = [
        pair.histograms.distance(pair.histograms.wrong) - pair.histograms.distance(pair.histograms.estimated)
        for pair in pairs
    ]
    return {
        "hot/right over exact": _over([pair.right for pair in pairs], "pairs"),
        "hot/wrong over exact": _over([pair.wrong for pair in pairs], "pairs"),
        "hot/distance, wrong minus right": _over(apart, "pairs", GAP),
    }


def _tempering(runs: Sequence[TemperedRun]) -> dict[str, Interval]:
    return {
        "tempering/count over exact": _over([run.total for run in runs], "pairs"),
        "tempering/plain count over exact": _over([run.plain_total for run in runs], "pairs"),
        "tempering/distance": _over([run.distance for run in runs], "pairs", SHARE),
        "tempering/error of ln Z": _over([run.log_z_error for run in runs], "pairs"),
        "tempering/lowest swap rate": _over([run.lowest_swap_rate for run in runs], "pairs", SHARE),
    }


def _real(real: RealResult) -> dict[str, Interval]:
    named = {
        "effective samples/the model given, log2 of the ratio": real.edge["ratio"],
        "effective samples/the model given, log2 by number": real.edge["by_number"],
    }
    logs = {size: np.log(real.spreads[size]) for size in SIZES}
    for size in SIZES:
        named[f"copies/spread, noise {size}"] = across_seeds(real.spreads[size])
    for low, high in pairwise(SIZES):
        named[f"copies/ln spread, noise {high} less {low}"] = across_seeds(logs[high] - logs[low])
    again = [float(values[1] - values[0]) for values in logs.values()]
    named["copies/ln spread, the same size from another seed"] = _over(again, "sizes of noise")
    return named


def _features(family: FamilyResult) -> tuple[dict[str, float], dict[str, float]]:
    """Spread of the difference and share of private inputs of every relative."""
    # The first relative is the candidate of ``lineage``, a sibling that stands among the others too.
    spreads = {relative.name: relative.spread for relative in family.lineage.relatives[1:]}
    return (
        {name: spread.deviation.estimate for name, spread in spreads.items()},
        {name: 1 - spread.overlap.estimate for name, spread in spreads.items()},
    )


def _kinship(families: Sequence[FamilyResult]) -> dict[str, Interval]:
    widths, private = zip(*map(_features, families), strict=True)
    named: dict[str, Interval] = {}
    for name in (*DERIVATIONS, "other seed", "trained less", "other corpus"):
        named[f"zoo/spread, {name}"] = across_seeds([width[name] for width in widths])
        named[f"zoo/private share, {name}"] = across_seeds([share[name] for share in private], within=SHARE)
    for near, far in STEPS:
        gaps = [share[far] - share[near] for share in private]
        named[f"zoo/spread, {far} minus {near}"] = across_seeds([width[far] - width[near] for width in widths])
        named[f"zoo/private share, {far} minus {near}"] = across_seeds(gaps, within=GAP)
    strangers = [[value for name, value in width.items() if name.startswith("stranger")] for width in widths]
    named["zoo/spread, second stranger minus first"] = across_seeds(
        [second - first for first, second, *_ in strangers]
    )
    held_out = [family.held_out for family in families]
    for first, second in (("base", "the grammar"), ("other seed", "base"), ("trained less", "base")):
        gaps = [losses[first] - losses[second] for losses in held_out]
        named[f"zoo/held-out loss, {first} minus {second}"] = across_seeds(gaps)
    tuned = [family.shifted["base"] - family.shifted["fine-tuned"] for family in families]
    named["zoo/shifted loss, base minus fine-tuned"] = across_seeds(tuned)
    return named


def _told(families: Sequence[FamilyResult]) -> dict[str, Interval]:
    """How well copies are told from independent models, by the spread and by the weights."""
    named: dict[str, Interval] = {}
    for feature in ("spread", "weights"):
        scores = [
            _features(family)[0] if feature == "spread" else {name: -share for name, share in family.related.items()}
            for family in families
        ]
        named |= {f"zoo/AUC by {feature}, {who}": area for who, area in _areas(scores).items()}
    copied = [family.verdicts[name] in ("derived", "identical") for family in families for name in DERIVATIONS]
    apart = [
        verdict == "no evidence of descent"
        for family in families
        for name, verdict in family.verdicts.items()
        if name not in DERIVATIONS
    ]
    # Models of one family hang together, so that these are shares without an interval.
    for what, right in (
        ("copies that lineage calls derived or identical", copied),
        ("independent models in which lineage sees no descent", apart),
    ):
        named[f"zoo/{what}"] = Interval(
            estimate=float(np.mean(right)), n=len(right), how=f"{sum(right)} of {len(right)}"
        )
    return named


def _areas(scores: Sequence[Mapping[str, float]]) -> dict[str, Interval]:
    """AUC by who is told from whom, mean and range over base models; a lower score is nearer."""

    def area(near: Sequence[float], far: Sequence[float]) -> float:
        gaps = np.subtract.outer(far, near)
        return float((gaps > ALIKE).mean() + (np.abs(gaps) <= ALIKE).mean() / 2)

    areas: dict[str, list[float]] = {}
    for by_name in scores:
        strangers = [score for name, score in by_name.items() if name.startswith("stranger")]
        apart = [by_name["other seed"], *strangers]
        for who, near, far in (
            ("copies against independent models", [by_name[name] for name in DERIVATIONS], apart),
            ("fine-tuned alone", [by_name["fine-tuned"]], apart),
            ("other seed against strangers", [by_name["other seed"]], strangers),
        ):
            areas.setdefault(who, []).append(area(near, far))
    return {who: range_over_seeds(values) for who, values in areas.items()}


def _rated(families: Sequence[FamilyResult]) -> dict[str, Interval]:
    index = THRESHOLDS.index(RATED_AT)
    agreements = [family.agreements[index] for family in families]
    shuffled = [family.shuffled[index] for family in families]
    named: dict[str, Interval] = {}
    for group, verdicts, end in (
        (agreements, "for the better model", ""),
        (shuffled, "with shuffled ratings", ", shuffled"),
    ):
        right = sum(agreement.verdict == "A agrees better" for agreement in group)
        named[f"zoo/verdicts {verdicts}"] = binomial(right, len(group))
        gaps = [
            agreement.a.precision.estimate - agreement.b.precision.estimate
            for agreement in group
            if agreement.a.precision is not None and agreement.b.precision is not None
        ]
        if len(gaps) == len(group):
            named[f"zoo/precision, better minus worse{end}"] = across_seeds(gaps, within=GAP)
    return named
