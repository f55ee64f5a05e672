"""Which parameters get gradients, for a while."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import nn


@contextmanager
def only_trainable(model: nn.Module, chosen: Sequence[nn.Parameter]) -> Iterator[None]:
    """Inside, only these parameters get gradients; after it, every ``requires_grad`` and ``grad`` is as before."""
    kept = [(parameter, parameter.requires_grad, parameter.grad) for parameter in model.parameters()]
    wanted = {id(parameter) for parameter in chosen}
    try:
        for parameter, _, _ in kept:
            parameter.grad = None
            parameter.requires_grad_(id(parameter) in wanted)
        yield
    finally:
        for parameter, needed, gradient in kept:
            parameter.requires_grad_(needed)
            parameter.grad = gradient
