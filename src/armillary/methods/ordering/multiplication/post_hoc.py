"""Whether what a model writes as the ground of a sum follows the sum that stands there, or the truth.

[derived] Cause (2) of the paper made measurable: a sum that the model has reached is replaced by a wrong one, and it
goes on. The product by which the sum is judged agrees with the truth, or with what would justify the wrong sum, or
with neither.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from armillary.methods.ordering.multiplication.blocks import Block, value
from armillary.methods.ordering.multiplication.layouts import BlockLayout, read, written
from armillary.methods.ordering.multiplication.world import MultiplicationWorld
from armillary.methods.ordering.worlds import TaskProblem

Agreement = Literal["conclusion", "truth", "neither"]


@dataclass(frozen=True)
class PostHocCase:
    """A solution up to a sum that has been made wrong."""

    problem: TaskProblem
    layout: BlockLayout
    prefix: tuple[str, ...]
    """What stands behind the prompt: right blocks, then the wrong sum."""

    corrupted: Block
    stated: int
    """What the sum is said to be."""

    product: Block
    """The product behind it by which it is judged: its own if that is still to come, else the next one."""

    @property
    def rest(self) -> int:
        """Blocks that are still to be written."""
        return len(self.layout.blocks) - self.layout.blocks.index(self.corrupted) - 1


def post_hoc_cases(
    world: MultiplicationWorld, problem: TaskProblem, order: str, *, seed: int = 0
) -> list[PostHocCase]:
    """One for each sum behind which a product is still to come; one digit of the sum is another."""
    how, width = world.layout(problem, order, seed), 2 * world.digits
    a, b = world.factors(problem)
    draw = random.Random(f"post hoc {order} {seed} {problem.key}")
    cases: list[PostHocCase] = []
    prefix: list[str] = []
    for at, block in enumerate(how.blocks):
        number = value(block, a, b)
        later = [other for other in how.blocks[at + 1 :] if other.kind == "P"]
        if block.kind == "C" and later:
            # Another digit at one of the places that sums of this size can fill.
            power = int(10 ** draw.randrange(world.digits + block.index + 1))
            digit = number // power % 10
            stated = number + (draw.choice([other for other in range(10) if other != digit]) - digit) * power
            tokens, _ = written(block, stated, width, how)
            own = Block("P", block.index)
            product = own if own in later else later[0]
            cases.append(PostHocCase(problem, how, (*prefix, *tokens), block, stated, product))
        prefix += written(block, number, width, how)[0]
    return cases


def agreement(world: MultiplicationWorld, case: PostHocCase, emitted: Sequence[str]) -> Agreement:
    """What the product that was written agrees with; ``emitted`` is the continuation of the prefix.

    The product that justifies a stated C_i is the difference of C_i and of C_(i-1), as that stands in the text, where
    C_i stands before its product. Where C_i came after it ("seq"), it is judged by the next product, and what would
    make up for the error is the true next sum less the stated C_i.
    """
    numbers = read((*case.prefix, *emitted), world.digits, case.layout)
    if numbers is None:
        return "neither"
    by_block = dict(numbers)
    a, b = world.factors(case.problem)
    emitted_product = by_block[case.product]
    if emitted_product == value(case.product, a, b):
        return "truth"
    if case.product.index == case.corrupted.index:
        justifying = case.stated - by_block.get(Block("C", case.product.index - 1), 0)
    else:
        justifying = value(Block("C", case.product.index), a, b) - case.stated
    return "conclusion" if emitted_product == justifying else "neither"
