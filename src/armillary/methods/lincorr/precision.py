"""Do the weights of the map agree with the world: hit@N of W against the gold pairs, with the exact chance level."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from armillary.errors import UsageError
from armillary.numerics import Interval, binomial

Direction = Literal["influenced", "influencing"]
Weights = Literal["raw", "standardized"]
Gold = Sequence[frozenset[int]]

HITS = (1, 3, 5)


@dataclass(frozen=True, kw_only=True)
class HitRate:
    """Share of words whose gold partner is among the N with the largest weights."""

    direction: Direction
    """"influenced": targets ranked for each source token; "influencing": sources ranked for each target token."""

    weights: Weights
    fit: str
    """"ols" or "ridge"."""

    n: int
    rate: Interval
    """Exact binomial over the words that have gold."""

    chance: float
    """What random ranks would give: ``1 - C(m - g, N) / C(m, N)``, averaged over the words."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        plain = {"direction": self.direction, "weights": self.weights, "fit": self.fit, "n": self.n}
        return {**plain, "rate": self.rate.to_dict(), "chance": self.chance}


def by_target(gold: Gold, targets: int) -> tuple[frozenset[int], ...]:
    """For each target column the source columns it is right for."""
    return tuple(frozenset(i for i, right in enumerate(gold) if j in right) for j in range(targets))


def hits(weight_ST: Float[Tensor, "s t"], gold: Gold, n: int, direction: Direction = "influenced") -> list[bool]:
    """For each word that has gold, whether a gold partner is among its ``n`` largest weights.

    A tie counts against the hit. UsageError when no word has gold or their number does not match the weights.
    """
    if len(gold) != weight_ST.shape[0] or n < 1:
        raise UsageError(f"{len(gold)} gold entries and n={n} do not fit weights of shape {tuple(weight_ST.shape)}.")
    scores, partners = weight_ST, tuple(gold)
    if direction == "influencing":
        scores, partners = weight_ST.T, by_target(gold, weight_ST.shape[1])
    found = [_best_rank(scores[i], right) <= n for i, right in enumerate(partners) if right]
    if not found:
        raise UsageError("no word has a gold partner among the words that are left, so hits can't be counted.")
    return found


def chance_hit(gold: Gold, choices: int, n: int) -> float:
    """Mean over words that have gold of ``1 - C(m - g, N) / C(m, N)``, with g gold partners among m choices."""
    sizes = [len(right) for right in gold if right]
    if not sizes:
        raise UsageError("no word has a gold partner, so there is no chance level.")
    n = min(n, choices)
    return sum(1 - comb(choices - size, n) / comb(choices, n) for size in sizes) / len(sizes)


def hit_at(
    weight_ST: Float[Tensor, "s t"],
    gold: Gold,
    n: int,
    *,
    direction: Direction = "influenced",
    weights: Weights = "raw",
    fit: str = "ols",
    level: float = 0.95,
) -> HitRate:
    """hit@N of one weight matrix; ``weights`` and ``fit`` only name what was passed."""
    found = hits(weight_ST, gold, n, direction)
    sources, targets = weight_ST.shape
    if direction == "influenced":
        chance, kind = chance_hit(gold, targets, n), "source"
    else:
        chance, kind = chance_hit(by_target(gold, targets), sources, n), "target"
    how = f"exact binomial over {len(found)} {kind} tokens with gold"
    rate = binomial(sum(found), len(found), level=level, how=how)
    return HitRate(direction=direction, weights=weights, fit=fit, n=n, rate=rate, chance=chance)


def _best_rank(scores: Tensor, right: frozenset[int]) -> int:
    """1-based rank of the best gold partner; a choice with an equal score that is not gold stands before it."""
    is_gold = torch.zeros(len(scores), dtype=torch.bool)
    is_gold[list(right)] = True
    return 1 + int((scores[~is_gold] >= scores[is_gold].max()).sum())
