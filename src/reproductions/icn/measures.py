"""From the plain data of the ICN stages to the named measures that the claims read. Needs no model."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from armillary.errors import NumericError
from armillary.methods.icn.core import mantel_haenszel, permutation_within, rank_strata
from armillary.numerics.intervals import Interval, across_seeds, bootstrap, bootstrap_mean, paired_difference

Found = dict[str, Any]
RANK_BAND = 15


def measures(found: Found, seeds: int, top: int) -> dict[str, Interval]:
    """Every measure by name; what could not be measured is absent."""
    probes: list[Found] = found["probes"]
    return {
        **_clusters([found[f"clusters cosine {offset}"] for offset in range(seeds)], "clusters"),
        **_clusters([found[f"clusters euclidean {offset}"] for offset in range(seeds)], "euclidean clusters"),
        **_spread(probes),
        **_ranks(probes, top),
        **_in_cluster(probes, top),
        **_lists(probes),
        **_answers(probes),
        **_open(found["open"]),
        **_chains(found["chains"]),
        **_training(found["training"]),
    }


def _clusters(seeds: Sequence[Found], label: str) -> dict[str, Interval]:
    gaps = [Interval.from_dict(one["cohesion"]["difference"]) for one in seeds]
    out = {
        f"{label}/within minus between": Interval(
            estimate=float(np.mean([gap.estimate for gap in gaps])),
            low=min(gap.low for gap in gaps if gap.low is not None),
            high=max(gap.high for gap in gaps if gap.high is not None),
            n=len(gaps),
            how=f"mean of {len(gaps)} starts, widest ends of their intervals ({gaps[0].how})",
        )
    }
    for kind in ("within", "between"):
        values = [one["cohesion"][kind]["estimate"] for one in seeds]
        out[f"{label}/{kind}"] = across_seeds(values, how=f"t interval over {len(values)} starts")
    for group in seeds[0]["groups"]:
        values = [one["groups"][group]["largest_two"] for one in seeds]
        out[f"{label}/{group} in two clusters"] = across_seeds(values, how=f"t interval over {len(values)} starts")
    return out


def _spread(probes: Sequence[Found]) -> dict[str, Interval]:
    def over_seeds(one: Found, key: str) -> float:
        return float(np.mean([place[key] for place in one["clusters"]]))

    inside = np.array([np.mean([np.mean(place["inside"]) for place in one["clusters"]]) for one in probes])
    out = {"spread/in-cluster share": bootstrap_mean(inside, seed=0, how=_over(probes))}
    for key, label in (("uniform", "uniform"), ("banded", "frequency-matched")):
        null = np.array([over_seeds(one, key) for one in probes])
        out[f"spread/{label} share"] = bootstrap_mean(null, seed=0, how=_over(probes))
        if null.sum() > 0:
            out[f"spread/ratio to {label}"] = bootstrap(
                lambda rows, null=null: _ratio(inside[rows], null[rows]),  # type: ignore[misc]
                len(probes),
                seed=0,
                how=f"ratio of means, bootstrap over {len(probes)} probes",
            )
    return out


def _ratio(a_RN: NDArray[np.float64], b_RN: NDArray[np.float64]) -> NDArray[np.float64]:
    out: NDArray[np.float64] = a_RN.sum(-1) / np.maximum(b_RN.sum(-1), 1e-12)
    return out


def _ranks(probes: Sequence[Found], top: int) -> dict[str, Interval]:
    high = [float(np.mean(one["gold"][:top])) for one in probes]
    middle = [float(np.mean(one["gold"][top:])) for one in probes]
    how = f"paired bootstrap over {len(probes)} probes"
    return {
        "ranks/top": bootstrap_mean(high, seed=0, how=_over(probes)),
        "ranks/middle": bootstrap_mean(middle, seed=0, how=_over(probes)),
        "ranks/top minus middle": paired_difference(high, middle, seed=0, how=how),
    }


def _in_cluster(probes: Sequence[Found], top: int) -> dict[str, Interval]:
    gold = [torch.tensor(one["gold"][top:]) for one in probes]
    inside = [torch.tensor(one["clusters"][0]["inside"]) for one in probes]
    out: dict[str, Interval] = {}
    every = [torch.ones(len(one), dtype=torch.bool) for one in gold]
    small = [~torch.tensor(one["clusters"][0]["giant"], dtype=torch.bool) for one in probes]
    for label, masks in (("", every), (", giants left out", small)):
        out |= _within_ranks(gold, inside, masks, label)
    return out


def _within_ranks(
    gold: Sequence[torch.Tensor], inside: Sequence[torch.Tensor], masks: Sequence[torch.Tensor], label: str
) -> dict[str, Interval]:
    """The difference within rank bands: resampled over probes, and permuted within bands."""
    strata = [rank_strata([len(one)], RANK_BAND) for one in gold]
    width = max(int(one.max()) for one in strata) + 1

    def pooled(rows: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        parts = [
            (inside[row][masks[row]], gold[row][masks[row]], strata[row][masks[row]] + width * place)
            for place, row in enumerate(rows)
        ]
        return tuple(torch.cat(column) for column in zip(*parts, strict=True))  # type: ignore[return-value]

    def difference(rows_RN: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.array([mantel_haenszel(*pooled(rows.tolist())).estimate for rows in rows_RN])

    try:
        how = f"Mantel-Haenszel within bands of {RANK_BAND} ranks, bootstrap over {len(gold)} probes"
        permuted = permutation_within(*pooled(range(len(gold))))
        return {
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


def _lists(probes: Sequence[Found]) -> dict[str, Interval]:
    out: dict[str, Interval] = {}
    lengths = sorted({int(name.split()[1]) for name in probes[0]["lists"] if name.startswith("own")})

    def fall(one: Found, name: str) -> float:
        before, after = (np.log2(one["lists"][key]["ranks"]) for key in ("none", name))
        return float(np.mean(after - before))

    how = f"paired bootstrap over {len(probes)} probes"
    for length in lengths:
        falls = {kind: [fall(one, f"{kind} {length}") for one in probes] for kind in ("own", "shuffled", "foreign")}
        for kind, values in falls.items():
            out[f"lists/{kind} fall, {length}"] = bootstrap_mean(values, seed=0, how=_over(probes))
        out[f"lists/own fall minus foreign fall, {length}"] = paired_difference(
            falls["own"], falls["foreign"], seed=0, how=how
        )
        logits = {
            kind: [
                float(np.mean(np.subtract(one["lists"][f"{kind} {length}"]["logits"], one["lists"]["none"]["logits"])))
                for one in probes
            ]
            for kind in ("own", "foreign")
        }
        out[f"lists/own change of logit, {length}"] = bootstrap_mean(logits["own"], seed=0, how=_over(probes))
        out[f"lists/foreign change of logit, {length}"] = bootstrap_mean(logits["foreign"], seed=0, how=_over(probes))
    return out


def distinct_correct(one: Found, arm: str) -> int:
    """Different correct answers of one probe by one arm."""
    return len({answer for answer in one["arms"][arm]["meant"] if answer is not None})


def _right(meant: Sequence[int | None]) -> float:
    return sum(answer is not None for answer in meant) / max(1, len(meant))


def _answers(probes: Sequence[Found]) -> dict[str, Interval]:
    out: dict[str, Interval] = {}
    ours = [distinct_correct(one, "navigation") for one in probes]
    for arm in probes[0]["arms"]:
        theirs = [distinct_correct(one, arm) for one in probes]
        out[f"answers/{arm}"] = bootstrap_mean(theirs, seed=0, how=_over(probes))
        precision = [_right(one["arms"][arm]["meant"]) for one in probes]
        out[f"precision/{arm}"] = bootstrap_mean(precision, seed=0, how=_over(probes))
        if arm != "navigation":
            how = f"paired bootstrap over {len(probes)} probes"
            out[f"answers/navigation minus {arm}"] = paired_difference(ours, theirs, seed=0, how=how)
    return out


def _open(stages: Sequence[Found]) -> dict[str, Interval]:
    out: dict[str, Interval] = {}
    names = {"distinct_1": "distinct-1", "distinct_2": "distinct-2", "overlap": "overlap", "valid": "valid"}
    over = f"bootstrap over {len(stages)} instructions"
    for key, label in names.items():
        values = {arm: [one[arm][key] for one in stages] for arm in stages[0]}
        for arm, one in values.items():
            out[f"open/{label}, {arm}"] = bootstrap_mean(one, seed=0, how=over)
        for arm in ("static", "temperature 1"):
            out[f"open/{label} minus {arm}"] = paired_difference(
                values["navigation"], values[arm], seed=0, how=f"paired {over}"
            )
    return out


def _chains(stage: Found) -> dict[str, Interval]:
    gold = stage["answers"]
    votes = {
        arm: [float(one["vote"] == answer) for one, answer in zip(stage[arm], gold, strict=True)]
        for arm in ("navigation", "static")
    }
    paths = {
        arm: [
            float(np.mean([path == answer for path in one["answers"]] or [0.0]))
            for one, answer in zip(stage[arm], gold, strict=True)
        ]
        for arm in ("navigation", "static")
    }
    over = f"bootstrap over {len(gold)} problems"
    out = {f"chains/vote, {arm}": bootstrap_mean(values, seed=0, how=over) for arm, values in votes.items()}
    out |= {f"chains/paths, {arm}": bootstrap_mean(values, seed=0, how=over) for arm, values in paths.items()}
    for label, values in (("vote", votes), ("paths", paths)):
        out[f"chains/{label} minus static"] = paired_difference(
            values["navigation"], values["static"], seed=0, how=f"paired {over}"
        )
    return out


def _training(stage: Found) -> dict[str, Interval]:
    targets = list(stage["targets"].values())
    if not targets:
        return {}
    how = f"t interval over {len(targets)} target tokens"

    def over(values: Sequence[float]) -> Interval:
        return across_seeds(values, how=how)

    changes = [one["trained"]["relative change"] for one in targets]
    frozen = [one["frozen"] for one in targets]
    return {
        "training/head over blocks": over([one["head"] / one["blocks"] for one in changes]),
        "training/relative change of the head": over([one["head"] for one in changes]),
        "training/relative change of the blocks": over([one["blocks"] for one in changes]),
        "training/spearman": over([one["spearman"] for one in frozen]),
        "training/spearman, head trained": over([one["trained"]["spearman"] for one in targets]),
        "training/spearman, shuffled keys": over([one["shuffled"] for one in frozen]),
        "training/rise of neighbours minus random tokens": over([one["neighbours"] - one["random"] for one in frozen]),
        "training/rise of the target": over([one["target"] for one in frozen]),
    }


def _over(probes: Sequence[Found]) -> str:
    return f"bootstrap over {len(probes)} probes"
