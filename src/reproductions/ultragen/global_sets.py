"""Sets of attributes that no text of the corpus has together: drawn at random, or by correlation and dissimilarity.

Stage 2 of the paper: a space tuned so that attributes of one text lie together (eq. 2), and from it, around a soft
seed, the correlated attributes that resemble each other least.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from armillary.methods.ultragen.core import triplet_loss
from armillary.methods.ultragen.expansion import Quota, in_order, least_similar, nearest
from reproductions.ultragen.scale import Scale
from reproductions.ultragen.world import PAD, VOCABULARY, Attribute, conflict

Strategy = Literal["hclr", "random"]
Vectors = NDArray[np.float32]
CAPPED = ("bigram", "count", "exclude")


class Pool:
    """The distinct attributes of a corpus, with the tuned space and the plain one."""

    def __init__(self, documents: Sequence[Sequence[Attribute]], scale: Scale, seed: int) -> None:
        self.attributes = sorted({attribute for document in documents for attribute in document})
        self.soft = [i for i, attribute in enumerate(self.attributes) if attribute.soft]
        self.scale = scale
        bags = np.zeros((len(self.attributes), 2 * VOCABULARY), np.float32)
        for row, attribute in enumerate(self.attributes):
            kind, first, second = attribute.tokens
            bags[row, [kind, first]] = 1
            # As in the decoder, the last argument is its own; the same word in both places is half alike.
            if second != PAD:
                bags[row, second] += 0.5
                bags[row, VOCABULARY + second] = 1
        self.plain = bags / np.linalg.norm(bags, axis=1, keepdims=True)
        index = {attribute: i for i, attribute in enumerate(self.attributes)}
        self.tuned = tuned(self.plain, [[index[a] for a in document] for document in documents], scale, seed)

    def draw(self, strategy: Strategy, size: int, draw: np.random.Generator) -> list[Attribute]:
        """A set of at most ``size`` without conflicts, by the method's own expansion or as they come at random.

        A sixth is soft, and a fifth at most each of pairs of words, of counts and of what forbids: of the distinct
        attributes of a corpus nine in ten are pairs.
        """
        seed = int(draw.choice(self.soft))
        quota = Quota(soft=max(1, size // 6), hard=size - max(1, size // 6))

        def allowed(chosen: list[int], candidate: int) -> bool:
            attribute, others = self.attributes[candidate], [self.attributes[index] for index in chosen]
            full = attribute.kind in CAPPED and sum(o.kind == attribute.kind for o in others) >= size // 5
            return not full and not any(conflict(attribute, other) for other in others)

        soft_P = np.array([attribute.soft for attribute in self.attributes])
        if strategy == "random":
            order = draw.permutation(len(self.attributes))
            chosen = in_order(order[order != seed], soft_P, quota, allowed, seed)
        else:
            (candidates,) = nearest(self.tuned, np.array([seed]), self.scale.candidates)
            chosen = least_similar(self.plain, candidates, soft_P, quota, "farthest", allowed, seed)
        return [self.attributes[index] for index in chosen]


def tuned(plain: Vectors, documents: Sequence[Sequence[int]], scale: Scale, seed: int) -> Vectors:
    """Unit vectors of a linear map of the bags that brings attributes of one document together (eq. 2)."""
    draw = np.random.default_rng(seed)
    some = [document for document in documents if len(document) > 1]
    first, other = draw.integers(len(some), size=(2, scale.triplets))
    lengths = np.array([len(document) for document in some])
    one = draw.integers(lengths[first])
    two = (one + draw.integers(1, lengths[first])) % lengths[first]  # any but the first
    pairs = np.array([(some[i][a], some[i][b]) for i, a, b in zip(first, one, two, strict=True)])
    negative = np.array([some[i][a] for i, a in zip(other, draw.integers(lengths[other]), strict=True)])
    generator = torch.Generator().manual_seed(seed)
    weight = (0.3 * torch.randn(plain.shape[1], scale.dimensions, generator=generator)).requires_grad_()
    optimizer = torch.optim.AdamW([weight], lr=1e-2)  # a single matrix: some hundred steps bring it to rest
    bags = torch.from_numpy(plain)
    for block in np.array_split(np.arange(len(pairs)), max(1, len(pairs) // 128)):
        a, same, away = (bags[ids] @ weight for ids in (pairs[block, 0], pairs[block, 1], negative[block]))
        optimizer.zero_grad()
        triplet_loss(a, same, away).backward()
        optimizer.step()
    vectors: Vectors = functional.normalize(bags @ weight.detach(), dim=-1).numpy()
    return vectors


def drawn_sets(
    pool: Pool, strategy: Strategy, sizes: Sequence[int], draw: np.random.Generator
) -> list[list[Attribute]]:
    """A set of each size, its attributes in drawn order; shorter where the candidates ran out."""
    sets = [pool.draw(strategy, size, draw) for size in sizes]
    return [[attributes[i] for i in draw.permutation(len(attributes))] for attributes in sets]
