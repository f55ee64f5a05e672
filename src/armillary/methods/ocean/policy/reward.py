"""What a chain is worth: how often a reader who has it before them finds the path's end."""

import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from armillary.errors import UsageError
from armillary.graphs.columns import Triple
from armillary.graphs.triples import KnowledgeGraph

if TYPE_CHECKING:
    from armillary.methods.ocean.policy.verbalising import VerbalisedPath

Reader = Callable[[Sequence[tuple[str, str]]], Sequence[str]]
"""Answers to many questions, each with the chain to read: ``reader([(question, chain)]) -> [answer]``."""

MOST_ANSWERS = 10_000
"""Entities at one hop beyond which a path leads nearly anywhere, and an answer tells nothing."""


def right_answers(graph: KnowledgeGraph, facts: Sequence[Triple]) -> tuple[str, ...]:
    """Every entity that the path's relations lead to from its first entity, sorted: relations have many tails.

    Where these are more than ``MOST_ANSWERS`` the path's own end alone.
    """
    here = {facts[0][0]}
    for _, relation, _ in facts:
        here = {tail for head in here for tail in graph.tails(head, relation)}
        if len(here) > MOST_ANSWERS:
            return (facts[-1][2],)
    return tuple(sorted(here))


def is_right(answer: str, accepted: Sequence[str]) -> bool:
    """Whether an answer names one of the accepted entities as a whole word, whatever its case and marks."""
    words = f" {_plain(answer)} "
    return any(f" {_plain(name)} " in words for name in accepted if _plain(name))


def _plain(text: str) -> str:
    letters = unicodedata.normalize("NFKD", text.casefold())
    return " ".join(re.findall(r"\w+", "".join(letter for letter in letters if not unicodedata.combining(letter))))


def consistency(paths: Sequence["VerbalisedPath"], reader: Reader) -> NDArray[np.float64]:
    """``R(h|c)`` of each path: the share of its questions that the reader answers rightly with its chain, 0 to 1.

    UsageError where the reader gives another number of answers than there were questions.
    """
    asked = [(question, " ".join(path.steps)) for path in paths for question in path.questions]
    answers = reader(asked)
    if len(answers) != len(asked):
        raise UsageError(f"the reader gave {len(answers)} answers to {len(asked)} questions.")
    rewards, place = [], 0
    for path in paths:
        own = answers[place : place + len(path.questions)]
        rewards.append(float(np.mean([is_right(answer, path.answers) for answer in own])))
        place += len(path.questions)
    return np.array(rewards)
