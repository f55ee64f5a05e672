"""How a fit of a user's own vectors is told: measures, a section with a picture and tables. Needs no model."""

from collections.abc import Mapping, Sequence
from typing import Any

from armillary.cli.vector_icl import SHOTS, FitConfig, Problem
from armillary.data.vector_files import Task
from armillary.numerics.intervals import Interval, binomial, bootstrap_mean, paired_difference
from armillary.records.sections import Cell, Figure, Finding, Section, Table, interval_bars

METRIC: dict[Task, str] = {"classify": "accuracy", "regress": "mean absolute error", "describe": "token F1"}
GAIN = "right less shuffled answers"
_VECTORS, _SHUFFLED, _NONE = "Vector-ICL", "answers shuffled", "no demonstrations"
_ID = "held-out"
Measures = dict[str, Interval]


def told(
    found: Mapping[str, Any], problem: Problem, config: FitConfig, model: str
) -> tuple[Measures, list[Finding], list[Section]]:
    """Measures by name, what to read first, and the sections; ``found`` is what the fit kept and what was measured."""
    metric, arms = METRIC[problem.task], found["arms"]
    by_arm = {name: _interval(values, problem.task, config.seed) for name, values in arms.items()}
    # Of errors less is better: the sign is turned, so that above 0 always means that right answers help.
    right, wrong = (_SHUFFLED, _VECTORS) if problem.task == "regress" else (_VECTORS, _SHUFFLED)
    gain = paired_difference(arms[right], arms[wrong], seed=config.seed)
    measures = {f"{metric}, {name}": value for name, value in by_arm.items()} | {GAIN: gain}
    read, best = reading(gain, metric, problem.task), _best_rival(by_arm, problem.task)
    ours = by_arm[_VECTORS]
    main = (
        f"{metric} {_said(ours)} on {len(problem.held_out)} held-out rows, against {_said(by_arm['majority'])} of the "
        f"majority and {_said(by_arm[best])} of {best}."
    )
    main = main[0].upper() + main[1:]
    missing = int(found["missing"])
    lost = f" {missing} answers hold no number and count as the mean." if missing else ""
    section = Section(
        id=_ID,
        title="Held-out rows",
        summary=f"Task: {problem.task} ({problem.why}). {main}{lost} {read}",
        meaning=_meaning(problem, config, len(found["shown"]), model),
        caution=_CAUTION,
        figures=[interval_bars(f"{metric.capitalize()} on held-out rows", by_arm, metric)],
        tables=[_arms_table(by_arm, metric), _gain_table(gain, metric), _rows_table(found["examples"])],
    )
    chosen = f"Task: {problem.task} ({problem.why})."
    findings = [
        Finding(text=main + lost, interest=0.9, section=_ID),
        Finding(text=read, interest=0.8, section=_ID),
        Finding(text=chosen, interest=0.5, section=_ID),
    ]
    return measures, findings, [section, *_training(found["losses"])]


_CAUTION = (
    "The projector was tuned on all training rows: its fair rivals are methods that saw all of them, not those that "
    "saw the demonstrations alone. Where shuffled answers do as well as right ones, the projector names the answer by "
    "itself and the context is not read. One training and one draw of demonstrations: intervals are over held-out "
    "rows only. The projector sees columns as they are, so that a column of large numbers counts more."
)


def reading(gain: Interval, metric: str, task: Task) -> str:
    """Whether the demonstrations are read, in one sentence; ``gain`` above 0 means that right answers help."""
    size = f"{_signed(gain, task)} in {metric}"
    if gain.low is None or gain.high is None:
        return (
            f"Whether the demonstrations are read can't be told from one held-out row (right less shuffled: {size})."
        )
    if gain.low > 0:
        return f"The demonstrations are read: right answers are better than shuffled ones by {size}."
    if gain.high < 0:
        return f"The demonstrations mislead: right answers are worse than shuffled ones ({size})."
    return f"There is no sign that the demonstrations are read: right answers less shuffled ones, {size}."


