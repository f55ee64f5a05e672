"""Copies of a model whose lineage is known: with noise on their weights, or with weights rounded.

They calibrate what Model-diff says of two models whose lineage is not known. The given model is left as it was.
"""

import copy
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from armillary.errors import UsageError
from armillary.models import LoadedModel, find_anatomy

Derivation = Callable[[LoadedModel], LoadedModel]
"""A way to make a copy of a model that differs from it."""

NOISE = (0.003, 0.01, 0.03, 0.1)
"""Sizes of weight noise, relative to the root mean square of each matrix."""

BITS = (8, 4)
"""Bits to which weights are rounded."""


def noisy(loaded: LoadedModel, eps: float, *, seed: int) -> LoadedModel:
    """A copy with normal noise on every weight matrix, of standard deviation ``eps`` times the matrix's own rms.

    Vectors (norms, biases) stay. The noise is drawn on the CPU in float32, so it is the same on every device; tied
    matrices stay tied. ``eps=0`` gives the same bits. UsageError for a negative or infinite ``eps``.
    """
    if not 0 <= eps < float("inf"):
        raise UsageError(f"eps must be 0 or more and finite, got {eps}.")
    generator = torch.Generator().manual_seed(seed)

    def disturbed(weight: Tensor) -> Tensor:
        noise = torch.randn(weight.shape, generator=generator)
        return weight + eps * weight.square().mean().sqrt() * noise.to(weight.device)

    return _changed(loaded, disturbed, f"noise {eps:g}", f"with noise of {eps:g} of each matrix's rms, seed {seed}")


def rounded(loaded: LoadedModel, bits: int) -> LoadedModel:
    """A copy whose weight matrices hold ``2 ** bits - 1`` values a row, evenly spaced and symmetric around 0.

    The largest magnitude of each row (first dimension) is kept. Vectors stay; the copy computes in the model's own
    dtype, so only the rounding of the weights is imitated. UsageError unless ``bits`` is 2 to 16.
    """
    if not 2 <= bits <= 16:
        raise UsageError(f"bits must be 2 to 16, got {bits}.")
    levels = 2 ** (bits - 1) - 1

    def on_grid(weight: Tensor) -> Tensor:
        rows = weight.flatten(1)
        spacing = rows.abs().amax(1, keepdim=True) / levels
        # A row of zeros has no spacing and stays.
        steps: Tensor = torch.round(rows / spacing.clamp_min(torch.finfo(rows.dtype).tiny))
        kept: Tensor = (steps * spacing).view_as(weight)
        return kept

    return _changed(loaded, on_grid, f"{bits} bit", f"with matrices rounded to {bits} bit a row")


def _changed(loaded: LoadedModel, change: Callable[[Tensor], Tensor], name: str, how: str) -> LoadedModel:
    """A copy with ``change`` applied to each matrix in float32."""
    model = copy.deepcopy(loaded.model)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() >= 2:
                parameter.copy_(change(parameter.float()))
    return LoadedModel(
        model, loaded.tokenizer, find_anatomy(model), f"{loaded.name} {name}", f"{loaded.source}, {how}"
    )


def known_derivations(seeds: Sequence[int] = (0,)) -> dict[str, Derivation]:
    """Ways to derive a model that need no data: weight noise of several sizes, and rounding."""
    noise: dict[str, Derivation] = {
        f"noise {size:g}, seed {seed}": partial(noisy, eps=size, seed=seed) for size in NOISE for seed in seeds
    }
    return noise | {f"{bits}-bit weights": partial(rounded, bits=bits) for bits in BITS}
