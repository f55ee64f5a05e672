"""The classification rows of the Vector-ICL reproduction: topics, digits, series, emoji, graphs, tables, scans.

Every function gives plain JSON data.
"""

from functools import partial

import numpy as np

from armillary.experiments.vector_icl_classes import Asked, few_shot, logistic, tuned
from armillary.experiments.vector_icl_episodes import episode_projector, episode_rows
from armillary.experiments.vector_icl_lab import Laboratory, Payload
from armillary.experiments.vector_icl_scale import ENCODERS
from armillary.experiments.vector_icl_series import jittered
from armillary.experiments.vector_icl_tasks import (
    ClassTask,
    Part,
    brain_task,
    digit_task,
    emoji_task,
    graph_task,
    series_tasks,
    table_task,
    topic_tasks,
)
from armillary.experiments.vector_icl_texts import pretrained_projector
from armillary.progress import track

_COPIES = 4
"""Noisy copies of each training series: there are few."""


def middle(shots: tuple[int, ...]) -> int:
    """Four, where that is among the shots; else the most."""
    return 4 if 4 in shots else shots[-1]


def topics(lab: Laboratory) -> Payload:
    """R2: tuned and pretrained, linear and gated projectors, and four encoders."""
    tasks = topic_tasks(lab)
    task = tasks[ENCODERS[0]]
    pretrained = pretrained_projector(lab)
    training = lab.scale.topics
    own = {
        "linear": tuned(lab, task, "topics linear", lambda: lab.new_projector(task.train.vectors), training),
        "mlp": tuned(lab, task, "topics mlp", lambda: lab.new_projector(task.train.vectors, kind="mlp"), training),
    }
    rows = few_shot(
        lab,
        task,
        tuned(lab, task, "topics tuned", lambda: pretrained, training),
        others={"pretrained": pretrained, **own},
        soft=tuned(lab, task, "topics soft", lab.soft_prompt, training, same=True),
    )
    encoders = {name: _encoder(lab, name, one) for name, one in tasks.items()}
    return {**rows, "encoders": encoders}


def _encoder(lab: Laboratory, name: str, task: ClassTask) -> dict[str, list[int]]:
    """Predictions at the middle number of shots, and those of a logistic regression on all training vectors."""
    shared = "topics linear" if name == ENCODERS[0] else f"topics linear, {name}"
    projector = tuned(lab, task, shared, lambda: lab.new_projector(task.train.vectors), lab.scale.topics)
    asked = Asked.of(lab, task, lab.seed)
    carriers = asked.carriers(projector)
    return {
        "predicted": asked.predicted(*carriers, middle(lab.scale.shots)),
        "probe": logistic(task.train.vectors, task.train.words, asked),
    }


def digits(lab: Laboratory) -> Payload:
    """R4: episodes of every seed; and a projector trained with the digits' fixed names."""
    task = digit_task(lab)
    scale = lab.scale
    classes = [task.words.index(word) for word in task.train.words]
    episodes = []
    for seed in track(_seeds(lab), "digits in episodes"):
        projector = episode_projector(
            lab, f"digits {seed}", task.train.vectors, classes, scale.ways, scale.digits, seed
        )
        episodes.append(episode_rows(lab, task, projector, ways=scale.ways, seed=seed, with_text=seed == lab.seed))
    fixed = tuned(lab, task, "digits fixed", lambda: lab.new_projector(task.train.vectors), scale.digits)
    return {"episodes": episodes, "fixed": few_shot(lab, task, fixed, with_text=False)}


def series(lab: Laboratory) -> Payload:
    """R5: by seed, the three sets with fixed names (one projector for all) and in episodes."""
    tasks = series_tasks(lab)
    together = _together(lab, tasks)
    classes = [together.words.index(word) for word in together.train.words]
    sets = [place for place, task in enumerate(tasks) for _ in range((1 + _COPIES) * len(task.train))]
    found: Payload = {"fixed": [], "episodes": []}
    for seed in track(_seeds(lab), "series"):
        fixed = tuned(
            lab,
            together,
            f"series fixed {seed}",
            partial(lab.new_projector, together.train.vectors, seed=seed),
            lab.scale.series,
            seed=seed,
        )
        ways = max(len(task.words) for task in tasks)
        episodic = episode_projector(
            lab, f"series {seed}", together.train.vectors, classes, ways, lab.scale.series, seed, sets=sets
        )
        for task in tasks:
            found["fixed"].append(few_shot(lab, task, fixed, with_text=seed == lab.seed, seed=seed))
            found["episodes"].append(
                episode_rows(lab, task, episodic, ways=len(task.words), seed=seed, with_text=seed == lab.seed)
            )
    return found


def _together(lab: Laboratory, tasks: list[ClassTask]) -> ClassTask:
    """The training parts of all sets with noisy copies, for one projector."""
    vectors = np.concatenate([jittered(task.train.vectors, _COPIES, lab.seed) for task in tasks])
    words = tuple(word for task in tasks for _ in range(1 + _COPIES) for word in task.train.words)
    part = Part(vectors=vectors, words=words)
    return ClassTask(name="series", what="class", train=part, test=part)


def emoji(lab: Laboratory) -> Payload:
    """R7."""
    return _plain(lab, emoji_task(lab))


def graphs(lab: Laboratory) -> Payload:
    """R8."""
    return _plain(lab, graph_task(lab))


def brain(lab: Laboratory) -> Payload:
    """Beside R9, whose signals are simulated: a scan."""
    return _plain(lab, brain_task(lab))


def tables(lab: Laboratory) -> Payload:
    """R10."""
    return _plain(lab, table_task(lab))


def _plain(lab: Laboratory, task: ClassTask) -> Payload:
    start = partial(lab.new_projector, task.train.vectors)
    return few_shot(lab, task, tuned(lab, task, f"{task.name} tuned", start, lab.scale.classes))


def _seeds(lab: Laboratory) -> list[int]:
    return [lab.seed + offset for offset in range(lab.scale.seeds)]
