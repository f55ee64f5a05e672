"""Splitting every FFN into experts of equal size: by weights, by what fires together, by a table of scores, by lot.

MoEfication (Zhang and others, 2022, arXiv 2110.01786) groups the rows of the first matrix by balanced k-means, and
LLaMA-MoE the rows of gate or up; gate rows are the default here. Where MoEfication cuts the graph of co-activation, we
group neurons by the tokens at which they are among the largest: our own choice.
Legend: L layers, M neurons of an FFN, D hidden size, T tokens, G groups.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from armillary.activations.neurons import column_norms, ffn_writes, stream_ffns
from armillary.errors import NumericError, UsageError
from armillary.methods.bricks.payloads import Index, Partition
from armillary.models import LoadedModel
from armillary.models.feed_forward import FfnFunction, ffn_functions, weight_OI
from armillary.numerics.clustering import ITERATIONS, balanced_kmeans, best_assignment, group_sizes, unit_rows
from armillary.numerics.intervals import Interval
from armillary.progress import track

Rows = Literal["gate", "gate_up"]


def random_partition(layers: int, width: int, experts: int, *, seed: int) -> Partition:
    """A split by lot, the baseline of every other; UsageError for ``experts`` outside 1 to ``width``."""
    generator = np.random.default_rng(seed)
    labels_M = np.repeat(np.arange(experts), group_sizes(width, experts))
    return Partition(np.stack([generator.permutation(labels_M) for _ in range(layers)]), experts)


def partition_by_weights(
    loaded: LoadedModel, experts: int, *, rows: Rows = "gate", seed: int = 0, iterations: int = ITERATIONS
) -> Partition:
    """Neurons whose rows point the same way together: of the gate, or of unit gate and unit up side by side.

    A plain FFN has one matrix that reads, and its rows are taken. UsageError for ``experts`` outside 1 to the number
    of neurons, ModelError where an FFN is neither plain nor gated.
    """
    if rows not in ("gate", "gate_up"):
        raise UsageError(f"rows must be 'gate' or 'gate_up'; got {rows!r}.")
    ffn_writes(loaded)  # refuses layers of different width
    functions = ffn_functions(loaded)
    labels = [
        balanced_kmeans(_read_rows(function, rows), experts, seed=seed + layer, iterations=iterations)
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
    iterations: int = ITERATIONS,
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
    profiles = _Profiles(loaded, share, -(-tokens // max(1, len(texts))))
    stream_ffns(loaded, functions, texts, profiles.receive, max_tokens=max_tokens, label="reading what fires together")
    labels = [
        balanced_kmeans(profiles.layer(layer), experts, seed=seed + layer, iterations=iterations)
        for layer in track(range(len(functions)), "grouping neurons by co-activation", len(functions))
    ]
    return Partition(np.stack(labels), experts)


def partition_by_score(table_GLM: NDArray[np.floating[Any]]) -> Partition:
    """One expert for each row of a table of scores: neurons go where they score highest, as far as there is room.

    With a capability's functional scores as rows, and firing shares as a last row, the experts are capabilities and
    resident neurons. The sum of scores is as large as equal sizes allow; rows should share a scale. UsageError unless
    the table is ``[groups, layers, neurons]``, NumericError for scores that are not finite.
    """
    if table_GLM.ndim != 3 or 0 in table_GLM.shape:
        raise UsageError(f"scores must be a table [groups, layers, neurons]; got shape {table_GLM.shape}.")
    if not np.isfinite(table_GLM).all():
        raise NumericError("the scores to group neurons by must be finite.")
    sizes_G = group_sizes(table_GLM.shape[2], len(table_GLM))
    rows = [best_assignment(scores_GM.T.astype(np.float64), sizes_G) for scores_GM in table_GLM.transpose(1, 0, 2)]
    return Partition(np.stack(rows), len(table_GLM))


def _read_rows(function: FfnFunction, rows: Rows) -> NDArray[np.float64]:
    chosen = function.reads if rows == "gate_up" else (function.gate,)
    return np.concatenate([unit_rows(weight_OI(one).detach().cpu().double().numpy()) for one in chosen], axis=1)


class _Profiles:
    """At which of some tokens each neuron was among the largest, as bits."""

    def __init__(self, loaded: LoadedModel, share: float, per_text: int) -> None:
        self._norms_LM = torch.from_numpy(column_norms(loaded)).float().to(loaded.device)
        self._count = max(1, round(share * self._norms_LM.shape[1]))
        self._per_text = per_text
        self._bits: dict[int, list[NDArray[np.uint8]]] = {}

    def receive(self, layer: int, texts: list[int], x_BTD: Tensor, a_BTM: Tensor) -> None:
        """Take in evenly spaced tokens of each text."""
        length = a_BTM.shape[1]
        places = torch.linspace(0, length - 1, min(length, self._per_text), device=a_BTM.device).round().long()
        size_NM = (a_BTM[:, places].float().abs() * self._norms_LM[layer]).flatten(0, 1)
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


# Do the experts of a partition collect functions? Counts of top neurons against the hypergeometric law and by lot.
#
# The measure of "Emergent Modularity" (Zhang and others, 2023, arXiv 2305.18390), per layer: an expert is functional
# for a capability where it holds more of the capability's best neurons than p <= 0.001 allows by chance.
# Legend: F capabilities, L layers, M neurons of an FFN, E experts, P partitions, S sizes, C counts.

Array = NDArray[np.float64]

P_VALUE = 0.001
PARTITIONS = 200
TOP = 0.01
"""Share of a layer's neurons that count as a capability's best, as in the predecessor."""


@dataclass(frozen=True, kw_only=True)
class FunctionalExperts:
    """How many experts are functional for one capability, and how many of a random partition are."""

    capability: str
    counts_LE: NDArray[np.int64]
    """The capability's best neurons in each expert."""

    expected_LE: Array
    """Their expected number in a random partition."""

    functional_LE: NDArray[np.bool_]
    """Where the count is one that a random expert reaches with probability ``p_value`` at most."""

    null_functional_P: NDArray[np.int64]
    """Number of functional experts of each random partition."""

    null_degree_P: Array
    """Modularisation degree of each random partition, NaN where it has no functional expert."""

    p_value: float = P_VALUE

    @property
    def number(self) -> int:
        """Functional experts, all layers together."""
        return int(self.functional_LE.sum())

    @property
    def degree(self) -> float | None:
        """Modularisation degree: mean of count over expected count of the functional experts; None where none is."""
        return _degree(self.counts_LE, self.expected_LE, self.functional_LE)

    @property
    def p_of_number(self) -> float:
        """How often a random partition has as many functional experts, this one counted among them."""
        return float((1 + (self.null_functional_P >= self.number).sum()) / (1 + len(self.null_functional_P)))

    @property
    def null_number(self) -> Interval:
        """Number of functional experts of a random partition: mean, and the range that holds 95 % of them."""
        values_P = self.null_functional_P.astype(np.float64)
        low, high = np.quantile(values_P, [0.025, 0.975])
        return Interval(
            estimate=float(values_P.mean()),
            low=float(low),
            high=float(high),
            n=len(values_P),
            level=0.95,
            how=f"range of {len(values_P)} random partitions",
        )

    @property
    def concentration(self) -> float:
        """Share of the best neurons that sit in functional experts, 0 to 1."""
        return float(self.counts_LE[self.functional_LE].sum() / max(1, self.counts_LE.sum()))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        known_P = self.null_degree_P[np.isfinite(self.null_degree_P)]
        return {
            "capability": self.capability,
            "experts": int(self.functional_LE.size),
            "functional": self.number,
            "functional_by_layer": self.functional_LE.sum(axis=1).tolist(),
            "degree": self.degree,
            "concentration": self.concentration,
            "p_value_of_an_expert": self.p_value,
            "null": self.null_number.to_dict(),
            "null_degree": float(known_P.mean()) if len(known_P) else None,
            "p_of_number": self.p_of_number,
        }


