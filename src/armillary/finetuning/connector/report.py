"""How the training of a connector is reported: its result to measures, findings and sections. Needs no model."""

from dataclasses import dataclass

from armillary.finetuning.image_evaluation import CaptionResult, Compared, ImageEvaluation, TaskResult
from armillary.numerics.intervals import Interval
from armillary.records.sections import Cell, Figure, Finding, Lines, Section, Series, Table, interval_bars


@dataclass(frozen=True, kw_only=True)
class ConnectorResult:
    """What one training gave."""

    curve: list[tuple[int, float]]
    """(step, mean loss of the batches since the step before)."""

    readings: list[tuple[int, dict[str, float]]]
    """(step, by measure what validation images showed), from before the first step on."""

    before: Interval
    """Nats a token of held-out answers before training."""

    after: Interval
    evaluation: ImageEvaluation

    above: Interval
    """Right answers on style, colour and group of test images above the most frequent answers."""

    opened: float
    """Share of some test questions that the saved model, opened again, answers as the one in memory."""


ABOVE, FIRST = "above the most frequent answers", "right name first"
"""Measures of a reading on the way."""

_WHO = {"seeing": "right picture", "blind": "another picture", "untrained": "before training"}
_CAPTIONS = {
    "right": "the very name",
    "overlap": "F1 of the words",
    "first": "right name first of the names",
    "rank": "rank of the right name (1 is best)",
    "first_whole": "right name first, by the whole name",
    "rank_whole": "rank of the right name, by the whole name",
}


def measures(result: ConnectorResult) -> dict[str, Interval]:
    """Accuracy of each task, seeing and blind, their difference, and the same for captions."""
    tasks, captions = result.evaluation.tasks, result.evaluation.captions
    rows = {f"{task} accuracy": row.right for task, row in tasks.items()}
    rows |= {f"{task} accuracy by the whole answer": row.whole for task, row in tasks.items()}
    if captions is not None:
        rows |= {f"caption: {name}": captions.measures[key] for key, name in _CAPTIONS.items()}
    by_name: dict[str, Interval] = {"style, colour and group, above the most frequent answers": result.above}
    for name, row in rows.items():
        by_name |= {f"{name}, {who}": getattr(row, key) for key, who in _WHO.items()}
        by_name[f"{name}, gain by the right picture"] = row.gain
    for when in ("before", "after"):
        by_name[f"nats a token of held-out answers, {when} training"] = getattr(result, when)
    return by_name


def findings(result: ConnectorResult) -> list[Finding]:
    """What is seen, what is not, and how captions fare."""
    tasks, captions = result.evaluation.tasks, result.evaluation.captions
    seen = [task for task, row in tasks.items() if row.right.gain.lower > 0]
    sentences = [Finding(text=_tasks_summary(tasks), interest=0.9 if seen else 0.5, section="sight")]
    above = f"On style, colour and group of new emoji it is {100 * result.above.estimate:.0f} points above the most "
    sentences.append(Finding(text=f"{above}frequent answers.", interest=0.95, section="sight"))
    if captions is not None:
        sentences.append(Finding(text=_captions_summary(captions), interest=0.7, section="captions"))
    unseen = [task for task in tasks if task not in seen]
    if unseen:
        text = f"Nothing is shown to be seen for {', '.join(unseen)}: the interval of the gain holds 0."
        sentences.append(Finding(text=text, interest=0.6, section="sight"))
    return sentences


def sections(result: ConnectorResult) -> list[Section]:
    """What it sees, what it says of images, and the training."""
    tasks, captions = result.evaluation.tasks, result.evaluation.captions
    return [_tasks(tasks), *([] if captions is None else [_captions(captions)]), _training(result)]


def _tasks_summary(tasks: dict[str, TaskResult]) -> str:
    ordered = sorted(tasks.items(), key=lambda item: -item[1].right.gain.estimate)
    shares = [f"{task} {row.right.seeing.estimate:.0%} ({row.right.blind.estimate:.0%})" for task, row in ordered]
    return f"Right answers with the right picture, and in brackets with another one: {', '.join(shares)}."


