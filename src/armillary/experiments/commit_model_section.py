"""How CoMMIT's run on the given language model is told, and what is measured of it, from plain data."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from armillary.experiments.commit_curves import Line, arms_pictures, mean_lines
from armillary.experiments.commit_scale import ARMS, MODEL_ARMS
from armillary.numerics.intervals import Interval, across_seeds, bootstrap_mean, paired_difference, range_over_seeds
from armillary.runs.sections import Cell, Figure, Section, Table, interval_bars
from armillary.training.component_groups import FEATURE_ENCODER, LLM

Found = dict[str, Any]
_COMPARED = (
    ("lift", "constant"),
    ("matched", "constant"),
    ("exchanged", "constant"),
    ("lift", "matched"),
    ("lift", "exchanged"),
)
_WINDOW = 5
"""Steps whose training losses make one point of a line: one batch of a few rows says little."""


def model_measures(found: Found) -> dict[str, Interval]:
    """Held-out losses (nats a token) and their differences over questions; balance and multipliers over seeds."""
    losses = {"before": found["before"], **{arm: [run["after"] for run in found["runs"][arm]] for arm in MODEL_ARMS}}
    means = {name: np.mean(rows, axis=0) for name, rows in losses.items()}
    seeds, questions = np.shape(found["before"])
    how = f"bootstrap over {questions} questions, each the mean of {seeds} seeds"
    out = {f"model/loss, {name}": bootstrap_mean(values, seed=0, how=how) for name, values in means.items()}
    for arm, other in (*_COMPARED, *((arm, "before") for arm in MODEL_ARMS)):
        out[f"model/loss, {arm} minus {other}"] = paired_difference(
            means[arm], means[other], seed=0, how=f"paired {how}"
        )
    for arm in MODEL_ARMS:
        out |= _balance(arm, found["runs"][arm])
    left, lift = (_late(found["runs"][arm]) for arm in ("constant", "lift"))
    if left and lift:
        out["model/late log kappa of rates left alone"] = range_over_seeds(left)
        closer = [abs(ours) - abs(theirs) for ours, theirs in zip(lift, left, strict=True)]
        out["model/late |log kappa|, lift minus constant"] = range_over_seeds(closer)
    return out


def _late(runs: Sequence[Found]) -> list[float]:
    """Mean log kappa over the second half of each run's probes; nothing where a run has none."""
    traces = [run["log_kappa"] for run in runs]
    return [float(np.mean(trace[len(trace) // 2 :])) for trace in traces] if all(traces) else []


def _balance(arm: str, runs: Sequence[Found]) -> dict[str, Interval]:
    how = f"t interval over {len(runs)} seeds"
    told = {"encoder": FEATURE_ENCODER, "llm": LLM}
    out: dict[str, Interval] = {}
    for short, name in told.items():
        means = [run["mean_multipliers"][name] for run in runs]
        out[f"model/mean multiplier of {short}, {arm}"] = across_seeds(means, how=how)
    late = _late(runs)
    if late:
        out[f"model/first log kappa, {arm}"] = across_seeds([run["log_kappa"][0] for run in runs], how=how)
        out[f"model/late log kappa, {arm}"] = across_seeds(late, how=how)
    return out


def model_section(found: Found, m: Mapping[str, Interval]) -> Section:
    """Losses and balance of every arm over the steps, a table of held-out losses, and what lift does to rates."""
    parts, runs = found["parameters"], found["runs"]
    gain, control = m["model/loss, lift minus constant"], m["model/loss, lift minus exchanged"]
    before, left = m["model/loss, before"], m["model/loss, constant"]
    return Section(
        id="model",
        title="On the given language model",
        summary=f"With a new connector ({parts[FEATURE_ENCODER]:,} numbers) and LoRA ({parts[LLM]:,}), the encoder's "
        f"rate a hundred times below: {_lag(m)} Held-out loss goes from {before.estimate:.2f} to {left.estimate:.2f} "
        f"nats a token with rates left alone; CoMMIT-CLR ends {_signed(gain)} from there, and {_signed(control)} "
        "from where its multipliers, exchanged, end.",
        meaning="The model was put together from DINOv2-small, a random connector and the language model, and trained "
        f"on questions about pictures; all arms of a seed share weights and batches. {len(found['before'])} seeds, "
        f"{len(found['before'][0])} questions about pictures held out.",
        caution="A few seeds of a few steps on one start: it shows that the method works on real weights, not what it "
        "is worth. The intervals are over questions, so they do not say how another training would end; those of the "
        "balance are over the few seeds, and wide.",
        figures=[
            _losses(runs),
            *arms_pictures({ARMS[arm].title: runs[arm] for arm in MODEL_ARMS}, "Over training"),
            interval_bars(
                "Held-out loss over the same questions before training",
                {ARMS[arm].title: m[f"model/loss, {arm} minus before"] for arm in MODEL_ARMS},
                "nats a token; below 0 is better",
            ),
        ],
        tables=[_loss_table(m), _balance_table(m)],
    )


def _lag(m: Mapping[str, Interval]) -> str:
    """What the balance was and what was done about it."""
    multiplier = m["model/mean multiplier of encoder, lift"].estimate
    if "model/late log kappa, lift" not in m:
        return "no probe was usable."
    late = m["model/late log kappa, lift"].estimate
    return f"under CoMMIT-CLR late log kappa is {late:+.1f} and the encoder's mean multiplier {multiplier:.2f}."


def _signed(value: Interval) -> str:
    return f"{value.estimate:+.2f} [{value.lower:+.2f}, {value.upper:+.2f}]"


def _windows(losses: Sequence[float]) -> Line:
    return [float(np.mean(losses[start : start + _WINDOW])) for start in range(0, len(losses), _WINDOW)]


def _losses(runs: Found) -> Figure:
    steps = range(0, len(runs["lift"][0]["loss"]), _WINDOW)
    lines = {ARMS[arm].title: [_windows(run["loss"]) for run in runs[arm]] for arm in MODEL_ARMS}
    alt = "Lines of the training loss over the steps, one for each arm."
    return mean_lines(f"Training loss, means of {_WINDOW} steps", steps, lines, "nats a token", alt)


def _cells(told: str, value: Interval | None) -> list[Cell]:
    return [told, *((None,) * 3 if value is None else (value.estimate, value.low, value.high))]


def _loss_table(m: Mapping[str, Interval]) -> Table:
    rows = [_cells("before training", m["model/loss, before"])]
    rows += [_cells(ARMS[arm].title, m[f"model/loss, {arm}"]) for arm in MODEL_ARMS]
    rows += [
        _cells(f"{ARMS[arm].title}, minus: {ARMS[other].title}", m[f"model/loss, {arm} minus {other}"])
        for arm, other in _COMPARED
    ]
    note = "Intervals are over questions, those of differences over pairs."
    return Table(title="Held-out loss, nats a token", columns=["arm", "loss", "low", "high"], rows=rows, note=note)


def _balance_table(m: Mapping[str, Interval]) -> Table:
    told = ("first log kappa", "late log kappa", "mean multiplier of encoder", "mean multiplier of llm")
    rows = [_cells(f"{ARMS[arm].title}: {name}", m.get(f"model/{name}, {arm}")) for arm in MODEL_ARMS for name in told]
    note = "Late is the second half of the probes. Intervals are over seeds."
    return Table(title="Balance and rates", columns=["what", "mean", "low", "high"], rows=rows, note=note)
