"""From what the CoMMIT stages gave to the named measures that the claims read.

Paired things (arms and starts of one seed share weights and order of rows) are compared seed by seed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from armillary.numerics.intervals import Interval, across_seeds, bootstrap_mean, paired_difference, range_over_seeds
from armillary.training.components import FEATURE_ENCODER, LLM
from reproductions.commit.real_model import ModelResult, ModelRun
from reproductions.commit.scale import ARMS, BASELINES, MODEL_ARMS, NULLS, RUNS, SLOW, Start
from reproductions.commit.small_models import Arms, Changes, Law, Pilot, RunResult
from reproductions.commit.trainer import TrainingRecord

SHORT = {FEATURE_ENCODER: "encoder", LLM: "llm"}
LAGGING: dict[Start, str] = {"slow encoder": FEATURE_ENCODER, "slow llm": LLM}
"""Start -> the component whose rate is too low there."""

_LOG3 = math.log(3)
_WINDOW = 5
"""Steps over which training loss and gradient norms are averaged: those of one batch scatter together."""

_LEVELS = 20
"""Losses at which two trainings are compared, evenly spaced over what both went through."""

COMPARED = (
    ("lift", "constant"),
    ("exchanged", "constant"),
    ("lift", "exchanged"),
    ("constant", "balanced"),
    ("lift", "balanced"),
)
"""Arms of the given model that are compared."""


@dataclass(frozen=True, kw_only=True)
class StageResults:
    """What the stages on small models gave."""

    pilot: Pilot
    law: list[Law]
    """Of each judged seed."""

    overhead: dict[str, list[float]]
    arms: Arms
    majority: float
    untrained: list[float]
    """Share of right answers before training, of each judged seed."""


@dataclass(frozen=True, kw_only=True)
class SoundResults:
    """What the stages on sounds gave."""

    arms: Arms
    majority: float
    untrained: list[float]


def measures(results: StageResults) -> dict[str, Interval]:
    """Every measure by name; what could not be measured is absent."""
    arms = results.arms
    ratios = [ours / plain for ours, plain in zip(results.overhead["commit"], results.overhead["plain"], strict=True)]
    equal = [float(np.mean(run.record.log_kappa)) for run in arms["equal"]["constant"]]
    halves = [float(np.mean(np.abs(draw.halves))) for draw in results.law]
    paths: dict[str, tuple[Start, ...]] = {
        "ratio/one lowered": ("equal", *SLOW, "low"), "ratio/fixed mean": ("middle", *SLOW)
    }  # fmt: skip
    ends = {"slow encoder": "rise to slow encoder", "slow llm": "rise to slow llm", "low": "rise to both lowered"}
    return {
        **_law([draw.changes for draw in results.law]),
        "law/least change over floor, log10": over_seeds([math.log10(draw.above_floor) for draw in results.law]),
        "kappa/log kappa at equal rates": over_seeds(equal),
        "kappa/size of log kappa at equal rates": over_seeds(np.abs(equal).tolist()),
        "kappa/size of log kappa of random halves": over_seeds(halves),
        **_spread(arms, "lift", "constant", "kappa/oscillation, lift minus constant"),
        **_spread(arms, "matched", "constant", "kappa/oscillation, matched minus constant"),
        **_over_starts(arms),
        **{
            f"{path}, {ends[end]}": _over(arms[end]["constant"], arms[first]["constant"])
            for path, (first, *others) in paths.items() for end in others
        },
        **{
            f"{path}, right, {ends[end]}": _less(arms[end]["constant"], arms[first]["constant"])
            for path, (first, *others) in paths.items() for end in others
        },
        **_gradients(arms),
        **_harm(arms, "best"),
        "right/best, constant less lift": _less(arms["best"]["constant"], arms["best"]["lift"]),
        "multiplier/best, lift, larger": over_seeds([max(run.multipliers.values()) for run in arms["best"]["lift"]]),
        **_regulariser(results),
        "overhead/time ratio": bootstrap_mean(ratios, seed=0, how=f"bootstrap over {len(ratios)} pairs of ten steps"),
        **_ground(arms["best"]["constant"], results.majority, results.untrained),
    }  # fmt: skip


def sound_measures(results: SoundResults) -> dict[str, Interval]:
    """As of the runs on images, with ``audio/`` before each name; all intervals are over seeds."""
    arms = results.arms
    measured = {
        **_over_starts(arms),
        **_harm(arms, "equal"),
        **_ground(arms["equal"]["constant"], results.majority, results.untrained),
    }
    for start in SLOW:
        for name, short in SHORT.items():
            means = [run.multipliers[name] for run in arms[start]["lift"]]
            measured[f"mean multiplier of {short}/{start}, lift"] = over_seeds(means)
    return {f"audio/{name}": value for name, value in measured.items()}


def _over_starts(arms: Arms) -> dict[str, Interval]:
    """What is measured alike on images and on sounds: every arm of every start, and lift over its controls."""
    measured = {
        **{f"kappa/late log kappa, {name}": value for name, value in _late_kappas(arms).items()},
        **_mended(arms),
        **_floors(arms),
        **_by_arm(arms),
        **_speeds(arms),
    }
    lift = [(start, other) for start in SLOW for other in ("matched", *NULLS)]
    for start, other in (*lift, *(("equal", name) for name in BASELINES if name != "constant")):
        pair = arms[start]["lift"], arms[start][other]
        measured[f"loss/{start}, lift over {other}"] = _over(*pair)
        measured[f"right/{start}, lift less {other}"] = _less(*pair)
    both = [(arms[start]["lift"], arms[start]["matched"]) for start in SLOW]
    losses, answers = [relative(*pair) for pair in both], [more_right(*pair) for pair in both]
    measured["budget/lift over matched"] = over_seeds(np.mean(losses, axis=0).tolist())
    measured["budget/right, lift less matched"] = over_seeds(np.mean(answers, axis=0).tolist())
    return measured


def over_seeds(values: Sequence[float], *, within: tuple[float, float] | None = None) -> Interval:
    """The mean over seeds; of a share it keeps to ``within``."""
    return across_seeds(values, within=within, how=f"t interval over {len(values)} seeds")


def relative(arm: Sequence[RunResult], other: Sequence[RunResult]) -> list[float]:
    """Final loss over that of another arm, less 1, seed by seed."""
    return [a.final / b.final - 1 for a, b in zip(arm, other, strict=True)]


def more_right(arm: Sequence[RunResult], other: Sequence[RunResult]) -> list[float]:
    """Share of right answers less that of another arm, seed by seed."""
    return [a.right - b.right for a, b in zip(arm, other, strict=True)]


def _over(arm: Sequence[RunResult], other: Sequence[RunResult]) -> Interval:
    return over_seeds(relative(arm, other))


def _less(arm: Sequence[RunResult], other: Sequence[RunResult]) -> Interval:
    return over_seeds(more_right(arm, other))


def _ground(best: Sequence[RunResult], majority: float, untrained: Sequence[float]) -> dict[str, Interval]:
    """What answers are worth: of the best rates left alone, beside the most frequent answers and no training."""
    return {
        "ground/right, best pair less majority": over_seeds([run.right - majority for run in best]),
        "ground/right, best pair": over_seeds([run.right for run in best], within=(0, 1)),
        "ground/right, untrained": over_seeds(untrained, within=(0, 1)),
        "ground/right without looking": Interval(estimate=majority, how="most frequent answers"),
    }


def _harm(arms: Arms, best: Start) -> dict[str, Interval]:
    """What each slow start costs against the best rates: loss, relative, and right answers."""
    measured: dict[str, Interval] = {}
    for start in SLOW:
        measured[f"harm/{start}"] = _over(arms[start]["constant"], arms[best]["constant"])
        measured[f"harm in answers/{start}"] = _less(arms[best]["constant"], arms[start]["constant"])
    return measured


def _regulariser(results: StageResults) -> dict[str, Interval]:
    """Of each weight on the pilot's seed, and of the chosen one on the judged ones, against lift: all from equal
    rates."""
    pilot, measured, runs = results.pilot, {}, results.arms["equal"]
    for arm, run in pilot.weights.items():
        for what, value in (
            ("loss", run.final / pilot.lift.final - 1),
            ("right", run.right - pilot.lift.right),
            ("movement", run.movement / pilot.lift.movement - 1),
        ):
            measured[f"regulariser/{what}, pilot, {arm}"] = Interval(estimate=value, how="one run, not judged")
    chosen, lift = runs[pilot.weight], runs["lift"]
    moved = [a.movement / b.movement - 1 for a, b in zip(chosen, lift, strict=True)]
    spread = [
        a.record.oscillation - b.record.oscillation
        for a, b in zip(chosen, lift, strict=True)
        if a.record.oscillation is not None and b.record.oscillation is not None
    ]
    return measured | {
        "regulariser/movement, with over without": over_seeds(moved),
        "regulariser/loss, with over without": _over(chosen, lift),
        "regulariser/right, with less without": _less(chosen, lift),
        **({"regulariser/oscillation, with minus without": over_seeds(spread)} if spread else {}),
    }


def _mended(arms: Arms) -> dict[str, Interval]:
    """Of what is planted in log kappa by a rate that is too low, the share that an arm takes back, and its rate.

    1 is where equal rates left alone are, 0 where the start left alone is; second half of the probes, seed by seed.
    """
    measured: dict[str, Interval] = {}
    equal = _late(arms["equal"]["constant"])
    for start in SLOW:
        left = _late(arms[start]["constant"])
        for arm, runs in arms[start].items():
            late = _late(runs)
            if arm == "constant" or not (equal and left and late):
                continue
            shares = [(c - a) / (c - e) for a, c, e in zip(late, left, equal, strict=True)]
            measured[f"mended/{start}, {arm}"] = over_seeds(shares)
            multipliers = [run.record.multipliers[LAGGING[start]] for run in runs]
            if ARMS[arm].commit:
                rates = [float(np.mean(some[len(some) // 2 :])) for some in multipliers]
                measured[f"mended/{start}, {arm}, late multiplier"] = over_seeds(rates)
    return measured


def _floors(arms: Arms) -> dict[str, Interval]:
    """Of each start with rates left alone the share of probes that stand above what rounding alone reads as."""
    measured: dict[str, Interval] = {}
    for start, runs in arms.items():
        shares = [run.record.above_floor for run in runs["constant"]]
        measured[f"floor/probes above it, {start}"] = over_seeds(shares, within=(0, 1))
    return measured


def _law(draws: Sequence[Changes]) -> dict[str, Interval]:
    """Deviation from the square, and the exponent: the change of log kappa from factor 1/3 to 3, over 2 log 3.

    With the components exchanged, each one's change is held against the other's law: what nothing would give.
    """
    measured: dict[str, Interval] = {}
    for size in draws[0]:
        largest: list[float] = []
        wrong: list[float] = []
        exponents: dict[str, list[float]] = {name: [] for name in SHORT}
        for draw in draws:
            off, exchanged = [], []
            for name, sign in ((FEATURE_ENCODER, -2.0), (LLM, 2.0)):
                lower, upper = draw[size][name]
                for value, at in ((lower, -_LOG3), (upper, _LOG3)):
                    off.append(abs(math.exp(value - sign * at) - 1))
                    exchanged.append(abs(math.exp(value + sign * at) - 1))
                exponents[name].append((upper - lower) / (2 * _LOG3))
            largest.append(max(off))
            wrong.append(max(exchanged))
        measured[f"law/largest deviation, {size}"] = over_seeds(largest)
        measured[f"law/largest deviation, components exchanged, {size}"] = over_seeds(wrong)
        measured |= {f"law/exponent of {SHORT[name]}, {size}": over_seeds(some) for name, some in exponents.items()}
    return measured


def _late_kappas(arms: Arms) -> dict[str, Interval]:
    """Of every start and arm the mean of the second half of the probes; absent where a run has none."""
    measured = {}
    for start, runs in arms.items():
        for arm, some in runs.items():
            if late := _late(some):
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


def _gradients(arms: Arms) -> dict[str, Interval]:
    """Log gradient norm of each component where it lags, less that of another training at the same training loss.

    "low" has the same geometric mean of the rates and an equal ratio, so that only the imbalance differs; low against
    equal rates is the null, the same ratio at another speed. The shared range is in nats.
    """
    measured: dict[str, Interval] = {}
    for start, name in LAGGING.items():
        short = SHORT[name]
        compared_starts: tuple[tuple[str, Start, Start], ...] = (
            ("lagging over low", start, "low"),
            ("lagging over equal", start, "equal"),
            ("low over equal", "low", "equal"),
        )
        for what, arm, other in compared_starts:
            pairs = zip(arms[arm]["constant"], arms[other]["constant"], strict=True)
            compared = [at_equal_loss(a.record, b.record, name) for a, b in pairs]
            if all(pair is not None for pair in compared):
                known = [pair for pair in compared if pair is not None]
                measured[f"gradient/{short}, {what}"] = over_seeds([difference for difference, _ in known])
                measured[f"gradient/{short}, {what}, shared range"] = over_seeds([width for _, width in known])
    return measured


def at_equal_loss(record: TrainingRecord, other: TrainingRecord, name: str) -> tuple[float, float] | None:
    """Mean difference of a component's log gradient norm at equal training loss, and the range of losses compared.

    Loss and log norm are means over some steps; a level is met where the loss first comes down to it. None where the
    two went through no loss in common.
    """
    curves = [(_smooth(each.losses), _smooth(np.log(np.maximum(each.norms[name], 1e-30)))) for each in (record, other)]
    high, low = min(losses[0] for losses, _ in curves), max(losses.min() for losses, _ in curves)
    if not high > low:
        return None
    levels = np.linspace(high, low, _LEVELS + 1)[1:]
    ours, theirs = (np.array([norms[int(np.argmax(losses <= level))] for level in levels]) for losses, norms in curves)
    return float(np.mean(ours - theirs)), float(high - low)


def _smooth(values: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    width = min(_WINDOW, len(values))
    return np.convolve(values, np.full(width, 1 / width), mode="valid")


def _by_arm(arms: Arms) -> dict[str, Interval]:
    measured: dict[str, Interval] = {}
    for start, runs in arms.items():
        for arm, some in runs.items():
            measured[f"final/{start}, {arm}"] = over_seeds([run.final for run in some])
            measured[f"right/{start}, {arm}"] = over_seeds([run.right for run in some], within=(0, 1))
            if arm != "constant":
                measured[f"loss/{start}, {arm} over constant"] = _over(some, runs["constant"])
                measured[f"right/{start}, {arm} less constant"] = _less(some, runs["constant"])
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


def model_measures(result: ModelResult) -> dict[str, Interval]:
    """Of the given model: held-out losses (nats a token), right answers and their differences over questions.

    Log kappa is the range over seeds.
    """
    answers = {"before": result.before, **{arm: [run.after for run in result.runs[arm]] for arm in MODEL_ARMS}}
    seeds, questions = len(result.before), len(result.before[0].nats)
    how = f"bootstrap over {questions} questions, each the mean of {seeds} seeds"
    measured: dict[str, Interval] = {}
    for what in ("loss", "right"):
        means = {
            name: np.mean([each.nats if what == "loss" else each.right for each in some], axis=0)
            for name, some in answers.items()
        }
        for name, values in means.items():
            measured[f"model/{what}, {name}"] = bootstrap_mean(values, seed=0, how=how)
        for arm, other in (*COMPARED, *((arm, "before") for arm in MODEL_ARMS)):
            pair = paired_difference(means[arm], means[other], seed=0, how=f"paired {how}")
            measured[f"model/{what}, {arm} minus {other}"] = pair
    late = {arm: _late(result.runs[arm]) for arm in MODEL_ARMS}
    for arm, kappas in late.items():
        runs = result.runs[arm]
        for name, short in SHORT.items():
            multipliers = [run.mean_multipliers[name] for run in runs]
            measured[f"model/mean multiplier of {short}, {arm}"] = range_over_seeds(multipliers)
        counts = [(len(run.record.steps), len(run.record.steps) + run.record.below_floor) for run in runs]
        measured[f"model/probes above the floor, {arm}"] = range_over_seeds(
            [all_ and some / all_ for some, all_ in counts]
        )
        if kappas:
            measured[f"model/first log kappa, {arm}"] = range_over_seeds([run.record.log_kappa[0] for run in runs])
            measured[f"model/late log kappa, {arm}"] = range_over_seeds(kappas)
    for arm in ("lift", "exchanged"):
        if late[arm] and late["constant"]:
            closer = [abs(ours) - abs(theirs) for ours, theirs in zip(late[arm], late["constant"], strict=True)]
            measured[f"model/size of late log kappa, {arm} minus constant"] = range_over_seeds(closer)
    return measured


def _late(runs: Sequence[ModelRun] | Sequence[RunResult]) -> list[float]:
    """Mean log kappa over the second half of each run's probes; nothing where a run has none."""
    return [float(np.mean(run.record.later)) for run in runs] if all(run.record.later for run in runs) else []
