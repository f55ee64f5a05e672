"""Effective rank: known values, invariances, and an SVD in float64."""

import math

import numpy as np
import pytest
import torch

from armillary.errors import NumericError, UsageError
from armillary.numerics.spectrum import (
    effective_rank,
    effective_rank_from_covariance,
    effective_rank_from_singular_values,
    rms_normalised,
    singular_values,
    sink_rows,
)


def gaussian(n: int, d: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(
    ("values", "expected"),
    [((3, 1), 1.7547654), ((1, 0.5, 0.25, 0.125), 3.1171421), ((1,) * 9, 9), ((5, 0, 0), 1), ((0, 0), 0)],
)
def test_known_spectra(values: tuple[float, ...], expected: float) -> None:
    assert effective_rank(torch.diag(torch.tensor(values, dtype=torch.float64))) == pytest.approx(expected, abs=1e-6)


def test_geometric_spectrum_has_its_closed_form() -> None:
    powers = 0.9 ** torch.arange(200, dtype=torch.float64)
    assert effective_rank_from_singular_values(powers) == pytest.approx(25.811747515, abs=1e-6)
    halves = 0.5 ** torch.arange(40, dtype=torch.float64)
    assert effective_rank_from_singular_values(halves) == pytest.approx(4, abs=1e-6)


def test_of_bfloat16_it_is_computed_in_float64() -> None:
    assert effective_rank(torch.diag(torch.tensor([3.0, 1.0], dtype=torch.bfloat16))) == pytest.approx(1.7547654)


@pytest.mark.parametrize(("n", "d"), [(30, 12), (12, 30)])
@pytest.mark.parametrize("center", [False, True])
def test_equals_numpy_svd(n: int, d: int, center: bool) -> None:
    x = gaussian(n, d) + 2.0
    s = np.linalg.svd((x - x.mean(0) if center else x).numpy(), compute_uv=False)
    p = s / s.sum()
    p = p[p > 1e-12]
    np.testing.assert_allclose(singular_values(x, center=center).numpy(), s, rtol=1e-6, atol=1e-6)
    assert effective_rank(x, center) == pytest.approx(math.exp(-(p * np.log(p)).sum()), rel=1e-6)


def test_invariances() -> None:
    x = gaussian(20, 8)
    q, _ = torch.linalg.qr(gaussian(8, 8, seed=1))
    left, _ = torch.linalg.qr(gaussian(20, 20, seed=2))
    value = effective_rank(x)
    for same in (7 * x, x @ q, left @ x @ q, x.T, torch.cat([x, x]), x.float()):
        assert effective_rank(same) == pytest.approx(value, rel=1e-5)
    assert value <= 8
    assert effective_rank(x[:, :1] @ x[:1]) == pytest.approx(1, abs=1e-6)


def test_a_shared_offset_collapses_only_the_raw_value() -> None:
    x = gaussian(20, 30)
    moved = x + 10 * gaussian(1, 30, seed=2)
    assert effective_rank(moved) < 5 < 16.5 < effective_rank(moved, center=True) < 17.5
    assert effective_rank(moved, center=True) == pytest.approx(effective_rank(x, center=True), rel=1e-6)


@pytest.mark.parametrize(
    ("n", "d", "expected"), [(64, 64, 51.5), (64, 576, 63.06), (49, 576, 48.44), (16, 576, 15.93)]
)
def test_gaussian_sizes(n: int, d: int, expected: float) -> None:
    mean = sum(effective_rank(gaussian(n, d, seed=seed)) for seed in range(5)) / 5
    assert mean == pytest.approx(expected, abs=0.3)


def test_from_covariance_equals_from_rows() -> None:
    x = gaussian(50, 10) @ torch.diag(torch.arange(1.0, 11.0, dtype=torch.float64)) + 4
    covariance = torch.cov(x.T)
    assert effective_rank_from_covariance(covariance) == pytest.approx(effective_rank(x, center=True))
    assert effective_rank_from_covariance(3 * covariance) == pytest.approx(effective_rank_from_covariance(covariance))


def test_equal_rows_have_no_centred_rank() -> None:
    assert effective_rank(torch.full((5, 4), 1 / 3), center=True) == 0


def test_bad_input_is_one_sentence() -> None:
    with pytest.raises(NumericError, match="NaN or infinite"):
        effective_rank(torch.tensor([[1.0, float("inf")]]))
    with pytest.raises(NumericError, match="negative"):
        effective_rank_from_singular_values(torch.tensor([1.0, -1.0]))
    with pytest.raises(UsageError, match="non-empty"):
        effective_rank(torch.zeros(0, 3))
    with pytest.raises(UsageError, match="symmetric"):
        effective_rank_from_covariance(torch.tensor([[1.0, 2.0], [0.0, 1.0]]))


def test_sinks_are_what_stands_far_above_the_median_row() -> None:
    x = torch.randn(20, 16, generator=torch.Generator().manual_seed(0))
    assert not sink_rows(x).any() and not sink_rows(1e6 * x).any() and not sink_rows(3 * x[:1]).any()
    x[3] *= 20
    x[7, 2] = 500
    for scale in (1.0, 1e-3, 1e4):
        assert sink_rows(scale * x).nonzero().flatten().tolist() == [3, 7]
    assert sink_rows(x.bfloat16()).sum() == 2
    assert not sink_rows(torch.zeros(4, 3)).any() and len(sink_rows(torch.zeros(0, 3))) == 0
    assert not sink_rows(torch.tensor([[0.0], [0.0], [1.0]])).any()  # no median to be measured by
    torch.testing.assert_close(rms_normalised(x).square().mean(1), torch.ones(20))
