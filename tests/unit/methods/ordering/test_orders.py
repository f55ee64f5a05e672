"""Orders against trees and chains whose orders are known, and against all permutations of small graphs."""

import random
from collections.abc import Sequence
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from armillary.errors import UsageError
from armillary.methods.ordering.measures import find_order_issues, metrics, violations
from armillary.methods.ordering.orders import ORDERS, order, permutation
from armillary.methods.ordering.steps import Sample, Step


def made(edges: Sequence[tuple[int, int]], count: int, *, logical: bool = False) -> Sample:
    """Steps "0" to count - 1 and edges (support, step); ``logical`` turns them round for the logical graph."""
    deps = {at: tuple(str(support) for support, step in edges if step == at) for at in range(count)}
    premises = {at: tuple(str(step) for support, step in edges if support == at) for at in range(count)}
    return Sample("goal", tuple(
        Step(str(at), f"text {at}", deps=deps[at], premises=premises[at] if logical else None) for at in range(count)
    ))  # fmt: skip


def ids(sample: Sample) -> str:
    return " ".join(step.id for step in sample.steps)


def moved(sample: Sample, places: Sequence[int]) -> Sample:
    return order(sample, lambda _: places)


TREE = made([(0, 1), (1, 2), (1, 3), (0, 4), (4, 5)], 6, logical=True)
"""0 over 1 and 4, 1 over 2 and 3, 4 over 5: written in preorder."""


def test_a_tree_in_every_named_order() -> None:
    wanted = {"seq": "0 1 2 3 4 5", "bfs": "0 1 4 2 3 5", "logical": "2 3 1 5 4 0", "reversed": "5 4 3 2 1 0"}
    assert {name: ids(order(TREE, name)) for name in wanted} == wanted
    # The proof that is written as a verifier reads it comes back in preorder, children in their order.
    assert ids(order(order(TREE, "logical"), "seq")) == "0 1 2 3 4 5"
    assert [metrics(order(TREE, name)).vf for name in wanted] == [0, 0, 1, 1]
    assert [metrics(order(TREE, name), "logical").vf for name in wanted] == [1, 1, 0, 0]


def test_a_chain_reversed_violates_every_edge() -> None:
    chain = made([(at, at + 1) for at in range(7)], 8, logical=True)
    for name in ("reversed", "logical"):
        measured = metrics(order(chain, name), canonical=[step.id for step in chain.steps])
        assert (measured.vf, measured.wvf, measured.lag, measured.tau) == (1, 1, 1 / 7, -1)
    assert metrics(order(chain, "bfs")).vf == 0


def test_random_orders_violate_half_of_the_edges() -> None:
    values = [metrics(order(TREE, "random", seed=seed)).vf or 0.0 for seed in range(2000)]
    # The share of one tree has a standard deviation below 0.3, so that 0.03 is more than four standard errors.
    assert abs(sum(values) / len(values) - 0.5) < 0.03
    orders = {ids(order(TREE, "random", seed=seed)) for seed in range(2000)}
    assert len(orders) > 600  # of 720


def test_swaps_grow_from_none_to_a_random_order() -> None:
    assert order(TREE, "swap:0") == TREE

    def mean(share: str) -> float:
        return sum(metrics(order(TREE, f"swap:{share}", seed=seed)).vf or 0.0 for seed in range(400)) / 400

    rising = [mean(share) for share in ("0", "0.1", "0.25", "0.5", "1")]
    assert rising == sorted(rising) and rising[0] == 0 and abs(rising[-1] - 0.5) < 0.06


graphs = st.integers(1, 6).flatmap(
    lambda count: st.tuples(
        st.just(count),
        st.lists(
            st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)).filter(lambda edge: edge[0] < edge[1])
        ),
        st.permutations(range(count)),
    )
)


@settings(max_examples=60, deadline=None)
@given(graphs)
@pytest.mark.filterwarnings("ignore:a sample has no dependencies")
def test_every_order_of_every_small_graph(graph: tuple[int, list[tuple[int, int]], list[int]]) -> None:
    count, edges, places = graph
    sample = moved(made(edges, count, logical=True), places)
    linear = {
        line for line in permutations(range(count))
        if all(line.index(sample_at) < line.index(step_at) for sample_at, step_at in sample.edges())
    }  # fmt: skip
    assert tuple(permutation(sample, "seq")) in linear
    assert tuple(permutation(sample, "bfs")) in linear
    assert violations(order(sample, "logical"), "logical") == []
    # A sample that is in order stays as it is.
    assert order(order(sample, "seq"), "seq") == order(sample, "seq")
    for name in (*ORDERS[:-1], "swap:0.5"):
        assert sorted(permutation(sample, name)) == list(range(count))
    issues = [(step.id, support.id) for step, support in find_order_issues(sample)]
    assert (issues == []) == (tuple(range(count)) in linear)
    assert len(issues) == (metrics(sample).vf or 0) * len(list(sample.edges()))


