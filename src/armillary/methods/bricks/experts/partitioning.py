"""Splitting every FFN into experts of equal size: by weights, by what fires together, at random.

MoEfication (Zhang and others, 2022, arXiv 2110.01786) groups the rows of the first matrix by balanced k-means, and
LLaMA-MoE the rows of gate or up; gate rows are the default here. Where MoEfication cuts the graph of co-activation, we
group neurons by the tokens at which they are among the largest: our own choice.
Legend: L layers, M neurons of an FFN, D hidden size, T tokens, G groups.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from armillary.activations.neurons import column_norms, ffn_writes, stream_ffns
from armillary.errors import UsageError
from armillary.methods.bricks.experts.config import Splitting
from armillary.methods.bricks.payloads import Partition
from armillary.models import LoadedModel
from armillary.models.feed_forward import FfnFunction, ffn_functions, weight_OI
from armillary.numerics.clustering import balanced_kmeans, group_sizes, unit_rows
from armillary.progress import track

Rows = Literal["gate", "gate_up"]


def partitioned(
    loaded: LoadedModel, by: Splitting, experts: int, texts: Sequence[str], *, max_tokens: int = 128, seed: int = 0
) -> Partition:
    """The split of that name; ``texts`` are what co-activation is read on. Raises as the function that makes it."""
    if by == "weights":
        return partition_by_weights(loaded, experts, seed=seed)
    if by == "coactivation":
        return partition_by_coactivation(loaded, texts, experts, max_tokens=max_tokens, seed=seed)
    return random_partition(loaded.anatomy.num_layers, loaded.anatomy.intermediate_size, experts, seed=seed)


def random_partition(layers: int, width: int, experts: int, *, seed: int) -> Partition:
    """A random split, the baseline of every other; UsageError for ``experts`` outside 1 to ``width``."""
    generator = np.random.default_rng(seed)
    labels_M = np.repeat(np.arange(experts), group_sizes(width, experts))
    return Partition(np.stack([generator.permutation(labels_M) for _ in range(layers)]), experts)


def partition_by_weights(loaded: LoadedModel, experts: int, *, rows: Rows = "gate", seed: int = 0) -> Partition:
    """Neurons whose rows point the same way together: of the gate, or of unit gate and unit up side by side.

    A plain FFN has one matrix that reads, and its rows are taken. UsageError for ``experts`` outside 1 to the number
    of neurons, ModelError where an FFN is neither plain nor gated.
    """
    if rows not in ("gate", "gate_up"):
        raise UsageError(f"rows must be 'gate' or 'gate_up'; got {rows!r}.")
    ffn_writes(loaded)  # refuses layers of different width
    functions = ffn_functions(loaded)

    def rows_of(function: FfnFunction) -> NDArray[np.float64]:
        reads = function.reads if rows == "gate_up" else (function.gate,)
        unit = [unit_rows(weight_OI(read).detach().cpu().double().numpy()) for read in reads]
        return np.concatenate(unit, axis=1)

    labels = [
        balanced_kmeans(rows_of(function), experts, seed=seed + layer)
        for layer, function in enumerate(track(functions, "grouping neurons by weights", len(functions)))
    ]
    return Partition(np.stack(labels), experts)


def partition_by_coactivation(
    loaded: LoadedModel,
    texts: Sequence[str],
    experts: int,
    *,
    share: float = 0.2,
    tokens: int = 2048,
    max_tokens: int = 128,
    seed: int = 0,
) -> Partition:
    """Neurons that are large at the same tokens together.

    A neuron's profile is 1 at the tokens where its output magnitude is within the largest ``share`` of the layer, 0
    elsewhere, centred; profiles are grouped by direction. About ``tokens`` tokens, evenly spaced in all texts, are
    kept as bits (``tokens * L * M / 8`` bytes). UsageError for a share outside (0, 1), no texts or too many experts.
    """
    if not 0 < share < 1 or tokens < 2:
        raise UsageError(f"share must lie between 0 and 1 and tokens be 2 or more; got {share} and {tokens}.")
    functions = ffn_functions(loaded)
    group_sizes(functions[0].parts.width, experts)
    profiles = _FiringBits(loaded, share, -(-tokens // max(1, len(texts))))
    stream_ffns(loaded, functions, texts, profiles.receive, max_tokens=max_tokens, label="reading what fires together")
    labels = [
        balanced_kmeans(profiles.layer(layer), experts, seed=seed + layer)
        for layer in track(range(len(functions)), "grouping neurons by co-activation", len(functions))
    ]
    return Partition(np.stack(labels), experts)


class _FiringBits:
    """At which of some tokens each neuron was among the largest, as bits."""

    def __init__(self, loaded: LoadedModel, share: float, per_text: int) -> None:
        self._norms_LM = torch.from_numpy(column_norms(loaded)).float().to(loaded.device)
        self._count = max(1, round(share * self._norms_LM.shape[1]))
        self._per_text = per_text
        self._bits: dict[int, list[NDArray[np.uint8]]] = {}

    def receive(self, layer: int, texts: list[int], x_BTD: Tensor, a_BTM: Tensor) -> None:
        """Take in evenly spaced tokens of each text."""
        length = a_BTM.shape[1]
        positions = torch.linspace(0, length - 1, min(length, self._per_text), device=a_BTM.device).round().long()
        size_NM = (a_BTM[:, positions].float().abs() * self._norms_LM[layer]).flatten(0, 1)
        largest = size_NM.topk(self._count, dim=1).indices
        # A neuron that wrote nothing did not fire, however few others did.
        fired_NM = torch.zeros_like(size_NM, dtype=torch.bool).scatter_(1, largest, True) & (size_NM > 0)
        self._bits.setdefault(layer, []).append(np.packbits(fired_NM.cpu().numpy(), axis=1))

    def layer(self, layer: int) -> NDArray[np.float32]:
        """Centred profiles ``[M, T]``."""
        width = self._norms_LM.shape[1]
        profile_MT = np.unpackbits(np.concatenate(self._bits[layer]), axis=1, count=width).T.astype(np.float32)
        centred: NDArray[np.float32] = profile_MT - profile_MT.mean(axis=1, keepdims=True)
        return centred
