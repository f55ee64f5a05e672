"""A fit of a user's own vectors as a report: measures, a section with bars and tables."""

from collections.abc import Sequence
from dataclasses import dataclass

from armillary.data.vector_files import Task
from armillary.methods.vector_icl.baselines import ALL, MAJORITY
from armillary.methods.vector_icl.config import SHOTS, FitConfig
from armillary.methods.vector_icl.evaluation import SHUFFLED, VECTORS, Evaluation
from armillary.methods.vector_icl.problem import Problem
from armillary.numerics.intervals import Interval, binomial, bootstrap_mean, paired_difference
from armillary.records.sections import Cell, Figure, Finding, Lines, Section, Series, Table, interval_bars

METRIC: dict[Task, str] = {"classify": "accuracy", "regress": "mean absolute error", "describe": "token F1"}
GAIN = "right less shuffled answers"
_ID = "held-out"
_CAUTION = (
    "The projector was tuned on all training rows: its fair baselines are methods that saw all of them, not those "
    "that saw the demonstrations alone. Where shuffled answers do as well as right ones, the projector names the "
    "answer by itself and the context is not read. One training and one draw of demonstrations: intervals are over "
    "held-out rows only. Columns are as they are, so that one of large numbers counts more; where one has ten times "
    "the spread of the middle one, each is divided by its spread on the training rows. Of vectors of fewer than about "
    "30 numbers, such as a table of measurements, expect less than from a regression."
)


@dataclass(frozen=True, kw_only=True)
class FitReport:
    """What a record says of a fit."""

    measures: dict[str, Interval]
    findings: list[Finding]
    sections: list[Section]


def fit_report(
    evaluation: Evaluation,
    shown: int,
    losses: Sequence[float],
    problem: Problem,
    config: FitConfig,
    model: str,
) -> FitReport:
    """Of the scores on held-out rows, of how many demonstrations were ``shown`` and of the training's ``losses``."""
    metric, arms, missing = METRIC[problem.task], evaluation.arms, evaluation.missing
    how = f"percentile bootstrap over {len(problem.held_out):,} held-out rows"
    by_arm = {name: bootstrap_mean(scores, seed=config.seed, how=how) for name, scores in arms.items()}
    if problem.task == "classify":  # where all rows are right, or all wrong, no resampling varies them
        same = {name: scores for name, scores in arms.items() if set(scores) in ({0.0}, {1.0})}
        by_arm |= {name: binomial(int(sum(scores)), len(scores)) for name, scores in same.items()}
    # Of errors less is better: the sign is turned, so that above 0 always means that right answers help.
    right, wrong = (SHUFFLED, VECTORS) if problem.task == "regress" else (VECTORS, SHUFFLED)
    gain = paired_difference(arms[right], arms[wrong], seed=config.seed)
    trained = {name: value.estimate for name, value in by_arm.items() if name.endswith(ALL)}
    best = (min if problem.task == "regress" else max)(trained, key=lambda name: trained[name])
    main = (
        f"{metric} {_text(by_arm[VECTORS])} on {len(problem.held_out)} held-out rows, against "
        f"{_text(by_arm[MAJORITY])} of the majority and {_text(by_arm[best])} of {best}."
    )
    main = main[0].upper() + main[1:]
    main += f" {missing} answers hold no number and count as the mean." if missing else ""
    task, read = f"Task: {problem.task} ({problem.why}).", reading(gain, metric, problem.task)
    rows: list[list[Cell]] = [[name, value.estimate, value.low, value.high, value.n] for name, value in by_arm.items()]
    section = Section(
        id=_ID,
        title="Held-out rows",
        summary=f"{task} {main} {read}",
        meaning=_meaning(problem, config, shown, model),
        caution=_CAUTION,
        figures=[interval_bars(f"{metric.capitalize()} on held-out rows", by_arm, metric)],
        tables=[
            Table(title="All methods", columns=["method", metric, "low", "high", "rows"], rows=rows),
            Table(
                title="Are the demonstrations read?",
                columns=["comparison", metric, "low", "high", "rows"],
                rows=[[GAIN, gain.estimate, gain.low, gain.high, gain.n]],
                note="Above 0, the right answers help; differences of the same rows, resampled as pairs.",
            ),
            Table(
                title="The first held-out rows",
                columns=["row", "target", "predicted"],
                rows=[list(example) for example in evaluation.examples],
                note="Rows count from 1.",
            ),
        ],
    )
    return FitReport(
        measures={f"{metric}, {name}": value for name, value in by_arm.items()} | {GAIN: gain},
        findings=[
            Finding(text=main, interest=0.9, section=_ID),
            Finding(text=read, interest=0.8, section=_ID),
            Finding(text=task, interest=0.5, section=_ID),
        ],
        sections=[section, *([_training(losses)] if losses else [])],
    )


