"""From the results of the stages to the named measures that the claims read. Needs no model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from armillary.methods.lincorr import GradientCorrelation, HitRate, RelationScores, SpilloverResult, StudyScores
from armillary.numerics.intervals import Interval, across_seeds, bootstrap
from reproductions.lincorr.stages import CompletenessStage, EditStage, RateStage, ResilienceStage

CORRELATIONS = {
    "correlation": "correlation",
    "correlation_ols": "correlation, least squares",
    "over_rank_one": "correlation minus rank one",
    "rank_one": "rank one",
    "permuted": "permuted",
    "random_domain": "random words",
    "excess": "excess over random words",
    "centred": "centred",
}
"""Field of a relation's scores -> the measure's name after that of the relation."""

EDITS = {
    "agreement": "predicted against measured",
    "agreement_permuted": "permuted weights",
    "agreement_uniform": "uniform weights",
    "over_permuted": "predicted minus permuted",
    "success": "success",
    "success_before": "success before",
    "gain": "gain",
    "success_by_rise": "success by rise",
    "slope": "logistic slope",
    "wrong_above_reference": "wrong with more weight than the right",
    "wrong_rank": "rank of the wrong target's weight",
}
"""Field of a summary of edits -> the measure's name."""


@dataclass(frozen=True, kw_only=True)
class LincorrStages:
    """What all stages gave."""

    correlations: Sequence[StudyScores]
    """By seed."""

    rate: RateStage
    edits: EditStage
    """Of city-country."""

    arithmetic_edits: EditStage
    """Of add1-add2."""

    gradients: Mapping[str, GradientCorrelation]
    vocabulary: Mapping[str, Sequence[float]]
    completeness: CompletenessStage
    resilience: ResilienceStage


def measures(stages: LincorrStages) -> dict[str, Interval]:
    """Every measure by name; what could not be measured is absent."""
    return {
        **_correlations(stages.correlations),
        **_gradients(stages.gradients, stages.correlations[0]),
        **_resilience(stages.resilience),
        **_edits(stages.edits.summary, stages.arithmetic_edits.summary),
        **_vocabulary(stages.vocabulary),
        **_completeness(stages.completeness),
    }


def notes(stages: LincorrStages) -> dict[str, str]:
    """A sentence to a claim where a stage has something to say."""
    rate = f"Edits at learning rate {stages.rate.rate:g}, chosen on pilot words that take no further part."
    notes = {"causal-transfer": f"{rate} {stages.edits.why}".strip()}
    if stages.resilience.evaluations:
        last = stages.resilience.evaluations[-1]
        before, after = float(np.mean(stages.resilience.nll_before)), float(np.mean(last.nll))
        notes["resilient"] = (
            f"After {last.step} steps the weights moved by {last.relative_change:.2%} of their norm and the loss on "
            f"held-out text of the new kind went from {before:.2f} to {after:.2f} nats per token."
        )
    why = {
        "completeness": stages.completeness.why,
        "no-transfer-without-precision": stages.arithmetic_edits.why,
    }
    return notes | {claim: reason for claim, reason in why.items() if reason}


def over_seeds(studies: Sequence[StudyScores], relation: str) -> list[RelationScores]:
    """The scores of one relation at each seed at which it could be measured."""
    return [study.results[relation] for study in studies if relation in study.results]


def envelope(intervals: Sequence[Interval]) -> Interval:
    """Mean over seeds, with the widest ends of the seeds' own intervals: never narrower than any seed."""
    lows = [interval.low for interval in intervals if interval.low is not None]
    highs = [interval.high for interval in intervals if interval.high is not None]
    return Interval(
        estimate=float(np.mean([interval.estimate for interval in intervals])),
        low=min(lows) if lows else None,
        high=max(highs) if highs else None,
        n=len(intervals),
        level=intervals[0].level,
        how=f"mean of {len(intervals)} seeds, widest ends of their intervals ({intervals[0].how})",
    )