def functional_experts(
    partition: Partition,
    best: Mapping[str, Index],
    *,
    p_value: float = P_VALUE,
    partitions: int = PARTITIONS,
    seed: int = 0,
) -> dict[str, FunctionalExperts]:
    """For each capability the functional experts among all, beside those of ``partitions`` random partitions.

    ``best`` are the capability's top neurons (``specialised(scores, TOP)``, from texts that the partition has not
    seen). UsageError for a p-value outside (0, 1), fewer than 2 random partitions, no neurons, or neurons that the
    partition lacks.
    """
    if not 0 < p_value < 1 or partitions < 2:
        raise UsageError(f"p_value must lie between 0 and 1, with 2 partitions or more; got {p_value}, {partitions}.")
    layers, width = partition.labels_LM.shape
    masks = {name: one.mask(layers, width) for name, one in best.items()}
    if empty := [name for name, mask_LM in masks.items() if not mask_LM.any()]:
        raise UsageError(f"the capability {empty[0]!r} has no best neurons to look for.")
    if not masks:
        return {}
    stacked_FLM = np.stack(list(masks.values()))
    least_FLS = least_counts(stacked_FLM.sum(axis=2), partition, p_value)
    generator = np.random.default_rng(seed)
    found = _judged(partition.labels_LM, stacked_FLM, least_FLS, partition.experts)
    # Permuted labels are random partitions whose experts have the sizes that this one has.
    lots = (generator.permuted(partition.labels_LM, axis=1) for _ in range(partitions))
    null = [_judged(labels_LM, stacked_FLM, least_FLS, partition.experts) for labels_LM in lots]
    return {
        name: FunctionalExperts(
            capability=name,
            counts_LE=found[0][place],
            expected_LE=found[1][place],
            functional_LE=found[2][place],
            null_functional_P=np.array([int(one[2][place].sum()) for one in null]),
            null_degree_P=np.array([_degree(*(part[place] for part in one)) for one in null], np.float64),
            p_value=p_value,
        )
        for place, name in enumerate(masks)
    }


