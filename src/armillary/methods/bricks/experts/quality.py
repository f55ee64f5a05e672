"""What routing costs: losses of the same texts with a rising number of experts a token, and a router's recall.

Recall is how much of what the best experts do a router catches, on tokens that it has not seen.
Legend: L layers, N texts, T tokens, E experts, R replicates.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from armillary.activations.neurons import stream_ffns
from armillary.errors import NumericError, UsageError
from armillary.methods.bricks.experts.cost import DecodeCost, decode_cost
from armillary.methods.bricks.experts.routed_model import routed
from armillary.methods.bricks.experts.router import ExpertChoice, ExpertScorer, Router, score_mass
from armillary.methods.bricks.losses import LossEffect, Losses, Texts, effect, text_losses
from armillary.methods.bricks.payloads import Partition, sites_of
from armillary.models import LoadedModel
from armillary.models.feed_forward import ffn_functions
from armillary.numerics.intervals import Array, Interval, bootstrap_weighted
from armillary.progress import track
from armillary.runs.parts import Store, array_digest, part_name

SHARES = (0.25, 0.5, 0.75)
"""Of all experts, where nothing else is asked for; each costs one more reading of the texts."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RoutingCurve:
    """Losses with k experts, at each k, beside what a token then reads."""

    experts: int
    router: Router
    ks: tuple[int, ...]
    before: Losses
    """Of the dense model."""

    after: tuple[Losses, ...]
    costs: tuple[DecodeCost, ...]

    def effect(self, k: int, capability: str | None = None, *, seed: int = 0) -> LossEffect:
        """What k experts cost on one capability, or on all texts."""
        return effect(self.before, self.at(k), capability, seed=seed)

    def at(self, k: int) -> Losses:
        """Losses with k experts; UsageError for a k that was not measured."""
        if k not in self.ks:
            raise UsageError(f"nothing was measured at k = {k}; measured were {', '.join(map(str, self.ks))}.")
        return self.after[self.ks.index(k)]


def routing_curve(
    loaded: LoadedModel,
    partition: Partition,
    router: Router,
    texts: Texts,
    *,
    shares: Sequence[float] = SHARES,
    max_tokens: int = 128,
    tokens_per_batch: int = 2048,
    store: Store | None = None,
) -> RoutingCurve:
    """Losses with ``round(share * E)`` experts a token at each share, and of the dense model.

    ``store`` keeps the losses of each capability at each k. UsageError unless the shares rise from above 0 up to 1 and
    give different numbers of experts; else raises as ``routed`` and ``text_losses``.
    """
    ks = tuple(round(share * partition.experts) for share in shares)
    if not ks or any(b <= a for a, b in pairwise((0, *ks))) or ks[-1] > partition.experts:
        raise UsageError(
            f"shares of {partition.experts} experts must rise from 1 expert up to all; got {tuple(shares)}, k = {ks}."
        )
    state = part_name(router.digest, array_digest(partition.labels_LM))

    def measure(name: str) -> Losses:
        return text_losses(
            loaded, texts, max_tokens=max_tokens, tokens_per_batch=tokens_per_batch, store=store, name=name
        )

    before, after, costs = measure("base"), [], []
    for k in track(ks, f"routing by {router.kind}", len(ks)):
        with routed(loaded, partition, router, k=k):
            after.append(measure(f"routed {state} k={k}"))
        costs.append(decode_cost(loaded, k / partition.experts, None if router.kind == "oracle" else router))
    return RoutingCurve(
        experts=partition.experts, router=router, ks=ks, before=before, after=tuple(after), costs=tuple(costs)
    )


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


def router_recall(
    loaded: LoadedModel,
    partition: Partition,
    router: Router,
    texts: Sequence[str],
    k: int,
    *,
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
    scorers = [ExpertScorer(function, partition, router.score) for function in functions]
    sums_NL4 = np.zeros((len(texts), len(functions), 4))

    def receive(layer: int, batch: list[int], x_BTD: Tensor, a_BTM: Tensor) -> None:
        for text, x_TD, a_TM in zip(batch, x_BTD, a_BTM, strict=True):
            true_TE = scorers[layer](a_TM)
            predicted_TE = true_TE if router.kind == "oracle" else router.scores(layer, x_TD.float())
            sums_NL4[text, layer] = _caught(score_mass(true_TE, router.score), predicted_TE, true_TE, k)

    stream_ffns(loaded, functions, texts, receive, max_tokens=max_tokens, label="measuring a router's recall")
    return _summary(sums_NL4, k, partition.experts, seed)


def _caught(mass_TE: Tensor, predicted_TE: Tensor, true_TE: Tensor, k: int) -> list[float]:
    """Summed over tokens: recall, the oracle's share, the router's share, and how many tokens count."""
    mass_TE = mass_TE.double()
    total_T = mass_TE.sum(1)
    live_T = total_T > 0
    choice = ExpertChoice(k=k)
    best_T, own_T = ((mass_TE * choice.mask(scores)).sum(1)[live_T] for scores in (true_TE, predicted_TE))
    shares = (own_T / best_T, best_T / total_T[live_T], own_T / total_T[live_T])
    return [*(float(share_T.sum()) for share_T in shares), float(torch.count_nonzero(live_T))]


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
