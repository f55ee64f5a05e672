"""Diagnostics of Markov chains: by hand, and on processes whose autocorrelation is known."""

import numpy as np
import pytest
from scipy.signal import lfilter

from armillary.errors import NumericError, UsageError
from armillary.numerics.mixing import round_trips, split_r_hat, statistical_inefficiency


def autoregressive(correlation: float, chains: int, draws: int, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(chains, draws + 500))
    series: np.ndarray = lfilter([1.0], [1.0, -correlation], noise, axis=1)[:, 500:]
    return series


def test_split_r_hat_by_hand() -> None:
    # Halves of means 1.5, 3.5, 3.5, 5.5 and variance 0.5 each: sqrt(1/2 + (8/3) / (1/2)).
    assert split_r_hat([[1, 2, 3, 4], [3, 4, 5, 6]]) == pytest.approx(np.sqrt(0.5 + 16 / 3))
    # The middle draw of an odd number stands in neither half.
    assert split_r_hat([[1, 2, 99, 3, 4], [3, 4, 99, 5, 6]]) == pytest.approx(np.sqrt(0.5 + 16 / 3))


def test_split_r_hat_sees_what_has_not_mixed() -> None:
    mixed = autoregressive(0.5, 8, 2000)
    assert split_r_hat(mixed) == pytest.approx(1.0, abs=0.01)
    assert split_r_hat(mixed + np.arange(8)[:, None]) > 1.5
    assert split_r_hat(mixed + np.linspace(0, 5, 2000)) > 1.2  # a drift that all chains share


def test_split_r_hat_of_constants() -> None:
    assert split_r_hat(np.ones((3, 10))) == 1.0
    assert split_r_hat([[1.0] * 6, [2.0] * 6]) == np.inf


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("shift", [0.0, 1e6])
def test_inefficiency_of_an_autoregressive_process(correlation: float, shift: float) -> None:
    found = statistical_inefficiency(autoregressive(correlation, 16, 8000) + shift)
    assert found == pytest.approx((1 + correlation) / (1 - correlation), rel=0.15)


def test_inefficiency_by_hand() -> None:
    # Centred: -1, -1, 1, 1, of autocovariance 1, then (1 - 1 + 1) / 4 at lag 1 and -2 / 4 at lag 2.
    assert statistical_inefficiency([[0.0, 0.0, 2.0, 2.0]]) == pytest.approx(1.5)
    assert statistical_inefficiency([[0.0, 1.0] * 10]) == 1.0


def test_inefficiency_counts_differences_between_chains() -> None:
    stuck = np.repeat(np.arange(8.0)[:, None], 50, axis=1)
    assert statistical_inefficiency(stuck) == pytest.approx(50, rel=0.03)
    assert statistical_inefficiency(np.full((3, 9), 0.1)) == 1.0


def test_round_trips_by_hand() -> None:
    paths = {
        (0, 1, 2, 1, 0): 1,
        (2, 1, 0, 1, 2): 0,  # never back at the bottom
        (0, 2, 0, 2, 0): 2,
        (1, 2, 0, 1, 0): 0,  # began at neither end, and did not reach the top after the bottom
        (0, 1, 0, 1, 0): 0,
        (2, 0, 2, 2, 0): 1,
    }
    trips = round_trips(np.array(list(paths)).T, 3)
    assert trips.tolist() == list(paths.values())


def test_bad_input_is_refused() -> None:
    with pytest.raises(UsageError, match="4 draws or more"):
        split_r_hat([[1.0, 2.0, 3.0]])
    with pytest.raises(UsageError, match="4 draws or more"):
        statistical_inefficiency([1.0, 2.0, 3.0, 4.0])
    with pytest.raises(NumericError, match="finite; got nan"):
        statistical_inefficiency([[1.0, np.nan, 3.0, 4.0]])
    with pytest.raises(UsageError, match="0 to 1"):
        round_trips([[0, 2]], 2)
    with pytest.raises(UsageError, match="two rungs"):
        round_trips([[0, 0]], 1)
