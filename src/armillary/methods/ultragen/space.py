"""A space in which attributes that occur together lie close, and sets of attributes that no text had.

An encoder of sentences is tuned on triplets: two attributes of one document, one of another (equation 2). In the tuned
space the neighbours of an attribute are what plausibly goes with it; in the untuned one, what says the same.
"""

import copy
import random
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR

from armillary.attributes.attribute import Attribute
from armillary.attributes.attribute_set import AttributeSet
from armillary.attributes.conflicts import conflicts
from armillary.attributes.kinds.catalogue import Catalogue
from armillary.errors import UsageError
from armillary.methods.ultragen.config import Diversity, ExpansionConfig, SpaceConfig, Strategy
from armillary.methods.ultragen.core import triplet_accuracy, triplet_loss
from armillary.methods.ultragen.encoders import HashedWords, OnFeatures, encoded
from armillary.methods.ultragen.expansion import Quota, in_order, least_similar, nearest, unit
from armillary.numerics.intervals import binomial
from armillary.progress import counted

Features = Callable[[Sequence[str]], object]
"""Texts to a table with a row for each."""

CLIP = 1.0
"""Largest norm of the gradient: one odd triplet should not move a pretrained encoder far."""

COUNTS = (2, 3)
"""How often a keyword of the pool that was counted in its text is asked for, one of these at random (released)."""

LEVEL = 0.9
"""Of the two-sided interval whose lower end must lie above a half: a one-sided test at 0.05."""

TRIES = 200
"""Draws of a third attribute that the first document does not have too, before the pattern is given up."""


@dataclass(frozen=True, kw_only=True)
class Triplet:
    """Two attributes of one document, and one of another."""

    anchor: Attribute
    same: Attribute
    other: Attribute


def draw_triplets(sets: Sequence[AttributeSet], count: int, *, seed: int = 0) -> list[Triplet]:
    """``count`` triplets, as many of each of the eight patterns of soft and hard as the sets allow.

    Each set is a document's. The third attribute is one that the first document does not have (ours: a requirement
    that both have tells nothing). UsageError where no two documents make a triplet.
    """
    draw = random.Random(f"triplets {seed}")
    documents = [
        {hard: [attribute for attribute in own.attributes if attribute.hard == hard] for hard in (True, False)}
        for own in sets
    ]
    texts = [{attribute.text for attribute in own.attributes} for own in sets]
    triplets: list[Triplet] = []
    patterns = list(product((True, False), repeat=3))
    drawn_by_pattern = []
    for anchor, same, other in patterns:
        needed = 2 if anchor == same else 1
        firsts = [
            index for index, own in enumerate(documents) if len(own[anchor]) >= needed and len(own[same]) >= needed
        ]
        thirds = [index for index, own in enumerate(documents) if own[other]]
        drawn_by_pattern.append(
            (anchor, same, other, firsts, thirds) if firsts and set(thirds) - set(firsts[:1]) else None
        )
    possible = [pattern for pattern in drawn_by_pattern if pattern is not None]
    for number in range(count if possible else 0):
        anchor, same, other, firsts, thirds = possible[number % len(possible)]
        first = draw.choice(firsts)
        pair = draw.sample(documents[first][anchor], 2) if anchor == same else [
            draw.choice(documents[first][anchor]), draw.choice(documents[first][same])
        ]  # fmt: skip
        for _ in range(TRIES):
            third = draw.choice(thirds)
            candidate = draw.choice(documents[third][other])
            if third != first and candidate.text not in texts[first]:
                triplets.append(Triplet(anchor=pair[0], same=pair[1], other=candidate))
                break
    if len(triplets) < 2:
        given = "1 set of attributes makes" if len(sets) == 1 else f"{len(sets)} sets of attributes make"
        raise UsageError(f"{given} no triplets; give two documents or more that differ.")
    return triplets


def pooled(sets: Sequence[AttributeSet], *, seed: int = 0, catalogue: Catalogue | None = None) -> list[Attribute]:
    """Every distinct attribute of the sets, in order of appearance, as sets that no text had may take them.

    A keyword that one text includes and another counts stays "include"; other counted ones are asked for two or three
    times, at random (released).
    """
    catalogue, draw = catalogue or Catalogue.default(), random.Random(f"pool {seed}")
    included = {
        attribute.params["w"]
        for own in sets
        for attribute in own.attributes
        if attribute.kind == "keyword_include" and "w" in attribute.params
    }
    pool: dict[str, Attribute] = {}
    for own in sets:
        for attribute in own.attributes:
            keyword = attribute.params.get("w") if attribute.kind == "keyword_count" else None
            if keyword is None:
                pool.setdefault(attribute.text, attribute)
            elif keyword not in included and f"count of {keyword}" not in pool:
                count = catalogue.kind("keyword_count").attribute({"w": keyword, "rel": "=", "k": draw.choice(COUNTS)})
                pool[f"count of {keyword}"] = count
    return list(pool.values())


