"""What a brick is made of: indices of neurons, a split of every FFN, or low-rank changes of weights.

Legend: L layers, M neurons of an FFN, R rank.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from armillary.errors import UsageError


@dataclass(frozen=True)
class Index:
    """Neurons of the base model, by layer; no weights of its own."""

    neurons: Mapping[int, NDArray[np.int64]]
    """Layer to the sorted, distinct indices of its neurons (inputs of the FFN write matrix)."""

    def __post_init__(self) -> None:
        for layer, chosen in self.neurons.items():
            if layer < 0 or chosen.ndim != 1 or (len(chosen) and (chosen[0] < 0 or (np.diff(chosen) <= 0).any())):
                raise UsageError(f"neurons of layer {layer} must be distinct indices from 0 in rising order.")

    @property
    def size(self) -> int:
        """How many neurons."""
        return sum(len(chosen) for chosen in self.neurons.values())

    @classmethod
    def of_mask(cls, mask_LM: NDArray[Any]) -> "Index":
        """The neurons where the mask is true."""
        return cls({layer: np.flatnonzero(row) for layer, row in enumerate(mask_LM) if row.any()})

    def mask(self, layers: int, width: int) -> NDArray[np.bool_]:
        """True where a neuron belongs to the brick, ``[layers, width]``."""
        found = np.zeros((layers, width), dtype=bool)
        for layer, chosen in self.neurons.items():
            if layer >= layers or (len(chosen) and chosen[-1] >= width):
                raise UsageError(f"layer {layer} has a neuron outside {layers} layers of {width} neurons.")
            found[layer, chosen] = True
        return found


@dataclass(frozen=True)
class Partition:
    """A full split of every FFN into groups of neurons (experts)."""

    labels_LM: NDArray[np.int64]
    """Expert of each neuron, from 0; the sizes of the experts of a layer differ by one neuron at most."""

    experts: int

    def __post_init__(self) -> None:
        width = self.labels_LM.shape[1] if self.labels_LM.ndim == 2 else 0
        if not 1 <= self.experts <= width:
            raise UsageError(f"experts must be 1 to {width}, the neurons of a layer; got {self.experts}.")
        for layer, row in enumerate(self.labels_LM):
            sizes = np.bincount(row, minlength=self.experts) if row.min() >= 0 else np.zeros(1)
            if len(sizes) != self.experts or np.ptp(sizes) > 1:
                raise UsageError(f"the experts of layer {layer} must differ in size by one neuron at most.")

    @property
    def order_LM(self) -> NDArray[np.int64]:
        """For each layer the neurons, expert after expert."""
        return np.argsort(self.labels_LM, axis=1, kind="stable")


@dataclass(frozen=True)
class LowRank:
    """Changes of weight matrices as products: the matrix at ``path`` becomes ``W + B @ A``, scale included."""

    factors: Mapping[str, tuple[Tensor, Tensor]]
    """Module path to ``A [r, in]`` and ``B [out, r]``, float32."""

    def __post_init__(self) -> None:
        for path, (a_RI, b_OR) in self.factors.items():
            if a_RI.ndim != 2 or b_OR.ndim != 2 or a_RI.shape[0] != b_OR.shape[1]:
                raise UsageError(f"{path}: A must be [r, in] and B [out, r]; got {a_RI.shape} and {b_OR.shape}.")
            if not bool(a_RI.isfinite().all() and b_OR.isfinite().all()):
                raise UsageError(f"{path} holds numbers that are not finite.")

    def delta(self, path: str) -> Tensor:
        """``B @ A`` of one module, ``[out, in]``."""
        a_RI, b_OR = self.factors[path]
        return b_OR @ a_RI


Payload = Index | Partition | LowRank
