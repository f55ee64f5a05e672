"""From the results of the stages to the named measures that the claims read. Needs no model."""

from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import rankdata

from armillary.methods.lincorr import GradientCorrelation, HitRate, RelationScores, StudyScores
from armillary.methods.lincorr.editing import slopes
from armillary.numerics import binomial
from armillary.numerics.intervals import Interval, across_seeds, bootstrap_mean, percentile_interval
from reproductions.lincorr.stages import CompletenessStage, EditStage, Knowledge, RateStage, Tune, VocabularyArm

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
    "agreement": "map",
    "agreement_same_tokens": "same tokens",
    "agreement_others": "mean of the other edits",
    "agreement_taught_row": "taught word's row",
    "over_same_tokens": "map minus same tokens",
    "over_others": "map minus mean of the other edits",
    "over_taught_row": "map minus taught word's row",
    "agreement_own": "map, shared change taken out",
    "agreement_same_tokens_own": "same tokens, shared change taken out",
    "agreement_permuted": "permuted weights",
    "success": "success",
    "success_majority": "carried over",
    "success_before": "success before",
    "success_by_rise": "success by rise",
    "slope": "logistic slope",
    "wrong_above_reference": "wrong with more weight than the right",
    "wrong_rank": "rank of the wrong target's weight",
}
"""Field of a summary of edits -> the measure's name."""

EXCHANGES = 500
"""Draws of a null of edits: its outer 2.5 % then rest on a dozen of them."""


@dataclass(frozen=True, kw_only=True)
class LincorrStages:
    """What all stages gave."""

    correlations: Sequence[StudyScores]
    """By split of the subjects."""

    knowledge: Mapping[str, Knowledge]
    """By relation."""

    rate: RateStage
    edits: EditStage
    """Of city-country."""

    arithmetic_edits: EditStage
    """Of add1-add2."""

    gradients: Mapping[str, GradientCorrelation]
    vocabulary: Mapping[str, VocabularyArm]
    completeness: CompletenessStage
    tunes: Sequence[Tune]


def measures(stages: LincorrStages) -> dict[str, Interval]:
    """Every measure by name; what could not be measured is absent."""
    return {
        **_correlations(stages.correlations),
        **_knowledge(stages.knowledge),
        **_gradients(stages.gradients, stages.correlations[0]),
        **_tunes(stages.tunes),
        **_edits("edits", stages.edits),
        **_edits("edits add1-add2", stages.arithmetic_edits),
        **_vocabulary(stages.vocabulary),
        **_completeness(stages.completeness),
    }


def notes(stages: LincorrStages) -> dict[str, str]:
    """A sentence to a claim where a stage has something to say."""
    rate = f"Edits at learning rate {stages.rate.rate:g}, chosen on pilot words that take no further part."
    notes = {"causal-transfer": f"{rate} {stages.edits.why}".strip()}
    before, after, change = (
        float(np.mean([getattr(tune, name) for tune in stages.tunes]))
        for name in ("nll_before", "nll", "relative_change")
    )
    notes["resilient"] = (
        f"Over {len(stages.tunes)} tunes the weights moved by {change:.2%} of their norm and the loss on held-out "
        f"text of the new kind went from {before:.2f} to {after:.2f} nats per token, mean."
    )
    why = {
        "completeness": stages.completeness.why,
        "no-transfer-without-precision": stages.arithmetic_edits.why,
    }
    return notes | {claim: reason for claim, reason in why.items() if reason}


def over_splits(studies: Sequence[StudyScores], relation: str) -> list[RelationScores]:
    """The scores of one relation at each split at which it was measured."""
    return [study.results[relation] for study in studies if relation in study.results]


def envelope(intervals: Sequence[Interval]) -> Interval:
    """Mean over splits, with the widest ends of their own intervals: never narrower than any split's."""
    lows = [interval.low for interval in intervals if interval.low is not None]
    highs = [interval.high for interval in intervals if interval.high is not None]
    return Interval(
        estimate=float(np.mean([interval.estimate for interval in intervals])),
        low=min(lows) if lows else None,
        high=max(highs) if highs else None,
        n=len(intervals),
        level=intervals[0].level,
        how=f"mean of {len(intervals)} splits, widest ends of their intervals ({intervals[0].how})",
    )


