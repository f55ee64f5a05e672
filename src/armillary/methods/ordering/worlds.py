"""What a task world offers: problems, their solutions written in any order, and a judge that needs no reference.

[derived] The paper's two tasks are proofs in intuitionistic propositional logic and multiplication by digits; its data
formats could not be read, so both worlds are ours. In a world the orders of one framing are permutations of the same
tokens: whatever differs between two models trained on them is the order alone.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from armillary.methods.ordering.steps import Sample


@dataclass(frozen=True)
class TaskProblem:
    """One problem of a world."""

    key: str
    """The same for problems that differ in nothing that matters (as renamed atoms, commuted factors)."""
    prompt: tuple[str, ...]
    """Tokens of the world's vocabulary."""
    size: int
    """What results are reported by: steps of a proof, digits of a factor."""


@dataclass(frozen=True)
class Written:
    """A solution in one order."""

    prompt: tuple[str, ...]
    completion: tuple[str, ...]
    """Without an end token: training and decoding add their own."""
    parts: tuple[str, ...]
    """What each token of the completion belongs to ("state", "action", "product", "sum", ...)."""


@dataclass(frozen=True)
class Judgement:
    """Whether what a model wrote solves the problem."""

    lenient: bool
    """The answer, or the proof's actions, are right."""
    strict: bool
    """Besides, everything written on the way is."""
    error: str
    """Class of the first thing wrong, "" if ``strict``."""


class World(Protocol):
    """Problems with exact solutions and an exact judge."""

    @property
    def name(self) -> str:
        """As the command line calls it."""

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Every token that prompts and completions are made of, without padding and end."""

    @property
    def orders(self) -> tuple[str, ...]:
        """What ``write`` accepts; "swap:0.25" and the like are listed with the probabilities that are in use."""

    @property
    def addressed(self) -> frozenset[str]:
        """Orders of a framing of its own, in which every step bears its address ("seq@", "bfs", "random").

        "seq@" is "seq" with addresses; an order that cannot be read without them ("bfs") needs no sign.
        """

    def problems(self, count: int, *, seed: int, exclude: Collection[str] = ()) -> list[TaskProblem]:
        """``count`` problems of distinct keys, none in ``exclude``; the same for the same seed."""

    def write(self, problem: TaskProblem, order: str, *, seed: int = 0) -> Written:
        """The solution in this order; the multiset of tokens is the same for all orders of one framing.

        A random order is drawn once a problem, from ``seed`` and the problem's key. UsageError at an unknown order.
        """

    def judge(self, problem: TaskProblem, order: str, emitted: Sequence[str]) -> Judgement:
        """What a model wrote in this order, up to its end token; a text that cannot be read is an error, no raise."""

    def sample(self, problem: TaskProblem, order: str, *, seed: int = 0) -> Sample:
        """The same steps in the same order with their discovery graph, for the metrics of an order."""