def least_counts(chosen_FL: NDArray[np.integer[Any]], partition: Partition, p_value: float) -> NDArray[np.int64]:
    """The least count with ``P(count or more) <= p_value`` in an expert of a random partition, ``[F, L, 2]``.

    The last axis is the smaller and the larger size that experts have. The count follows the hypergeometric law: as
    many draws as the expert has neurons, from a layer of M of which ``chosen`` are marked.
    """
    from scipy.stats import hypergeom

    width = partition.labels_LM.shape[1]
    small = width // partition.experts
    sizes_S = np.array([small, small + 1])
    counts_C = np.arange(small + 3)
    tail_FLSC = hypergeom.sf(
        counts_C - 1, width, chosen_FL[..., None, None], np.minimum(sizes_S, width)[:, None]
    )  # P(count >= c)
    least: NDArray[np.int64] = (tail_FLSC <= p_value).argmax(axis=-1)
    return least


def _judged(
    labels_LM: NDArray[np.int64], best_FLM: NDArray[np.bool_], least_FLS: NDArray[np.int64], experts: int
) -> tuple[NDArray[np.int64], Array, NDArray[np.bool_]]:
    """Counts, expected counts and whether functional, each ``[F, L, E]``."""
    layers, width = labels_LM.shape
    cell_LM = labels_LM + np.arange(layers)[:, None] * experts
    size_LE = np.bincount(cell_LM.reshape(-1), minlength=layers * experts).reshape(layers, experts)
    counts_FLE = np.stack(
        [np.bincount(cell_LM[mask_LM], minlength=layers * experts).reshape(layers, experts) for mask_LM in best_FLM]
    )
    expected_FLE = best_FLM.sum(axis=2)[:, :, None] * size_LE / width
    larger_LE = (size_LE > width // experts).astype(np.int64)
    least_FLE = np.take_along_axis(least_FLS, np.broadcast_to(larger_LE, counts_FLE.shape), axis=2)
    return counts_FLE, expected_FLE, counts_FLE >= least_FLE


def _degree(counts_LE: NDArray[np.int64], expected_LE: Array, functional_LE: NDArray[np.bool_]) -> float | None:
    if not functional_LE.any():
        return None
    return float((counts_LE[functional_LE] / expected_LE[functional_LE]).mean())