def _correlations(studies: Sequence[StudyScores]) -> dict[str, Interval]:
    out: dict[str, Interval] = {}
    for name in studies[0].results:
        scores = over_splits(studies, name)
        for field, label in CORRELATIONS.items():
            values = [value for row in scores if (value := getattr(row, field)) is not None]
            if values:
                out[f"{name}/{label}"] = envelope(values)
        by_kind: dict[str, list[HitRate]] = {}
        for row in scores:
            for hit in row.hits:
                if hit.weights == "raw" and hit.fit == row.main_fit:
                    by_kind.setdefault(f"{hit.direction} hit@{hit.n}", []).append(hit)
        for kind, hits in by_kind.items():
            out[f"{name}/{kind}"] = envelope([hit.rate for hit in hits])
            out[f"{name}/{kind}, excess"] = envelope([hit.excess for hit in hits])
            if kind.startswith("influenced"):
                # The rate less what the exchanges leave of it is what they hit.
                out[f"{name}/exchanged {kind.split()[1]}"] = envelope(
                    [
                        replace(
                            hit.excess,
                            estimate=hit.chance,
                            low=hit.rate.estimate - hit.excess.upper,
                            high=hit.rate.estimate - hit.excess.lower,
                        )
                        for hit in hits
                    ]
                )
    related, control = (out.get(f"{name}/centred") for name in ("city-country", "city-color"))
    if related is not None and control is not None:
        out["city-country minus city-color/centred"] = Interval(
            estimate=related.estimate - control.estimate,
            low=related.lower - control.upper,
            high=related.upper - control.lower,
            n=related.n,
            how="the furthest apart that the ends of the two intervals can be",
        )
    return out


def _over(values: Sized, of: str) -> str:
    return f"t interval over {len(values)} {of}"


def _knowledge(knowledge: Mapping[str, Knowledge]) -> dict[str, Interval]:
    out = {}
    for name, known in knowledge.items():
        for side, hit in (("target", known.target), ("source", known.source)):
            out[f"{name}/knows {side}, hit@{hit.n}"] = hit.rate
            out[f"{name}/knows {side}, excess hit@{hit.n}"] = hit.excess
    return out


def _gradients(gradients: Mapping[str, GradientCorrelation], study: StudyScores) -> dict[str, Interval]:
    out = {f"{name}/gradient correlation": gradient.correlation for name, gradient in gradients.items()}
    out |= {f"{name}/gradient correlation over shuffled weights": each.excess for name, each in gradients.items()}
    names = [name for name in gradients if name in study.results]
    # Fewer relations have no ranking to speak of.
    if len(names) < 4:
        return out
    of_logits = np.array([study.results[name].correlation.estimate for name in names])
    of_gradients = np.array([gradients[name].correlation.estimate for name in names])

    ranks = [rankdata(values) for values in (of_logits, of_gradients)]
    estimate = float(np.corrcoef(ranks)[0, 1])
    generator = np.random.default_rng(0)
    drawn = [np.corrcoef(ranks[0], generator.permutation(ranks[1]))[0, 1] for _ in range(20 * EXCHANGES)]
    low, high = np.quantile(drawn, [0.025, 0.975]).tolist()
    out["gradients/rank correlation with logits"] = Interval(
        estimate=estimate,
        low=max(-1.0, estimate - high),
        high=min(1.0, estimate - low),
        n=len(names),
        how=f"Spearman less what exchanges of {len(names)} relations give, central 95 %",
    )
    return out


