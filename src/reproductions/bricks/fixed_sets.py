"""Fixed sets of neurons for a whole answer, chosen from what a prompt or a capability's texts make the FFNs do.

Legend: L layers, M neurons of an FFN, N tokens.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from armillary.activations import run_texts, streaming
from armillary.activations.neurons import column_norms
from armillary.errors import NumericError, UsageError
from armillary.methods.bricks.payloads import Index
from armillary.models import LoadedModel
from armillary.numerics.intervals import Array


class _Squares:
    """Sums over tokens of squared activations."""

    def __init__(self, layers: int, width: int) -> None:
        self.sums_LM = torch.zeros(layers, width, dtype=torch.float64)
        self.tokens = 0

    def update(self, layer: int, x_ND: Float[Tensor, "n d"]) -> None:
        """Take in the activations of some tokens."""
        self.sums_LM[layer] += x_ND.float().square().sum(0, dtype=torch.float64).cpu()
        self.tokens += len(x_ND) if layer == 0 else 0


def neuron_energy(loaded: LoadedModel, texts: Sequence[str], *, max_tokens: int = 256) -> Array:
    """Mean over tokens of the squared size of what each neuron writes, ``a_i^2 ||down_i||^2``, ``[L, M]``.

    Every token counts, also the first: an answer begins after the whole prompt. UsageError for no texts, NumericError
    for activations that are not finite.
    """
    if not texts:
        raise UsageError("the energy of neurons needs at least one text.")
    norms_LM = column_norms(loaded)
    squares = _Squares(*norms_LM.shape)
    with streaming(loaded, "ffn", squares):
        run_texts(loaded, texts, max_tokens=max_tokens)
    energy_LM: Array = squares.sums_LM.numpy() / squares.tokens * norms_LM**2
    if not np.isfinite(energy_LM).all():
        raise NumericError(f"{loaded.name} gave activations that are NaN or infinite.")
    return energy_LM


def keep_by_share(energy_LM: Array, share: float, *, always: Index | None = None) -> Index:
    """The always-on neurons and the fewest others that together hold ``share`` of each layer's energy.

    UsageError for a share outside (0, 1], NumericError for a layer without energy.
    """
    if not 0 < share <= 1:
        raise UsageError(f"the share of energy must lie above 0 and up to 1; got {share}.")
    if not (energy_LM.sum(axis=1) > 0).all():
        raise NumericError("a layer has no energy at all, so no share of it can be kept.")
    first_LM = _first(energy_LM, always)
    kept = {}
    for layer, (order_M, energy_M) in enumerate(zip(_ranked(energy_LM, first_LM), energy_LM, strict=True)):
        before_M = np.concatenate([[0.0], np.cumsum(energy_M[order_M])[:-1]])
        count = int((before_M < share * energy_M.sum()).sum())
        kept[layer] = np.sort(order_M[: max(count, int(first_LM[layer].sum()))])
    return Index(kept)


def keep_like(energy_LM: Array, sizes: Index, *, always: Index | None = None) -> Index:
    """As many neurons of each layer as ``sizes`` has: the always-on ones and then those of most energy.

    With the energies of general text this is the generic set to compare a capability's with. UsageError where more
    are always on than there is room for.
    """
    first_LM = _first(energy_LM, always)
    order_LM = _ranked(energy_LM, first_LM)
    kept = {}
    for layer, neurons in sizes.neurons.items():
        if first_LM[layer].sum() > len(neurons):
            raise UsageError(
                f"layer {layer} has {first_LM[layer].sum()} always-on neurons, but room for {len(neurons)}."
            )
        kept[layer] = np.sort(order_LM[layer, : len(neurons)])
    return Index(kept)


def _first(energy_LM: Array, always: Index | None) -> NDArray[np.bool_]:
    layers, width = energy_LM.shape
    return np.zeros((layers, width), bool) if always is None else always.mask(layers, width)


def _ranked(energy_LM: Array, first_LM: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Neurons of each layer: those that are always on, then the others by falling energy."""
    return np.lexsort((-energy_LM, ~first_LM), axis=1)
