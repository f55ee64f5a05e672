"""Streamed summaries against the same quantities of stored activations in float64."""

from dataclasses import asdict

import numpy as np
import pytest
import torch

from armillary.activations import Moments, Sparsity
from armillary.errors import NumericError, UsageError
from stored import Keep


def activations(seed: int = 0, tokens: int = 500, size: int = 12) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn((tokens, size), generator=generator) * torch.logspace(-2, 2, size)
    return x * (torch.rand((tokens, size), generator=generator) < 0.6)


def in_pieces(x: torch.Tensor) -> list[torch.Tensor]:
    return list(x.split([1, 0, 7, 200, len(x) - 208]))


def test_moments_equal_stored_activations() -> None:
    # A mean a million times the spread: a difference of raw float32 sums would lose every digit.
    x = (activations() / 100 + 1000 * torch.arange(12)).float()
    moments = Moments(1)
    for piece in in_pieces(x):
        moments.update(0, piece)
    wide = x.double().numpy()
    assert moments.count == 500
    np.testing.assert_allclose(moments.mean[0], wide.mean(0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(moments.covariance(0), np.cov(wide.T, bias=True), rtol=1e-9, atol=1e-12)
    assert moments.covariance(0).dtype == torch.float64


def test_moments_keep_nothing_that_grows() -> None:
    moments = Moments(1)
    sizes = []
    for seed in range(5):
        moments.update(0, activations(seed))
        sizes.append(sum(part.numel() for part in (moments.mean[0], moments.covariance(0))))
    assert sizes == [12 + 144] * 5


def test_sparsity_equals_stored_activations() -> None:
    x = activations()
    x[:, 3] = 1e-9  # a neuron that is never active
    sparsity = Sparsity(2)
    for piece in in_pieces(x):
        sparsity.update(1, piece)
    found = sparsity.layer(1)
    size = np.abs(x.double().numpy())
    near = size < 0.01 * size.max(1, keepdims=True)
    squares = np.sort(size**2, axis=1)[:, ::-1]
    parts = np.cumsum(squares, axis=1) / squares.sum(1, keepdims=True)
    assert found.near_zero == pytest.approx(near.mean(), abs=1e-9)
    assert found.half_mass == pytest.approx(((parts < 0.5).sum(1) + 1).mean() / 12, abs=1e-9)
    assert found.most_mass == pytest.approx(((parts < 0.9).sum(1) + 1).mean() / 12, abs=1e-9)
    participation = (size**2).sum(1) ** 2 / (12 * (size**4).sum(1))
    assert found.participation == pytest.approx(participation.mean(), rel=1e-6)
    assert found.never_active == pytest.approx(near.all(0).mean()) == 1 / 12
    assert found.tokens == 500
    assert set(asdict(found)) >= {"near_zero", "half_mass", "most_mass", "participation", "never_active"}


def test_sparsity_at_the_ends() -> None:
    for row, near_zero, half, most, participation, never in (
        ([1.0, 1.0, 1.0, 1.0], 0.0, 0.5, 1.0, 1.0, 0.0),
        ([0.0, -5.0, 0.0, 0.0], 0.75, 0.25, 0.25, 0.25, 0.75),
        ([0.0, 0.0, 0.0, 0.0], 1.0, 0.0, 0.0, 0.0, 1.0),
        ([1e30, 1e30, 0.0, 0.0], 0.5, 0.25, 0.5, 0.5, 0.5),
    ):
        sparsity = Sparsity(1)
        sparsity.update(0, torch.tensor([row]))
        found = sparsity.layers()[0]
        values = (found.near_zero, found.half_mass, found.most_mass, found.participation, found.never_active)
        assert values == pytest.approx((near_zero, half, most, participation, never)), row


def test_scale_of_the_layer_does_not_matter() -> None:
    x = activations()
    plain, scaled = Sparsity(1), Sparsity(1)
    plain.update(0, x)
    scaled.update(0, x * 1024)
    assert plain.layer(0) == scaled.layer(0)


def test_input_is_not_changed() -> None:
    x = activations()
    copy = x.clone()
    for reducer in (Moments(1), Sparsity(1), Keep()):
        reducer.update(0, x)
        assert torch.equal(x, copy)


def test_nothing_seen_is_named() -> None:
    with pytest.raises(NumericError, match="layer 1"):
        Moments(2).covariance(1)
    with pytest.raises(NumericError, match="layer 0"):
        Sparsity(2).layers()
    with pytest.raises(UsageError, match="threshold"):
        Sparsity(1, threshold=1.5)
