"""The stages of the Vector-ICL reproduction by name, one a row of the specification, and what each leaves."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from armillary.methods.vector_icl.config import CLASS
from armillary.methods.vector_icl.projector_fit import tune_on_episodes
from armillary.progress import track
from reproductions.vector_icl import tasks
from reproductions.vector_icl.captions import CaptionRow, caption_rows
from reproductions.vector_icl.carrier import ArmRow
from reproductions.vector_icl.data.series import jittered
from reproductions.vector_icl.episodes import WORDS, episode_row
from reproductions.vector_icl.few_shot import few_shot, tuned
from reproductions.vector_icl.numbers import NumberRow, number_row
from reproductions.vector_icl.scale import ENCODERS
from reproductions.vector_icl.setup import Context
from reproductions.vector_icl.tasks import ClassTask, Part
from reproductions.vector_icl.texts import GlossRow, pretrained_projector, text_row

PRETRAINED, LINEAR, GATED = "pretrained", "linear", "mlp"
"""Arms of R2: pretrained on text alone, and tuned without that."""

_COPIES = 4
"""Noisy copies of each training series: there are few."""


@dataclass(frozen=True, kw_only=True)
class TopicRow:
    """R2, of each seed."""

    best: list[ArmRow]
    """By the better encoder: ``vectors`` are tuned after the pretraining."""

    worst: list[ArmRow]
    """By the worse one; tuned without pretraining, at the middle number of shots alone."""


@dataclass(frozen=True, kw_only=True)
class Results:
    """What the stages leave; the fields bear their names."""

    texts: GlossRow
    numbers: NumberRow
    digits: list[ArmRow]
    """R4, episodes of each seed."""

    series: list[ArmRow]
    """R5, of each seed and set."""

    topics: TopicRow
    graphs: list[ArmRow]
    """R8, of each seed."""

    molecules: list[CaptionRow]


def middle(shots: list[int] | tuple[int, ...]) -> int:
    """Four, where that is among the shots; else the most."""
    return 4 if 4 in shots else shots[-1]


def topics(context: Context) -> TopicRow:
    """R2: tuned and pretrained, linear and gated projectors, and another encoder."""
    best, worst = (tasks.topic_tasks(context)[encoder] for encoder in ENCODERS)
    training, pretrained, shots = context.scale.topics, pretrained_projector(context), context.scale.shots
    few = middle(shots)
    row = TopicRow(best=[], worst=[])
    for seed in track(context.seeds, "topics"):
        new_projector = partial(context.new_projector, best.train.vectors, seed=seed)
        linear = tuned(context, best, "topics linear", new_projector, training, seed)
        gated = tuned(context, best, "topics mlp", partial(new_projector, kind="mlp"), training, seed)
        others = {
            PRETRAINED: (pretrained, [few, shots[-1]]),
            LINEAR: (linear.projector, [few]),
            GATED: (gated.projector, [few]),
        }
        trained = tuned(context, best, "topics tuned", lambda: pretrained, training, seed)
        row.best.append(few_shot(context, best, trained, seed, others=others, with_text=True))
        start = partial(context.new_projector, worst.train.vectors, seed=seed)
        hashed = tuned(context, worst, "topics, worse encoder", start, training, seed)
        row.worst.append(few_shot(context, worst, hashed, seed, shots=[few]))
    return row


def digits(context: Context) -> list[ArmRow]:
    """R4: episodes of every seed, beside a projector that was trained with the digits' fixed names."""
    task, scale = tasks.digit_task(), context.scale
    classes = [task.words.index(word) for word in task.train.words]
    vectors, rows = task.train.vectors, []
    train = partial(tune_on_episodes, classes=classes, words=WORDS, template=CLASS, ways=scale.ways)
    for seed in track(context.seeds, "digits in episodes"):
        start = partial(context.new_projector, vectors, seed=seed)
        trained = context.trained(f"digits {seed}", start, vectors, train, scale.digits, seed=seed)
        named = tuned(context, task, "digits, fixed names", start, scale.named_digits, seed)
        rows.append(episode_row(context, task, trained, named.projector, seed=seed))
    return rows


def series(context: Context) -> list[ArmRow]:
    """R5: by seed, the three sets with one projector for all."""
    sets = tasks.series_tasks(context)
    # The training parts of all sets with noisy copies, for one projector.
    part = Part(
        vectors=np.concatenate([jittered(task.train.vectors, _COPIES, context.seed) for task in sets]),
        words=tuple(word for task in sets for _ in range(1 + _COPIES) for word in task.train.words),
    )
    together = ClassTask(name="series", template=CLASS, train=part, test=part)
    rows = []
    for seed in track(context.seeds, "series"):
        start = partial(context.new_projector, part.vectors, seed=seed)
        trained = tuned(context, together, "series", start, context.scale.series, seed)
        reading = context.scale.series_reading
        rows += [few_shot(context, task, trained, seed, with_text=True, reading=reading) for task in sets]
    return rows


def graphs(context: Context) -> list[ArmRow]:
    """R8, of every seed."""
    task, rows = tasks.graph_task(context), []
    for seed in track(context.seeds, "graphs"):
        start = partial(context.new_projector, task.train.vectors, seed=seed)
        rows.append(few_shot(context, task, tuned(context, task, "graphs", start, context.scale.classes, seed), seed))
    return rows


STAGES: dict[str, Callable[[Context], object]] = {
    "texts": text_row,
    "numbers": number_row,
    "digits": digits,
    "series": series,
    "topics": topics,
    "graphs": graphs,
    "molecules": caption_rows,
}
"""In this order: what is needed again is trained first, what is least is last."""
