"""Sign-flip tests against enumeration and the exact sign test, and Holm's correction by hand."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import binomtest

from armillary.errors import UsageError
from armillary.numerics.permutation import holm, noise_floor, paired_change, sign_flip_p


def test_few_differences_are_counted_exactly() -> None:
    difference = np.array([0.3, -0.1, 0.7, 0.2, 0.05, 0.4, 0.0])
    turned = difference[difference != 0]
    means = [abs(np.dot(signs, turned)) / len(difference) for signs in product((1, -1), repeat=len(turned))]
    expected = np.mean([mean >= abs(difference.mean()) - 1e-12 for mean in means])
    assert sign_flip_p(difference, seed=0) == pytest.approx(expected, abs=0)


def test_gained_and_lost_answers_are_mcnemars_exact_test() -> None:
    difference = np.r_[-np.ones(12), np.ones(2), np.zeros(26)]
    assert sign_flip_p(difference, seed=0) == pytest.approx(binomtest(2, 14).pvalue)


def test_many_differences_agree_with_the_normal_limit_and_never_give_zero() -> None:
    generator = np.random.default_rng(3)
    values = generator.normal(size=400)
    values -= values.mean() - 0.1 * values.std()  # two standard errors
    assert sign_flip_p(values, seed=0) == pytest.approx(0.0455, abs=0.006)
    assert 0 < sign_flip_p(values + 5, seed=0) < 1e-4


def test_no_change_is_found_at_the_stated_rate() -> None:
    generator = np.random.default_rng(0)
    ps = [sign_flip_p(generator.standard_t(3, size=12), seed=0) for _ in range(400)]
    assert np.mean([p <= 0.05 for p in ps]) <= 0.075


def test_a_change_within_the_floor_is_none() -> None:
    assert sign_flip_p([0.1] * 50, beyond=0.1, seed=0) == 1.0
    assert sign_flip_p([0.0] * 50, seed=0) == 1.0
    assert sign_flip_p([], seed=0) == 1.0
    assert sign_flip_p([0.3] * 50, beyond=0.1, seed=0) < 1e-9
    with pytest.raises(UsageError, match="beyond must be 0 or more"):
        sign_flip_p([0.3], beyond=-1, seed=0)


def test_the_floor_is_what_a_thing_gives_against_itself() -> None:
    base = np.zeros(100)
    again = np.random.default_rng(1).integers(-1, 2, 100)
    change = paired_change(base + 0.5, base, again, seed=0)
    # 95 % of a sum of about 67 signs lie within 1.96 * sqrt(67) of 0.
    assert change.floor == pytest.approx(1.96 * np.sqrt(np.abs(again).sum()) / 100, rel=0.15)
    assert change.value.estimate == 0.5 and change.p < 1e-3
    assert paired_change(base, base, base, seed=0).floor == 0.0
    assert noise_floor([0.2, 0.2], seed=0) == pytest.approx(0.2)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.6]) == [1.0, 1.0]
    assert holm([]) == []
