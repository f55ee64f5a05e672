"""The questions of a tuning run: what is learned from, and what each task is tested with before and after."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from armillary.data.images.emoji import load_emoji
from armillary.data.images.questions import ImageTask, image_examples
from armillary.data.images.synthetic import stand_in_emoji
from armillary.data.images.user_files import ImageQuestion, held_out, image_questions, read_questions
from armillary.data.sources import DataSource
from armillary.errors import UsageError
from armillary.finetuning.config import TuningConfig, TuningData

_DRY_QUESTIONS = 8


@dataclass(frozen=True, kw_only=True)
class TuningQuestions:
    """What a run learns from and is tested with."""

    train: list[ImageQuestion]
    tests: dict[str, list[ImageQuestion]]
    """Task -> questions, the old tasks first and the new one last."""

    sources: tuple[DataSource, ...]


def tuning_questions(config: TuningConfig) -> TuningQuestions:
    """The questions of the settings, the same for the same seed. UsageError where files or images are not there."""
    data = config.data
    questions = _from_images(config) if data.pictures is not None else _from_files(data, config.seed)
    for task, tests in questions.tests.items():
        if len(tests) < 2:
            raise UsageError(f"the task {task!r} has {len(tests)} question to be tested with; it needs 2 or more.")
    if not config.dry_run:
        return questions
    few = {task: tests[:_DRY_QUESTIONS] for task, tests in questions.tests.items()}
    return TuningQuestions(train=questions.train[:_DRY_QUESTIONS], tests=few, sources=questions.sources)


def _from_images(config: TuningConfig) -> TuningQuestions:
    data = config.data
    emoji = stand_in_emoji() if config.dry_run else load_emoji()

    def of_task(task: str, split: str, limit: int | None) -> list[ImageQuestion]:
        seed = data.code_seed if task == "code" else config.seed
        examples = image_examples(emoji, cast(ImageTask, task), split, limit=limit, seed=seed)
        return image_questions(emoji, examples, task)

    return TuningQuestions(
        train=of_task(data.new_task, "train", data.train_limit),
        tests={task: of_task(task, "test", data.test_limit) for task in (*data.old_tasks, data.new_task)},
        sources=emoji.source,
    )


def _from_files(data: TuningData, seed: int) -> TuningQuestions:
    train = read_questions(Path(str(data.train)), data.new_task)
    if data.test is not None:
        test = read_questions(Path(data.test), data.new_task)
    else:
        train, test = held_out(train, Path(str(data.train)))
    old: dict[str, list[ImageQuestion]] = {}
    for name, file in data.keep_files.items():
        for question in read_questions(Path(file), name):
            old.setdefault(question.task, []).append(question)
    if data.new_task in old:
        raise UsageError(f"an old task is called {data.new_task!r} as the new one is; name the new one with target.")
    tests = {**old, data.new_task: test}
    return TuningQuestions(
        train=_some(train, data.train_limit, seed),
        tests={task: _some(questions, data.test_limit, seed) for task, questions in tests.items()},
        sources=tuple(
            DataSource(name=f"questions of {Path(file).name}", package="", version="", licence="the user's own")
            for file in data.files
        ),
    )


def _some(questions: Sequence[ImageQuestion], limit: int | None, seed: int) -> list[ImageQuestion]:
    """At most ``limit``, drawn by the seed and kept in their order."""
    if limit is None or len(questions) <= limit:
        return list(questions)
    chosen = random.Random(f"questions {seed}").sample(range(len(questions)), limit)
    return [questions[index] for index in sorted(chosen)]


def chance(questions: Sequence[ImageQuestion]) -> float:
    """Share that guessing among the choices gets right; 0 for free answers."""
    return sum(1 / len(question.choices) if question.choices else 0.0 for question in questions) / len(questions)
