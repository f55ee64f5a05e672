"""A set is compared with more draws of its null, and what holds for all capabilities at once is counted."""

import numpy as np

from armillary.methods.bricks.losses import Losses
from armillary.numerics.intervals import Interval
from reproductions.bricks.knockouts import beyond_sets, simultaneous

TEXTS = 12


def losses(per_token: float, generator: np.random.Generator) -> Losses:
    """Twelve texts of 95 tokens with noise of their own."""
    return Losses(
        nll={"code": 95 * (per_token + generator.normal(0, 0.02, TEXTS))}, tokens={"code": np.full(TEXTS, 95)}
    )


def test_a_set_that_is_one_more_draw_of_the_null_is_not_above_it() -> None:
    """With the mean of drawn sets instead of one more of them, a set like all others would often lie above."""
    generator = np.random.default_rng(0)
    before, above = losses(3.0, generator), 0
    for _ in range(200):
        own, *others = (losses(4.0 + generator.normal(0, 0.3), generator) for _ in range(9))
        above += beyond_sets(before, own, others, "code", level=0.95).lower > 0
    assert above <= 12  # 2.5 % to either side


def test_a_set_that_costs_more_is_above() -> None:
    generator = np.random.default_rng(0)
    others = [losses(4.0 + generator.normal(0, 0.1), generator) for _ in range(8)]
    difference = beyond_sets(losses(3.0, generator), losses(6.0, generator), others, "code")
    assert difference.lower > 0 and abs(difference.estimate - 2) < 0.15 and difference.n == TEXTS


def test_capabilities_are_counted_by_what_is_sure() -> None:
    intervals = [
        Interval(estimate=1.0, low=0.5, high=1.5),
        Interval(estimate=0.5, low=-0.5, high=1.5),
        Interval(estimate=-1.0, low=-1.5, high=-0.5),
        Interval(estimate=1.0, low=0.5, high=1.5),
    ]
    share = simultaneous(intervals)
    assert (share.estimate, share.lower, share.upper, share.n) == (0.5, 0.5, 0.75, 4)
