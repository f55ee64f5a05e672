"""Average precision of many rankings at once, ties included, and its interval. Needs NumPy, no torch.

Legend: K rankings (neurons), N instances (texts), P positive ones, R replicates.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from armillary.numerics.intervals import Array, Interval, resampled

Ranks = NDArray[np.integer[Any]]


def descending_ranks(values_KN: NDArray[np.floating[Any]]) -> Ranks:
    """For each instance how many of its row are at least as large, ``[K, N]``: equal values share the last rank."""
    order_KN = np.argsort(-values_KN, axis=1)
    sorted_KN = np.take_along_axis(values_KN, order_KN, axis=1)
    last_KN = np.ones(values_KN.shape, bool)
    last_KN[:, :-1] = sorted_KN[:, :-1] != sorted_KN[:, 1:]
    ranks_KN = np.empty(values_KN.shape, np.int32)
    np.put_along_axis(ranks_KN, order_KN, _next_true(last_KN).astype(np.int32), axis=1)
    return ranks_KN


def average_precision(ranks_KN: Ranks, positives_P: NDArray[np.int64]) -> Array:
    """Average precision of each ranking, ``[K]``: the mean over positives of the precision down to their rank.

    ``ranks_KN`` are those of ``descending_ranks``, ``positives_P`` the instances that should come first. Equal to
    scikit-learn's ``average_precision_score``, also with ties. The chance level is P / N.
    """
    # Only the ranks of the positives matter, so other labels of the same instances cost a small sort each.
    ranks_KP = np.sort(ranks_KN[:, positives_P], axis=1)
    count_KP: NDArray[np.int64] = np.arange(1, ranks_KP.shape[1] + 1)[None]
    last_KP = np.ones(ranks_KP.shape, bool)
    last_KP[:, :-1] = ranks_KP[:, :-1] != ranks_KP[:, 1:]
    if not last_KP.all():
        count_KP = _next_true(last_KP)
    precision_K: Array = (count_KP / ranks_KP).mean(axis=1)
    return precision_K


def average_precision_interval(
    values_KN: NDArray[np.floating[Any]],
    labels_N: NDArray[np.int64],
    label: int,
    *,
    seed: int,
    replicates: int = 1000,
) -> Interval:
    """Mean over the rankings of the average precision of ``label``, with its bootstrap interval over instances.

    Instances are drawn within their labels, so that the chance level stays. The rankings are taken as given: where
    they were chosen for their precision on the same instances, the interval doesn't know of that choice.
    """
    rankings: list[_Ranking] = []
    for row_N in values_KN:
        order_N = np.argsort(-row_N)
        last_N = np.append(np.diff(row_N[order_N]) != 0, True)
        rankings.append((order_N, labels_N[order_N] == label, _next_true(last_N[None])[0] - 1))
    rows = {str(name): np.flatnonzero(labels_N == name) for name in np.unique(labels_N)}

    def statistic(drawn: Mapping[str, Array]) -> Array:
        weights_RN = np.empty((len(next(iter(drawn.values()))), len(labels_N)))
        for name, counts_RN in drawn.items():
            weights_RN[:, rows[name]] = counts_RN
        mean_R: Array = np.mean([_weighted(ranking, weights_RN) for ranking in rankings], axis=0)
        return mean_R

    return resampled(statistic, {name: len(own) for name, own in rows.items()}, seed=seed, replicates=replicates)


_Ranking = tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]]
"""The descending order, which ranks of it are positive, and the rank where each group of ties ends."""


def _weighted(ranking: _Ranking, weights_RN: Array) -> Array:
    """Average precision where instances count as often as the weights of each replicate say, ``[R]``."""
    order_N, positive_N, end_N = ranking
    sorted_RN = weights_RN[:, order_N]
    hits_RN = sorted_RN * positive_N
    end_P = end_N[positive_N]
    precision_RP = hits_RN.cumsum(axis=1)[:, end_P] / sorted_RN.cumsum(axis=1)[:, end_P].clip(min=1)
    gain_RP = hits_RN[:, positive_N]
    value_R: Array = (gain_RP * precision_RP).sum(axis=1) / gain_RP.sum(axis=1)
    return value_R


def _next_true(marked_KN: NDArray[np.bool_]) -> NDArray[np.int64]:
    """For each column the number, from 1, of the first marked one from there on; the last is marked."""
    count = marked_KN.shape[1]
    number_KN = np.where(marked_KN, np.arange(1, count + 1), count)
    first: NDArray[np.int64] = np.minimum.accumulate(number_KN[:, ::-1], axis=1)[:, ::-1]
    return first
