"""Rows of a user's file with what is asked of them, checked before a model is opened; importable without torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from armillary.data.vector_files import Task, VectorFile, held_out_rows, numbers_of, task_of
from armillary.errors import UsageError
from armillary.methods.vector_icl.config import LEVELS, FitConfig

Targets = Sequence[str | float]
"""Names of classes or texts; numbers where values are asked for."""


@dataclass(frozen=True, eq=False)
class Problem:
    """Rows that were read, what is asked of them, and which are held out."""

    file: VectorFile
    targets: tuple[str, ...]
    task: Task
    why: str
    """How the task was chosen."""

    held_out: list[int]
    training: list[int]

    def vectors(self, rows: Sequence[int]) -> NDArray[np.float64]:
        """Of these rows, ``[n, e]``."""
        return self.file.vectors[list(rows)]

    def answers(self, rows: Sequence[int]) -> Targets:
        """Of these rows, as numbers where the task is to tell values."""
        texts = [self.targets[row] for row in rows]
        return numbers_of(texts) if self.task == "regress" else texts

    def levels(self, config: FitConfig) -> int | None:
        """In how many steps numbers are written; None writes them as they are, which whole ones of 0 or more allow."""
        whole = all(value >= 0 and value == int(value) for value in numbers_of(self.targets))
        return config.levels if config.levels is not None or whole else LEVELS


def problem_of(file: VectorFile, config: FitConfig) -> Problem:
    """What is asked of the rows of a file. UsageError for anything that can't be fitted."""
    targets = file.targets or ()
    task, why = task_of(targets) if config.task == "auto" else (config.task, "as asked for")
    if task == "classify":
        classes = sorted(set(targets))
        if len(classes) < 2:
            raise UsageError(
                f"all {len(targets)} targets are {classes[0]!r}; classes need two different ones or more."
            )
        label_words(classes, None)
    elif config.label_mode == "episodic":
        raise UsageError(f"label mode episodic draws names of classes; the task is {task} ({why}).")
    if task == "regress":
        values = numbers_of(targets, file.separator)
        # With decimal commas the texts of some rows alone would not say that they are.
        targets = tuple(map(repr, values)) if any("," in text for text in targets) else targets
    elif config.levels is not None:
        raise UsageError(f"levels are of numbers; the task is {task} ({why}).")
    held_out = held_out_rows(targets, config.held_out, config.queries, config.seed, of_each=task == "classify")
    training = sorted(set(range(len(targets))) - set(held_out))
    return Problem(file, targets, task, why, held_out, training)


def label_words(classes: Sequence[Any], words: Mapping[Any, str] | None) -> list[str]:
    """The text of each class, beginning with a space: ``words[class]``, or ``str(class)``.

    UsageError where one is missing or empty, or two are the same up to case and spaces.
    """
    missing = [label for label in classes if words is not None and label not in words]
    if missing:
        raise UsageError(f"class {missing[0]!r} has no word; give one for each class.")
    texts = [str(label if words is None else words[label]) for label in classes]
    folded = [text.strip().casefold() for text in texts]
    if not all(folded):
        raise UsageError(f"the word of class {classes[folded.index('')]!r} is empty.")
    twice = next((text for text in folded if folded.count(text) > 1), None)
    if twice is not None:
        raise UsageError(f"two classes have the word {twice!r} (case and spaces don't count); give different words.")
    return [text if text[0].isspace() else f" {text}" for text in texts]
