"""Decoding a few rows at a time on a CPU for little more than one row costs.

Reading the weights is what a step costs. BLAS libraries are tuned for one row or for many: with two to eight rows
``x @ W.T`` takes up to two and a half times as long as ``W @ x.T``, which is the same product.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

FEWEST, MOST = 2, 8
"""Numbers of rows for which the other order was faster (measured for matrices of 576 x 576 to 49,152 x 576)."""


@contextmanager
def few_rows(model: nn.Module) -> Iterator[None]:
    """Inside, linear layers that get two to eight rows on a CPU multiply as ``W @ x.T``; others do as before.

    Equal to the plain product up to rounding. Layers that something else has already replaced the ``forward`` of, and
    subclasses of ``nn.Linear`` (adapters, quantised weights), are left alone.
    """
    layers = [
        module
        for module in model.modules()
        if type(module) is nn.Linear and "forward" not in vars(module) and module.weight.device.type == "cpu"
    ]
    try:
        for layer in layers:
            layer.forward = partial(_linear, layer)  # type: ignore[method-assign]
        yield
    finally:
        for layer in layers:
            del layer.forward


def _linear(layer: nn.Linear, x: Tensor) -> Tensor:
    rows = x.numel() // x.shape[-1]
    if not FEWEST <= rows <= MOST or torch.is_grad_enabled():
        return nn.functional.linear(x, layer.weight, layer.bias)
    columns, bias = x.reshape(rows, -1).t(), cast(Tensor | None, layer.bias)
    product = layer.weight @ columns if bias is None else torch.addmm(bias[:, None], layer.weight, columns)
    return product.t().reshape(*x.shape[:-1], -1)
