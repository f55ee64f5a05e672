"""Summaries of activations that take no more memory for more tokens.

Shapes: N tokens, D size of the site (neurons for FFN activations). All sums are float64.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from armillary.errors import NumericError, UsageError


class Moments:
    """Mean and covariance of each layer, streamed.

    Batches are merged by the pairwise update of Chan, Golub and LeVeque (1979): each batch is centred on its own mean
    before its products are summed, so a large mean costs no digits. Products are float64 matrix products.
    """

    def __init__(self, num_layers: int) -> None:
        self._counts = [0] * num_layers
        self._means: list[Tensor | None] = [None] * num_layers
        self._scatters: list[Tensor | None] = [None] * num_layers

    def update(self, layer: int, x_ND: Float[Tensor, "n d"]) -> None:
        """Take in the values of ``layer`` for some tokens."""
        new = len(x_ND)
        if new == 0:
            return
        # Apple's GPUs have no float64, so those sums are made on the host.
        wide_ND = x_ND.cpu().double() if x_ND.device.type == "mps" else x_ND.double()
        mean_D = wide_ND.mean(dim=0)
        centred_ND = wide_ND - mean_D
        scatter_DD = centred_ND.T @ centred_ND
        old, old_mean, old_scatter = self._counts[layer], self._means[layer], self._scatters[layer]
        if old_mean is not None and old_scatter is not None:
            shift_D = mean_D - old_mean
            scatter_DD += old_scatter
            scatter_DD += torch.outer(shift_D, shift_D) * (old * new / (old + new))
            mean_D = old_mean + shift_D * (new / (old + new))
        self._counts[layer], self._means[layer], self._scatters[layer] = old + new, mean_D, scatter_DD

    @property
    def count(self) -> int:
        """Tokens seen by the first layer."""
        return self._counts[0] if self._counts else 0

    @property
    def mean(self) -> list[Float[Tensor, "d"]]:
        """Mean of each layer, float64. Raises ``NumericError`` before the first token."""
        return [self._seen(self._means, layer) for layer in range(len(self._means))]

    def covariance(self, layer: int) -> Float[Tensor, "d d"]:
        """Covariance over tokens (divided by the count), float64. Raises ``NumericError`` before the first token."""
        return self._seen(self._scatters, layer) / self._counts[layer]

    def _seen(self, values: Sequence[Tensor | None], layer: int) -> Tensor:
        value = values[layer]
        if value is None:
            raise NumericError(f"No token has been seen at layer {layer}; run texts inside the streaming block first.")
        return value


@dataclass(frozen=True, kw_only=True)
class LayerSparsity:
    """How few neurons of one layer carry a token; every share lies between 0 and 1."""

    near_zero: float
    """Share of activations smaller in magnitude than ``threshold`` times the largest of the same token."""

    half_mass: float
    """Smallest share of the neurons that together hold 50 % of a token's squared activations, mean over tokens."""

    most_mass: float
    """The same for 90 %."""

    participation: float
    """Participation ratio ``(sum a^2)^2 / (d * sum a^4)``, mean over tokens: 1 where all neurons are equally active,
    ``1/d`` where one is alone."""

    never_active: float
    """Share of the neurons that were near zero, in the sense above, at every token seen."""

    tokens: int
    """Tokens seen."""


class Sparsity:
    """Sparsity of each layer's activations, streamed; meant for the site ``ffn``.

    A token's activations are compared with the largest of the same token, so that neither the scale of a layer nor a
    few very large tokens decide. A token whose activations are all zero counts as wholly near zero and carried by no
    neuron.
    """

    def __init__(self, num_layers: int, *, threshold: float = 0.01) -> None:
        if not 0 < threshold < 1:
            raise UsageError(f"threshold must lie between 0 and 1, got {threshold}.")
        self.threshold = threshold
        # Of each layer, summed over tokens: near zero, carriers of 50 % and of 90 %, participation, tokens.
        self._sums = np.zeros((num_layers, 5))
        self._active: list[Tensor | None] = [None] * num_layers

    def update(self, layer: int, x_ND: Float[Tensor, "n d"]) -> None:
        """Take in the activations of ``layer`` for some tokens."""
        if len(x_ND) == 0:
            return
        size_ND = x_ND.float().abs()
        largest_N1 = size_ND.amax(dim=1, keepdim=True)
        active_ND = (size_ND >= self.threshold * largest_N1) & (largest_N1 > 0)
        # Scaled by the largest, so that fourth powers neither overflow nor vanish.
        share_ND = (size_ND / torch.where(largest_N1 > 0, largest_N1, 1.0)).square_()
        half, most = _carriers(share_ND, (0.5, 0.9))
        second_N = share_ND.sum(dim=1, dtype=torch.float64) if share_ND.device.type != "mps" else share_ND.sum(dim=1)
        fourth_N = share_ND.square().sum(dim=1)
        participation = torch.where(fourth_N > 0, second_N.square() / (fourth_N * x_ND.shape[1]), 0.0)
        near_zero = float(x_ND.numel() - active_ND.sum())
        self._sums[layer] += [near_zero, half, most, float(participation.sum()), len(x_ND)]
        active_D, before_D = active_ND.any(dim=0), self._active[layer]
        self._active[layer] = active_D if before_D is None else before_D | active_D

    def layer(self, layer: int) -> LayerSparsity:
        """The summary of one layer. Raises ``NumericError`` before the first token."""
        active_D = self._active[layer]
        if active_D is None:
            raise NumericError(f"No token has been seen at layer {layer}; run texts inside the streaming block first.")
        near_zero, half, most, participation, tokens = self._sums[layer].tolist()
        values = tokens * len(active_D)
        return LayerSparsity(
            near_zero=near_zero / values,
            half_mass=half / values,
            most_mass=most / values,
            participation=participation / tokens,
            never_active=1 - float(active_D.sum()) / len(active_D),
            tokens=int(tokens),
        )

    def layers(self) -> list[LayerSparsity]:
        """The summaries of all layers."""
        return [self.layer(index) for index in range(len(self._sums))]


def _carriers(share_ND: Tensor, portions: Sequence[float]) -> list[int]:
    """Summed over tokens, the fewest neurons whose squared activations reach each portion of the token's total."""
    # NumPy sorts float32 rows several times faster than torch does on a CPU; a copy is made, the input stays.
    rising_ND = np.sort(share_ND.cpu().numpy(), axis=1)
    upto_ND = np.cumsum(rising_ND, axis=1, dtype=np.float64)
    total_N1 = upto_ND[:, -1:]
    # Neurons left out are the smallest ones whose sum stays within the rest of the total.
    left_out = [(upto_ND <= (1 - portion) * total_N1).sum(axis=1) for portion in portions]
    live_N = total_N1[:, 0] > 0
    return [int((share_ND.shape[1] - count)[live_N].sum()) for count in left_out]
