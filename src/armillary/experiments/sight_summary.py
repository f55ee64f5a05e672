"""From answers to numbers: accuracy of seeing, blind and untrained, with intervals and the difference of seeing."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from armillary.data.emoji import Emoji
from armillary.data.picture_tasks import PictureExample, PictureTask, picture_examples
from armillary.experiments.picture_sight import NAMES, majority, over_identities
from armillary.numerics.intervals import Interval

Answers = Mapping[str, Sequence[Mapping[str, Any]]]
"""Task -> what was told to each of its questions, as ``Told.to_dict`` gives it."""

_SHOWN = 24
_CAPTIONS = ("right", "overlap", "rank", "first", "rank_whole", "first_whole")


def summary(
    asked: Mapping[str, Sequence[PictureExample]], told: Mapping[str, Answers], emoji: Emoji, seed: int
) -> dict[str, Any]:
    """``tasks``: a row a task of choices; ``captions``: the measures of captions; ``sheet``: some captions.

    ``told`` has "seeing", "blind" and "untrained". Plain data, intervals as their dicts.
    """
    tasks = {
        task: _task(task, examples, {who: answers[task] for who, answers in told.items()}, emoji, seed)
        for task, examples in asked.items()
        if task != "name" and examples
    }
    names = asked.get("name") or []
    if not names:
        return {"tasks": tasks, "captions": {}, "sheet": []}
    captions = {who: answers["name"] for who, answers in told.items()}
    measured, sheet = _captions(names, captions, emoji, seed), _sheet(names, captions, emoji)
    return {"tasks": tasks, "captions": measured, "sheet": sheet}


def held_out_loss(
    before: Sequence[float], after: Sequence[float], examples: Sequence[PictureExample], emoji: Emoji, seed: int
) -> dict[str, Any]:
    """Nats a token of the right answers to validation questions, before and after."""
    found = {"before": before, "after": after}
    return {name: over_identities(values, examples, emoji, seed=seed).to_dict() for name, values in found.items()}


def _task(
    task: str,
    examples: Sequence[PictureExample],
    told: Mapping[str, Sequence[Mapping[str, Any]]],
    emoji: Emoji,
    seed: int,
) -> dict[str, Any]:
    train = picture_examples(emoji, cast(PictureTask, task), "train", limit=2000, seed=seed)
    firsts = _with_firsts(told)
    row = _compared("right", examples, firsts, emoji, seed)
    row["whole"] = _compared("first_whole", examples, firsts, emoji, seed)
    row["majority"] = float(np.mean(majority(train, examples)))
    row["chance"] = float(np.mean([1 / len(example.choices or (1,)) for example in examples]))
    row["questions"] = len(examples)
    return row


def _compared(
    measure: str,
    examples: Sequence[PictureExample],
    told: Mapping[str, Sequence[Mapping[str, Any]]],
    emoji: Emoji,
    seed: int,
) -> dict[str, Any]:
    """One measure of each, and how much seeing has over blind, question by question."""
    values = {who: np.array([float(one[measure]) for one in answers]) for who, answers in told.items()}
    values["gain"] = values["seeing"] - values["blind"]
    intervals: dict[str, Interval] = {
        name: over_identities(value, examples, emoji, seed=seed) for name, value in values.items()
    }
    return {name: interval.to_dict() for name, interval in intervals.items()}


def _with_firsts(told: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """``first`` and ``first_whole``: 1 where the right one is ranked first, alone."""
    return {
        who: [
            {**one, "first": float(one["rank"] <= 1), "first_whole": float(one["rank_whole"] <= 1)} for one in answers
        ]
        for who, answers in told.items()
    }


def _captions(
    examples: Sequence[PictureExample],
    told: Mapping[str, Sequence[Mapping[str, Any]]],
    emoji: Emoji,
    seed: int,
) -> dict[str, Any]:
    first = _with_firsts(told)
    measures = {measure: _compared(measure, examples, first, emoji, seed) for measure in _CAPTIONS}
    among = min(NAMES, len({example.answer for example in examples}))
    return {**measures, "questions": len(examples), "among": among}


def _sheet(
    examples: Sequence[PictureExample], told: Mapping[str, Sequence[Mapping[str, Any]]], emoji: Emoji
) -> list[list[str | float]]:
    """Character, style, name, and what each of the three says; pictures of different emoji, in the order asked."""
    rows: dict[int, list[str | float]] = {}
    for place, example in enumerate(examples):
        if example.picture not in rows and len(rows) < _SHOWN:
            label = emoji.labels[example.picture]
            said = [str(told[who][place]["told"]) for who in ("seeing", "blind", "untrained")]
            rank = float(told["seeing"][place]["rank"])
            rows[example.picture] = [label.character, emoji.styles[example.style], example.answer, *said, rank]
    return list(rows.values())
