"""Thresholds from counts against exact quantiles, at the edges, and with what must be refused."""

import numpy as np
import pytest
import torch

from armillary.errors import NumericError
from armillary.methods.bricks.sparsity.calibration import left_out_of
from armillary.methods.bricks.sparsity.magnitudes import Magnitudes

SHARES = (0.05, 0.25, 0.4, 0.9)


def counted(*parts: torch.Tensor) -> Magnitudes:
    sizes = Magnitudes()
    for part in parts:
        sizes.update(part)
    return sizes


def test_of_numbers_of_bfloat16_exactly_the_share_is_left_out() -> None:
    x = (torch.arange(1, 257, dtype=torch.int32) + (126 << 7)) << 16  # 256 neighbours among those numbers
    x = x.view(torch.float32) * torch.where(torch.arange(256) % 2 == 0, 1, -1)
    sizes = counted(x[:100, None], x[100:, None])
    assert sizes.count == 256 and len(x.abs().unique()) == 256
    for share in (0.25, 0.5, 1 / 256, 255 / 256):
        threshold = sizes.threshold(share)
        assert int((left_out_of(x, threshold) == 0).sum()) == round(share * 256)
        assert sizes.below(threshold) == pytest.approx(share, abs=1e-9)
    assert sizes.threshold(0.0) == sizes.below(0.0) == 0.0 and torch.equal(left_out_of(x, 0.0), x)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 3e4])
def test_quantiles_of_a_known_law(scale: float) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.empty(40_000, 3).exponential_(generator=generator) * scale
    sizes = counted(x[:1000], -x[1000:])
    for share in SHARES:
        threshold = sizes.threshold(share)
        assert threshold == pytest.approx(-np.log1p(-share) * scale, rel=0.02)  # the law; 120,000 draws
        assert threshold == pytest.approx(float(np.quantile(x.numpy(), share)), rel=2**-7)  # a bin
        assert threshold == np.float32(threshold)
        assert float((x < threshold).double().mean()) == pytest.approx(share, abs=2e-3)


def test_zeros_are_left_out_together() -> None:
    x = torch.cat([torch.zeros(60), torch.linspace(1, 2, 40)])[:, None]
    sizes = counted(x)
    assert 0 < sizes.threshold(0.3) == sizes.threshold(0.6) < 1e-30
    assert sizes.below(sizes.threshold(0.3)) == pytest.approx(0.6)
    assert sizes.below(sizes.threshold(0.8)) == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_refused(wrong: float) -> None:
    with pytest.raises(NumericError, match="NaN or infinite"):
        counted(torch.tensor([[1.0], [wrong]]))


def test_no_numbers_have_no_thresholds() -> None:
    with pytest.raises(NumericError, match="no numbers"):
        Magnitudes().threshold(0.5)
