"""The shape of a tail that is known: generalised Pareto draws, and weights without a tail."""

import numpy as np
import pytest
from scipy.stats import genpareto

from armillary.errors import NumericError, UsageError
from armillary.numerics.pareto import fit_generalised_pareto, pareto_k


@pytest.mark.parametrize("shape", [-0.4, 0.1, 0.5, 0.7, 1.0, 2.0])
@pytest.mark.parametrize("scale", [1e-3, 7.0])
def test_the_fit_finds_shape_and_scale(shape: float, scale: float) -> None:
    x_M = genpareto.rvs(shape, scale=scale, size=20_000, random_state=3)
    found, found_scale = fit_generalised_pareto(x_M)
    assert found == pytest.approx(shape, abs=0.04)
    assert found_scale == pytest.approx(scale, rel=0.04)


@pytest.mark.parametrize("shape", [-0.4, 0.3, 0.7, 1.2])
@pytest.mark.parametrize("tail", [None, 0.2])
def test_weights_of_a_known_tail(shape: float, tail: float | None) -> None:
    # What exceeds a threshold of a generalised Pareto distribution has the same shape.
    weights = genpareto.rvs(shape, loc=1.0, size=20_000, random_state=4)
    error = np.sqrt(1 + max(shape, 0.0)) * 3 / np.sqrt(400 if tail is None else 4000)
    assert pareto_k(np.log(weights) + 900.0, tail=tail) == pytest.approx(shape, abs=error + 0.02)


def test_a_heavier_tail_has_a_larger_k() -> None:
    z = np.random.default_rng(0).normal(size=4000)
    found = [pareto_k(spread * z) for spread in (0.1, 1.0, 2.0, 6.0)]
    assert found == sorted(found)
    assert found[0] < 0.4 < 0.7 < found[3]


def test_short_tails_are_drawn_towards_a_half() -> None:
    weights = genpareto.rvs(-0.5, size=40, random_state=0)
    above = np.sort(weights)[-8:] - np.sort(weights)[-9]
    assert pareto_k(np.log(weights)) == pytest.approx((8 * fit_generalised_pareto(above)[0] + 10 * 0.5) / 18)


@pytest.mark.parametrize("weights", [[3.0] * 50, [1.0], [0.5, 0.5], [0.1] * 50 + [1.0] * 50])
def test_constant_tails_give_minus_infinity(weights: list[float]) -> None:
    assert pareto_k(np.log(weights)) == -np.inf


def test_what_cannot_be_vouched_for_gives_infinity() -> None:
    assert pareto_k(np.arange(10.0)) == np.inf
    assert pareto_k(np.arange(1000.0) * 400) == np.inf
    assert pareto_k([0.0] * 99 + [50.0]) == np.inf


def test_weights_of_zero_are_allowed() -> None:
    log_weights = np.log(genpareto.rvs(0.3, loc=1.0, size=4000, random_state=1))
    log_weights[:1000] = -np.inf
    assert pareto_k(log_weights) == pytest.approx(0.3, abs=0.3)


def test_bad_input_is_refused() -> None:
    for values in ([], [[1.0]]):
        with pytest.raises(UsageError, match="at least one number"):
            pareto_k(values)
    with pytest.raises(UsageError, match="share between 0 and 1; got 2"):
        pareto_k([1.0, 2.0], tail=2.0)
    for values in ([1.0, np.nan], [1.0, np.inf]):
        with pytest.raises(NumericError, match="NaN or"):
            pareto_k(values)
    with pytest.raises(NumericError, match="every weight is 0"):
        pareto_k([-np.inf] * 3)
    with pytest.raises(UsageError, match="5 or more positive"):
        fit_generalised_pareto([1.0, 2.0, 3.0, 0.0, 1.0])
