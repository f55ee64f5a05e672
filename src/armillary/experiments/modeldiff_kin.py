"""Stage E4 of the Model-diff reproduction: a zoo of character models whose kinship is known.

Legend: N sequences, L tokens.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from armillary.experiments.modeldiff_grammar import base
from armillary.experiments.modeldiff_scale import Scale
from armillary.experiments.modeldiff_zoo import (
    DERIVATIONS,
    KINDS,
    Kind,
    ZooScale,
    derived,
    held_out,
    nats_per_character,
    ratings,
    train,
)
from armillary.experiments.modeldiff_zoo import opened as opened_from
from armillary.methods.modeldiff import CompareConfig, Comparison, InputSpace, compare, expected_effective_size
from armillary.methods.modeldiff.descent import lineage
from armillary.methods.modeldiff.human_agreement import agreement_with_people
from armillary.methods.modeldiff.rated import RatedDirection
from armillary.models import LoadedModel
from armillary.numerics.intervals import Interval

Found = dict[str, Any]
Arrays = dict[str, Any]
Keep = Callable[[str, Callable[[], Arrays]], Arrays]
"""Keeps the arrays of a name, computed once."""

THRESHOLDS = (0.1, 0.25, 0.5)
"""Nats per character by which a model must prefer an input for it to be rated."""


def opened(seed: int, scale: ZooScale, keep: Keep) -> dict[Kind, LoadedModel]:
    """Every model of one seed, trained once."""
    return {
        kind: opened_from(kind, keep(f"weights {kind} {seed}", partial(train, kind, seed, scale)), scale)
        for kind in KINDS
    }


def quality(models: Mapping[Kind, LoadedModel], scale: ZooScale) -> dict[str, float]:
    """Nats per character of held-out text of the base language."""
    rows_NT = held_out(scale)
    return {kind: nats_per_character(model, rows_NT) for kind, model in models.items()}


def kinship(
    models: Mapping[Kind, LoadedModel], strangers: Mapping[str, LoadedModel], seed: int, scale: Scale, zoo: ZooScale
) -> Found:
    """Features of every relative of the base model: its derivations, its siblings, the strangers of other seeds."""
    makers: dict[str, Callable[[LoadedModel], LoadedModel]] = {
        how: partial(derived, how=how, seed=seed, scale=zoo) for how in DERIVATIONS
    }
    unrelated = {kind: model for kind, model in models.items() if kind != "base"} | dict(strangers)
    found = lineage(
        models["base"],
        models["other seed"],
        InputSpace(length=scale.zoo_length),
        CompareConfig(
            n_samples=scale.zoo_samples,
            weighting="profile",
            replicates=scale.replicates,
            batch_size=512,
            seed=seed,
        ),
        derivations=makers,
        unrelated=unrelated,
        reference=models["other corpus"],
    )
    return {
        one.name: {
            "kind": one.kind,
            "mean": one.spread.mean.to_dict(),
            "deviation": one.spread.deviation.to_dict(),
            "overlap": one.spread.overlap.to_dict(),
            "correlation": one.spread.correlation.to_dict() if one.spread.correlation else None,
        }
        for one in found.relatives[1:]
    }


def rated(models: Mapping[Kind, LoadedModel], seed: int, scale: Scale) -> Found:
    """Claim 7: the fully trained model against the one that was trained less, judged by the grammar as the rater."""
    result = compare(
        models["base"],
        models["trained less"],
        InputSpace(length=scale.zoo_length),
        CompareConfig(
            n_samples=scale.zoo_samples,
            weighting="count",
            replicates=scale.replicates,
            batch_size=512,
            block=scale.zoo_samples,
            seed=seed,
        ),
    )
    good = [ratings(models["base"], held.ids_NL, base()) for held in (result.a, result.b)]
    judged = agreement_with_people(
        RatedDirection.of(result.a, good[0]),
        RatedDirection.of(result.b, good[1]),
        [value * scale.zoo_length for value in THRESHOLDS],
        seed=seed,
        replicates=scale.replicates,
    )
    # The null: the same ratings handed out at random over both models' samples. Within one model's samples alone they
    # would keep that model's mean, and with it the effect.
    mixed = np.split(np.random.default_rng(seed).permutation(np.concatenate(good)), [len(good[0])])
    null = agreement_with_people(
        RatedDirection.of(result.a, mixed[0]),
        RatedDirection.of(result.b, mixed[1]),
        [value * scale.zoo_length for value in THRESHOLDS],
        seed=seed,
        replicates=scale.replicates,
    )
    return {
        "good": [float(one.mean()) for one in good],
        "thresholds": list(THRESHOLDS),
        "judged": [one.to_dict() for one in judged],
        "null": [one.to_dict() for one in null],
        "effective": effective(result),
        "curves": curves(result),
    }


def effective(result: Comparison) -> Found:
    """Effective samples of A's direction with the window's upper edge at three quantiles, and what Eq. 5 expects."""
    own_N, rows = result.a.own_N, []
    for quantile in (0.25, 0.5, 0.75):
        low, high = np.quantile(own_N, [0.05, quantile])
        kept = own_N[(own_N >= low) & (own_N <= high)]
        seen = float(np.exp(kept - kept.max()).sum() ** 2 / np.exp(2 * (kept - kept.max())).sum())
        rows.append({"quantile": quantile, "seen": seen, "expected": expected_effective_size(own_N, float(high))})
    return {"samples": len(own_N), "mean": float(own_N.mean()), "deviation": float(own_N.std()), "rows": rows}


def curves(result: Comparison) -> Found:
    """Both directions' profile histograms as plain data."""
    found: Found = {}
    for side in ("a", "b"):
        curve = result.curve(side, weighting="profile")
        found[side] = {"value": curve.value, "low": curve.low, "high": curve.high}
        found["difference"] = curve.difference
    return found


def told(value: Any) -> Interval:
    """An interval that was kept as plain data."""
    return Interval.from_dict(value)
