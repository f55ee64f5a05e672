"""Metrics against their definitions, enumerated pair by pair."""

from dataclasses import replace
from itertools import combinations, permutations

import pytest
from scipy.stats import kendalltau

from armillary.errors import UsageError
from armillary.methods.ordering.measures import metrics
from armillary.methods.ordering.orders import order
from armillary.methods.ordering.steps import Sample, Step

STEPS = (
    Step("a", "one"),
    Step("b", "one two three", deps=("a",)),
    Step("c", "", deps=("a", "b", "a")),
    Step("d", "one two", deps=("b",)),
    Step("e", "x", deps=("c", "d", "b")),
)
SAMPLE = Sample("p", STEPS)
EDGES = [("a", "b"), ("a", "c"), ("b", "c"), ("b", "d"), ("c", "e"), ("d", "e"), ("b", "e")]
"""Each edge once, though c names a twice."""


def test_all_orders_of_five_steps_by_enumeration() -> None:
    words = {"a": 1, "b": 3, "c": 0, "d": 2, "e": 1}
    for line in permutations("abcde"):
        written = replace(SAMPLE, steps=tuple(STEPS["abcde".index(name)] for name in line))
        right = [(u, v) for u, v in EDGES if line.index(u) > line.index(v)]
        measured = metrics(written, canonical="abcde")
        assert measured.vf == len(right) / 7
        assert measured.wvf == pytest.approx(sum(words[u] for u, _ in right) / sum(words[u] for u, _ in EDGES))
        assert measured.lag == pytest.approx(sum(line.index(u) - line.index(v) for u, v in right) / 7 / 4)
        agree = sum(1 if line.index(u) < line.index(v) else -1 for u, v in combinations("abcde", 2))
        assert measured.tau == pytest.approx(agree / 10)
        assert measured.tau == pytest.approx(kendalltau([line.index(name) for name in "abcde"], range(5)).statistic)
        # By default the order is compared with the nearest sequential one.
        own = [step.id for step in order(written, "seq").steps]
        assert metrics(written).tau == metrics(written, canonical=own).tau
        assert (metrics(written).tau == 1) == (not right)


def test_the_count_of_a_text_is_the_readers() -> None:
    turned = order(SAMPLE, "reversed")
    assert metrics(turned, count=len).wvf == 1
    last_first = Sample("p", (Step("b", "long text", deps=("a",)), Step("a", "t"), Step("c", "", deps=("b",))))
    assert metrics(last_first, count=len).wvf == pytest.approx(1 / 10)
    assert metrics(last_first, count=lambda text: 0).wvf is None


def test_a_canonical_order_names_all_steps() -> None:
    for names in ("abcd", "abcdd", "abcdex"):
        with pytest.raises(UsageError, match="must name each of the 5 steps once"):
            metrics(SAMPLE, canonical=names)
