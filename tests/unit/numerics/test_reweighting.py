"""Reweighting against pymbar, closed forms and enumerated spaces."""

import warnings

import numpy as np
import pytest

from armillary.errors import NumericError, UsageError
from armillary.numerics.reweighting import balance_log_weights, mbar

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # pymbar tells on import that it could be faster with JAX
    from pymbar import MBAR

COUNTS = np.array([400, 0, 300, 500])


def oscillators(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Reduced energies of draws from Gaussians (one state without draws), and the exact -ln Z."""
    generator = np.random.default_rng(seed)
    centres, widths = np.array([0.0, 0.5, 1.0, 2.0]), np.array([1.0, 0.8, 0.7, 0.9])
    x_N = np.concatenate([generator.normal(c, w, n) for c, w, n in zip(centres, widths, COUNTS, strict=True)])
    u_KN = (x_N - centres[:, None]) ** 2 / (2 * widths[:, None] ** 2)
    return u_KN, -np.log(widths * np.sqrt(2 * np.pi))


def test_mbar_is_pymbars() -> None:
    u_KN, exact_K = oscillators()
    u_KN += np.array([0.0, 50.0, -700.0, 1e6])[:, None]  # offsets that overflow outside the log domain
    ours, theirs = mbar(u_KN, COUNTS, anchor=2), MBAR(u_KN, COUNTS, solver_protocol="robust", relative_tolerance=1e-12)
    difference = theirs.compute_free_energy_differences()
    np.testing.assert_allclose(ours.free_energies_K, difference["Delta_f"][2], atol=1e-6)
    np.testing.assert_allclose(ours.standard_errors_K, difference["dDelta_f"][2], rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(ours.overlap_KK, theirs.compute_overlap()["matrix"], atol=1e-6)
    weights_NK = np.exp((ours.free_energies_K[:, None] - u_KN + ours.log_weights_N).T)
    np.testing.assert_allclose(weights_NK, theirs.weights(), atol=1e-9)
    assert ours.converged
    assert ours.problem is None
    free_K = ours.free_energies_K - np.array([0.0, 50.0, -700.0, 1e6])
    assert (np.abs(free_K - free_K[2] - exact_K + exact_K[2]) < 4 * ours.standard_errors_K + 1e-12).all()


def test_standard_errors_cover_the_truth() -> None:
    exact_K = oscillators()[1]
    scores = []
    for seed in range(200):
        solved = mbar(oscillators(seed)[0], COUNTS)
        scores.append(((solved.free_energies_K - exact_K + exact_K[0]) / np.fmax(solved.standard_errors_K, 1e-9))[3])
    assert np.std(scores) == pytest.approx(1.0, abs=0.2)


def test_energies_may_be_infinite() -> None:
    generator = np.random.default_rng(1)
    x_N = np.concatenate([generator.integers(0, 10, 4000), generator.integers(5, 15, 4000)])
    u_KN = np.where([x_N < 10, x_N >= 5], 0.0, np.inf)
    solved = mbar(u_KN, [4000, 4000])
    assert solved.free_energies_K == pytest.approx([0.0, 0.0], abs=0.1)
    assert np.exp(solved.log_weights_N).sum() == pytest.approx(1.5, rel=0.05)  # 15 elements in units of Z = 10
    log_q_KN = -u_KN - np.log(10)
    assert np.exp(balance_log_weights(log_q_KN, [4000, 4000])).mean() == pytest.approx(15, rel=0.02)


def test_balance_weights_by_hand() -> None:
    q_KN = np.array([[0.5, 0.2, 0.3], [0.1, 0.0, 0.9]])
    log_q_KN = np.log(q_KN, where=q_KN > 0, out=np.full(q_KN.shape, -np.inf))
    log_weights = balance_log_weights(log_q_KN, [2, 1])
    np.testing.assert_allclose(np.exp(-log_weights), (2 * q_KN[0] + q_KN[1]) / 3, rtol=1e-12)
    np.testing.assert_allclose(balance_log_weights(log_q_KN[:1] - 5000, [3]), 5000 - np.log(q_KN[0]), rtol=1e-12)


def test_balance_weights_are_mbars_where_the_constants_are_known() -> None:
    u_KN, exact_K = oscillators()
    log_q_KN = exact_K[:, None] - u_KN
    solved = mbar(-log_q_KN, COUNTS)
    assert (np.abs(solved.free_energies_K) < 4 * solved.standard_errors_K + 1e-12).all()
    gap_N = solved.log_weights_N + np.log(COUNTS.sum()) - balance_log_weights(log_q_KN, COUNTS)
    assert np.abs(gap_N).max() < 4 * solved.standard_errors_K.max()


@pytest.mark.parametrize(("centres", "pair"), [((0.0, 30.0), "states 0 and 1"), ((0.0, 25.0, 1.0), "states 2 and 1")])
def test_states_without_overlap_are_named(centres: tuple[float, ...], pair: str) -> None:
    generator = np.random.default_rng(0)
    x_N = np.concatenate([generator.normal(centre, 1, 200) for centre in centres])
    u_KN = (x_N - np.array(centres)[:, None]) ** 2 / 2
    with pytest.raises(NumericError, match=f"{pair} do not overlap"):
        mbar(u_KN, [200] * len(centres))
    assert pair in str(mbar(u_KN, [200] * len(centres), strict=False).problem)


def test_not_converging_is_an_error() -> None:
    u_KN, _ = oscillators()
    with pytest.raises(NumericError, match="did not converge in 3 iterations"):
        mbar(u_KN, COUNTS, max_iterations=3)
    assert not mbar(u_KN, COUNTS, max_iterations=3, strict=False).converged
    # Newton's steps end what plain iteration, which gains a constant factor a step, would take far longer for.
    assert mbar(u_KN, COUNTS, tolerance=1e-12).iterations < 20


def test_bad_input_is_refused() -> None:
    u_KN, _ = oscillators()
    with pytest.raises(UsageError, match="sum to the 1200 draws; got 1201"):
        mbar(u_KN, COUNTS + np.eye(4)[0])
    with pytest.raises(UsageError, match="sum to the 1200 draws; got 1201"):
        balance_log_weights(u_KN, COUNTS + np.eye(4)[0])
    with pytest.raises(UsageError, match="do not fit"):
        mbar(u_KN, COUNTS[:3])
    with pytest.raises(UsageError, match="not all 0"):
        mbar(u_KN, COUNTS * 0)
    with pytest.raises(UsageError, match="one of the 4 states; got 4"):
        mbar(u_KN, COUNTS, anchor=4)


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_impossible_energies_are_refused(value: float) -> None:
    u_KN, _ = oscillators()
    u_KN[1, 7] = value
    with pytest.raises(NumericError, match="NaN, or an infinitely likely"):
        mbar(u_KN, COUNTS)


def test_draws_that_no_state_allows_are_refused() -> None:
    u_KN, _ = oscillators()
    u_KN[:, 7] = np.inf
    with pytest.raises(NumericError, match="draw 7 has probability 0"):
        mbar(u_KN, COUNTS)
    with pytest.raises(NumericError, match="draw 7 has probability 0"):
        balance_log_weights(-u_KN, COUNTS)
    u_KN[1] = np.inf
    with pytest.raises(NumericError, match="state 1 gives every draw"):
        mbar(u_KN, COUNTS)