def _correlations(studies: Sequence[StudyScores]) -> dict[str, Interval]:
    out: dict[str, Interval] = {}
    for name in studies[0].results:
        scores = over_seeds(studies, name)
        for field, label in CORRELATIONS.items():
            values = [value for row in scores if (value := getattr(row, field)) is not None]
            if values:
                out[f"{name}/{label}"] = envelope(values)
        by_kind: dict[tuple[str, int], list[HitRate]] = {}
        for row in scores:
            for hit in row.hits:
                if hit.weights == "raw" and hit.fit == row.main_fit:
                    by_kind.setdefault((hit.direction, hit.n), []).append(hit)
        for (direction, n), hits in by_kind.items():
            out[f"{name}/{direction} hit@{n}"] = envelope([hit.rate for hit in hits])
            if direction == "influenced":
                out[f"{name}/chance hit@{n}"] = _exact(hits[0].chance, "exact, by counting")
    return out


def _exact(value: float, how: str) -> Interval:
    return Interval(estimate=value, low=value, high=value, n=1, level=1.0, how=how)


def _gradients(gradients: Mapping[str, GradientCorrelation], study: StudyScores) -> dict[str, Interval]:
    out = {f"{name}/gradient correlation": gradient.correlation for name, gradient in gradients.items()}
    names = [name for name in gradients if name in study.results]
    # Fewer relations have no ranking to speak of.
    if len(names) < 4:
        return out
    of_logits = np.array([study.results[name].correlation.estimate for name in names])
    of_gradients = np.array([gradients[name].correlation.estimate for name in names])

    def spearman(rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Row-wise; 0 where a resample drew one relation only."""
        a, b = (rankdata(np.atleast_2d(values[rows]), axis=-1) for values in (of_logits, of_gradients))
        a, b = a - a.mean(-1, keepdims=True), b - b.mean(-1, keepdims=True)
        norm = np.sqrt((a**2).sum(-1) * (b**2).sum(-1))
        correlations: NDArray[np.float64] = np.where(norm > 0, (a * b).sum(-1) / np.maximum(norm, 1e-12), 0.0)
        return correlations

    how = f"Spearman, bootstrap over {len(names)} relations"
    out["gradients/rank correlation with logits"] = bootstrap(spearman, len(names), seed=0, how=how)
    return out


def _resilience(resilience: ResilienceStage) -> dict[str, Interval]:
    if not resilience.evaluations:
        return {}
    last = resilience.evaluations[-1].transfer
    return {
        "resilience/before": last.before,
        "resilience/after": last.after,
        "resilience/drop": last.drop,
        "resilience/refitted": last.refitted,
        "resilience/permuted": last.permuted,
    }


def _edits(summary: SpilloverResult | None, arithmetic: SpilloverResult | None) -> dict[str, Interval]:
    out: dict[str, Interval] = {}
    how = "share of target words that is right"
    if summary is not None:
        values = {label: getattr(summary, field) for field, label in EDITS.items()}
        out |= {f"edits/{label}": value for label, value in values.items() if value is not None}
        out["edits/chance"] = _exact(summary.chance, how)
    if arithmetic is not None:
        out["edits add1-add2/success"] = arithmetic.success
        out["edits/chance add1-add2"] = _exact(arithmetic.chance, how)
    return out


def _vocabulary(accuracies: Mapping[str, Sequence[float]]) -> dict[str, Interval]:
    out = {
        f"vocabulary/{name}": across_seeds(values, how=f"t interval over {len(values)} seeds")
        for name, values in accuracies.items()
    }
    for embeddings, label in (("pretrained", ""), ("random", ", random embeddings")):
        pair = accuracies[f"true, {embeddings}"], accuracies[f"shuffled, {embeddings}"]
        differences = [a - b for a, b in zip(*pair, strict=True)]
        how = f"paired by seed, t interval over {len(differences)} seeds"
        out[f"vocabulary/true minus shuffled{label}"] = across_seeds(differences, how=how)
    return out


def _completeness(completeness: CompletenessStage) -> dict[str, Interval]:
    out = {}
    for name, kind in completeness.kinds.items():
        out[f"completeness/{name} hit@5"] = kind.hit_rate
        out[f"completeness/{name} correlation"] = kind.correlation
    if completeness.advantage is not None:
        out["completeness/whole minus first word hit@5"] = completeness.advantage
    return out
