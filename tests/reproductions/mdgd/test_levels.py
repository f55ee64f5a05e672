"""Curves are compared at a level fixed beforehand, which favours no arm for its plateau."""

from collections.abc import Callable

import numpy as np
import pytest

from reproductions.mdgd.levels import Curve, at_level, matched, plateau


def test_a_curve_is_read_where_it_first_reaches_the_level() -> None:
    points = [(0.1, 0.9), (0.5, 0.7), (0.4, 0.6), (0.6, 0.5)]
    assert at_level(points, 0.3) == pytest.approx(0.8)
    assert at_level(points, 0.5) == 0.7
    assert at_level(points, 0.55) == pytest.approx(0.525)
    assert at_level(points, 0.05) == 0.9
    assert at_level(points, 0.7) != at_level(points, 0.7)


def test_the_level_is_nine_tenths_of_the_lower_plateau() -> None:
    fast, slow = [(0.0, 0.9), *[(0.8, 0.5)] * 3], [(0.0, 0.9), (0.3, 0.85), (0.4, 0.8), (0.5, 0.8)]
    assert plateau(slow) == pytest.approx(0.4)
    kept_fast, kept_slow, level = matched(fast, slow)
    assert level == pytest.approx(0.36)
    assert kept_fast == pytest.approx(0.9 - 0.4 * 0.45)
    assert kept_slow == pytest.approx(0.85 - 0.05 * 0.6)
    assert matched(slow, slow)[0] == matched(slow, slow)[1]


Forgetting = Callable[[np.ndarray, np.ndarray], np.ndarray]


def simulated(high: float, forgetting: Forgetting, draw: np.random.Generator) -> Curve:
    """An arm with this plateau: eleven moments, 480 questions about the target and 1,440 about the old tasks."""
    step = np.arange(11)
    target = 0.13 + (high - 0.13) * (1 - np.exp(-step / 2))
    kept = draw.binomial(1440, forgetting(step, target)) / 1440
    return list(zip((draw.binomial(480, target) / 480).tolist(), kept.tolist(), strict=True))


def advantage(forgetting: Forgetting, read: Callable[[Curve, Curve], tuple[float, ...]]) -> float:
    """What an arm with a plateau of .64 seems to keep beyond one with .59 that forgets by the same law."""
    draw = np.random.default_rng(0)
    pairs = [read(simulated(0.64, forgetting, draw), simulated(0.59, forgetting, draw)) for _ in range(600)]
    return float(np.mean([pair[0] - pair[1] for pair in pairs]))


def at_the_highest_common(first: Curve, second: Curve) -> tuple[float, ...]:
    level = min(max(target for target, _ in curve) for curve in (first, second))
    return at_level(first, level), at_level(second, level)


def test_of_arms_that_forget_by_what_they_learn_none_has_an_advantage() -> None:
    assert abs(advantage(lambda step, target: 0.78 - 0.4 * (target - 0.13), matched)) < 0.004


def test_of_arms_that_forget_by_the_step_little_of_the_advantage_at_the_highest_level_is_left() -> None:
    def by_step(step: np.ndarray, target: np.ndarray) -> np.ndarray:
        return 0.78 - 0.025 * step

    assert advantage(by_step, at_the_highest_common) > 0.05
    assert advantage(by_step, matched) < 0.03
