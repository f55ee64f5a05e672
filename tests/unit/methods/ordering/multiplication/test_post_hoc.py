"""What follows a wrong sum is told apart: the truth, what justifies the sum, or neither."""

import pytest

from armillary.methods.ordering.multiplication.blocks import value
from armillary.methods.ordering.multiplication.layouts import written
from armillary.methods.ordering.multiplication.post_hoc import PostHocCase, agreement, post_hoc_cases
from armillary.methods.ordering.multiplication.world import MultiplicationWorld

WORLD = MultiplicationWorld(2)
PROBLEM = WORLD.problem(47, 86)


def continued(case: PostHocCase, ground: int | None = None) -> list[str]:
    """The true rest, with another number as the ground where one is given."""
    a, b = WORLD.factors(case.problem)
    rest = case.layout.blocks[-case.rest :]
    numbers = [ground if block == case.product and ground is not None else value(block, a, b) for block in rest]
    pairs = zip(rest, numbers, strict=True)
    return [token for block, number in pairs for token in written(block, number, 4, case.layout)[0]]


@pytest.mark.parametrize("order", ["seq", "sumfirst", "revsteps", "answer_first"])
def test_agreement_is_that_of_the_number_written(order: str) -> None:
    cases = post_hoc_cases(WORLD, PROBLEM, order)
    assert cases
    a, b = WORLD.factors(PROBLEM)
    for case in cases:
        assert case.stated != value(case.corrupted, a, b)
        assert agreement(WORLD, case, continued(case)) == "truth"
        truth = value(case.product, a, b)
        # The error of the sum is what a product has to be off by to justify it; in seq to make up for it.
        off = case.stated - value(case.corrupted, a, b)
        own = case.product.index == case.corrupted.index
        assert own is (order in ("sumfirst", "revsteps") or (order == "answer_first" and case.corrupted.index == 1))
        justified = truth + off if own else truth - off
        if 0 <= justified < 10_000:
            assert agreement(WORLD, case, continued(case, justified)) == "conclusion"
        other = (truth + 1) if truth + 1 != justified else truth + 2
        assert agreement(WORLD, case, continued(case, other)) == "neither"
        assert agreement(WORLD, case, continued(case)[:-1]) == "neither"


def test_orders_without_a_product_behind_a_sum_have_no_cases() -> None:
    assert post_hoc_cases(WORLD, PROBLEM, "parts_then_sums") == post_hoc_cases(WORLD, PROBLEM, "noscratch") == []
