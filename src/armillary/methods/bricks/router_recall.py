"""How much of what the best experts do a router catches, on tokens that it has not seen.

Legend: L layers, N texts, T tokens, E experts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from armillary.errors import NumericError, UsageError
from armillary.methods.bricks.expert_scores import Choice, ExpertScorer, score_mass
from armillary.methods.bricks.ffn_function import ffn_functions
from armillary.methods.bricks.ffn_stream import stream_ffns
from armillary.methods.bricks.payloads import Index, Partition
from armillary.methods.bricks.router import Router
from armillary.methods.bricks.sites import sites_of
from armillary.models import LoadedModel
from armillary.numerics.intervals import Interval, bootstrap_weighted

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class RouterRecall:
    """Energy (squared score; of magnitudes the score) in the router's experts, with intervals over texts."""

    k: int
    experts: int
    layers: tuple[Interval, ...]
    """Energy in the router's k experts over that in the best k, mean over tokens, per layer."""

    mean: Interval
    """Mean of that over the layers."""

    oracle_share: Interval
    """Share of a token's whole energy that the best k hold, mean over tokens and layers; k / E where all are equal."""

    router_share: Interval
    """The same of the router's k."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {
            "k": self.k,
            "experts": self.experts,
            "recall": self.mean.to_dict(),
            "by_layer": [one.to_dict() for one in self.layers],
            "oracle_share": self.oracle_share.to_dict(),
            "router_share": self.router_share.to_dict(),
        }


def router_recall(
    loaded: LoadedModel,
    partition: Partition,
    router: Router,
    texts: Sequence[str],
    k: int,
    *,
    always: Index | None = None,
    max_tokens: int = 128,
    seed: int = 0,
) -> RouterRecall:
    """Recall of a router at ``k`` experts a token, by the score that it was made for; texts must be held out.

    The base runs whole, so that every layer sees the input it was fitted for. Tokens at which no expert does anything
    are left out. UsageError for a k outside 1 to E or no texts; NumericError where every token is left out.
    """
    if not 1 <= k <= partition.experts:
        raise UsageError(f"k must be 1 to {partition.experts}, the number of experts; got {k}.")
    sites_of(loaded, partition)
    functions = ffn_functions(loaded)
    scorers = [ExpertScorer(function, partition, router.score, always) for function in functions]
    sums_NL4 = np.zeros((len(texts), len(functions), 4))

    def receive(layer: int, places: list[int], x_BTD: Tensor, a_BTM: Tensor) -> None:
        for place, x_TD, a_TM in zip(places, x_BTD, a_BTM, strict=True):
            true_TE = scorers[layer](a_TM)
            predicted_TE = true_TE if router.kind == "oracle" else router.scores(layer, x_TD.float())
            sums_NL4[place, layer] = _caught(score_mass(true_TE, router.score), predicted_TE, true_TE, k)

    stream_ffns(loaded, functions, texts, receive, max_tokens=max_tokens, label="measuring a router's recall")
    return _summary(sums_NL4, k, partition.experts, seed)


def _caught(mass_TE: Tensor, predicted_TE: Tensor, true_TE: Tensor, k: int) -> list[float]:
    """Summed over tokens: recall, the oracle's share, the router's share, and how many tokens count."""
    mass_TE = mass_TE.double()
    total_T = mass_TE.sum(1)
    live_T = total_T > 0
    choice = Choice(k=k)
    best_T, own_T = ((mass_TE * choice.mask(scores)).sum(1)[live_T] for scores in (true_TE, predicted_TE))
    shares = (own_T / best_T, best_T / total_T[live_T], own_T / total_T[live_T])
    return [*(float(one.sum()) for one in shares), float(torch.count_nonzero(live_T))]


def _summary(sums_NL4: Array, k: int, experts: int, seed: int) -> RouterRecall:
    if (sums_NL4[:, :, 3].sum(0) == 0).any():
        raise NumericError("a layer has no token at which an expert does anything, so there is nothing to recall.")

    def over_texts(which: int, layers: list[int]) -> Interval:
        def statistic(counts_RN: Array) -> Array:
            part_RL = (counts_RN @ sums_NL4[:, layers, which]) / (counts_RN @ sums_NL4[:, layers, 3])
            mean_R: Array = part_RL.mean(axis=1)
            return mean_R

        return bootstrap_weighted(statistic, len(sums_NL4), seed=seed)

    every = list(range(sums_NL4.shape[1]))
    return RouterRecall(
        k=k,
        experts=experts,
        layers=tuple(over_texts(0, [layer]) for layer in every),
        mean=over_texts(0, every),
        oracle_share=over_texts(1, every),
        router_share=over_texts(2, every),
    )
