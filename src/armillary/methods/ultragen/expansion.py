"""Which attributes join a seed: near it in the tuned space, unlike each other in the untuned one.

Legend: P attributes of the pool, C candidates of one seed, D size of a vector.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from armillary.methods.ultragen.config import Diversity

Vectors = NDArray[np.float32]
Indices = NDArray[np.int64]

BLOCK = 16_000_000
"""Cosines held at once while neighbours are looked for: 64 MB."""


@dataclass(frozen=True, kw_only=True)
class Quota:
    """How many of each sort a set takes, the seed included."""

    soft: int
    hard: int


def unit(vectors_PD: NDArray[np.float32]) -> Vectors:
    """The vectors at unit length, those of length 0 as they are."""
    lengths = np.linalg.norm(vectors_PD, axis=1, keepdims=True)
    scaled: Vectors = (vectors_PD / np.maximum(lengths, 1e-12)).astype(np.float32)
    return scaled


def nearest(vectors_PD: Vectors, seeds: Indices, count: int) -> list[Indices]:
    """For each seed the ``count`` attributes nearest to it by cosine, itself left out, nearest first.

    Of unit vectors that is the order of squared distance. Exact, by blocks of matrix products; ties break by index.
    """
    count = min(count, len(vectors_PD) - 1)
    rows = max(1, BLOCK // len(vectors_PD))
    neighbours = []
    for start in range(0, len(seeds), rows):
        block = seeds[start : start + rows]
        cosines = vectors_PD[block] @ vectors_PD.T
        cosines[np.arange(len(block)), block] = -np.inf
        # Stable, so that equal cosines keep the order of the pool whatever else is in the block.
        order = np.argsort(-cosines, axis=1, kind="stable")[:, :count]
        neighbours += [row.astype(np.int64) for row in order]
    return neighbours


def in_order(
    candidates: Indices, soft_P: NDArray[np.bool_], quota: Quota, allowed: Callable[[list[int], int], bool], seed: int
) -> list[int]:
    """The seed and then candidates as they come, as far as their sort has quota and they are allowed beside these."""
    chosen = [seed]
    room = [quota.hard, quota.soft]
    room[int(soft_P[seed])] -= 1
    for candidate in candidates.tolist():
        sort = int(soft_P[candidate])
        if room[sort] > 0 and allowed(chosen, candidate):
            chosen.append(candidate)
            room[sort] -= 1
            if not any(room):
                break
    return chosen


def least_similar(
    vectors_PD: Vectors,
    candidates: Indices,
    soft_P: NDArray[np.bool_],
    quota: Quota,
    rule: Diversity,
    allowed: Callable[[list[int], int], bool],
    seed: int,
) -> list[int]:
    """The seed, then again and again the candidate least similar to all that is chosen, until quotas are met.

    Similarity to a set is the largest cosine to any of its members (``rule="farthest"``), or the smallest, as the
    released code has it (``"released"``). A candidate that is not allowed is passed over for good. Ties break by index
    of the pool. Candidates may run out before the quota does.
    """
    order = np.sort(candidates)
    own_CD, soft_C = vectors_PD[order], soft_P[order]
    chosen, room = [seed], [quota.hard, quota.soft]
    room[int(soft_P[seed])] -= 1
    open_C = np.ones(len(order), bool)
    similar_C = own_CD @ vectors_PD[seed]
    join = np.maximum if rule == "farthest" else np.minimum
    while any(count > 0 for count in room):
        eligible_C = open_C & np.where(soft_C, room[1] > 0, room[0] > 0)
        if not eligible_C.any():
            break
        best = int(np.where(eligible_C, similar_C, np.inf).argmin())
        open_C[best] = False
        candidate = int(order[best])
        if not allowed(chosen, candidate):
            continue
        chosen.append(candidate)
        room[int(soft_C[best])] -= 1
        similar_C = join(similar_C, own_CD @ own_CD[best])
    return chosen
