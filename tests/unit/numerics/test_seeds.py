"""Intervals over seeds: the furthest ends hold every seed's own, and seeds that agree narrow the nested one."""

import numpy as np
import pytest

from armillary.numerics.intervals import bootstrap_mean
from armillary.numerics.seeds import nested, widest

DRAW = np.random.default_rng(0)
SEEDS = [DRAW.normal(shift, 1, 200) for shift in (0.0, 0.2, 0.4)]


def test_the_furthest_ends_are_those_of_the_seeds() -> None:
    own = [bootstrap_mean(values, seed=0) for values in SEEDS]
    interval = widest(SEEDS, of="things")
    assert interval.estimate == pytest.approx(np.mean([values.mean() for values in SEEDS]))
    assert (interval.low, interval.high) == (min(i.lower for i in own), max(i.upper for i in own))
    assert widest([np.array([1.0, np.nan, 1.0])]).n == 2, "what was not measured is left out"
    assert widest(SEEDS, level=0.99).lower < interval.lower


def test_nested_holds_both_sources_of_chance_and_is_narrower() -> None:
    interval, wide = nested(SEEDS), widest(SEEDS)
    assert wide.lower < interval.lower < interval.estimate < interval.upper < wide.upper
    # Things alone vary: as wide as the bootstrap of their means over seeds.
    same = [SEEDS[0]] * 3
    alone = bootstrap_mean(SEEDS[0], seed=1)
    assert nested(same).upper - nested(same).lower == pytest.approx(alone.upper - alone.lower, rel=0.1)
    # Seeds alone vary: constant tables.
    tables = [np.full(10, value) for value in (0.0, 1.0, 2.0)]
    assert (nested(tables).lower, nested(tables).upper) == pytest.approx((0.0, 2.0))
