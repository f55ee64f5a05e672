"""A fixed set of neurons for a whole answer, chosen from what a capability's texts make the FFNs do.

Legend: L layers, M neurons of an FFN, N tokens.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from armillary.activations import run_texts, streaming
from armillary.activations.neurons import column_norms
from armillary.errors import NumericError, UsageError
from armillary.methods.bricks.experts.routed_model import ExpertBlock, RoutedLayer, Routing, replaced
from armillary.methods.bricks.experts.router import ExpertChoice
from armillary.models import LoadedModel
from armillary.models.feed_forward import FfnFunction
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


def sliced(loaded: LoadedModel, energy_LM: Array, count: int) -> AbstractContextManager[Routing]:
    """Inside the block each FFN is a smaller dense one of its ``count`` neurons of most energy, cut out once.

    No router and no choice at a token: what the model computes equals masking all other neurons. Raises as ``routed``.
    """
    order_LM = np.argsort(-energy_LM, axis=1, kind="stable")

    def layer_of(function: FfnFunction) -> RoutedLayer:
        kept = np.sort(order_LM[function.parts.layer, :count])
        return RoutedLayer(function=function, experts=[ExpertBlock.of(function, kept)], choice=ExpertChoice(k=1))

    return replaced(loaded, layer_of)