def _interval(scores: Sequence[float], task: Task, seed: int) -> Interval:
    """The mean score by the bootstrap; where all rows are right, or all wrong, which no resampling varies, exactly."""
    if task == "classify" and set(scores) in ({0.0}, {1.0}):
        return binomial(int(sum(scores)), len(scores))
    return bootstrap_mean(scores, seed=seed, how=f"percentile bootstrap over {len(scores):,} held-out rows")


def _signed(gain: Interval, task: Task) -> str:
    if task == "classify":
        return f"{100 * gain.estimate:+.0f} points [{100 * gain.lower:.0f}, {100 * gain.upper:.0f}]"
    return f"{gain.estimate:+.3g} [{gain.lower:.3g}, {gain.upper:.3g}]"


def _said(value: Interval) -> str:
    return f"{value.estimate:.3g} [{value.lower:.3g}, {value.upper:.3g}]"


def _best_rival(by_arm: Mapping[str, Interval], task: Task) -> str:
    """Of the methods without a language model that saw all training rows."""
    rivals = {name: value.estimate for name, value in by_arm.items() if name.endswith("all training rows")}
    return (min if task == "regress" else max)(rivals, key=lambda name: rivals[name])


def _meaning(problem: Problem, config: FitConfig, shown: int, model: str) -> str:
    asked = config.shots or SHOTS[problem.task]
    each = " of each class" if problem.task == "classify" else ""
    if shown < asked * (len(set(problem.targets)) if problem.task == "classify" else 1):
        each += ", or as many as there are"
    names = ", under words that were drawn for the classes" if config.label_mode == "episodic" else ""
    better = "Lower is better. " if problem.task == "regress" else ""
    majority = {"classify": "the most frequent class", "regress": "the median", "describe": "the most typical text"}
    return (
        f"A {config.projector} projector was tuned for {config.steps} steps on {len(problem.training)} rows to make "
        f"each vector one token embedding of {model}, which reads {shown} demonstrations "
        f"({asked}{each}) and then the held-out vector{names}. {better}Shuffled: the "
        "same projector and demonstrations with their answers exchanged at random, the mean of three orders. "
        f"Majority: {majority[problem.task]} of the training rows. 1-NN and regression have no language model; they "
        "see the same demonstrations, or all training rows, in standardised columns."
    )


def _training(losses: Sequence[float]) -> list[Section]:
    """The loss over the steps; nothing where there was none."""
    if not losses:
        return []
    few = max(1, len(losses) // 10)
    first, last = (sum(some) / few for some in (losses[:few], losses[-few:]))
    curve = {
        "x": list(range(1, len(losses) + 1)),
        "series": [{"name": "targets", "y": list(losses)}],
        "x_label": "optimiser steps",
        "y_label": "nats a token",
    }
    alt = f"The loss over {len(losses)} steps, from {first:.2f} to {last:.2f}."
    return [
        Section(
            id="training",
            title="Training",
            summary=f"The targets cost {first:.2f} nats a token in the first tenth of {len(losses)} steps and "
            f"{last:.2f} in the last.",
            meaning="The loss on the targets of each step's rows, before the step. A curve that still falls at its "
            "end asks for more --steps.",
            caution="It is of training rows, and of sequences of random lengths; what counts is the score above.",
            figures=[Figure(kind="lines", title="Training loss", data=curve, alt=alt)],
        )
    ]


def _arms_table(by_arm: Mapping[str, Interval], metric: str) -> Table:
    rows: list[list[Cell]] = [[name, one.estimate, one.low, one.high, one.n] for name, one in by_arm.items()]
    return Table(title="All methods", columns=["method", metric, "low", "high", "rows"], rows=rows)


def _gain_table(gain: Interval, metric: str) -> Table:
    return Table(
        title="Are the demonstrations read?",
        columns=["comparison", metric, "low", "high", "rows"],
        rows=[[GAIN, gain.estimate, gain.low, gain.high, gain.n]],
        note="Above 0, the right answers help; differences of the same rows, resampled as pairs.",
    )


def _rows_table(rows: list[list[Cell]]) -> Table:
    return Table(
        title="The first held-out rows", columns=["row", "target", "predicted"], rows=rows, note="Rows count from 1."
    )
