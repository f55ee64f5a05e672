"""What the pages of CoMMIT's reproductions show beside the bars of a claim: every arm over training, and tables."""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from armillary.numerics.intervals import Interval
from armillary.records.sections import Cell, Figure, Lines, Series, Table
from armillary.training.components import FEATURE_ENCODER, LLM
from reproductions.commit.measures import StageResults
from reproductions.commit.real_model import ModelResult
from reproductions.commit.scale import ARMS, MODEL_ARMS, RUNS, Start
from reproductions.commit.small_models import Arms, Pilot
from reproductions.commit.trainer import TrainingRecord

Measures = Mapping[str, Interval]
Line = Sequence[float | None]

_WATCHED: Start = "slow encoder"
"""Start of which training is drawn: there is most to be repaired."""

_DRAWN = ("constant", "lift", "clip_100", "matched", "exchanged", "random")
"""Arms of the small models that are drawn."""

_SWEPT = ("loss", "right", "movement")


def figures(results: StageResults) -> dict[str, Figure]:
    """By claim: balance, rates and gradient norms of every arm over training, and the loss against the ratio."""
    runs = results.arms[_WATCHED]
    drawn = over_training(
        {ARMS[arm].title: [run.record for run in runs[arm]] for arm in _DRAWN}, "From a slow encoder"
    )
    return {
        "oscillation-shrinks": drawn["balance"],
        "repairs-slow-encoder": drawn["rate of the encoder"],
        "more-than-larger-rates": drawn["rate of the language model"],
        "lagging-gradients-diminish": drawn["gradient norm of the encoder"],
        "imbalance-hurts": drawn["gradient norm of the language model"],
        "ratio-has-an-optimum": _loss_against_ratio(results.pilot.path),
    }


def tables(measures: Measures, pilot: Pilot) -> dict[str, list[Table]]:
    """By claim on images: every arm of each start, and every weight of the regulariser."""
    claims: dict[Start, str] = {
        "equal": "beats-baselines",
        "slow encoder": "repairs-slow-encoder",
        "slow llm": "repairs-slow-llm",
        "best": "no-harm",
    }
    weights = Table(
        title="The regulariser's weights, one run each, not judged",
        columns=["arm", "loss over lift", "right less lift's", "movement a step over lift"],
        rows=[
            [ARMS[arm].title, *(measures[f"regulariser/{what}, pilot, {arm}"].estimate for what in _SWEPT)]
            for arm in pilot.weights
        ],
        note="Relative differences, but for right answers.",
    )
    return {claim: [_arms(measures, start)] for start, claim in claims.items()} | {"regulariser-adds": [weights]}


def real_figures(sounds: Arms, result: ModelResult) -> dict[str, Figure]:
    """By claim: with sounds and on the given model, every arm over training from a slow encoder."""
    runs = sounds[_WATCHED]
    heard = over_training({ARMS[arm].title: [run.record for run in some] for arm, some in runs.items()}, "Sounds")
    given = over_training(
        {ARMS[arm].title: [run.record for run in result.runs[arm]] for arm in MODEL_ARMS}, "The given model"
    )
    held_out = {ARMS[arm].title: [run.losses for run in some] for arm, some in runs.items()}
    return {
        "sounds-repairs-slow-encoder": mean_lines(
            "From a slow encoder: held-out loss", runs["lift"][0].steps, held_out, "nats a token"
        ),
        "sounds-repairs-slow-llm": heard["balance"],
        "sounds-more-than-larger-rates": heard["rate of the encoder"],
        "real-rebalances": given["balance"],
        "real-repairs-slow-encoder": given["rate of the encoder"],
    }


def over_training(records: Mapping[str, Sequence[TrainingRecord]], where: str) -> dict[str, Figure]:
    """Of every arm (its title: the records of its runs) balance, rates and gradient norms, a figure each."""
    noted = next(iter(records.values()))[0].noted
    lines: dict[str, tuple[str, Mapping[str, Sequence[Line]]]] = {
        "balance": (
            "log kappa; 0 is balanced",
            {arm: [record.kappas for record in some] for arm, some in records.items()},
        )
    }
    for part, name in ((FEATURE_ENCODER, "encoder"), (LLM, "language model")):
        rates = {arm: [_log10(record.rates[part]) for record in some] for arm, some in records.items()}
        norms = {
            arm: [_log10([record.norms[part][step] for step in record.noted]) for record in some]
            for arm, some in records.items()
        }
        lines[f"rate of the {name}"] = ("rate, power of ten", rates)
        lines[f"gradient norm of the {name}"] = ("gradient norm, power of ten", norms)
    return {what: mean_lines(f"{where}: {what}", noted, rows, label) for what, (label, rows) in lines.items()}


def mean_lines(title: str, steps: Iterable[int], lines: Mapping[str, Sequence[Line]], y_label: str) -> Figure:
    """Over the steps, for each name the mean of its runs, of what is known there."""
    series = []
    for name, runs in lines.items():
        known = [[value for value in column if value is not None] for column in zip(*runs, strict=True)]
        series.append(Series(name=name, y=[float(np.mean(column)) if column else None for column in known]))
    return Figure(
        title=title,
        data=Lines(x=[*steps], series=series, x_label="step", y_label=y_label),
        alt=f"Lines over training, one for each of {', '.join(lines)}.",
    )


def _log10(values: Sequence[float]) -> list[float | None]:
    return [math.log10(value) if value > 0 else None for value in values]


def _loss_against_ratio(path: Sequence[Sequence[float]]) -> Figure:
    ratios, losses = zip(*path, strict=True)
    return Figure(
        title="Final loss against the ratio of rates, fixed geometric mean, one run a point (not judged)",
        data=Lines(
            x=[*ratios],
            series=[Series(name="loss", y=[*losses])],
            x_label="log10 of encoder's rate over language model's",
            y_label="nats per token",
        ),
        alt="A line of the final loss over the ratio of the rates.",
    )


def _arms(measures: Measures, start: Start) -> Table:
    rows: list[list[Cell]] = []
    for arm in RUNS[start]:
        final, over = measures[f"final/{start}, {arm}"], measures.get(f"loss/{start}, {arm} over constant")
        ends = (None,) * 3 if over is None else (over.estimate, over.low, over.high)
        right = measures[f"right/{start}, {arm}"]
        shares = (measures[f"speed/{start}, {arm}"].estimate, right.estimate, right.low, right.high)
        rows.append([ARMS[arm].title, final.estimate, final.low, final.high, *ends, *shares])
    columns = ["arm", "final loss", "low", "high", "over constant", "low", "high"]
    columns += ["steps to constant's loss", "right", "low", "high"]
    note = "Intervals are over seeds; over constant is seed by seed."
    return Table(title=f"Start: {start}", columns=columns, rows=rows, note=note)
