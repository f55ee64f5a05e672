"""From what the CoMMIT stages gave to the named measures that the claims read.

Paired things (arms and starts of one seed share weights and order of rows) are compared seed by seed.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from armillary.numerics.intervals import Interval, across_seeds, bootstrap_mean, paired_difference, range_over_seeds
from armillary.training.components import FEATURE_ENCODER, LLM
from reproductions.commit.real_model import ModelResult, ModelRun
from reproductions.commit.scale import BASELINES, MODEL_ARMS, RUNS, SLOW, Rates
from reproductions.commit.small_models import Arms, Law, RunResult

SHORT = {FEATURE_ENCODER: "encoder", LLM: "llm"}
_LOG3 = math.log(3)

COMPARED = (
    ("lift", "constant"),
    ("matched", "constant"),
    ("exchanged", "constant"),
    ("lift", "matched"),
    ("lift", "exchanged"),
)
"""Arms of the given model whose losses are compared."""


@dataclass(frozen=True, kw_only=True)
class StageResults:
    """What the stages on small models gave."""

    best: Rates
    law: list[Law]
    """Of each judged seed."""

    overhead: dict[str, list[float]]
    arms: Arms
    paths: dict[str, list[list[float]]]
    majority: float


@dataclass(frozen=True, kw_only=True)
class SoundResults:
    """What the stages on sounds gave."""

    arms: Arms
    majority: float


def measures(results: StageResults) -> dict[str, Interval]:
    """Every measure by name; what could not be measured is absent."""
    arms = results.arms
    ratios = [ours / plain for ours, plain in zip(results.overhead["commit"], results.overhead["plain"], strict=True)]
    best = [run.right for run in arms["best"]["constant"]]
    equal = [float(np.mean(run.record.log_kappa)) for run in arms["equal"]["constant"]]
    both = [start for start, names in RUNS.items() if {"lift", "full"} <= set(names)]
    added = [relative(arms[start]["full"], arms[start]["lift"]) for start in both]
    return {
        **_law(results.law),
        "kappa/log kappa at equal rates": over_seeds(equal),
        **{f"kappa/late log kappa, {name}": value for name, value in _late_kappas(arms).items()},
        **_spread(arms, "lift", "constant", "kappa/oscillation, lift minus constant"),
        **_ratios(results.paths),
        **_gradients(arms),
        **_by_arm(arms),
        **{f"harm/{start}": _over(arms[start]["constant"], arms["best"]["constant"]) for start in SLOW},
        **_speeds(arms),
        **_against(arms),
        "regulariser/loss, full over lift": over_seeds(np.mean(added, axis=0).tolist()),
        **_spread(arms, "full", "lift", "regulariser/oscillation, full minus lift"),
        "overhead/time ratio": bootstrap_mean(ratios, seed=0, how=f"bootstrap over {len(ratios)} pairs of ten steps"),
        "ground/right, best pair": over_seeds(best),
        "ground/right without pictures": Interval(estimate=results.majority, how="most frequent answers"),
    }


def sound_measures(results: SoundResults) -> dict[str, Interval]:
    """As of the runs on images, with ``audio/`` before each name; all intervals are over seeds."""
    arms = results.arms
    measured = {
        **_by_arm(arms),
        **_speeds(arms),
        **{f"harm/{start}": _over(arms[start]["constant"], arms["equal"]["constant"]) for start in SLOW},
        **_against(arms),
        **{f"late log kappa/{name}": value for name, value in _late_kappas(arms).items()},
        "right without sounds": Interval(estimate=results.majority, how="most frequent answers"),
    }
    for start in SLOW:
        for other in ("matched", "exchanged"):
            measured[f"loss/{start}, lift over {other}"] = _over(arms[start]["lift"], arms[start][other])
    for start, runs in arms.items():
        for name, short in SHORT.items() if "lift" in runs else ():
            means = [run.multipliers[name] for run in runs["lift"]]
            measured[f"mean multiplier of {short}/{start}, lift"] = over_seeds(means)
    return {f"audio/{name}": value for name, value in measured.items()}


def over_seeds(values: Sequence[float]) -> Interval:
    """The mean over seeds."""
    return across_seeds(values, how=f"t interval over {len(values)} seeds")


def relative(arm: Sequence[RunResult], other: Sequence[RunResult]) -> list[float]:
    """Final loss over that of another arm, less 1, seed by seed."""
    return [a.final / b.final - 1 for a, b in zip(arm, other, strict=True)]


def _over(arm: Sequence[RunResult], other: Sequence[RunResult]) -> Interval:
    return over_seeds(relative(arm, other))


def _law(draws: Sequence[Law]) -> dict[str, Interval]:
    """Deviation from the square, and the exponent: the change of log kappa from factor 1/3 to 3, over 2 log 3."""
    measured: dict[str, Interval] = {}
    for size in draws[0]:
        largest: list[float] = []
        exponents: dict[str, list[float]] = {name: [] for name in SHORT}
        for draw in draws:
            off = []
            for name, sign in ((FEATURE_ENCODER, -2.0), (LLM, 2.0)):
                lower, upper = draw[size][name]
                off += [abs(math.exp(value - sign * at) - 1) for value, at in ((lower, -_LOG3), (upper, _LOG3))]
                exponents[name].append((upper - lower) / (2 * _LOG3))
            largest.append(max(off))
        measured[f"law/largest deviation, {size}"] = over_seeds(largest)
        measured |= {f"law/exponent of {SHORT[name]}, {size}": over_seeds(some) for name, some in exponents.items()}
    return measured


def _late_kappas(arms: Arms) -> dict[str, Interval]:
    """Of every start and arm the mean of the second half of the probes; absent where a run has none."""
    measured = {}
    for start, runs in arms.items():
        for arm, some in runs.items():
            if all(run.record.later for run in some):
                late = [float(np.mean(run.record.later)) for run in some]
                measured[f"{start}, {arm}"] = over_seeds(late)
    return measured


def _spread(arms: Arms, arm: str, other: str, name: str) -> dict[str, Interval]:
    """Difference of oscillation, mean over the starts that have both arms; absent where a run has too few probes."""
    rows: list[list[float]] = []
    for start in [start for start, names in RUNS.items() if {arm, other} <= set(names)]:
        pairs = [
            (a.record.oscillation, b.record.oscillation)
            for a, b in zip(arms[start][arm], arms[start][other], strict=True)
        ]
        differences = [a - b for a, b in pairs if a is not None and b is not None]
        if len(differences) < len(pairs):
            return {}
        rows.append(differences)
    return {name: over_seeds(np.mean(rows, axis=0).tolist())}


def _ratios(paths: Mapping[str, Sequence[Sequence[float]]]) -> dict[str, Interval]:
    """Relative rise from the best pair between the ends (the one with the lowest mean) to each end."""
    measured: dict[str, Interval] = {}
    for path, rows in paths.items():
        losses = np.array(rows)
        inner = losses[1:-1]
        best = inner[int(inner.mean(axis=1).argmin())]
        for end, name in ((losses[0], "encoder"), (losses[-1], "llm")):
            measured[f"ratio/{path}, rise to slow {name}"] = over_seeds((end / best - 1).tolist())
    return measured


def _gradients(arms: Arms) -> dict[str, Interval]:
    def late_norm(run: RunResult, name: str) -> float:
        norms = run.record.norms[name]
        # A gradient of 0 has no logarithm; below any that is met.
        return float(np.mean(np.log(np.maximum(norms[len(norms) // 2 :], 1e-30))))

    measured: dict[str, Interval] = {}
    for name, start in zip((FEATURE_ENCODER, LLM), SLOW, strict=True):
        pairs = zip(arms[start]["constant"], arms["equal"]["constant"], strict=True)
        measured[f"gradient/{SHORT[name]}, slow over equal"] = over_seeds(
            [late_norm(slow, name) - late_norm(equal, name) for slow, equal in pairs]
        )
    return measured


def _by_arm(arms: Arms) -> dict[str, Interval]:
    measured: dict[str, Interval] = {}
    for start, runs in arms.items():
        for arm, some in runs.items():
            measured[f"final/{start}, {arm}"] = over_seeds([run.final for run in some])
            measured[f"right/{start}, {arm}"] = over_seeds([run.right for run in some])
            if arm != "constant":
                measured[f"loss/{start}, {arm} over constant"] = _over(some, runs["constant"])
    return measured


def reached(run: RunResult, goal: float) -> float:
    """Share of the steps at the first reading with a loss of ``goal`` or less; a reading past the end if none has."""
    last = run.steps[-1]
    first = next((step for step, loss in zip(run.steps, run.losses, strict=True) if loss <= goal), None)
    return float((2 * last - run.steps[-2] if first is None else first) / last)


def _speeds(arms: Arms) -> dict[str, Interval]:
    measured: dict[str, Interval] = {}
    for start, runs in arms.items():
        goals = [run.losses[-1] for run in runs["constant"]]
        for arm, some in runs.items():
            shares = [reached(run, goal) for run, goal in zip(some, goals, strict=True)]
            measured[f"speed/{start}, {arm}"] = over_seeds(shares)
    return measured


def _against(arms: Arms) -> dict[str, Interval]:
    """Lift over its own mean rates, and full CoMMIT over each baseline."""
    gains = [relative(arms[start]["lift"], arms[start]["matched"]) for start in SLOW]
    return {
        "budget/lift over matched": over_seeds(np.mean(gains, axis=0).tolist()),
        **{f"loss/equal, full over {name}": _over(arms["equal"]["full"], arms["equal"][name]) for name in BASELINES},
    }


def model_measures(result: ModelResult) -> dict[str, Interval]:
    """Of the given model: held-out losses (nats a token) and their differences over questions; the rest over seeds."""
    losses = {"before": result.before, **{arm: [run.after for run in result.runs[arm]] for arm in MODEL_ARMS}}
    means = {name: np.mean(rows, axis=0) for name, rows in losses.items()}
    seeds, questions = np.shape(result.before)
    how = f"bootstrap over {questions} questions, each the mean of {seeds} seeds"
    measured = {f"model/loss, {name}": bootstrap_mean(values, seed=0, how=how) for name, values in means.items()}
    for arm, other in (*COMPARED, *((arm, "before") for arm in MODEL_ARMS)):
        pair = paired_difference(means[arm], means[other], seed=0, how=f"paired {how}")
        measured[f"model/loss, {arm} minus {other}"] = pair
    for arm in MODEL_ARMS:
        runs = result.runs[arm]
        for name, short in SHORT.items():
            multipliers = [run.mean_multipliers[name] for run in runs]
            measured[f"model/mean multiplier of {short}, {arm}"] = over_seeds(multipliers)
        if all(run.record.later for run in runs):
            measured[f"model/first log kappa, {arm}"] = over_seeds([run.record.log_kappa[0] for run in runs])
            measured[f"model/late log kappa, {arm}"] = over_seeds(_late(runs))
    left, lift = (_late(result.runs[arm]) for arm in ("constant", "lift"))
    if left and lift:
        closer = [abs(ours) - abs(theirs) for ours, theirs in zip(lift, left, strict=True)]
        measured["model/late log kappa of rates left alone"] = range_over_seeds(left)
        measured["model/late |log kappa|, lift minus constant"] = range_over_seeds(closer)
    return measured


def _late(runs: Sequence[ModelRun]) -> list[float]:
    """Mean log kappa over the second half of each run's probes; nothing where a run has none."""
    return [float(np.mean(run.record.later)) for run in runs] if all(run.record.later for run in runs) else []
