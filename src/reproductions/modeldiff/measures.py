"""From the plain data of the Model-diff stages to the named measures that the claims read. Needs no model.

Legend: S seeds or repeats, D bins of the difference.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from armillary.numerics.intervals import Interval, across_seeds, bootstrap, bootstrap_mean
from reproductions.modeldiff.claims import PAIRS, STEPS
from reproductions.modeldiff.zoo import DERIVATIONS, THRESHOLDS

Found = dict[str, Any]
Floats = NDArray[np.float64]
RATED_AT = 0.25
GRIDS = ("independent tokens", "first-order Markov")


def measures(found: Found) -> dict[str, Interval]:
    """Every measure by name; what could not be measured is absent."""
    out: dict[str, Interval] = {}
    for pair in (*PAIRS, *GRIDS):
        out |= _repeated(found[pair], pair)
    out |= _hot(found["hot"]) | _tempering(found["tempering"]) | _zoo(found["zoo"]) | _copies(found["copies"])
    for grid in GRIDS:
        ratios = [one["ess"] / one["expected ess"] for one in found[grid]["repeats"]]
        out[f"effective samples/{grid}"] = bootstrap_mean(ratios, seed=0, how=f"bootstrap over {len(ratios)} runs")
    rows = [row for one in found["zoo"]["seeds"] for row in one["rated"]["effective"]["rows"]]
    out["effective samples/zoo"] = _ratios(rows)
    out["effective samples/real"] = _ratios(found["both ways"]["effective"]["rows"])
    return out


def _ratios(rows: Sequence[Found]) -> Interval:
    found = [row["seen"] / row["expected"] for row in rows if row["expected"] > 0]
    how = f"mean over {len(found)} window edges, with the smallest and the largest"
    return Interval(estimate=float(np.mean(found)), low=min(found), high=max(found), n=len(found), how=how)


def _repeated(one: Found, name: str) -> dict[str, Interval]:
    """Coverage, bias, distances and overlap of repeated runs with a known answer."""
    repeats = one["repeats"]
    how = f"bootstrap over {len(repeats)} runs"
    total = np.exp([run["total"]["a"] for run in repeats]) - 1
    both = np.exp(
        [[run["overlap"][side] if run["overlap"][side] is not None else -np.inf for side in "ab"] for run in repeats]
    )
    exact, weighted, raw = (np.array(one["shares"][key]) for key in ("exact", "weighted", "raw"))

    def ratio(rows: NDArray[np.int64]) -> Floats:
        mean = both[rows].mean(axis=1)
        quotient: Floats = mean[:, 0] / mean[:, 1]
        return quotient

    return {
        f"{name}/coverage": bootstrap_mean([np.mean(run["covered"]) for run in repeats], seed=0, how=how),
        f"{name}/bias of the total": bootstrap_mean(total, seed=0, how=how),
        f"{name}/coverage of the total": bootstrap_mean(
            [np.mean(run["total covered"]) for run in repeats], seed=0, how=how
        ),
        f"{name}/raw distance": _distance_of_mean(raw, exact, how),
        f"{name}/weighted distance": _distance_of_mean(weighted, exact, how),
        f"{name}/overlap from A over overlap from B": bootstrap(ratio, len(repeats), seed=0, how=how),
    }


def _distance_of_mean(shares_SD: Floats, exact_D: Floats, how: str) -> Interval:
    """Total variation between the mean over runs and the exact histogram."""
    return bootstrap(lambda rows: _distances(shares_SD, exact_D, rows), len(shares_SD), seed=0, how=how)


def _distances(shares_SD: Floats, exact_D: Floats, rows: NDArray[np.int64]) -> Floats:
    counts_RS = np.stack([np.bincount(row, minlength=len(shares_SD)) for row in rows])
    apart: Floats = np.abs(counts_RS @ shares_SD / len(shares_SD) - exact_D).sum(axis=1) / 2
    return apart


def _hot(one: Found) -> dict[str, Interval]:
    how = f"bootstrap over {len(one['right'])} runs"
    exact, right, wrong = (np.array(one["shares"][key]) for key in ("exact", "right", "wrong"))
    apart = bootstrap(
        lambda rows: _distances(wrong, exact, rows) - _distances(right, exact, rows), len(right), seed=0, how=how
    )
    return {
        "hot/right over exact": bootstrap_mean(np.exp(one["right"]), seed=0, how=how),
        "hot/wrong over exact": bootstrap_mean(np.exp(one["wrong"]), seed=0, how=how),
        "hot/wrong distance minus right": apart,
    }


def _tempering(one: Found) -> dict[str, Interval]:
    done = [run for run in one["seeds"] if "error" not in run]
    if not done:
        return {}
    return {
        "tempering/error of ln Z": across_seeds([max(abs(value) for value in run["log z"]) for run in done]),
        "tempering/error of ln count": across_seeds([abs(run["total"]) for run in done]),
        "tempering/distance": across_seeds([run["distance"] for run in done]),
        "tempering/lowest swap rate": across_seeds([min(run["swap rates"]) for run in done]),
    }


def _zoo(zoo: Found) -> dict[str, Interval]:
    seeds = [one["kin"] for one in zoo["seeds"]]
    out: dict[str, Interval] = {}
    for name in (*DERIVATIONS, "other seed", "trained less", "other corpus"):
        out[f"zoo/spread, {name}"] = across_seeds([_value(kin, name, "deviation") for kin in seeds])
        out[f"zoo/private share, {name}"] = across_seeds([1 - _value(kin, name, "overlap") for kin in seeds])
    for near, far in STEPS:
        gaps = [_value(kin, far, "deviation") - _value(kin, near, "deviation") for kin in seeds]
        out[f"zoo/spread, {far} minus {near}"] = across_seeds(gaps)
        gaps = [_value(kin, near, "overlap") - _value(kin, far, "overlap") for kin in seeds]
        out[f"zoo/private share, {far} minus {near}"] = across_seeds(gaps)
    out["zoo/AUC of copies against independent models"] = _auc(seeds)
    return out | _rated([one["rated"] for one in zoo["seeds"]])


def _value(kin: Found, name: str, feature: str) -> float:
    return float(kin[name][feature]["estimate"])


def _auc(seeds: Sequence[Found]) -> Interval:
    """How often a copy has a narrower difference than an independently trained model, over base models."""
    copied = [[_value(kin, how, "deviation") for how in DERIVATIONS] for kin in seeds]
    apart = [
        [_value(kin, name, "deviation") for name in kin if name == "other seed" or name.startswith("stranger")]
        for kin in seeds
    ]

    def auc(rows: NDArray[np.int64]) -> Floats:
        values = []
        for row in rows:
            near, far = (np.concatenate([group[index] for index in row]) for group in (copied, apart))
            gaps = far[None] - near[:, None]
            values.append(float((gaps > 0).mean() + (gaps == 0).mean() / 2))
        return np.array(values)

    how = (
        f"bootstrap over {len(seeds)} base models, {len(copied[0])} copies and {len(apart[0])} independent models each"
    )
    return bootstrap(auc, len(seeds), seed=0, how=how)


def _rated(seeds: Sequence[Found]) -> dict[str, Interval]:
    at = THRESHOLDS.index(RATED_AT)
    judged, null = ([one[key][at] for one in seeds] for key in ("judged", "null"))
    out = {
        "zoo/verdicts for the better model": _share([one["verdict"] == "A agrees better" for one in judged]),
        "zoo/verdicts with shuffled ratings": _share([one["verdict"] == "A agrees better" for one in null]),
    }
    precise = [(one["a"]["precision"], one["b"]["precision"]) for one in judged]
    if all(a and b for a, b in precise):
        out["zoo/precision, better minus worse"] = across_seeds([a["estimate"] - b["estimate"] for a, b in precise])
    return out


def _share(hits: Sequence[bool]) -> Interval:
    return Interval(estimate=float(np.mean(hits)), n=len(hits), how=f"share of {len(hits)} seeds")


def _copies(copies: Found) -> dict[str, Interval]:
    out = {}
    for name, one in copies.items():
        short = "fine-tuned" if one["kind"] == "candidate" else name.removesuffix(", seed 0")
        out[f"copies/spread, {short}"] = Interval.from_dict(one["deviation"])
        out[f"copies/mean, {short}"] = Interval.from_dict(one["mean"])
        out[f"copies/overlap, {short}"] = Interval.from_dict(one["overlap"])
    return out
