"""The stages of the Vector-ICL reproduction by name, one a row of the specification, and what each leaves."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from armillary.methods.vector_icl.config import CLASS
from armillary.methods.vector_icl.projector_fit import tune_on_episodes
from armillary.progress import track
from reproductions.vector_icl import tasks
from reproductions.vector_icl.captions import CaptionRow, caption_row
from reproductions.vector_icl.carrier import ArmRow
from reproductions.vector_icl.data.series import jittered
from reproductions.vector_icl.episodes import WORDS, episode_row
from reproductions.vector_icl.few_shot import FewShotTask, few_shot, tuned
from reproductions.vector_icl.numbers import NumberRow, number_row
from reproductions.vector_icl.scale import ENCODERS
from reproductions.vector_icl.setup import Context
from reproductions.vector_icl.tasks import ClassTask, Part
from reproductions.vector_icl.texts import GlossRow, SignalRow, pretrained_projector, signal_row, text_row

_COPIES = 4
"""Noisy copies of each training series: there are few."""


@dataclass(frozen=True, kw_only=True)
class TopicRow:
    """R2."""

    few_shot: ArmRow
    encoders: dict[str, list[float]]
    """Encoder -> scores of Vector-ICL at the middle number of shots."""

    probes: dict[str, list[float]]
    """Encoder -> scores of a logistic regression on all training vectors."""


@dataclass(frozen=True, kw_only=True)
class DigitRow:
    """R4."""

    episodes: list[ArmRow]
    """Of each seed."""

    fixed: ArmRow
    """With a projector that was trained with the digits' fixed names."""


@dataclass(frozen=True, kw_only=True)
class SeriesRow:
    """R5: of each seed and set."""

    fixed: list[ArmRow]
    episodes: list[ArmRow]


@dataclass(frozen=True, kw_only=True)
class Results:
    """What the stages leave; the fields bear their names."""

    texts: GlossRow
    topics: TopicRow
    digits: DigitRow
    series: SeriesRow
    molecules: CaptionRow
    numbers: NumberRow
    tables: ArmRow
    graphs: ArmRow
    emoji: ArmRow
    signals: SignalRow
    brain: ArmRow


def middle(shots: list[int] | tuple[int, ...]) -> int:
    """Four, where that is among the shots; else the most."""
    return 4 if 4 in shots else shots[-1]


def topics(context: Context) -> TopicRow:
    """R2: tuned and pretrained, linear and gated projectors, and four encoders."""
    by_encoder = tasks.topic_tasks(context)
    task, training = by_encoder[ENCODERS[0]], context.scale.topics
    pretrained = pretrained_projector(context)
    new_projector = partial(context.new_projector, task.train.vectors)
    linear = tuned(context, task, "topics linear", new_projector, training)
    gated = tuned(context, task, "topics mlp", partial(new_projector, kind="mlp"), training)
    row = few_shot(
        context,
        task,
        tuned(context, task, "topics tuned", lambda: pretrained, training),
        others={"pretrained": pretrained, "linear": linear, "mlp": gated},
        soft=tuned(context, task, "topics soft", context.soft_prompt, training, soft=True),
    )
    encoders, probes = {}, {}
    for name, encoded in by_encoder.items():
        shared = "topics linear" if name == ENCODERS[0] else f"topics linear, {name}"
        start = partial(context.new_projector, encoded.train.vectors)
        few = FewShotTask.of(context, encoded, context.seed)
        pair = few.by_vectors(tuned(context, encoded, shared, start, training))
        encoders[name] = few.asked(pair, middle(context.scale.shots))
        probes[name] = few.by_logistic(encoded.train.vectors, encoded.train.words)
    return TopicRow(few_shot=row, encoders=encoders, probes=probes)


def digits(context: Context) -> DigitRow:
    """R4: episodes of every seed; and a projector trained with the digits' fixed names."""
    task, scale = tasks.digit_task(), context.scale
    classes = [task.words.index(word) for word in task.train.words]
    vectors, episodes = task.train.vectors, []
    train = partial(tune_on_episodes, classes=classes, words=WORDS, template=CLASS, ways=scale.ways)
    for seed in track(context.seeds, "digits in episodes"):
        start = partial(context.new_projector, vectors, seed=seed)
        projector = context.trained(f"digits {seed}", start, vectors, train, scale.digits, seed=seed)
        with_text = seed == context.seed
        episodes.append(episode_row(context, task, projector, ways=scale.ways, seed=seed, with_text=with_text))
    fixed = tuned(context, task, "digits fixed", partial(context.new_projector, vectors), scale.digits)
    return DigitRow(episodes=episodes, fixed=few_shot(context, task, fixed, with_text=False))


def series(context: Context) -> SeriesRow:
    """R5: by seed, the three sets with fixed names (one projector for all) and in episodes."""
    sets = tasks.series_tasks(context)
    # The training parts of all sets with noisy copies, for one projector.
    part = Part(
        vectors=np.concatenate([jittered(task.train.vectors, _COPIES, context.seed) for task in sets]),
        words=tuple(word for task in sets for _ in range(1 + _COPIES) for word in task.train.words),
    )
    together = ClassTask(name="series", template=CLASS, train=part, test=part)
    classes = [together.words.index(word) for word in part.words]
    set_of = [number for number, task in enumerate(sets) for _ in range((1 + _COPIES) * len(task.train))]
    ways, training = max(len(task.words) for task in sets), context.scale.series
    train = partial(tune_on_episodes, classes=classes, words=WORDS, template=CLASS, ways=ways, sets=set_of)
    row = SeriesRow(fixed=[], episodes=[])
    for seed in track(context.seeds, "series"):
        start = partial(context.new_projector, part.vectors, seed=seed)
        fixed = tuned(context, together, f"series fixed {seed}", start, training, seed=seed)
        episodic = context.trained(f"series {seed}", start, part.vectors, train, training, seed=seed)
        with_text = seed == context.seed
        for task in sets:
            row.fixed.append(few_shot(context, task, fixed, with_text=with_text, seed=seed))
            row.episodes.append(
                episode_row(context, task, episodic, ways=len(task.words), seed=seed, with_text=with_text)
            )
    return row


def _tuned_row(context: Context, task: ClassTask) -> ArmRow:
    """A projector tuned on the task, asked few-shot."""
    start = partial(context.new_projector, task.train.vectors)
    return few_shot(context, task, tuned(context, task, f"{task.name} tuned", start, context.scale.classes))


STAGES: dict[str, Callable[[Context], object]] = {
    "texts": text_row,
    "topics": topics,
    "digits": digits,
    "series": series,
    "molecules": caption_row,
    "numbers": number_row,
    "tables": lambda context: _tuned_row(context, tasks.table_task()),
    "graphs": lambda context: _tuned_row(context, tasks.graph_task(context)),
    "emoji": lambda context: _tuned_row(context, tasks.emoji_task(context)),
    "signals": signal_row,
    "brain": lambda context: _tuned_row(context, tasks.brain_task(context)),
}
"""In this order: what is needed again is trained first, what is least is last."""
