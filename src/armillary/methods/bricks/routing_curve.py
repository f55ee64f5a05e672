"""What routing costs: losses of the same texts with a rising number of experts a token.

Legend: N texts, R replicates.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from armillary.errors import UsageError
from armillary.methods.bricks.decode_cost import DecodeCost, decode_cost
from armillary.methods.bricks.losses import Effect, Losses, Texts, changes, effect, text_losses
from armillary.methods.bricks.payloads import Index, Partition
from armillary.methods.bricks.resampling import resampled
from armillary.methods.bricks.routed import routed
from armillary.methods.bricks.router import Router
from armillary.methods.bricks.stored import Store, array_digest, part_name
from armillary.models import LoadedModel
from armillary.numerics.intervals import Interval
from armillary.progress import track

SHARES = (0.25, 0.5, 0.75)


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

    def effect(self, k: int, capability: str | None = None, *, seed: int = 0) -> Effect:
        """What k experts cost on one capability, or on all texts."""
        return effect(self.before, self.at(k), capability, seed=seed)

    def at(self, k: int) -> Losses:
        """Losses with k experts; UsageError for a k that was not measured."""
        if k not in self.ks:
            raise UsageError(f"nothing was measured at k = {k}; measured were {', '.join(map(str, self.ks))}.")
        return self.after[self.ks.index(k)]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data: at each k the effect on all texts and on each capability, and the cost of a token."""
        points = [
            {
                "k": k,
                "share": k / self.experts,
                "all": self.effect(k).to_dict(),
                "capabilities": {name: self.effect(k, name).to_dict() for name in self.before.nll},
                "cost": cost.to_dict(),
            }
            for k, cost in zip(self.ks, self.costs, strict=True)
        ]
        return {"experts": self.experts, "router": self.router.to_dict(), "points": points}


def routing_curve(
    loaded: LoadedModel,
    partition: Partition,
    router: Router,
    texts: Texts,
    *,
    shares: Sequence[float] = SHARES,
    always: Index | None = None,
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
    state = part_name(
        router.digest,
        array_digest(partition.labels_LM),
        None if always is None else array_digest(always.mask(*partition.labels_LM.shape)),
    )

    def measure(name: str) -> Losses:
        return text_losses(
            loaded, texts, max_tokens=max_tokens, tokens_per_batch=tokens_per_batch, store=store, name=name
        )

    before, after, costs = measure("base"), [], []
    resident = 0.0 if always is None else always.size / partition.labels_LM.size
    for k in track(ks, f"routing by {router.kind}", len(ks)):
        with routed(loaded, partition, router, k=k, always=always):
            after.append(measure(f"routed {state} k={k}"))
        share = resident + (1 - resident) * k / partition.experts
        costs.append(decode_cost(loaded, share, None if router.kind == "oracle" else router))
    return RoutingCurve(
        experts=partition.experts, router=router, ks=ks, before=before, after=tuple(after), costs=tuple(costs)
    )


def routing_gain(
    worse: RoutingCurve, better: RoutingCurve, k: int, *, seed: int = 0, replicates: int = 2000
) -> Interval:
    """Loss of ``worse`` less that of ``better`` at k experts, nats per token over all texts, paired by text.

    Above 0 where the second partition or router is the better one. UsageError for a k that one of them lacks, or for
    curves of other texts or numbers of experts.
    """
    if worse.before.sizes != better.before.sizes or worse.experts != better.experts:
        raise UsageError("two curves can be compared only on the same texts and number of experts.")
    one, other = worse.at(k), better.at(k)
    names = list(worse.before.nll)
    return resampled(
        lambda drawn: changes(other, one, drawn, names), worse.before.sizes, seed=seed, replicates=replicates
    )
