"""Grid models: the transfer matrix against enumeration, against a Fourier transform, and against draws."""

import math

import numpy as np
import pytest

from armillary.errors import UsageError
from reproductions.modeldiff.known_models import GridModel, KnownPair, known_grid

PAIRS = {
    "independent": (GridModel.independent(4, 6, seed=0), GridModel.independent(4, 6, seed=1, step=0.3)),
    "markov": (GridModel.markov(4, 6, seed=0), GridModel.markov(4, 6, seed=0).perturbed(2, seed=1)),
    "mixed": (GridModel.independent(4, 6, seed=0), GridModel.markov(4, 6, seed=2)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_counts_are_those_of_enumeration(name: str) -> None:
    a, b = PAIRS[name]
    ids_NL, nll_N = a.table.enumerate()
    assert a.score(ids_NL) == pytest.approx(nll_N, abs=1e-12)
    counted = KnownPair(nll_a_P=a.score(ids_NL), nll_b_P=b.score(ids_NL), log_count_P=np.zeros(len(ids_NL)))
    pairs, count_P = np.unique(np.stack([counted.nll_a_P, counted.nll_b_P]), axis=1, return_counts=True)
    known = known_grid(a, b)
    order_P = np.lexsort((known.nll_b_P, known.nll_a_P))
    # Bit for bit the same NLLs, so that an edge of a window falls on the same side here and in a sample.
    assert np.array_equal(pairs, np.stack([known.nll_a_P, known.nll_b_P])[:, order_P])
    assert np.exp(known.log_count_P[order_P]) == pytest.approx(count_P, rel=1e-10)
    window = (float(pairs[0].min()), float(np.median(pairs[0])))
    for side in ("a", "b"):
        assert known.log_size(side, window) == pytest.approx(counted.log_size(side, window), rel=1e-10)


def test_density_of_independent_tokens_is_the_power_of_a_fourier_transform() -> None:
    model = GridModel.independent(50, 24, seed=4)
    known = known_grid(model, model)
    nll_G, log_count_G = known.nll_a_P, known.log_count_P
    size = 24 * int(model.costs.max()) + 1
    tilted = np.exp(-model.step * np.arange(size))
    kernel = np.bincount(model.costs, minlength=size) * tilted / math.exp(model.log_normaliser)
    prob_G = np.fft.irfft(np.fft.rfft(kernel, 2 * size) ** 24, 2 * size)[:size]
    reached = np.rint((nll_G - model.nll(np.array([0]))) / model.step).astype(int)
    likely = prob_G[reached] > 1e-8
    assert likely.sum() > 50
    assert np.exp(log_count_G - nll_G)[likely] == pytest.approx(prob_G[reached][likely], rel=1e-6)


@pytest.mark.parametrize("kind", ["independent", "markov"])
def test_all_sequences_are_counted_at_length_64(kind: str) -> None:
    model = GridModel.independent(50, 64, seed=0) if kind == "independent" else GridModel.markov(8, 64, seed=0)
    known = known_grid(model, model.perturbed(3, seed=1))
    everything = (0.0, math.inf)
    assert known.log_size("a", everything) == pytest.approx(64 * math.log(model.vocabulary), abs=1e-9)
    assert np.exp(known.log_count_P - known.nll_a_P).sum() == pytest.approx(1.0, abs=1e-12)
    # The probabilities of B are reached by another road: counts made from A's, weighted by B's NLL.
    assert np.exp(known.log_count_P - known.nll_b_P).sum() == pytest.approx(1.0, abs=1e-9)


def test_contexts_of_a_markov_model_differ() -> None:
    """Were its density that of independent tokens, the transfer matrix would have nothing to show."""
    model = GridModel.markov(8, 12, seed=0)
    assert len(np.unique(np.sort(model.costs, axis=1), axis=0)) > 1
    independent = GridModel(model.costs[-1], model.step, 12)
    known, alone = known_grid(model, model), known_grid(independent, independent)
    shared, here, there = np.intersect1d(known.nll_a_P, alone.nll_a_P, return_indices=True)
    assert len(shared) > 5
    assert np.abs(known.log_count_P[here] - alone.log_count_P[there]).max() > 0.5


def test_draws_at_length_64_estimate_the_known_counts() -> None:
    a = GridModel.independent(50, 64, seed=0)
    b = GridModel(a.perturbed(4, seed=1).costs, 0.3, 64)
    known, draws = known_grid(a, b), a.sample(20_000, seed=2)
    assert draws.nll_N is not None
    assert draws.log_q_KN[0] == pytest.approx(-draws.nll_N, abs=1e-9)
    low, high = (float(value) for value in np.quantile(draws.nll_N, [0.05, 0.5]))
    inside_N = (draws.nll_N >= low) & (draws.nll_N <= high)
    weights_N = np.exp(draws.nll_N - high) * inside_N
    error = weights_N.std() / weights_N.mean() / math.sqrt(20_000)
    assert error < 0.05
    assert math.log(weights_N.mean()) + high == pytest.approx(known.log_size("a", (low, high)), abs=4 * error)
    share = weights_N.sum() ** 2 / (weights_N**2).sum() / 20_000
    assert known.effective_share("a", (low, high)) == pytest.approx(share, rel=0.2)
    edges = np.arange(-60.1, 60.0, 2.0)
    hit_N = np.searchsorted(edges, draws.nll_N - b.score(draws.ids_NL), side="right")
    found_B = np.bincount(hit_N, weights_N, minlength=len(edges) + 1) / weights_N.sum()
    plain_B = np.bincount(hit_N, inside_N, minlength=len(edges) + 1) / inside_N.sum()
    log_rho_B = known.log_histogram("a", edges, (low, high))
    exact_B = np.exp(log_rho_B - np.logaddexp.reduce(log_rho_B))
    off, off_plain = (0.5 * float(np.abs(one_B - exact_B).sum()) for one_B in (found_B, plain_B))
    # Unweighted draws are another distribution: this is what the weights are for.
    assert off < 0.04 and off_plain > 0.1


def test_costs_that_leave_the_grid_are_refused() -> None:
    with pytest.raises(UsageError, match="same ln Z"):
        GridModel(np.array([[0, 1], [1, 1], [0, 1]]), 0.5, 4)
    with pytest.raises(UsageError, match="whole numbers"):
        GridModel(np.array([0, -1]), 0.5, 4)
    with pytest.raises(UsageError, match="step"):
        GridModel(np.array([0, 1]), 0.0, 4)
    with pytest.raises(UsageError, match="one vocabulary"):
        known_grid(GridModel.independent(4, 6, seed=0), GridModel.independent(4, 7, seed=0))
