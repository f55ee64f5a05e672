"""What the page shows beside the claims: curves over demonstrations and over training, and examples."""

from collections.abc import Mapping, Sequence

import numpy as np

from armillary.numerics.intervals import Interval
from armillary.records.sections import Figure, Lines, Series, Table, interval_bars
from reproductions.vector_icl.few_shot import LOGISTIC
from reproductions.vector_icl.measures import UNCALIBRATED
from reproductions.vector_icl.setup import NEIGHBOUR, RANDOM, SHUFFLED, TEXT, VECTORS
from reproductions.vector_icl.stages import PRETRAINED, Results

Measures = Mapping[str, Interval]

_ARMS = (VECTORS, f"{VECTORS}{UNCALIBRATED}", SHUFFLED, PRETRAINED, TEXT, NEIGHBOUR, LOGISTIC)


def shot_figures(results: Results, m: Measures) -> dict[str, Figure]:
    """By claim the curves over the number of demonstrations, or over training, that its bars can't show."""
    episodes, topics = results.digits[0].shots, results.topics.best[0].shots
    numbers, graphs = results.numbers.shots, results.graphs[0].shots
    baselines = ("mean", "least squares")
    return {
        "pretraining-enables": learning_curves("Pretraining", results.texts.losses),
        "ridge-start-enables": over_starts(m),
        "shots-help": over_shots("Digits in episodes", "digits/accuracy", episodes, m),
        "tuning-helps": over_shots("Topics of glosses", "topics/accuracy", topics, m),
        "near-a-specialist": learning_curves("Digits in episodes", _by_seed([row.losses for row in results.digits])),
        "shots-help-numbers": over_shots(
            "Functions of two numbers", "numbers/error", numbers, m, (*_ARMS, RANDOM, *baselines), "relative error"
        ),
        "regression": learning_curves("Numbers", _by_seed([seed.losses for seed in results.numbers.seeds])),
        "graphs-are-read": over_shots("Graphs", "graphs/accuracy", graphs, m),
    }


def _by_seed(losses: Sequence[Sequence[float]]) -> dict[str, Sequence[float]]:
    return {f"seed {number}": values for number, values in enumerate(losses)}


def learning_curves(title: str, losses: Mapping[str, Sequence[float]]) -> Figure:
    """Loss over steps, as means of a tenth of them each."""
    count = min(10, *(len(values) for values in losses.values()))
    tenths = {name: [float(part.mean()) for part in np.array_split(values, count)] for name, values in losses.items()}
    ends = "; ".join(f"{name} {values[-1]:.2f}" for name, values in tenths.items())
    return Figure(
        title=f"{title}: loss of training over its steps",
        data=Lines(
            x=list(range(1, count + 1)),
            series=[Series(name=name, y=list(values)) for name, values in tenths.items()],
            x_label="parts of the steps, tenths where there are so many",
            y_label="nats a learned token",
        ),
        alt=f"Lines of the loss over training, which end at: {ends}.",
    )


def over_starts(m: Measures) -> Figure:
    """Loss of held-out texts by projector and slot."""
    names = [name for name in m if name.startswith("texts/loss, ")]
    return interval_bars("Loss of held-out texts", {name: m[name] for name in names}, "nats a token")


def over_shots(
    title: str,
    prefix: str,
    shots: Sequence[int],
    m: Measures,
    arms: Sequence[str] = _ARMS,
    y_label: str = "accuracy",
) -> Figure:
    """Lines with intervals of the arms that were measured; one that was measured once is a point."""
    series = []
    for arm in arms:
        values = [m.get(f"{prefix} at {k}, {arm}") for k in shots]
        if any(values):
            series.append(interval_line(arm, values))
    ends = "; ".join(f"{line.name} {line.y[-1]:.2f}" for line in series if line.y[-1] is not None)
    return Figure(
        title=f"{title}: {y_label} over demonstrations",
        data=Lines(x=list(shots), series=series, x_label="demonstrations", y_label=y_label, log_x=True),
        alt=f"Lines of {y_label} over demonstrations, which end at: {ends}.",
    )


def interval_line(name: str, values: Sequence[Interval | None]) -> Series:
    """A line with its intervals; None where nothing was measured."""
    return Series(
        name=name,
        y=[None if value is None else value.estimate for value in values],
        low=[None if value is None else value.low for value in values],
        high=[None if value is None else value.high for value in values],
    )


def example_tables(results: Results) -> dict[str, list[Table]]:
    """By claim what was said."""
    row = results.molecules[0]
    captions = Table(
        title=f"Captions at {row.shots[-1]} demonstrations",
        columns=["right", "by descriptors", "by SMILES"],
        rows=[list(example) for example in row.examples],
    )
    return {"beats-text-where-text-is-poor": [captions]}
