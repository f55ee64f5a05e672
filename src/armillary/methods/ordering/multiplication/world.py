"""Multiplication as a world: pairs of factors, split so that no pair is on both sides in the other order."""

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from armillary.errors import UsageError
from armillary.methods.ordering.multiplication.blocks import Block, digit_name, digits_of, found_from, value
from armillary.methods.ordering.multiplication.layouts import (
    ADDRESSED,
    MOST_DIGITS,
    ORDERS,
    VOCABULARY,
    BlockLayout,
    layout,
    read,
    solution,
)
from armillary.methods.ordering.steps import Sample, Step
from armillary.methods.ordering.worlds import Judgement, TaskProblem, Written


@dataclass(frozen=True)
class MultiplicationWorld:
    """Two factors of ``digits`` digits, the first of which is never 0. UsageError below 1 digit or above 6."""

    digits: int = 2

    def __post_init__(self) -> None:
        if not 1 <= self.digits <= MOST_DIGITS:
            raise UsageError(f"digits must be 1 to {MOST_DIGITS}, got {self.digits}.")

    @property
    def name(self) -> str:
        """As the command line calls it."""
        return "multiplication"

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Digits, marks and addresses."""
        return VOCABULARY

    @property
    def orders(self) -> tuple[str, ...]:
        """See ``layouts``."""
        return ORDERS

    @property
    def addressed(self) -> frozenset[str]:
        """Orders whose blocks bear their index."""
        return ADDRESSED

    def problems(self, count: int, *, seed: int, exclude: Collection[str] = ()) -> list[TaskProblem]:
        """``count`` pairs, each in one of its two orders. UsageError where there are not as many pairs.

        The key is the unordered pair: 12 * 34 is no new problem where 34 * 12 was learned.
        """
        least, most = 10 ** (self.digits - 1), 10**self.digits - 1
        numbers = most - least + 1
        there_are = numbers * (numbers + 1) // 2
        excluded = set(exclude)
        if count > there_are - len(excluded):
            raise UsageError(
                f"there are {there_are:,} pairs of {self.digits}-digit factors, {len(excluded):,} of them excluded; "
                f"{count:,} were asked for."
            )
        draw = random.Random(f"multiplication {self.digits} {seed}")
        made: list[TaskProblem] = []
        if 2 * (count + len(excluded)) > there_are:  # most of all: dealt, since draws would mostly repeat
            pairs = [(a, b) for a in range(least, most + 1) for b in range(a, most + 1)]
            draw.shuffle(pairs)
            for a, b in pairs:
                problem = self.problem(*((a, b) if draw.random() < 0.5 else (b, a)))
                if problem.key not in excluded and len(made) < count:
                    made.append(problem)
            return made
        while len(made) < count:
            problem = self.problem(draw.randint(least, most), draw.randint(least, most))
            if problem.key not in excluded:
                excluded.add(problem.key)
                made.append(problem)
        return made

    def problem(self, a: int, b: int) -> TaskProblem:
        """``a * b``."""
        tokens = [*map(str, digits_of(a, self.digits)), "*", *map(str, digits_of(b, self.digits)), "="]
        return TaskProblem(key=f"{min(a, b)}*{max(a, b)}", prompt=tuple(tokens), size=self.digits)

    def factors(self, problem: TaskProblem) -> tuple[int, int]:
        """``a`` and ``b`` of the prompt."""
        n = self.digits
        first, second = problem.prompt[:n], problem.prompt[n + 1 : 2 * n + 1]
        return int("".join(reversed(first))), int("".join(reversed(second)))

    def layout(self, problem: TaskProblem, order: str, seed: int = 0) -> BlockLayout:
        """How the problem's blocks are written in this order."""
        return layout(order, self.digits, random.Random(f"{order} {seed} {problem.key}"))

    def write(self, problem: TaskProblem, order: str, *, seed: int = 0) -> Written:
        """The blocks in this order; all orders but "noscratch" are the same tokens within their framing."""
        tokens, parts = solution(*self.factors(problem), self.digits, self.layout(problem, order, seed))
        return Written(problem.prompt, tuple(tokens), tuple(parts))

    def judge(self, problem: TaskProblem, order: str, emitted: Sequence[str]) -> Judgement:
        """Lenient: the answer is right. Strict: every block is. The first block that is wrong names the error."""
        # With addresses any order of the blocks is read, so that it does not matter which one was drawn.
        numbers = read(emitted, self.digits, self.layout(problem, order))
        if numbers is None:
            return Judgement(lenient=False, strict=False, error="unreadable")
        a, b = self.factors(problem)
        wrong = [block for block, number in numbers if number != value(block, a, b)]
        answer = Block("C", self.digits - 1)
        errors = {"P": "wrong product", "C": "wrong sum"}
        return Judgement(lenient=answer not in wrong, strict=not wrong, error=errors[wrong[0].kind] if wrong else "")

    def sample(self, problem: TaskProblem, order: str, *, seed: int = 0) -> Sample:
        """Digits as steps, each with the digits it is found from."""
        how = self.layout(problem, order, seed)
        a, b = self.factors(problem)
        width, steps = 2 * self.digits, []
        for block in how.blocks:
            digits = digits_of(value(block, a, b), width)
            for place in how.places(width):
                support = tuple(digit_name(*digit) for digit in found_from(block, place) if digit[0] in how.blocks)
                kind = "product" if block.kind == "P" else "sum"
                step = Step(id=digit_name(block, place), text=str(digits[place]), kind=kind, deps=support)
                steps.append(step)
        return Sample(prompt=" ".join(problem.prompt), steps=tuple(steps), key=problem.key)


def turned(world: MultiplicationWorld, problem: TaskProblem) -> TaskProblem:
    """The same factors in the other order, under the same key."""
    a, b = world.factors(problem)
    return world.problem(b, a)
