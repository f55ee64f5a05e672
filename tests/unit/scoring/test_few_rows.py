"""Up to eight rows by the other order of the product: the same numbers, and everything put back after it."""

import pytest
import torch
from torch import nn

from armillary.models import KINDS, tiny
from armillary.models.batches import run_body
from armillary.scoring.decoding import MOST, few_rows


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(1, 5), (2, 5), (8, 5), (2, 3, 5), (1, 4, 5), (5,)])
def test_the_product_is_the_exact_one_up_to_rounding(shape: tuple[int, ...], bias: bool) -> None:
    layer = nn.Linear(5, 7, bias=bias)
    x = torch.randn(shape)
    with torch.inference_mode(), few_rows(layer):
        found = layer(x)
    weight, shift = layer.weight.double(), 0 if layer.bias is None else layer.bias.double()
    torch.testing.assert_close(found.double(), x.double() @ weight.T + shift, rtol=1e-5, atol=1e-6)
    assert found.shape == (*shape[:-1], 7)


@pytest.mark.parametrize(("rows", "dtype"), [(MOST + 1, torch.float32), (0, torch.float32), (1, torch.bfloat16)])
def test_other_numbers_of_rows_are_multiplied_as_before(rows: int, dtype: torch.dtype) -> None:
    layer, x = nn.Linear(576, 64, dtype=dtype), torch.randn(rows, 576, dtype=dtype)
    plain = layer(x)
    with torch.inference_mode(), few_rows(layer):
        assert torch.equal(layer(x), plain)


def test_only_these_rows_take_the_other_order(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, taken = nn.Linear(4, 4), []
    monkeypatch.setattr(torch, "addmm", lambda bias, w, columns: taken.append(columns.shape[1]) or bias + w @ columns)
    with torch.inference_mode(), few_rows(layer):
        for rows in (1, 2, 8, 9):
            layer(torch.randn(rows, 4))
    assert taken == [2, 2, 8], "one row has a row of zeros beside it"


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_reads_the_same_and_is_left_as_it_was(kind: str) -> None:
    loaded = tiny(kind)
    ids = torch.randint(3, 200, (2, 3))
    with torch.inference_mode():
        plain = run_body(loaded, ids, None)
        with few_rows(loaded.model):
            other = run_body(loaded, ids, None)
        torch.testing.assert_close(other, plain, rtol=1e-4, atol=1e-5)
        assert torch.equal(run_body(loaded, ids, None), plain)
    assert not any("forward" in vars(module) for module in loaded.model.modules())


def test_gradients_and_layers_of_others_are_left_alone() -> None:
    class Adapter(nn.Linear):
        pass

    layers = nn.ModuleList([nn.Linear(4, 4), Adapter(4, 4), nn.Linear(4, 4)])
    hooked = layers[2]
    hooked.forward = lambda x: x  # type: ignore[method-assign]
    with few_rows(layers):
        layers[0](torch.randn(2, 4)).sum().backward()
        assert "forward" not in vars(layers[1])
        x = torch.randn(2, 4)
        assert hooked(x) is x
    assert layers[0].weight.grad is not None and "forward" in vars(hooked)
