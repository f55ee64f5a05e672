"""Table models against themselves: what they draw, score and enumerate is one distribution."""

import math
from dataclasses import replace

import numpy as np
import pytest

from armillary.errors import UsageError
from reproductions.modeldiff.known_models import KnownPair, TableModel, TemperedTable, log_softmax, log_sums

A = TableModel.random(4, 5, seed=0, spread=1.5, temperatures=(1.0, 1.7, 0.6))
B = A.perturbed(0.5, seed=1)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_the_enumeration_is_a_distribution(order: int) -> None:
    model = TableModel.random(3, 6, seed=3, order=order)
    ids_NL, nll_N = model.enumerate()
    assert len(np.unique(ids_NL, axis=0)) == 3**6
    assert np.exp(-nll_N).sum() == pytest.approx(1.0, abs=1e-12)
    assert model.log_partition(1.0) == pytest.approx(0.0, abs=1e-12)


def test_score_follows_the_table_token_by_token() -> None:
    table = log_softmax(A.logits)
    start = A.vocabulary
    expected = -(table[start, start, 2] + table[start, 2, 0] + table[2, 0, 0] + table[0, 0, 3] + table[0, 3, 1])
    assert A.score(np.array([[2, 0, 0, 3, 1]]))[0] == pytest.approx(expected, abs=1e-12)


def test_log_q_of_draws_is_log_q_recomputed_and_sums_to_one() -> None:
    draws = A.sample(31, seed=5)
    assert np.array_equal(draws.log_q_KN, A.log_q(draws.ids_NL))
    assert draws.nll_N is not None and np.array_equal(draws.nll_N, A.score(draws.ids_NL))
    assert np.bincount(draws.rung_N).tolist() == [11, 10, 10]
    ids_NL, _ = A.enumerate()
    assert np.exp(A.log_q(ids_NL)).sum(1) == pytest.approx([1.0, 1.0, 1.0], abs=1e-12)
    assert replace(A, temperatures=(2.0,)).sample(3, seed=0).nll_N is None


def test_each_rung_is_drawn_from_its_own_temperature() -> None:
    draws = A.sample(60_000, seed=6)
    ids_NL, _ = A.enumerate()
    index_N = draws.ids_NL @ 4 ** np.arange(4, -1, -1)
    assert np.array_equal(ids_NL[index_N], draws.ids_NL)
    prob_KN = np.exp(A.log_q(ids_NL))
    for rung in range(3):
        share_N = np.bincount(index_N[draws.rung_N == rung], minlength=4**5) / 20_000
        distances = np.abs(share_N - prob_KN).sum(1)
        assert distances.argmin() == rung
        expected = np.sqrt(2 * prob_KN[rung] / (math.pi * 20_000)).sum()
        assert distances[rung] == pytest.approx(expected, rel=0.2)


def test_the_uniform_model_has_one_nll() -> None:
    uniform = TableModel(np.zeros(5), 6)
    draws = uniform.sample(100, seed=0)
    assert draws.nll_N == pytest.approx(np.full(100, 6 * math.log(5)), abs=1e-12)
    known = KnownPair.of_tables(uniform, uniform)
    window = (6 * math.log(5) - 1e-9, 6 * math.log(5) + 1e-9)
    assert known.log_size("a", window) == pytest.approx(6 * math.log(5), abs=1e-12)


def test_a_redrawn_suffix_is_drawn_from_the_table_at_its_temperature() -> None:
    generator = np.random.default_rng(0)
    ids_NL = A.sample(40_000, seed=9).ids_NL
    start_N = np.arange(40_000) % 5
    tau_N = np.where(start_N == 0, 1.7, 1.0)
    found = TemperedTable(A).redraw_suffix(ids_NL, start_N, tau_N, generator.random(ids_NL.shape))
    for start in range(5):
        rows = start_N == start
        assert np.array_equal(found.ids_NL[rows, :start], ids_NL[rows, :start])
        assert (found.ids_NL[rows, start] != ids_NL[rows, start]).any()
    change_N = A.score(ids_NL) - A.score(found.ids_NL)
    assert found.log_p_change_N == pytest.approx(change_N, abs=1e-12)
    whole = start_N == 0
    assert found.log_q_new_N[whole] == pytest.approx(A.log_q(found.ids_NL)[1, whole], abs=1e-12)
    assert found.log_q_old_N[whole] == pytest.approx(A.log_q(ids_NL)[1, whole], abs=1e-12)
    # At temperature 1 the proposal is the model, so that such moves are never refused.
    rest_N = found.log_q_new_N[~whole] - found.log_q_old_N[~whole]
    assert found.log_p_change_N[~whole] == pytest.approx(rest_N, abs=1e-12)
    # E_q[p / q] = 1 for any proposal of full support.
    ratio_N = np.exp(-A.score(found.ids_NL[whole]) - found.log_q_new_N[whole])
    assert ratio_N.mean() == pytest.approx(1.0, abs=5 * ratio_N.std() / np.sqrt(whole.sum()))


