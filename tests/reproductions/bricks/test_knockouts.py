"""What holds for all capabilities at once is counted."""

from armillary.numerics.intervals import Interval
from reproductions.bricks.knockouts import simultaneous


def test_capabilities_are_counted_by_what_is_sure() -> None:
    intervals = [
        Interval(estimate=1.0, low=0.5, high=1.5),
        Interval(estimate=0.5, low=-0.5, high=1.5),
        Interval(estimate=-1.0, low=-1.5, high=-0.5),
        Interval(estimate=1.0, low=0.5, high=1.5),
    ]
    share = simultaneous(intervals)
    assert (share.estimate, share.lower, share.upper, share.n) == (0.5, 0.5, 0.75, 4)
