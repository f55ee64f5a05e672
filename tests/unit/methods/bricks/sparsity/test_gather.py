"""One token's product against the float64 sum over the inputs that count, by both engines; the rest is unread."""

import pytest
import torch

from armillary.methods.bricks.sparsity.gather import Engine, Gather, gatherer

ENGINES: tuple[Engine, ...] = ("numba", "torch")


@pytest.fixture(params=ENGINES)
def gather(request: pytest.FixtureRequest) -> Gather:
    if request.param == "numba":
        pytest.importorskip("numba")
    return gatherer(request.param)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(37, 53), (601, 400)])
@pytest.mark.parametrize("least", [0.0, 0.7, 2.5, 100.0])
def test_equal_to_the_masked_product(gather: Gather, dtype: torch.dtype, shape: tuple[int, int], least: float) -> None:
    generator = torch.Generator().manual_seed(shape[0])
    x_I = torch.randn(shape[0], generator=generator).to(dtype)
    weight_IO = torch.randn(*shape, generator=generator).to(dtype)
    counts_I = x_I.float().abs() >= least
    exact_O = (x_I.double() * counts_I) @ weight_IO.double()
    unread_IO = torch.where(counts_I[:, None], weight_IO, torch.nan)
    y_O = gather(unread_IO)(x_I, least)
    assert y_O.dtype == dtype and y_O.shape == (shape[1],)
    # Of float32 the rounding of sums of some hundred terms; of bfloat16 that of one number of eight bits.
    scale = max(1.0, float(exact_O.abs().max()))
    assert float((y_O.double() - exact_O).abs().max()) <= (1e-5 if dtype == torch.float32 else 2**-8) * scale
    assert least < 100 or not y_O.any()


def test_without_numba_torch_alone_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("armillary.methods.bricks.sparsity.gather.find_spec", lambda name: None)
    assert gatherer() is gatherer("torch")
