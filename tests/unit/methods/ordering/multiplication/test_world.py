"""Multiplications read back to their product in every order, and their tokens are the same (U2, U8)."""

import random
from collections import Counter

import pytest

from armillary.errors import UsageError
from armillary.methods.ordering.measures import metrics
from armillary.methods.ordering.multiplication.blocks import Block, blocks, value
from armillary.methods.ordering.multiplication.layouts import ADDRESSED, ORDERS, layout, read
from armillary.methods.ordering.multiplication.world import MultiplicationWorld, turned

WORLD = MultiplicationWorld(3)
PROBLEMS = WORLD.problems(20, seed=0)


@pytest.mark.parametrize("order", ORDERS)
def test_text_reads_back_to_the_product_and_is_judged_right(order: str) -> None:
    for problem in PROBLEMS:
        a, b = WORLD.factors(problem)
        written = WORLD.write(problem, order, seed=3)
        numbers = read(written.completion, 3, WORLD.layout(problem, order, 3))
        assert numbers is not None and dict(numbers)[Block("C", 2)] == a * b
        assert all(number == value(block, a, b) for block, number in numbers)
        assert len(written.parts) == len(written.completion)
        assert WORLD.judge(problem, order, written.completion).strict, "an oracle solves everything"
        wrong = WORLD.write(PROBLEMS[0] if problem is not PROBLEMS[0] else PROBLEMS[1], order, seed=3)
        assert not WORLD.judge(problem, order, wrong.completion).lenient


def test_sums_and_products_are_those_of_arithmetic() -> None:
    draw = random.Random(0)
    for _ in range(50):
        a, b = draw.randrange(1000), draw.randrange(1000)
        products = [value(Block("P", index), a, b) for index in range(3)]
        assert products == [a * int(digit) * 10**place for place, digit in enumerate(f"{b:03d}"[::-1])]
        assert [value(Block("C", index), a, b) for index in range(3)] == [sum(products[: n + 1]) for n in range(3)]


def test_orders_of_one_framing_are_the_same_tokens() -> None:
    for problem in PROBLEMS:
        for addressed in (False, True):
            orders = [order for order in ORDERS if (order in ADDRESSED) is addressed and order != "noscratch"]
            texts = [Counter(WORLD.write(problem, order, seed=1).completion) for order in orders]
            assert all(text == texts[0] for text in texts) and len(orders) > 1


def test_violations_are_none_where_support_stands_left() -> None:
    def vf(order: str) -> float:
        measured = metrics(WORLD.sample(PROBLEMS[0], order)).vf
        assert measured is not None
        return measured

    assert vf("seq") == vf("parts_then_sums") == vf("seq@") == 0
    assert min(vf("msb"), vf("shuffle")) > 0
    assert vf("sumfirst") < vf("revsteps")
    # Of revsteps all edges between numbers point to the right, and only those within a number to the left.
    edges = sum(len(step.deps) for step in WORLD.sample(PROBLEMS[0], "seq").steps)
    within = 5 * len(blocks(3))
    assert vf("revsteps") == pytest.approx((edges - within) / edges)


def test_a_pair_is_on_one_side_whatever_the_order_of_its_factors() -> None:
    small = MultiplicationWorld(1)
    test = small.problems(20, seed=0)
    train = small.problems(25, seed=1, exclude={problem.key for problem in test})
    assert len({problem.key for problem in (*test, *train)}) == 45, "all pairs of digits from 1 to 9"
    assert {turned(small, problem).key for problem in test} == {problem.key for problem in test}
    assert small.factors(turned(small, test[0])) == small.factors(test[0])[::-1]
    with pytest.raises(UsageError, match="45 pairs"):
        small.problems(26, seed=1, exclude={problem.key for problem in test})


def test_what_is_no_solution_is_told_by_its_class() -> None:
    problem = WORLD.problem(123, 456)
    right = list(WORLD.write(problem, "seq").completion)
    product, total = list(right), list(right)
    product[1] = str((int(product[1]) + 1) % 10)
    total[-2] = "9" if total[-2] != "9" else "8"
    assert WORLD.judge(problem, "seq", product) == WORLD.judge(problem, "seq", product).__class__(
        lenient=True, strict=False, error="wrong product"
    )
    assert WORLD.judge(problem, "seq", total).error == "wrong sum" and not WORLD.judge(problem, "seq", total).lenient
    for text in ([], right[:-1], [*right, "+"], right[1:], ["#0", *right], ["("] * len(right)):
        assert WORLD.judge(problem, "seq", text).error == "unreadable"
        assert WORLD.judge(problem, "seq@", text).error == "unreadable"
    twice = list(WORLD.write(problem, "seq@").completion)
    half = len(twice) // 6 * 2
    assert WORLD.judge(problem, "seq@", [*twice[:half], *twice[:half], *twice[half * 2 :]]).error == "unreadable"


def test_unknown_orders_and_sizes_are_refused_in_one_sentence() -> None:
    with pytest.raises(UsageError, match="no order 'bfs'"):
        WORLD.write(PROBLEMS[0], "bfs")
    with pytest.raises(UsageError, match="1 to 6"):
        MultiplicationWorld(7)
    assert layout("seq", 2, random.Random(0)).blocks == tuple(blocks(2))