class AttributeSpace:
    """The pool of attributes with two vectors each: tuned, for what goes together, and untuned, for what is alike."""

    def __init__(
        self,
        pool: Sequence[Attribute],
        tuned_PD: NDArray[np.float32],
        untuned_PD: NDArray[np.float32],
        accuracy: Sequence[float] = (),
        doubt: str = "",
    ) -> None:
        if not len(pool) == len(tuned_PD) == len(untuned_PD):
            raise UsageError(f"{len(pool)} attributes have {len(tuned_PD)} and {len(untuned_PD)} vectors.")
        self.pool = tuple(pool)
        self.tuned, self.untuned = unit(tuned_PD), unit(untuned_PD)
        self.accuracy = list(accuracy)
        """Share of held-out triplets told rightly before training and after each epoch."""

        self.doubt = doubt
        """Why not to lean on its neighbours; empty where held-out triplets are told better than by chance."""

    @classmethod
    def fit(
        cls,
        sets: Sequence[AttributeSet],
        *,
        encoder: nn.Module | Features | None = None,
        config: SpaceConfig | None = None,
        label: str | None = None,
    ) -> "AttributeSpace":
        """The space of the attributes of these documents, one set a document.

        ``encoder``: a module whose ``forward(texts)`` gives vectors (a copy is tuned), or a function that gives
        features, of which a linear map is tuned; by default hashed words. The epoch with the best held-out accuracy is
        kept (released). Warns where that is not above chance, since neighbours are then as good as drawn at random;
        held-out triplets are of the same documents, so that of others less is to be expected. UsageError where the
        sets make no triplets.
        """
        config = config or SpaceConfig()
        base = encoder if isinstance(encoder, nn.Module) else HashedWords() if encoder is None else OnFeatures(encoder)
        triplets = draw_triplets(sets, config.triplets, seed=config.seed)
        held = max(1, int(config.validation * len(triplets)))
        tuned, accuracy = tune_encoder(base, triplets[held:], triplets[:held], config, label=label)
        right, doubt = binomial(round(max(accuracy) * held), held, level=LEVEL), ""
        if right.lower <= 0.5:
            doubt = (
                f"The space tells {right.estimate:.0%} of {held} held-out triplets rightly, which is not above "
                "chance: its neighbours are as good as random; give a pretrained encoder, more texts, or the strategy "
                "random."
            )
            warnings.warn(doubt, stacklevel=2)
        pool = pooled(sets, seed=config.seed)
        texts = [attribute.text for attribute in pool]
        return cls(pool, encoded(tuned, texts), encoded(base, texts), accuracy, doubt)

    def expand(
        self,
        seeds: Sequence[Attribute] | int,
        *,
        strategy: Strategy | None = None,
        diversity: Diversity | None = None,
        config: ExpansionConfig | None = None,
        label: str | None = None,
    ) -> list[AttributeSet]:
        """A set of attributes around each seed, free of conflicts, that no document had.

        ``seeds``: attributes of the pool, or how many are drawn from its soft ones (from all where it has none).
        Sizes and shares of soft attributes depend on the seed of the configuration and the place of the set alone, so
        that strategies are compared at equal sizes. Warns where candidates ran out. UsageError for a seed that is not
        in the pool, or a pool of fewer than two.
        """
        config = config or ExpansionConfig()
        config = replace(config, strategy=strategy or config.strategy, diversity=diversity or config.diversity)
        rows = self._rows(seeds, config.seed)
        soft_P = np.array([not attribute.hard for attribute in self.pool])
        near = config.strategy in ("high_correlation", "hclr")
        neighbours = nearest(self.tuned, rows, config.candidates) if near else []
        sets, short = [], 0
        with counted(label, len(rows)) as bar:
            for number, seed in enumerate(rows.tolist()):
                generator = np.random.default_rng([config.seed, number])
                quota = self._quota(config, soft_P, generator)
                others = np.delete(np.arange(len(self.pool)), seed)
                candidates = neighbours[number] if near else generator.permutation(others)
                if config.strategy in ("low_similarity", "hclr"):
                    chosen = least_similar(
                        self.untuned, candidates[: config.candidates], soft_P, quota, config.diversity,
                        self._allowed, seed,
                    )  # fmt: skip
                else:
                    chosen = in_order(candidates, soft_P, quota, self._allowed, seed)
                short += len(chosen) < quota.soft + quota.hard
                members = tuple(self.pool[index] for index in chosen)
                sets.append(AttributeSet(attributes=members, id=f"{config.strategy}-{config.seed}-{number}"))
                bar.advance()
        if short:
            warnings.warn(
                f"{short} of {len(rows)} sets are smaller than was drawn: their candidates ran out.", stacklevel=2
            )
        return sets

    def _rows(self, seeds: Sequence[Attribute] | int, seed: int) -> NDArray[np.int64]:
        if len(self.pool) < 2:
            raise UsageError(f"sets are drawn from a pool of two attributes or more; this one has {len(self.pool)}.")
        if isinstance(seeds, int):
            if seeds < 1:
                raise UsageError(f"seeds must be 1 or more, got {seeds}.")
            soft = [index for index, attribute in enumerate(self.pool) if not attribute.hard]
            among = soft or list(range(len(self.pool)))
            generator = np.random.default_rng([seed, len(among)])
            # Without repeating one before all have had their turn.
            rounds = [generator.permutation(among) for _ in range(-(-seeds // len(among)))]
            return np.concatenate(rounds)[:seeds].astype(np.int64)
        places = {attribute: index for index, attribute in enumerate(self.pool)}
        for attribute in seeds:
            if attribute not in places:
                raise UsageError(f"the seed {attribute.text!r:.80} is no attribute of the pool.")
        return np.array([places[attribute] for attribute in seeds], np.int64)

    def _allowed(self, chosen: list[int], candidate: int) -> bool:
        # Soft attributes have no conflicts that parameters could show.
        return not self.pool[candidate].hard or not conflicts([self.pool[index] for index in [*chosen, candidate]])

    @staticmethod
    def _quota(config: ExpansionConfig, soft_P: NDArray[np.bool_], generator: np.random.Generator) -> Quota:
        """Sizes as drawn, at most what the pool has of each sort."""
        size = int(generator.integers(config.size[0], config.size[1] + 1))
        most = min(config.soft[1], size - 1)
        soft = int(generator.integers(min(config.soft[0], most), most + 1)) if most > 0 else 0
        there = int(soft_P.sum())
        soft = min(soft, there)
        return Quota(soft=soft, hard=min(size - soft, len(soft_P) - there))


def tune_encoder(
    base: nn.Module,
    training: Sequence[Triplet],
    held_out: Sequence[Triplet],
    config: SpaceConfig,
    *,
    label: str | None = None,
) -> tuple[nn.Module, list[float]]:
    """A copy of the encoder tuned with equation 2, and the held-out accuracy before training and after each epoch.

    The weights of the best epoch are kept, the untuned ones where none is better. AdamW with cosine decay (released).
    """
    encoder = copy.deepcopy(base)
    rate = config.learning_rate if config.learning_rate is not None else getattr(base, "learning_rate", None)
    if rate is None:
        raise UsageError(f"{type(base).__name__} has no learning_rate of its own; give one in the configuration.")
    steps = max(1, config.epochs * -(-len(training) // config.batch_size))
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=rate, weight_decay=config.weight_decay)
    schedule = CosineAnnealingLR(optimizer, steps)
    accuracy = [_accuracy(encoder, held_out)]
    best = copy.deepcopy(encoder.state_dict())
    draw = random.Random(f"epochs {config.seed}")
    with counted(label, steps if config.epochs else 0) as bar, torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)  # for modules with dropout
        for _ in range(config.epochs):
            encoder.train()
            order = draw.sample(range(len(training)), len(training))
            for start in range(0, len(order), config.batch_size):
                batch = [training[index] for index in order[start : start + config.batch_size]]
                anchor, same, other = _vectors(encoder, batch)
                loss = triplet_loss(anchor, same, other, config.margin)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(encoder.parameters(), CLIP)
                optimizer.step()
                schedule.step()
                bar.advance()
            accuracy.append(_accuracy(encoder, held_out))
            if accuracy[-1] > max(accuracy[:-1]):
                best = copy.deepcopy(encoder.state_dict())
    encoder.load_state_dict(best)
    return encoder, accuracy


def _vectors(encoder: nn.Module, batch: Sequence[Triplet]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Vectors of anchors, of those of the same document and of the others, from one pass."""
    texts = [getattr(triplet, name).text for name in ("anchor", "same", "other") for triplet in batch]
    anchor, same, other = encoder(texts).float().chunk(3)
    return anchor, same, other


@torch.inference_mode()
def _accuracy(encoder: nn.Module, triplets: Sequence[Triplet]) -> float:
    encoder.eval()
    total = 0.0
    for start in range(0, len(triplets), 128):  # three texts each, as many as an index takes at once
        batch = triplets[start : start + 128]
        anchor, same, other = _vectors(encoder, batch)
        total += len(batch) * float(triplet_accuracy(anchor, same, other))
    return total / len(triplets)
