"""What a chain is worth: how often a reader who has it before them finds the path's end."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from armillary.errors import UsageError
from armillary.methods.ocean.policy.answers import is_right
from armillary.methods.ocean.policy.verbalising import VerbalisedPath

Reader = Callable[[Sequence[tuple[str, str]]], Sequence[str]]
"""Answers to many questions, each with the chain to read: ``reader([(question, chain)]) -> [answer]``."""


def consistency(paths: Sequence[VerbalisedPath], reader: Reader) -> NDArray[np.float64]:
    """``R(h|c)`` of each path: the share of its questions that the reader answers rightly with its chain, 0 to 1.

    UsageError where the reader gives another number of answers than there were questions.
    """
    pairs = [(question, " ".join(path.steps)) for path in paths for question in path.questions]
    answers = reader(pairs)
    if len(answers) != len(pairs):
        raise UsageError(f"the reader gave {len(answers)} answers to {len(pairs)} questions.")
    rewards, place = [], 0
    for path in paths:
        own = answers[place : place + len(path.questions)]
        rewards.append(float(np.mean([is_right(answer, path.answers) for answer in own])))
        place += len(path.questions)
    return np.array(rewards)
