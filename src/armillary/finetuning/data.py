"""The questions of a tuning run: what is learned from, and what each task is tested with before and after."""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from armillary.data.images.emoji import load_emoji
from armillary.data.images.questions import ImageTask, image_examples
from armillary.data.images.synthetic import stand_in_emoji
from armillary.data.images.user_files import ImageQuestion, held_out, image_questions, read_questions
from armillary.errors import UsageError
from armillary.finetuning.config import TuningConfig, TuningData

_DRY_QUESTIONS = 8


@dataclass(frozen=True, kw_only=True)
class TuningQuestions:
    """What a run learns from and is tested with."""

    train: list[ImageQuestion]
    tests: dict[str, list[ImageQuestion]]
    """Task -> questions, the old tasks first and the new one last."""

    sources: list[dict[str, Any]]


def tuning_questions(config: TuningConfig) -> TuningQuestions:
    """The questions of the settings, the same for the same seed. UsageError where files or images are not there."""
    data = config.data
    found = _from_images(config) if data.pictures is not None else _from_files(data, config.seed)
    for task, questions in found.tests.items():
        if len(questions) < 2:
            raise UsageError(f"the task {task!r} has {len(questions)} question to be tested with; it needs 2 or more.")
    if not config.dry_run:
        return found
    few = {task: questions[:_DRY_QUESTIONS] for task, questions in found.tests.items()}
    return TuningQuestions(train=found.train[:_DRY_QUESTIONS], tests=few, sources=found.sources)


def _from_images(config: TuningConfig) -> TuningQuestions:
    data = config.data
    emoji = stand_in_emoji() if config.dry_run else load_emoji()

    def asked(task: str, split: str, limit: int | None) -> list[ImageQuestion]:
        seed = data.code_seed if task == "code" else config.seed
        examples = image_examples(emoji, cast(ImageTask, task), split, limit=limit, seed=seed)
        return image_questions(emoji, examples, task)

    return TuningQuestions(
        train=asked(data.new_task, "train", data.train_limit),
        tests={task: asked(task, "test", data.test_limit) for task in (*data.old_tasks, data.new_task)},
        sources=[source.to_dict() for source in emoji.source],
    )


def _from_files(data: TuningData, seed: int) -> TuningQuestions:
    learned = read_questions(Path(str(data.train)), data.new_task)
    if data.test is not None:
        tested = read_questions(Path(data.test), data.new_task)
    else:
        learned, tested = held_out(learned, Path(str(data.train)))
    old: dict[str, list[ImageQuestion]] = {}
    for name, file in data.keep_files.items():
        for question in read_questions(Path(file), name):
            old.setdefault(question.task, []).append(question)
    if data.new_task in old:
        raise UsageError(f"an old task is called {data.new_task!r} as the new one is; name the new one with target.")
    some = {task: _some(questions, data.test_limit, seed) for task, questions in old.items()}
    return TuningQuestions(
        train=_some(learned, data.train_limit, seed),
        tests={**some, data.new_task: _some(tested, data.test_limit, seed)},
        sources=[
            {"name": f"questions of {Path(file).name}", "licence": "the user's own"} for file in data_files(data)
        ],
    )


def _some(questions: Sequence[ImageQuestion], limit: int | None, seed: int) -> list[ImageQuestion]:
    """At most ``limit``, drawn by the seed and kept in their order."""
    if limit is None or len(questions) <= limit:
        return list(questions)
    chosen = random.Random(f"questions {seed}").sample(range(len(questions)), limit)
    return [questions[place] for place in sorted(chosen)]


def data_files(data: TuningData) -> list[str]:
    """The files that the settings name."""
    return [file for file in (data.train, data.test, *data.keep_files.values()) if file is not None]


def file_digests(data: TuningData) -> dict[str, str]:
    """File -> sha256 of its bytes: a run with another file is another run."""
    return {file: hashlib.sha256(Path(file).read_bytes()).hexdigest() for file in data_files(data)}


def chance(questions: Sequence[ImageQuestion]) -> float:
    """Share that guessing among the choices gets right; 0 for free answers."""
    return sum(1 / len(one.choices) if one.choices else 0.0 for one in questions) / len(questions)
