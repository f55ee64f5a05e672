"""From the plain data of the CoMMIT stages to the named measures that the claims read. Needs no model.

Paired things (arms and starts of one seed share weights and order of rows) are compared seed by seed.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from armillary.numerics.intervals import Interval, across_seeds, bootstrap_mean
from armillary.records.sections import Figure
from armillary.training.components import FEATURE_ENCODER, LLM
from reproductions.commit.scale import BASELINES, RUNS, SLOW

Found = dict[str, Any]
Runs = Sequence[Found]
SHORT = {FEATURE_ENCODER: "encoder", LLM: "llm"}


def measures(found: Found) -> dict[str, Interval]:
    """Every measure by name; what could not be measured is absent."""
    return {
        **_law(found["law"]),
        **_kappa(found["arms"]),
        **_ratios(found["paths"]),
        **_gradients(found["arms"]),
        **_losses(found["arms"]),
        **speeds(found["arms"]),
        **_comparisons(found["arms"]),
        **_time(found["overhead"]),
        "ground/right, best pair": over_seeds([run["right"] for run in found["arms"]["best"]["constant"]]),
        "ground/right without pictures": Interval(estimate=found["majority"], how="most frequent answers"),
    }


def over_seeds(values: Sequence[float]) -> Interval:
    return across_seeds(values, how=f"t interval over {len(values)} seeds")


def _law(draws: Runs) -> dict[str, Interval]:
    """Deviation from the square, and the exponent: the change of log kappa from factor 1/3 to 3, over 2 log 3."""
    out: dict[str, Interval] = {}
    for told in draws[0]:
        largest: list[float] = []
        exponents: dict[str, list[float]] = {name: [] for name in SHORT}
        for one in draws:
            off = []
            for name, sign in ((FEATURE_ENCODER, -2.0), (LLM, 2.0)):
                lower, upper = one[told][name]
                off += [abs(math.exp(value - sign * at) - 1) for value, at in ((lower, -_LOG3), (upper, _LOG3))]
                exponents[name].append((upper - lower) / (2 * _LOG3))
            largest.append(max(off))
        out[f"law/largest deviation, {told}"] = over_seeds(largest)
        out |= {f"law/exponent of {SHORT[name]}, {told}": over_seeds(values) for name, values in exponents.items()}
    return out


_LOG3 = math.log(3)


def oscillation(run: Found) -> float | None:
    """Standard deviation of log kappa over the second half of the probes; None where fewer than two are left."""
    values = run["record"]["log_kappa"]
    later = values[len(values) // 2 :]
    return float(np.std(later, ddof=1)) if len(later) > 1 else None


def _kappa(arms: Found) -> dict[str, Interval]:
    out = {
        "kappa/log kappa at equal rates": over_seeds(
            [float(np.mean(run["record"]["log_kappa"])) for run in arms["equal"]["constant"]]
        )
    }
    for start, names in RUNS.items():
        for arm in names:
            late = late_kappas(arms[start][arm])
            out |= {f"kappa/late log kappa, {start}, {arm}": over_seeds(late)} if late else {}
    out |= _spread(arms, "lift", "constant", "kappa/oscillation, lift minus constant")
    return out


def late_kappas(runs: Runs) -> list[float]:
    """Mean of the second half of each run's probes; nothing where a run has none."""
    traces = [run["record"]["log_kappa"] for run in runs]
    return [float(np.mean(values[len(values) // 2 :])) for values in traces] if all(traces) else []


def _spread(arms: Found, arm: str, other: str, name: str) -> dict[str, Interval]:
    """Difference of oscillation, mean over the starts that have both arms; absent where a run has too few probes."""
    starts = [start for start, names in RUNS.items() if {arm, other} <= set(names)]
    pairs = [
        [(oscillation(a), oscillation(b)) for a, b in zip(arms[start][arm], arms[start][other], strict=True)]
        for start in starts
    ]
    differences = [[a - b for a, b in row if a is not None and b is not None] for row in pairs]
    if any(len(row) < len(pairs[0]) for row in differences):
        return {}
    return {name: over_seeds(np.mean(differences, axis=0).tolist())}


def _ratios(paths: Found) -> dict[str, Interval]:
    """Relative rise from the best pair between the ends (the one with the lowest mean) to each end."""
    out: dict[str, Interval] = {}
    for path, rows in paths.items():
        losses = np.array(rows)
        inner = losses[1:-1]
        best = inner[int(inner.mean(axis=1).argmin())]
        for end, name in ((losses[0], "encoder"), (losses[-1], "llm")):
            out[f"ratio/{path}, rise to slow {name}"] = over_seeds((end / best - 1).tolist())
    return out


def _late_norm(run: Found, name: str) -> float:
    values = run["record"]["norms"][name]
    return float(np.mean(np.log(np.maximum(values[len(values) // 2 :], 1e-30))))


def _gradients(arms: Found) -> dict[str, Interval]:
    out: dict[str, Interval] = {}
    for name, start in zip((FEATURE_ENCODER, LLM), SLOW, strict=True):
        pairs = zip(arms[start]["constant"], arms["equal"]["constant"], strict=True)
        out[f"gradient/{SHORT[name]}, slow over equal"] = over_seeds(
            [_late_norm(slow, name) - _late_norm(equal, name) for slow, equal in pairs]
        )
    return out


def relative(arm: Runs, other: Runs) -> list[float]:
    return [a["final"] / b["final"] - 1 for a, b in zip(arm, other, strict=True)]


def by_arm(arms: Found) -> dict[str, Interval]:
    out: dict[str, Interval] = {}
    for start, runs in arms.items():
        out |= {f"final/{start}, {arm}": over_seeds([run["final"] for run in some]) for arm, some in runs.items()}
        out |= {f"right/{start}, {arm}": over_seeds([run["right"] for run in some]) for arm, some in runs.items()}
        out |= {
            f"loss/{start}, {arm} over constant": over_seeds(relative(some, runs["constant"]))
            for arm, some in runs.items()
            if arm != "constant"
        }
    return out


def _losses(arms: Found) -> dict[str, Interval]:
    harm = {f"harm/{start}": relative(arms[start]["constant"], arms["best"]["constant"]) for start in SLOW}
    return by_arm(arms) | {name: over_seeds(values) for name, values in harm.items()}


def reached(run: Found, goal: float) -> float:
    """Share of the steps at the first reading with a loss of ``goal`` or less; a reading past the end if none has."""
    steps, losses = run["watch"]["steps"], run["watch"]["loss"]
    last = steps[-1]
    first = next((step for step, loss in zip(steps, losses, strict=True) if loss <= goal), 2 * last - steps[-2])
    return float(first / last)


def speeds(arms: Found) -> dict[str, Interval]:
    out: dict[str, Interval] = {}
    for start, runs in arms.items():
        goals = [run["watch"]["loss"][-1] for run in runs["constant"]]
        out |= {
            f"speed/{start}, {arm}": over_seeds([reached(run, goal) for run, goal in zip(some, goals, strict=True)])
            for arm, some in runs.items()
        }
    return out


def _comparisons(arms: Found) -> dict[str, Interval]:
    out: dict[str, Interval] = {}
    gains = [relative(arms[start]["lift"], arms[start]["matched"]) for start in SLOW]
    out["budget/lift over matched"] = over_seeds(np.mean(gains, axis=0).tolist())
    both = [start for start, names in RUNS.items() if {"lift", "full"} <= set(names)]
    added = [relative(arms[start]["full"], arms[start]["lift"]) for start in both]
    out["regulariser/loss, full over lift"] = over_seeds(np.mean(added, axis=0).tolist())
    out |= _spread(arms, "full", "lift", "regulariser/oscillation, full minus lift")
    for name in BASELINES:
        out[f"loss/equal, full over {name}"] = over_seeds(relative(arms["equal"]["full"], arms["equal"][name]))
    return out


def _time(found: Found) -> dict[str, Interval]:
    ratios = [ours / plain for ours, plain in zip(found["commit"], found["plain"], strict=True)]
    how = f"bootstrap over {len(ratios)} pairs of ten steps"
    return {"overhead/time ratio": bootstrap_mean(ratios, seed=0, how=how)}


# Pictures of a watched training: rates, balance and gradient norms over the steps, from plain records.

Line = list[float | None]


def training_figure(records: Sequence[Found], title: str) -> Figure:
    """Rates, balance and gradient norms of both components over training, means over runs, as powers of ten."""
    parts = {FEATURE_ENCODER: "encoder", LLM: "llm"}
    lines = {f"rate, {told}": [_log10(one["rates"][name]) for one in records] for name, told in parts.items()}
    lines["kappa"] = [[None if value is None else value / math.log(10) for value in kappas(one)] for one in records]
    lines |= {f"gradient, {told}": [_log10(one["norms"][name]) for one in records] for name, told in parts.items()}
    return mean_lines(
        title,
        records[0]["noted"],
        lines,
        "power of ten",
        "Five lines over training: two learning rates, the balance coefficient and two gradient norms.",
    )


def arm_figures(runs: Mapping[str, Sequence[Found]], where: str) -> list[Figure]:
    """Of every arm (its title: the records of its runs) balance, rates and gradient norms, a picture each."""
    noted = next(iter(runs.values()))[0]["noted"]
    lines: dict[str, tuple[str, dict[str, list[Line]]]] = {
        "balance": ("log kappa; 0 is balanced", {arm: [kappas(one) for one in some] for arm, some in runs.items()})
    }
    for part, told in ((FEATURE_ENCODER, "encoder"), (LLM, "language model")):
        for key, what in (("rates", "rate"), ("norms", "gradient norm")):
            lines[f"{what} of the {told}"] = (
                f"{what}, power of ten",
                {arm: [_log10(one[key][part]) for one in some] for arm, some in runs.items()},
            )
    return [
        mean_lines(f"{where}: {what}", noted, rows, label, f"Lines over training, one for each arm: {what}.")
        for what, (label, rows) in lines.items()
    ]


def mean_lines(
    title: str, steps: Sequence[int], lines: Mapping[str, Sequence[Line]], y_label: str, alt: str
) -> Figure:
    """Over the steps, for each name the mean of its runs."""
    return Figure(
        kind="lines",
        title=title,
        data={
            "x": list(steps),
            "series": [{"name": name, "y": _mean(rows)} for name, rows in lines.items()],
            "x_label": "step",
            "y_label": y_label,
        },
        alt=alt,
    )


def kappas(record: Found) -> Line:
    """Log kappa at each noted step, None where no probe was usable."""
    known = dict(zip(record["steps"], record["log_kappa"], strict=True))
    return [known.get(step) for step in record["noted"]]


def _log10(values: Sequence[float]) -> Line:
    return [math.log10(value) if value > 0 else None for value in values]


def _mean(lines: Sequence[Line]) -> Line:
    """Of each step over what is known there."""
    columns = [[value for value in column if value is not None] for column in zip(*lines, strict=True)]
    return [float(np.mean(column)) if column else None for column in columns]