def test_a_long_chain_is_no_recursion() -> None:
    count = 5000
    backwards = moved(made([], 0), []) if not count else Sample("", tuple(
        Step(str(at), "", deps=(str(at + 1),) if at + 1 < count else ()) for at in range(count)
    ))  # fmt: skip
    assert [step.id for step in order(backwards).steps] == [str(at) for at in reversed(range(count))]


def test_what_is_drawn_depends_on_seed_and_key_alone() -> None:
    named = Sample("p", TREE.steps, key="row 7")
    assert order(named, "random", seed=1) == order(named, "random", seed=1)
    random.seed(3)
    assert order(named, "random", seed=1) == order(named, "random", seed=1)
    others = {ids(order(Sample("p", TREE.steps, key=f"row {at}"), "random", seed=1)) for at in range(40)}
    assert len(others) > 30
    # The key and not the prompt decides, so that the same rows in another prompt keep their order.
    assert ids(order(Sample("q", TREE.steps, key="row 7"), "random")) == ids(order(named, "random"))


def test_bad_samples_are_told_in_one_sentence() -> None:
    with pytest.raises(UsageError, match=r"two steps of sample 'k' have the id 'a'; each step needs an id of its own"):
        Sample("", (Step("a", ""), Step("a", "")), key="k")
    with pytest.raises(UsageError, match="step 'a' depends on 'z', which is no step of its sample"):
        Sample("", (Step("a", "", deps=("z",)),))
    circle = "the steps 'b' <- 'c' <- 'd' <- 'b' depend on one another in a circle"
    with pytest.raises(UsageError, match=circle):
        Sample("", (Step("a", ""), Step("b", "", deps=("a", "c")), Step("c", "", deps=("d",)),
                    Step("d", "", deps=("b",))))  # fmt: skip
    with pytest.raises(UsageError, match="'a' <- 'a' depend on one another"):
        Sample("", (Step("a", "", premises=("a",)),))
    with pytest.raises(UsageError, match="must be lists of ids, got 'bc'"):
        Step("a", "", deps="bc")  # type: ignore[arg-type]
    for steps in ("abc", None, iter([Step("a", "")])):
        with pytest.raises(UsageError, match="the steps must be a tuple of Steps, got"):
            Sample("", steps)  # type: ignore[arg-type]


def test_bad_orders_are_told_in_one_sentence() -> None:
    for given_name in ("alphabetical", "seq:2", "swap"):
        with pytest.raises(UsageError, match=f"no order '{given_name}'; accepted are seq, bfs, logical"):
            order(TREE, given_name)
    for given_name in ("swap:2", "swap:x", "swap:nan"):
        with pytest.raises(UsageError, match=f"'{given_name}' needs a number from 0 to 1"):
            order(TREE, given_name)
    returned: tuple[Any, ...] = ([0, 1], None, 5, ["a", 1, 2, 3, 4, 5], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0], TREE.steps)
    for value in returned:
        with pytest.raises(UsageError, match="each position from 0 to 5 once, it returned"):
            order(TREE, {TREE: value}.__getitem__)
    for wrong in (None, 3):
        with pytest.raises(UsageError, match=f"no order {wrong}; accepted are seq"):
            order(TREE, wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no graph 'logic'; accepted are discovery and logical"):
        metrics(TREE, "logic")  # type: ignore[arg-type]


def test_without_steps_or_dependencies() -> None:
    empty = Sample("p", ())
    for name in (*ORDERS[:-1], "swap:1"):
        assert order(empty, name) == empty
    assert metrics(empty) == metrics(Sample("p", (Step("a", "x"),)))
    assert metrics(empty).vf is None and metrics(empty).tau is None
    free = Sample("p", (Step("a", "x"), Step("b", "y")))
    with pytest.warns(UserWarning, match="no dependencies between its steps, so that every order of it is sequential"):
        assert order(free, "seq") == free
    assert metrics(free).vf is None and metrics(free).tau == 1
