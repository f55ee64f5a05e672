"""From the plain data of the stages to the named measures that the claims read. Needs no model."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from armillary.numerics.intervals import Interval, across_seeds, bootstrap, paired_difference

Found = dict[str, Any]

_NAMES = {
    "correlation": "correlation",
    "correlation_ols": "correlation, least squares",
    "over_rank_one": "correlation minus rank one",
    "rank_one": "rank one",
    "permuted": "permuted",
    "random_domain": "random words",
    "excess": "excess over random words",
    "centred": "centred",
}


def measures(found: Found, seeds: int) -> dict[str, Interval]:
    """Every measure by name; what could not be measured is absent."""
    return {
        **_correlations([found[f"correlations {offset}"] for offset in range(seeds)]),
        **_gradients(found),
        **_resilience(found["resilience"]),
        **_edits(found),
        **_vocabulary(found["vocabulary"]),
        **_completeness(found["completeness"]),
    }


def notes(found: Found) -> dict[str, str]:
    """A sentence to a claim where a stage has something to say."""
    told = {}
    rate, looks = found["rate"]["rate"], found["resilience"]["looks"]
    told["causal-transfer"] = f"Edits at learning rate {rate:g}, chosen on pilot words that take no further part."
    if looks:
        last = looks[-1]
        before, after = (float(np.mean(values)) for values in (found["resilience"]["nll_before"], last["nll"]))
        told["resilient"] = (
            f"After {last['step']} steps the weights moved by {last['relative_change']:.2%} of their norm and the "
            "loss on "
            f"held-out text of the new kind went from {before:.2f} to {after:.2f} nats per token."
        )
    if found["completeness"]["why"]:
        told["completeness"] = found["completeness"]["why"]
    for claim, stage in (("causal-transfer", "edits"), ("no-transfer-without-precision", "edits add1-add2")):
        if found[stage]["why"]:
            told[claim] = f"{told.get(claim, '')} {found[stage]['why']}".strip()
    return told


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


def _correlations(studies: Sequence[Found]) -> dict[str, Interval]:
    out: dict[str, Interval] = {}
    for name in studies[0]["results"]:
        results = [one["results"][name] for one in studies if name in one["results"]]
        for key, label in _NAMES.items():
            values = [Interval.from_dict(result[key]) for result in results if result.get(key)]
            if values:
                out[f"{name}/{label}"] = envelope(values)
        out |= _hits(name, results)
    return out


def _hits(name: str, results: Sequence[Found]) -> dict[str, Interval]:
    out: dict[str, Interval] = {}
    grouped: dict[tuple[str, int], list[Found]] = {}
    for result in results:
        fit = "ridge" if result["ridge"] else "ols"
        for hit in result["hits"]:
            if hit["weights"] == "raw" and hit["fit"] == fit:
                grouped.setdefault((hit["direction"], hit["n"]), []).append(hit)
    for (direction, n), hits in grouped.items():
        out[f"{name}/{direction} hit@{n}"] = envelope([Interval.from_dict(hit["rate"]) for hit in hits])
        if direction == "influenced":
            out[f"{name}/chance hit@{n}"] = _exact(hits[0]["chance"], "exact, by counting")
    return out


def _exact(value: float, how: str) -> Interval:
    return Interval(estimate=value, low=value, high=value, n=1, level=1.0, how=how)


def _gradients(found: Found) -> dict[str, Interval]:
    of_gradients = {name: Interval.from_dict(one["correlation"]) for name, one in found["gradients"].items()}
    out = {f"{name}/gradient correlation": value for name, value in of_gradients.items()}
    logits = {name: one["correlation"]["estimate"] for name, one in found["correlations 0"]["results"].items()}
    names = [name for name in of_gradients if name in logits]
    if len(names) < 4:
        return out
    a = np.array([logits[name] for name in names])
    b = np.array([of_gradients[name].estimate for name in names])
    how = f"Spearman, bootstrap over {len(names)} relations"
    out["gradients/rank correlation with logits"] = bootstrap(
        lambda rows: _spearman(a[rows], b[rows]), len(names), seed=0, how=how
    )
    return out


def _spearman(a_RN: NDArray[np.float64], b_RN: NDArray[np.float64]) -> NDArray[np.float64]:
    """Row-wise; 0 where a resample drew one relation only."""
    a, b = (rankdata(x, axis=-1) for x in (np.atleast_2d(a_RN), np.atleast_2d(b_RN)))
    a, b = a - a.mean(-1, keepdims=True), b - b.mean(-1, keepdims=True)
    norm = np.sqrt((a**2).sum(-1) * (b**2).sum(-1))
    out: NDArray[np.float64] = np.where(norm > 0, (a * b).sum(-1) / np.maximum(norm, 1e-12), 0.0)
    return out


def _resilience(stage: Found) -> dict[str, Interval]:
    if not stage["looks"]:
        return {}
    last = stage["looks"][-1]["transfer"]
    return {f"resilience/{name}": Interval.from_dict(last[name]) for name in last if name != "relation"}


def _edits(found: Found) -> dict[str, Interval]:
    out: dict[str, Interval] = {}
    summary = found["edits"]["summary"]
    if summary is not None:
        labels = {
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
        for key, label in labels.items():
            if summary.get(key):
                out[f"edits/{label}"] = Interval.from_dict(summary[key])
        out["edits/chance"] = _exact(summary["chance"], "share of target words that is right")
    other = found["edits add1-add2"]["summary"]
    if other is not None:
        out["edits add1-add2/success"] = Interval.from_dict(other["success"])
        out["edits/chance add1-add2"] = _exact(other["chance"], "share of target words that is right")
    return out


def _vocabulary(stage: Found) -> dict[str, Interval]:
    out = {
        f"vocabulary/{name}": across_seeds(values, how=f"t interval over {len(values)} seeds")
        for name, values in stage.items()
    }
    for embeddings, label in (("pretrained", ""), ("random", ", random embeddings")):
        pair = stage[f"true, {embeddings}"], stage[f"shuffled, {embeddings}"]
        differences = [a - b for a, b in zip(*pair, strict=True)]
        how = f"paired by seed, t interval over {len(differences)} seeds"
        out[f"vocabulary/true minus shuffled{label}"] = across_seeds(differences, how=how)
    return out


def _completeness(stage: Found) -> dict[str, Interval]:
    out = {}
    for name, kind in stage["kinds"].items():
        out[f"completeness/{name} hit@5"] = Interval.from_dict(kind["hit_rate"])
        out[f"completeness/{name} correlation"] = Interval.from_dict(kind["correlation"])
    if stage["advantage"]:
        out["completeness/whole minus first word hit@5"] = Interval.from_dict(stage["advantage"])
    return out


def forgetting(stage: Found) -> Interval | None:
    """Paired change of the per-token loss on the new kind of text: below 0 shows that the fine-tune was real."""
    if not stage["looks"]:
        return None
    return paired_difference(stage["looks"][-1]["nll"], stage["nll_before"], seed=0)