def _tasks(tasks: dict[str, TaskResult]) -> Section:
    seeing = {task: row.right.seeing for task, row in tasks.items()}
    gains = {task: row.right.gain for task, row in tasks.items()}
    return Section(
        id="sight",
        title="Does it see",
        summary=_tasks_summary(tasks),
        meaning="Questions about test pictures, whose emoji were in no training question. The tick is the same model "
        "on the same questions with the pictures dealt to other questions: what it reaches is known without seeing.",
        caution="Choices are ranked by log-probability a token, which favours long answers; the last columns rank by "
        "the whole answer. keyword-choice was never asked in training. Intervals are over the emoji asked about, not "
        "over trainings: another seed gives another model.",
        figures=[
            interval_bars(
                "Right answers; tick: with another picture",
                seeing,
                "share of questions",
                [row.right.blind.estimate for row in tasks.values()],
                "another picture",
            ),
            interval_bars("Gain by the right picture", gains, "difference of the shares"),
        ],
        tables=[Table(title="All shares", columns=_COLUMNS, rows=[_row(task, row) for task, row in tasks.items()])],
    )


_COLUMNS = ["task", "questions", "right picture", "interval", "another picture", "before training"]
_COLUMNS += ["most frequent answer", "chance", "gain", "interval of the gain", "by the whole answer", "gain by it"]


def _row(task: str, row: TaskResult) -> list[Cell]:
    right: Compared = row.right
    return [
        *(task, row.questions, right.seeing.estimate, _ends(right.seeing)),
        *(right.blind.estimate, right.untrained.estimate, row.majority, row.chance),
        *(right.gain.estimate, _ends(right.gain), row.whole.seeing.estimate, row.whole.gain.estimate),
    ]


def _ends(interval: Interval) -> str:
    return "" if interval.low is None else f"{interval.low:.3f} to {interval.high:.3f}"


def _captions_summary(captions: CaptionResult) -> str:
    rank, first = captions.measures["rank"], captions.measures["first"]
    return (
        f"Among {captions.among} names the right one is ranked {rank.seeing.estimate:.1f} on average with the right "
        f"picture and {rank.blind.estimate:.1f} with another, and first in {first.seeing.estimate:.0%} against "
        f"{first.blind.estimate:.0%}; {captions.measures['right'].seeing.estimate:.0%} of the captions are the very "
        "name."
    )


def _captions(captions: CaptionResult) -> Section:
    rows: list[list[Cell]] = []
    for key, name in _CAPTIONS.items():
        row = captions.measures[key]
        estimates = [getattr(row, who).estimate for who in _WHO]
        rows.append([name, *estimates, row.gain.estimate, _ends(row.gain)])
    sheet = Table(
        title="What it says of pictures it was not trained on",
        columns=["emoji", "style", "name", *_WHO.values(), "rank"],
        rows=[list(row) for row in captions.sheet],
        note="The first of the test pictures, not chosen. The emoji is shown as this device draws it.",
    )
    columns = ["measure", *_WHO.values(), "gain", "interval of the gain"]
    return Section(
        id="captions",
        title="Captions",
        summary=_captions_summary(captions),
        meaning=f"Each of {captions.questions} test pictures is captioned greedily, and the right name is ranked "
        f"among {captions.among} names of test pictures by its log-probability a token.",
        caution="A name is one of many right captions: a caption that differs from it may still be true. A lower rank "
        "is better, so that the gain of the rank is below 0 where seeing helps.",
        tables=[Table(title="Captions and names", columns=columns, rows=rows), sheet],
    )


def _training(result: ConnectorResult) -> Section:
    steps, losses = [step for step, _ in result.curve], [loss for _, loss in result.curve]
    before, after = result.before.estimate, result.after.estimate
    lines = Lines(
        x=[*steps], series=[Series(name="answers", y=[*losses])], x_label="optimiser steps", y_label="nats a token"
    )
    return Section(
        id="training",
        title="Training",
        summary=f"Held-out answers cost {before:.2f} nats a token before and {after:.2f} after.",
        meaning="The loss on the answers of the batches, a mean over the steps since the point before; and what "
        "validation emoji, in no training question either, showed on the way. Step 0 is the connector as it begins.",
        caution=f"Each reading is of few questions. The saved model, opened again by transformers and given pixels, "
        f"answered {result.opened:.0%} of some test questions as the one in memory did.",
        figures=[
            Figure(title="Training loss", data=lines, alt=f"The loss over {len(steps)} points."),
            Figure(
                title="What new emoji show on the way",
                data=Lines(
                    x=[step for step, _ in result.readings],
                    series=[
                        Series(name=name, y=[reading[name] for _, reading in result.readings])
                        for name in (ABOVE, FIRST)
                    ],
                    x_label="optimiser steps",
                    y_label="share of questions",
                ),
                alt="Style, colour and group above the most frequent answers, and right names ranked first, by step.",
            ),
        ],
    )
