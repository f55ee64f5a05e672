"""How the training of a connector is told: plain data to measures, findings and sections. Needs no model."""

from collections.abc import Mapping
from typing import Any

from armillary.numerics.intervals import Interval
from armillary.records.sections import Cell, Figure, Finding, Section, Table, interval_bars

Found = Mapping[str, Any]

_WHO = {"seeing": "right picture", "blind": "another picture", "untrained": "before training"}
_CAPTIONS = {
    "right": "the very name",
    "overlap": "F1 of the words",
    "first": "right name first of the names",
    "rank": "rank of the right name (1 is best)",
    "first_whole": "right name first, by the whole name",
    "rank_whole": "rank of the right name, by the whole name",
}


def measures(found: Found) -> dict[str, Interval]:
    """Accuracy of each task, seeing and blind, their difference, and the same for captions."""
    rows = {f"{task} accuracy": row for task, row in found["tasks"].items()}
    rows |= {f"{task} accuracy by the whole answer": row["whole"] for task, row in found["tasks"].items()}
    rows |= {f"caption: {name}": found["captions"][key] for key, name in _CAPTIONS.items() if found["captions"]}
    told: dict[str, Interval] = {}
    for name, row in rows.items():
        told |= {f"{name}, {who}": Interval.from_dict(row[key]) for key, who in _WHO.items()}
        told[f"{name}, gain by the right picture"] = Interval.from_dict(row["gain"])
    for when, loss in found["loss"].items():
        told[f"nats a token of held-out answers, {when} training"] = Interval.from_dict(loss)
    return told


def findings(found: Found) -> list[Finding]:
    """What is seen, what is not, and how captions fare."""
    gains = {task: Interval.from_dict(row["gain"]) for task, row in found["tasks"].items()}
    seen = {task: gain for task, gain in gains.items() if gain.lower > 0}
    told = [Finding(text=_sight_summary(found), interest=0.9 if seen else 0.5, section="sight")]
    if found["captions"]:
        told.append(Finding(text=_caption_summary(found), interest=0.7, section="captions"))
    unseen = [task for task in gains if task not in seen]
    if unseen:
        text = f"Nothing is shown to be seen for {', '.join(unseen)}: the interval of the gain holds 0."
        told.append(Finding(text=text, interest=0.6, section="sight"))
    return told


def sections(found: Found) -> list[Section]:
    """Sight, captions, training."""
    told = [_sight(found)]
    if found["captions"]:
        told.append(_caption_section(found))
    return [*told, _training(found)]


def _sight_summary(found: Found) -> str:
    parts = []
    for task, row in sorted(found["tasks"].items(), key=lambda item: -item[1]["gain"]["estimate"]):
        seeing, blind = row["seeing"]["estimate"], row["blind"]["estimate"]
        parts.append(f"{task} {seeing:.0%} ({blind:.0%})")
    return f"Right answers with the right picture, and in brackets with another one: {', '.join(parts)}."


def _sight(found: Found) -> Section:
    tasks = found["tasks"]
    seeing = {task: Interval.from_dict(row["seeing"]) for task, row in tasks.items()}
    gains = {task: Interval.from_dict(row["gain"]) for task, row in tasks.items()}
    blind = [row["blind"]["estimate"] for row in tasks.values()]
    bars = interval_bars("Right answers; tick: with another picture", seeing, "share of questions", blind)
    bars.data["reference_name"] = "another picture"
    return Section(
        id="sight",
        title="Does it see",
        summary=_sight_summary(found),
        meaning="Questions about test pictures, whose emoji were in no training question. The tick is the same model "
        "on the same questions with the pictures dealt to other questions: what it reaches is known without seeing.",
        caution="Choices are ranked by log-probability a token, which favours long answers; the last columns rank by "
        "the whole answer. keyword-choice was never asked in training. Intervals are over the emoji asked about, not "
        "over trainings: another seed gives another model.",
        figures=[bars, interval_bars("Gain by the right picture", gains, "difference of the shares")],
        tables=[Table(title="All shares", columns=_COLUMNS, rows=[_row(task, row) for task, row in tasks.items()])],
    )


_COLUMNS = ["task", "questions", "right picture", "interval", "another picture", "before training"]
_COLUMNS += ["most frequent answer", "chance", "gain", "interval of the gain", "by the whole answer", "gain by it"]


def _row(task: str, row: Found) -> list[Cell]:
    middle = [row[who]["estimate"] for who in ("blind", "untrained")]
    start: list[Cell] = [task, row["questions"], row["seeing"]["estimate"], _ends(row["seeing"])]
    whole = [row["whole"][name]["estimate"] for name in ("seeing", "gain")]
    gain: list[Cell] = [row["gain"]["estimate"], _ends(row["gain"])]
    return [*start, *middle, row["majority"], row["chance"], *gain, *whole]


def _ends(interval: Found) -> str:
    if interval["low"] is None:
        return ""
    return f"{interval['low']:.3f} to {interval['high']:.3f}"


def _caption_summary(found: Found) -> str:
    captions = found["captions"]
    rank, first = ({who: captions[key][who]["estimate"] for who in _WHO} for key in ("rank", "first"))
    return (
        f"Among {captions['among']} names the right one is ranked {rank['seeing']:.1f} on average with the right "
        f"picture and {rank['blind']:.1f} with another, and first in {first['seeing']:.0%} against "
        f"{first['blind']:.0%}; "
        f"{captions['right']['seeing']['estimate']:.0%} of the captions are the very name."
    )


def _caption_section(found: Found) -> Section:
    captions = found["captions"]
    columns = ["measure", *_WHO.values(), "gain", "interval of the gain"]
    rows: list[list[Cell]] = [
        [name, *(captions[key][who]["estimate"] for who in _WHO), captions[key]["gain"]["estimate"],
         _ends(captions[key]["gain"])]
        for key, name in _CAPTIONS.items()
    ]  # fmt: skip
    sheet = Table(
        title="What it says of pictures it was not trained on",
        columns=["emoji", "style", "name", *_WHO.values(), "rank"],
        rows=found["sheet"],
        note="The first of the test pictures, not chosen. The emoji is shown as this device draws it.",
    )
    return Section(
        id="captions",
        title="Captions",
        summary=_caption_summary(found),
        meaning=f"Each of {captions['questions']} test pictures is captioned greedily, and the right name is ranked "
        f"among {captions['among']} names of test pictures by its log-probability a token.",
        caution="A name is one of many right captions: a caption that differs from it may still be true. A lower rank "
        "is better, so that the gain of the rank is below 0 where seeing helps.",
        tables=[Table(title="Captions and names", columns=columns, rows=rows), sheet],
    )


def _training(found: Found) -> Section:
    steps, losses = [row[0] for row in found["curve"]], [row[1] for row in found["curve"]]
    before, after = (Interval.from_dict(found["loss"][when]) for when in ("before", "after"))
    return Section(
        id="training",
        title="Training",
        summary=f"Held-out answers cost {before.estimate:.2f} nats a token before and {after.estimate:.2f} after.",
        meaning="The loss on the answers of the batches, a mean over the steps since the point before. Language model "
        "and vision tower are frozen.",
        caution="Each point is a few dozen answers of mixed tasks.",
        figures=[
            Figure(
                kind="lines",
                title="Training loss",
                data={
                    "x": steps,
                    "series": [{"name": "answers", "y": losses}],
                    "x_label": "optimiser steps",
                    "y_label": "nats a token",
                },
                alt=f"The loss over {len(steps)} points.",
            )
        ],
    )
