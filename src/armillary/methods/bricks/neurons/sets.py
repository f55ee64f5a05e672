"""Sets of neurons: specialised for a capability, resident everywhere, random with the same number or magnitude.

Also what two sets have in common, against what two random sets of these sizes would have.
Legend: L layers, M neurons of an FFN, R replicates.
"""

from collections.abc import Mapping
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from armillary.errors import UsageError
from armillary.methods.bricks.neurons.result import Overlap
from armillary.methods.bricks.neurons.scores import SPECIALISED, chosen_of
from armillary.methods.bricks.payloads import Index
from armillary.numerics.intervals import Array, bootstrap_weighted

NEIGHBOURS = 8
"""A magnitude-matched neuron is drawn from so many of nearest magnitude on each side: more give other draws for other
seeds, fewer a closer match."""


def specialised(scores_LM: Array, share: float = SPECIALISED, *, scope: Literal["layer", "global"] = "layer") -> Index:
    """The neurons of highest score: ``share`` of each layer, or of all neurons wherever they are.

    Of equal scores the neuron of lower layer and index comes first. UsageError for a share not above 0 and up to 1.
    """
    if scope not in ("layer", "global"):
        raise UsageError(f"scope must be 'layer' or 'global', got {scope!r}.")
    rows = scores_LM if scope == "layer" else scores_LM.reshape(1, -1)
    count = chosen_of(share, rows.shape[1])
    best = np.argsort(-rows, axis=1, kind="stable")[:, :count]
    mask = np.zeros(rows.shape, bool)
    np.put_along_axis(mask, best, True, axis=1)
    return Index.of_mask(mask.reshape(scores_LM.shape))


def resident(firing_share_LM: Array, least: float = 0.95) -> Index:
    """Neurons that fire at ``least`` this share of tokens (``Profile.firing_share``), whatever the text is about."""
    if not 0 < least <= 1:
        raise UsageError(f"least must lie above 0 and up to 1, got {least}.")
    return Index.of_mask(firing_share_LM >= least)


def without(chosen: Index, removed: Index) -> Index:
    """The neurons of ``chosen`` that are not in ``removed``."""
    kept = {
        layer: np.setdiff1d(neurons, removed.neurons.get(layer, np.empty(0, np.int64)))
        for layer, neurons in chosen.neurons.items()
    }
    return Index({layer: neurons for layer, neurons in kept.items() if len(neurons)})


def without_as_many(chosen: Index, removed: Index, *, seed: int) -> Index:
    """The set less as many of its *other* neurons in each layer as it has of ``removed``: what ``without`` is compared
    with. The removed ones stay, unless a layer has too few others."""
    generator = np.random.default_rng(seed)
    kept = {}
    for layer, neurons in chosen.neurons.items():
        others = np.setdiff1d(neurons, removed.neurons.get(layer, np.empty(0, np.int64)))
        kept[layer] = np.setdiff1d(neurons, generator.permutation(others)[: len(neurons) - len(others)])
    return Index({layer: neurons for layer, neurons in kept.items() if len(neurons)})


def random_like(chosen: Index, width: int, *, seed: int) -> Index:
    """As many neurons of each layer as ``chosen`` has, drawn from all ``width`` of the layer."""
    generator = np.random.default_rng(seed)
    return Index(
        {
            layer: np.sort(generator.choice(width, len(neurons), replace=False))
            for layer, neurons in chosen.neurons.items()
        }
    )


def magnitude_matched(chosen: Index, magnitude_LM: Array, *, seed: int) -> Index:
    """For each neuron another one of its layer, outside ``chosen``, drawn from those of nearest output magnitude.

    ``magnitude_LM`` is usually ``Profile.magnitude`` over the capability's own texts: the control then writes as much
    as the set where the set matters most. UsageError where a layer has more chosen neurons than others.
    """
    generator = np.random.default_rng(seed)
    mask = chosen.mask(*magnitude_LM.shape)
    matched = {}
    for layer, neurons in chosen.neurons.items():
        others = np.flatnonzero(~mask[layer])
        if len(others) < len(neurons):
            raise UsageError(
                f"{len(neurons)} neurons of layer {layer} can't be matched by the {len(others)} others of the layer."
            )
        matched[layer] = _matched(neurons, others, magnitude_LM[layer], generator)
    return Index(matched)


def _matched(
    neurons: NDArray[np.int64], others: NDArray[np.int64], magnitude_M: Array, generator: np.random.Generator
) -> NDArray[np.int64]:
    free = others[np.argsort(magnitude_M[others], kind="stable")].tolist()
    sizes = magnitude_M[free].tolist()
    drawn = []
    # In random order, so that no end of the layer always gets the better matches.
    for neuron in generator.permutation(neurons):
        rank = int(np.searchsorted(sizes, magnitude_M[neuron]))
        low = max(0, min(rank - NEIGHBOURS, len(free) - 2 * NEIGHBOURS))
        pick = int(generator.integers(low, min(len(free), low + 2 * NEIGHBOURS)))
        drawn.append(free.pop(pick))
        sizes.pop(pick)
    return np.sort(np.array(drawn, np.int64))


def overlap(a: Index, b: Index, *, width: int, seed: int = 0) -> Overlap:
    """Common neurons over the size of the smaller set, layers of ``width`` neurons pooled.

    Sets that have as many neurons in every layer thus get the mean over layers. UsageError for an empty set.
    """
    if not a.size or not b.size:
        raise UsageError("an overlap needs two sets of at least one neuron.")
    layers = sorted(set(a.neurons) | set(b.neurons))
    empty = np.empty(0, np.int64)
    pairs = [(a.neurons.get(layer, empty), b.neurons.get(layer, empty)) for layer in layers]
    if any(len(row) and row[-1] >= width for pair in pairs for row in pair):
        raise UsageError(f"a set has a neuron outside the {width} of a layer.")
    counts_L3 = np.array([(len(np.intersect1d(x, y)), len(x), len(y)) for x, y in pairs], np.float64)

    def statistic(drawn_RL: Array) -> Array:
        common_R, a_R, b_R = (drawn_RL @ counts_L3).T
        share_R: Array = common_R / np.minimum(a_R, b_R).clip(min=1)
        return share_R

    smaller = min(a.size, b.size)
    law = _common_law(counts_L3[:, 1:].astype(int), width)
    low, high = np.searchsorted(law.cumsum(), (0.025, 0.975))
    how = f"bootstrap over {len(layers)} layers"
    return Overlap(
        share=bootstrap_weighted(statistic, len(layers), seed=seed, how=how),
        expected=float((counts_L3[:, 1] * counts_L3[:, 2]).sum() / width / smaller),
        random_low=float(low / smaller),
        random_high=float(high / smaller),
        by_layer=tuple((row[0] / min(row[1:])).item() for row in counts_L3 if min(row[1:])),
    )


def overlaps(sets: Mapping[str, Index], *, width: int, seed: int = 0) -> dict[tuple[str, str], Overlap]:
    """The overlap of every pair of sets, under their two names in the order given."""
    return {(a, b): overlap(sets[a], sets[b], width=width, seed=seed) for a, b in combinations(sets, 2)}


def _common_law(sizes_L2: NDArray[np.int64], width: int) -> Array:
    """Probabilities of 0, 1, 2, ... common neurons of random sets, over all layers together."""
    from scipy.stats import hypergeom

    law: Array = np.ones(1)
    for a, b in sizes_L2.tolist():
        law = np.convolve(law, hypergeom(width, a, b).pmf(np.arange(min(a, b) + 1)))
    return law