def test_known_counts_are_counts() -> None:
    known = KnownPair.of_tables(A, B)
    ids_NL, nll_a_N = A.enumerate()
    nll_b_N = B.score(ids_NL)
    window_a, window_b, edges = (3.0, 6.0), (3.5, 6.5), [-1.0, 0.0, 1.0]
    in_a, in_b = ((low <= z) & (z <= high) for z, (low, high) in ((nll_a_N, window_a), (nll_b_N, window_b)))
    assert in_a.sum() > (in_a & in_b).sum() > 10
    assert np.exp(known.log_size("a", window_a)) == pytest.approx(in_a.sum())
    assert np.exp(known.log_size("b", window_b)) == pytest.approx(in_b.sum())
    assert np.exp(known.log_overlap(window_a, window_b)) == pytest.approx((in_a & in_b).sum())
    expected, _ = np.histogram((nll_a_N - nll_b_N)[in_a], bins=[-np.inf, *edges, np.inf])
    assert np.exp(known.log_histogram("a", edges, window_a)) == pytest.approx(expected)


def test_identities_of_the_difference() -> None:
    known = KnownPair.of_tables(A, B)
    difference_P = known.nll_a_P - known.nll_b_P
    prob_P = np.exp(-known.nll_a_P)
    assert (prob_P * np.exp(difference_P)).sum() == pytest.approx(1.0, abs=1e-12)
    assert (prob_P * difference_P).sum() < 0 < (np.exp(-known.nll_b_P) * difference_P).sum()
    assert known.log_size("a", (0.0, 1e-9)) == -np.inf
    same = KnownPair.of_tables(A, A)
    assert not (same.nll_a_P - same.nll_b_P).any()


def test_effective_share_is_the_limit_of_the_effective_sample_size() -> None:
    known = KnownPair.of_tables(A, B)
    window = (3.0, 6.0)
    nll_N = replace(A, temperatures=(1.0,)).sample(200_000, seed=8).nll_N
    assert nll_N is not None
    weights_N = np.exp(nll_N) * ((nll_N >= window[0]) & (nll_N <= window[1]))
    measured = weights_N.sum() ** 2 / (weights_N**2).sum() / len(weights_N)
    assert known.effective_share("a", window) == pytest.approx(measured, rel=0.02)
    assert known.effective_share("a", (0.0, 1e-9)) == 0.0 and known.log_size("a", (0.0, 1e-9)) == -np.inf


def test_log_sums_of_far_apart_numbers() -> None:
    found = log_sums(np.array([0, 0, 2]), np.array([-900.0, -900.0, 900.0]), 4)
    assert found == pytest.approx([math.log(2) - 900, -np.inf, 900.0, -np.inf])


@pytest.mark.parametrize(
    ("logits", "length", "temperatures", "said"),
    [
        (np.zeros((3, 4, 3)), 5, (1.0,), "shape"),
        (np.array([0.0, np.inf]), 5, (1.0,), "finite"),
        (np.zeros(2), 0, (1.0,), "length"),
        (np.zeros(2), 5, (0.0,), "temperatures"),
    ],
)
def test_impossible_tables_are_refused(logits: object, length: int, temperatures: tuple[float], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        TableModel(np.asarray(logits, dtype=np.float64), length, temperatures)


def test_wrong_sequences_and_pairs_are_refused() -> None:
    with pytest.raises(UsageError, match="ids must be 0 to 3"):
        A.score(np.array([[0, 1, 2, 3, 4]]))
    with pytest.raises(UsageError, match="shape"):
        A.score(np.array([[0, 1]]))
    with pytest.raises(UsageError, match="at most"):
        TableModel(np.zeros(50), 64).enumerate()
    with pytest.raises(UsageError, match="one vocabulary"):
        KnownPair.of_tables(A, TableModel(np.zeros(3), 5))
