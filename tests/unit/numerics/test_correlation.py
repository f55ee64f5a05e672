"""Correlations against SciPy and scikit-learn."""

import numpy as np
import pytest
import torch
from scipy import stats

from armillary.errors import UsageError
from armillary.numerics.correlation import pearson, pearson_columns, spearman, spearman_columns


def pair(n: int = 50, q: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(n, q, generator=generator)
    return a, 0.5 * a + torch.randn(n, q, generator=generator)


def test_pearson_and_spearman_equal_scipy() -> None:
    a, b = pair()
    b = (b * 3).round()  # ties
    for j in range(4):
        x, y = a[:, j].double().numpy(), b[:, j].double().numpy()
        assert pearson_columns(a, b)[j] == pytest.approx(stats.pearsonr(x, y).statistic, abs=1e-12)
        assert spearman_columns(a, b)[j] == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
        assert spearman(a[:, j], b[:, j]) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)


def test_known_values() -> None:
    x = torch.arange(10.0)
    assert pearson(x, 3 * x - 7) == pytest.approx(1.0, abs=1e-15)
    assert pearson(x, -x) == pytest.approx(-1.0, abs=1e-15)
    assert spearman(x, x.exp()) == pytest.approx(1.0)
    assert pearson(x, x.exp()) < 0.8


def test_large_offsets_do_not_cost_digits() -> None:
    a, b = pair()
    a, b = a.double(), b.double()
    torch.testing.assert_close(pearson_columns(a + 1e6, b - 1e6), pearson_columns(a, b), rtol=0, atol=1e-8)


def test_constant_columns_are_nan_and_leave_the_others_alone() -> None:
    a, b = pair()
    a[:, 1], b[:, 2] = 0.1, 1e9 / 3
    for measure in (pearson_columns, spearman_columns):
        assert torch.isnan(measure(a, b)).tolist() == [False, True, True, False]
    assert np.isnan(pearson(a[:, 1], b[:, 0]))


def test_a_nan_stays_in_its_column() -> None:
    a, b = pair()
    a[3, 0] = float("nan")
    assert torch.isnan(pearson_columns(a, b)).tolist() == [True, False, False, False]
    assert torch.isnan(spearman_columns(a, b)).tolist() == [True, False, False, False]


def test_noise_of_known_size_gives_the_known_correlation() -> None:
    generator = torch.Generator().manual_seed(0)
    signal = torch.randn(20_000, generator=generator)
    for sigma in (0.5, 1.0, 2.0):
        noisy = signal + sigma * torch.randn(20_000, generator=generator)
        assert pearson(signal, noisy) == pytest.approx(1 / (1 + sigma**2) ** 0.5, abs=0.02)


def test_shapes_must_match() -> None:
    a, b = pair()
    with pytest.raises(UsageError, match="at least 2 rows"):
        pearson_columns(a[:1], b[:1])