def reading(gain: Interval, metric: str, task: Task) -> str:
    """Whether the demonstrations are read, in one sentence; ``gain`` above 0 means that right answers help."""
    if task == "classify":
        size = f"{100 * gain.estimate:+.0f} points [{100 * gain.lower:.0f}, {100 * gain.upper:.0f}] in {metric}"
    else:
        size = f"{gain.estimate:+.3g} [{gain.lower:.3g}, {gain.upper:.3g}] in {metric}"
    if gain.low is None or gain.high is None:
        return (
            f"Whether the demonstrations are read can't be told from one held-out row (right less shuffled: {size})."
        )
    if gain.low > 0:
        return f"The demonstrations are read: right answers are better than shuffled ones by {size}."
    if gain.high < 0:
        return f"The demonstrations mislead: right answers are worse than shuffled ones ({size})."
    return f"There is no sign that the demonstrations are read: right answers less shuffled ones, {size}."


def _text(value: Interval) -> str:
    return f"{value.estimate:.3g} [{value.lower:.3g}, {value.upper:.3g}]"


def _meaning(problem: Problem, config: FitConfig, shown: int, model: str) -> str:
    shots = config.shots or SHOTS[problem.task]
    each = " of each class" if problem.task == "classify" else ""
    if shown < shots * (len(set(problem.targets)) if problem.task == "classify" else 1):
        each += ", or as many as there are"
    names = ", under words that were drawn for the classes" if config.label_mode == "episodic" else ""
    better = "Lower is better. " if problem.task == "regress" else ""
    majority = {"classify": "the most frequent class", "regress": "the median", "describe": "the most typical text"}
    return (
        f"A {config.projector} projector was tuned for {config.steps} steps on {len(problem.training)} rows to make "
        f"each vector one token embedding of {model}, which reads {shown} demonstrations "
        f"({shots}{each}) and then the held-out vector{names}. {better}Shuffled: the "
        "same projector and demonstrations with their answers exchanged at random, the mean of three orders. "
        f"Majority: {majority[problem.task]} of the training rows. 1-NN and regression have no language model; they "
        "see the same demonstrations, or all training rows, in standardised columns."
    )


def _training(losses: Sequence[float]) -> Section:
    """The loss over the steps."""
    tenth = max(1, len(losses) // 10)
    first, last = (sum(part) / tenth for part in (losses[:tenth], losses[-tenth:]))
    curve = Lines(
        x=list(range(1, len(losses) + 1)),
        series=[Series(name="targets", y=list(losses))],
        x_label="optimiser steps",
        y_label="nats a token",
    )
    alt = f"The loss over {len(losses)} steps, from {first:.2f} to {last:.2f}."
    return Section(
        id="training",
        title="Training",
        summary=f"The targets cost {first:.2f} nats a token in the first tenth of {len(losses)} steps and "
        f"{last:.2f} in the last.",
        meaning="The loss on the targets of each step's rows, before the step. A curve that still falls at its "
        "end asks for more --steps.",
        caution="It is of training rows, and of sequences of random lengths; what counts is the score above.",
        figures=[Figure(title="Training loss", data=curve, alt=alt)],
    )
