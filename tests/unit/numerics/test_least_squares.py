"""Least squares and ridge against float64 NumPy and scikit-learn, and what must not change the answer."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge, RidgeCV

from armillary.errors import NumericError, UsageError
from armillary.numerics.least_squares import RELATIVE_GRID, RidgePath, fit_linear


def problem(n: int, p: int, q: int = 3, noise: float = 0.5, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, p, generator=generator, dtype=torch.float64) + 3.0
    w = torch.randn(p, q, generator=generator, dtype=torch.float64)
    return x, x @ w - 2.0 + noise * torch.randn(n, q, generator=generator, dtype=torch.float64)


def test_ols_equals_numpy() -> None:
    x, y = problem(60, 7)
    expected = np.linalg.lstsq(np.c_[x.numpy(), np.ones(60)], y.numpy(), rcond=None)[0]
    fit = fit_linear(x, y)
    np.testing.assert_allclose(fit.weight.numpy(), expected[:-1], rtol=1e-9)
    np.testing.assert_allclose(fit.intercept.numpy(), expected[-1], rtol=1e-8)
    assert fit.effective_dof == pytest.approx(7)


def test_exact_linear_law_is_recovered_from_float32_rows() -> None:
    x, y = problem(80, 10, noise=0.0)
    fit = fit_linear(x.float(), y.float())
    reference = fit_linear(x, y)
    torch.testing.assert_close(fit.weight, reference.weight, rtol=0, atol=1e-5)
    torch.testing.assert_close(fit.predict(x.float()), y, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("n", "p"), [(50, 8), (12, 40)], ids=["tall", "wide"])
@pytest.mark.parametrize("ridge", [0.1, 10.0])
def test_ridge_equals_scikit_learn_on_both_gram_sides(n: int, p: int, ridge: float) -> None:
    x, y = problem(n, p)
    oracle = Ridge(alpha=ridge, solver="svd").fit(x.numpy(), y.numpy())
    fit = fit_linear(x, y, ridge)
    np.testing.assert_allclose(fit.weight.numpy(), oracle.coef_.T, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(fit.intercept.numpy(), oracle.intercept_, rtol=1e-8)


def test_effective_dof_is_the_trace_of_the_smoother() -> None:
    x, y = problem(30, 6)
    centred = (x - x.mean(0)).numpy()
    smoother = centred @ np.linalg.solve(centred.T @ centred + 5.0 * np.eye(6), centred.T)
    assert fit_linear(x, y, 5.0).effective_dof == pytest.approx(np.trace(smoother))


@pytest.mark.parametrize(("n", "p"), [(10, 25), (40, 6)])
def test_rank_deficient_ols_has_minimum_norm(n: int, p: int) -> None:
    x, y = problem(n, p)
    x = torch.cat([x, x[:, :2], torch.full((n, 1), 7.0, dtype=torch.float64)], dim=1)  # repeated and constant columns
    centred, targets = (x - x.mean(0)).numpy(), (y - y.mean(0)).numpy()
    path = RidgePath(x)
    np.testing.assert_allclose(path.solve(y).weight.numpy(), np.linalg.pinv(centred) @ targets, rtol=1e-6, atol=1e-9)
    assert path.rank == min(n - 1, p)


def test_constant_regressors_predict_the_mean() -> None:
    _, y = problem(20, 2)
    fit = fit_linear(torch.full((20, 3), 1e6 / 3, dtype=torch.float32), y, "gcv")
    assert fit.effective_dof == 0
    torch.testing.assert_close(fit.predict(torch.zeros(1, 3))[0], y.mean(0))


@pytest.mark.parametrize(("n", "p"), [(60, 20), (25, 60)])
def test_gcv_chooses_what_scikit_learn_chooses(n: int, p: int) -> None:
    x, y = problem(n, p, q=1, noise=8.0)
    path = RidgePath(x)
    grid = np.array(RELATIVE_GRID) * path.mean_eigenvalue
    scores = []
    for ridge in grid:  # the definition, from the whole smoother
        centred = (x - x.mean(0)).numpy()
        smoother = centred @ np.linalg.solve(centred.T @ centred + ridge * np.eye(p), centred.T) + 1 / n
        residual = y.numpy() - smoother @ y.numpy()
        scores.append(float((residual**2).sum() / (1 - np.trace(smoother) / n) ** 2))
    assert path.gcv(y) == pytest.approx(grid[int(np.argmin(scores))])
    if n > p:  # scikit-learn's leave-one-out lands within a few grid points
        loo = RidgeCV(alphas=grid).fit(x.numpy(), y.numpy()[:, 0]).alpha_
        assert 0.1 < path.gcv(y) / loo < 10


def test_gcv_shrinks_noise_and_keeps_a_clean_law() -> None:
    x, y = problem(200, 10, noise=0.01)
    assert fit_linear(x, y, "gcv").effective_dof > 9.9
    noise = torch.randn(200, 3, generator=torch.Generator().manual_seed(1))
    assert fit_linear(x, noise, "gcv").effective_dof < 5


def test_gcv_is_blind_to_the_scale_of_a_column() -> None:
    x, y = problem(40, 15, noise=10.0)
    path = RidgePath(x)
    assert path.gcv(y) == path.gcv(y * torch.tensor([1e4, 1.0, 1e-4]))
    constant = torch.cat([y, torch.full((40, 1), 3.0, dtype=torch.float64)], dim=1)
    assert path.gcv(constant) == path.gcv(y)


def test_scaling_a_regressor_scales_its_weight_and_not_the_prediction() -> None:
    x, y = problem(50, 5)
    scaled = x.clone()
    scaled[:, 2] *= 10
    one, ten = fit_linear(x, y), fit_linear(scaled, y)
    torch.testing.assert_close(ten.weight[2] * 10, one.weight[2])
    torch.testing.assert_close(ten.predict(scaled), one.predict(x))


def test_one_factorisation_serves_permuted_targets() -> None:
    x, y = problem(40, 6)
    permuted = y[torch.randperm(40, generator=torch.Generator().manual_seed(0))]
    torch.testing.assert_close(RidgePath(x).solve(permuted, 2.0).weight, fit_linear(x, permuted, 2.0).weight)


def test_bad_input_is_one_sentence() -> None:
    x, y = problem(10, 3)
    with pytest.raises(UsageError, match="10 rows and targets 9"):
        RidgePath(x).solve(y[:9])
    with pytest.raises(UsageError, match="at least 2 rows"):
        fit_linear(x[:1], y[:1])
    with pytest.raises(UsageError, match=r"at least 0, or 'gcv'; got -1"):
        fit_linear(x, y, -1.0)
    with pytest.raises(UsageError, match="3 regressors"):
        fit_linear(x, y).predict(x[:, :2])
    x[4, 1] = float("nan")
    with pytest.raises(NumericError, match="row 4, column 1"):
        fit_linear(x, y)
