"""What makes a neuron fire: the texts in which its activation is largest, token by token.

Legend: T tokens, K chosen neurons of a layer, D size of the site.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from armillary.activations import streaming
from armillary.activations.neurons import neurons_shape
from armillary.errors import UsageError
from armillary.methods.bricks.payloads import Index
from armillary.models import LoadedModel
from armillary.models.batches import encode, pad, padded_batches, run_body


@dataclass(frozen=True, kw_only=True)
class FiringExample:
    """One text with the activation of one neuron at each of its tokens."""

    text: int
    """Place of the text in the list that was read."""

    tokens: tuple[str, ...]
    """The text as the model reads it; special tokens included."""

    values: tuple[float, ...]
    """Activation at each token, with its sign."""

    peak: int
    """Index of the token with the largest |activation|; the first token of a text is never it."""


@dataclass(frozen=True, kw_only=True)
class NeuronExamples:
    """The texts that excite one neuron most, strongest first."""

    layer: int
    neuron: int
    examples: tuple[FiringExample, ...]


_Reading = tuple[float, int, NDArray[np.float32]]
"""Minus the peak and the text, so that they sort strongest first and ties by text; then the activations."""


class _Strongest:
    """Keeps the few strongest texts of each chosen neuron, whatever the order in which texts come."""

    def __init__(self, chosen: Index, top: int) -> None:
        self.chosen, self._top = chosen, top
        self.strongest: dict[tuple[int, int], list[_Reading]] = {
            (layer, neuron): [] for layer, neurons in chosen.neurons.items() for neuron in neurons.tolist()
        }
        self.batch: list[int] = []
        self.lengths: list[int] = []

    def update(self, layer: int, x_ND: Float[Tensor, "n d"]) -> None:
        """Take in one layer of one batch."""
        neurons = self.chosen.neurons.get(layer)
        if neurons is None:
            return
        values_NK = x_ND[:, torch.from_numpy(neurons).to(x_ND.device)].float().cpu()
        for text, part_TK in zip(self.batch, values_NK.split(self.lengths), strict=True):
            values_TK = part_TK.numpy()
            peaks_K = np.abs(values_TK[1:]).max(axis=0)
            for index, neuron in enumerate(neurons.tolist()):
                strongest = self.strongest[layer, neuron]
                key = (-float(peaks_K[index]), text)
                if len(strongest) == self._top and strongest[-1][:2] < key:
                    continue
                strongest.append((*key, values_TK[:, index].copy()))
                strongest.sort(key=lambda reading: reading[:2])
                del strongest[self._top :]


@torch.inference_mode()
def firing_examples(
    loaded: LoadedModel,
    texts: Sequence[str],
    chosen: Index,
    *,
    top: int = 5,
    max_tokens: int = 128,
    tokens_per_batch: int = 2048,
) -> tuple[NeuronExamples, ...]:
    """For each chosen neuron the ``top`` texts with its largest |activation|, read in one pass.

    The first token of a text (an attention sink) can't be the peak. Equal peaks stay in the texts' order.
    UsageError for a text without a token that counts, for no texts, or for a neuron that the model doesn't have.
    """
    if top < 1 or not texts:
        raise UsageError(f"examples need texts and a top of 1 or more; got {len(texts)} texts and top = {top}.")
    chosen.mask(*neurons_shape(loaded))
    rows = encode(loaded, texts, max_tokens=max_tokens, least=2)
    reducer = _Strongest(chosen, top)
    with streaming(loaded, "ffn", reducer):
        for batch in padded_batches(rows, tokens_per_batch):
            reducer.batch, reducer.lengths = batch, [len(rows[index]) for index in batch]
            ids_BT, mask_BT = pad([rows[index] for index in batch], device=loaded.device)
            run_body(loaded, ids_BT, None if bool(mask_BT.all()) else mask_BT)
    return tuple(
        NeuronExamples(
            layer=layer,
            neuron=neuron,
            examples=tuple(_example(loaded, rows[text], text, values_T) for _, text, values_T in readings),
        )
        for (layer, neuron), readings in reducer.strongest.items()
    )


def _example(loaded: LoadedModel, row: Sequence[int], text: int, values_T: NDArray[np.float32]) -> FiringExample:
    return FiringExample(
        text=text,
        tokens=tuple(str(loaded.tokenizer.decode([token])) for token in row),
        values=tuple(values_T.tolist()),
        peak=1 + int(np.abs(values_T[1:]).argmax()),
    )
