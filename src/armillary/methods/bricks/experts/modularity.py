"""Do the experts of a partition collect functions? Counts of top neurons against those of random partitions.

The measure of "Emergent Modularity" (Zhang and others, 2023, arXiv 2305.18390), per layer: an expert is functional for
a capability where it holds more of the capability's best neurons than p <= 0.001 allows by chance.
Legend: F capabilities, L layers, M neurons of an FFN, E experts, P partitions, S sizes, C counts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from armillary.errors import UsageError
from armillary.methods.bricks.payloads import Index, Partition
from armillary.numerics.intervals import Array, Interval

P_VALUE = 0.001
"""Of an expert, as in the paper: of a thousand random experts one is called functional."""

PARTITIONS = 200
"""Random ones beside the partition: ``p_of_number`` can't be smaller than 1 / 201."""

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
    """Where the count is one that a random expert reaches with probability ``P_VALUE`` at most."""

    null_functional_P: NDArray[np.int64]
    """Number of functional experts of each random partition."""

    @property
    def number(self) -> int:
        """Functional experts, all layers together."""
        return int(self.functional_LE.sum())

    @property
    def degree(self) -> float | None:
        """Modularisation degree: mean of count over expected count of the functional experts; None where none is."""
        if not self.functional_LE.any():
            return None
        return float((self.counts_LE[self.functional_LE] / self.expected_LE[self.functional_LE]).mean())

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
    masks = {name: neurons.mask(layers, width) for name, neurons in best.items()}
    if empty := [name for name, mask_LM in masks.items() if not mask_LM.any()]:
        raise UsageError(f"the capability {empty[0]!r} has no best neurons to look for.")
    if not masks:
        return {}
    stacked_FLM = np.stack(list(masks.values()))
    least_FLS = least_counts(stacked_FLM.sum(axis=2), partition, p_value)
    generator = np.random.default_rng(seed)
    counts = _counted(partition.labels_LM, stacked_FLM, least_FLS, partition.experts)
    # Permuted labels are random partitions whose experts have the sizes that this one has.
    permuted = (generator.permuted(partition.labels_LM, axis=1) for _ in range(partitions))
    null = [_counted(labels_LM, stacked_FLM, least_FLS, partition.experts) for labels_LM in permuted]
    return {
        name: FunctionalExperts(
            capability=name,
            counts_LE=counts.counts_FLE[index],
            expected_LE=counts.expected_FLE[index],
            functional_LE=counts.functional_FLE[index],
            null_functional_P=np.array([int(row.functional_FLE[index].sum()) for row in null]),
        )
        for index, name in enumerate(masks)
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


@dataclass(frozen=True, kw_only=True)
class _Counts:
    """Best neurons in each expert, how many are expected there, and whether the expert is functional."""

    counts_FLE: NDArray[np.int64]
    expected_FLE: Array
    functional_FLE: NDArray[np.bool_]


def _counted(
    labels_LM: NDArray[np.int64], best_FLM: NDArray[np.bool_], least_FLS: NDArray[np.int64], experts: int
) -> _Counts:
    layers, width = labels_LM.shape
    cell_LM = labels_LM + np.arange(layers)[:, None] * experts
    size_LE = np.bincount(cell_LM.reshape(-1), minlength=layers * experts).reshape(layers, experts)
    counts_FLE = np.stack(
        [np.bincount(cell_LM[mask_LM], minlength=layers * experts).reshape(layers, experts) for mask_LM in best_FLM]
    )
    expected_FLE = best_FLM.sum(axis=2)[:, :, None] * size_LE / width
    larger_LE = (size_LE > width // experts).astype(np.int64)
    least_FLE = np.take_along_axis(least_FLS, np.broadcast_to(larger_LE, counts_FLE.shape), axis=2)
    return _Counts(counts_FLE=counts_FLE, expected_FLE=expected_FLE, functional_FLE=counts_FLE >= least_FLE)
