"""Sets of neurons: specialised for a capability, resident everywhere, random with the same number or magnitude.

Legend: L layers, M neurons of an FFN.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from armillary.errors import UsageError
from armillary.methods.bricks.payloads import Index
from armillary.methods.bricks.scores import SPECIALISED, chosen_of

Array = NDArray[np.float64]

NEIGHBOURS = 8
"""A magnitude-matched neuron is drawn from so many of nearest magnitude on each side."""


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
    found = {}
    for layer, neurons in chosen.neurons.items():
        others = np.flatnonzero(~mask[layer])
        if len(others) < len(neurons):
            raise UsageError(
                f"{len(neurons)} neurons of layer {layer} can't be matched by the {len(others)} others of the layer."
            )
        found[layer] = _matched(neurons, others, magnitude_LM[layer], generator)
    return Index(found)


def _matched(
    neurons: NDArray[np.int64], others: NDArray[np.int64], magnitude_M: Array, generator: np.random.Generator
) -> NDArray[np.int64]:
    free = others[np.argsort(magnitude_M[others], kind="stable")].tolist()
    sizes = magnitude_M[free].tolist()
    drawn = []
    # In random order, so that no end of the layer always gets the better matches.
    for neuron in generator.permutation(neurons):
        place = int(np.searchsorted(sizes, magnitude_M[neuron]))
        low = max(0, min(place - NEIGHBOURS, len(free) - 2 * NEIGHBOURS))
        pick = int(generator.integers(low, min(len(free), low + 2 * NEIGHBOURS)))
        drawn.append(free.pop(pick))
        sizes.pop(pick)
    return np.sort(np.array(drawn, np.int64))