def _tunes(tunes: Sequence[Tune]) -> dict[str, Interval]:
    values = {
        "before": [tune.before for tune in tunes],
        "after": [tune.after for tune in tunes],
        "drop": [tune.before - tune.after for tune in tunes],
        "untrained map": [tune.untrained for tune in tunes],
        "before minus untrained map": [tune.before - tune.untrained for tune in tunes],
        "fall of the loss": [tune.nll_before - tune.nll for tune in tunes],
    }
    return {f"resilience/{name}": across_seeds(row, how=_over(row, "tunes")) for name, row in values.items()}


def _edits(prefix: str, stage: EditStage) -> dict[str, Interval]:
    out: dict[str, Interval] = {}
    taught = [edit for edit in stage.edits if edit.steps]
    took = [edit for edit in taught if edit.took]
    if taught:
        out[f"{prefix}/took"] = binomial(len(took), len(taught), how=f"exact binomial over {len(taught)} facts taught")
    if stage.summary is None:
        return out
    values = {label: getattr(stage.summary, field) for field, label in EDITS.items()}
    out |= {f"{prefix}/{label}": value for label, value in values.items() if value is not None}
    # Row: the answers after an edit; column: the words that are right for an edit.
    right = np.array([[np.mean([word in other.gold for word in edit.after]) for other in took] for edit in took])
    how = f"paired bootstrap over {len(took)} edits, less their share that is right for another edit"
    out[f"{prefix}/success over exchanged"] = bootstrap_mean(right.diagonal() - right.mean(axis=1), seed=0, how=how)
    carried = sum(edit.success > 0.5 for edit in took)
    out[f"{prefix}/rarer outcome"] = binomial(min(carried, len(took) - carried), len(took))
    weight, success = (
        np.array([getattr(edit, name) for edit in took]) for name in ("standardized_reference", "success")
    )
    if stage.summary.slope is not None:
        generator = np.random.default_rng(0)
        unit = (weight - weight.mean()) / weight.std()
        outcomes = np.stack([generator.permutation(success) for _ in range(EXCHANGES)])
        drawn = slopes(np.tile(unit, (EXCHANGES, 1)), outcomes)
        how = f"{EXCHANGES} exchanges of the outcomes, central 95 %"
        null = percentile_interval(float(drawn.mean()), drawn, len(took), 0.95, how)
        out[f"{prefix}/logistic slope, outcomes exchanged"] = null
    return out


def _vocabulary(arms: Mapping[str, VocabularyArm]) -> dict[str, Interval]:
    out = {
        f"vocabulary/{name}": across_seeds(arm.held_out, within=(0, 1), how=_over(arm.held_out, "seeds"))
        for name, arm in arms.items()
    }
    gains = {
        embeddings: np.subtract(arms[f"true, {embeddings}"].held_out, arms[f"shuffled, {embeddings}"].held_out)
        for embeddings in ("pretrained", "random")
    }
    over_random = gains["pretrained"] - gains["random"]
    for label, values in (
        ("true minus shuffled", gains["pretrained"]),
        ("true minus shuffled, random embeddings", gains["random"]),
        ("true minus shuffled, over random embeddings", over_random),
    ):
        out[f"vocabulary/{label}"] = across_seeds(values, how=f"paired by seed, {_over(values, 'seeds')}")
    taught = [min(pair) for pair in zip(*(arms[f"{m}, pretrained"].taught for m in ("true", "shuffled")), strict=True)]
    out["vocabulary/taught"] = across_seeds(taught, within=(0, 1), how=_over(taught, "seeds"))
    return out


def _completeness(completeness: CompletenessStage) -> dict[str, Interval]:
    out = {}
    for name, kind in completeness.kinds.items():
        out[f"completeness/{name} hit@5"] = kind.hit_rate
        out[f"completeness/{name}, excess hit@5"] = kind.excess
        out[f"completeness/{name} correlation"] = kind.correlation
    if completeness.advantage is not None:
        out["completeness/whole minus first word, excess hit@5"] = completeness.advantage
    first = completeness.kinds.get("first-word")
    if first is not None and first.behind is not None:
        out["completeness/whole minus first word, correlation"] = first.behind
    return out
