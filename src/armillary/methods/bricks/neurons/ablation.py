"""Switching neurons off: what a set of neurons is worth to its own capability, and to the others.

Legend: R replicates.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from armillary.activations.neurons import Change, changed, column_norms, ffn_writes
from armillary.errors import UsageError
from armillary.methods.bricks.losses import Effect, Losses, Texts, changes, effect, text_losses
from armillary.methods.bricks.neurons.profiling import Indicator, indicator_of
from armillary.methods.bricks.payloads import Index
from armillary.models import LoadedModel
from armillary.numerics.intervals import Array, Drawn, Interval, resampled
from armillary.progress import track
from armillary.runs.parts import Store

Measure = Literal["percent", "nats"]
"""Of an effect: relative change of perplexity (as a fraction, the paper's), or rise of the loss per token."""


@contextmanager
def ablated(loaded: LoadedModel, chosen: Index) -> Iterator[None]:
    """Inside the block the chosen neurons write nothing: bit-equal to zeroed columns of the write matrices.

    No weight is touched. UsageError for a neuron that the model doesn't have, ModelError as ``changed``.
    """
    chosen.mask(len(ffn_writes(loaded)), loaded.anatomy.intermediate_size)
    with changed(loaded, {layer: _silencer(neurons) for layer, neurons in chosen.neurons.items()}):
        yield


def _silencer(neurons: Any) -> Change:
    index_K = torch.from_numpy(np.asarray(neurons, np.int64))

    def silence(x: Tensor) -> Tensor:
        return x.index_fill(-1, index_K.to(x.device), 0)

    return silence


@dataclass(frozen=True, kw_only=True, eq=False)
class AblationTable:
    """The losses of every capability's texts with each set of neurons switched off."""

    before: Losses
    after: Mapping[str, Losses]
    """By the name of the set."""

    sizes: Mapping[str, int]
    """Neurons of each set."""

    def effect(self, row: str, capability: str, *, seed: int = 0) -> Effect:
        """What switching off the set ``row`` costs on one capability."""
        return effect(self.before, self._row(row), self._column(capability), seed=seed)

    def own_against_others(
        self, row: str, own: str, *, measure: Measure = "percent", seed: int = 0, replicates: int = 2000
    ) -> Interval:
        """Effect on the capability ``own`` less the mean effect on all others: above 0 the set hurts its own more."""
        others = self._others(own)

        def statistic(drawn: Drawn) -> Array:
            return self._effect(row, own, drawn, measure) - self._mean(row, others, drawn, measure)

        return resampled(statistic, self.before.sizes, seed=seed, replicates=replicates)

    def own_against_controls(
        self,
        row: str,
        own: str,
        controls: Sequence[str],
        *,
        measure: Measure = "percent",
        seed: int = 0,
        replicates: int = 2000,
    ) -> Interval:
        """Effect on ``own`` less the mean effect of the control sets on ``own`` (random or magnitude-matched ones)."""
        if not controls:
            raise UsageError("a comparison needs at least one control set.")

        def statistic(drawn: Drawn) -> Array:
            control_R = np.mean([self._effect(one, own, drawn, measure) for one in controls], axis=0)
            return np.asarray(self._effect(row, own, drawn, measure) - control_R)

        return resampled(statistic, {own: self.before.sizes[own]}, seed=seed, replicates=replicates)

    def collateral(
        self, row: str, own: str, *, measure: Measure = "percent", seed: int = 0, replicates: int = 2000
    ) -> Interval:
        """Mean effect of the set on all capabilities but ``own``."""
        others = self._others(own)
        sizes = {name: self.before.sizes[name] for name in others}
        return resampled(
            lambda drawn: self._mean(row, others, drawn, measure), sizes, seed=seed, replicates=replicates
        )

    def kept(
        self, row: str, reduced: str, own: str, *, measure: Measure = "percent", seed: int = 0, replicates: int = 2000
    ) -> tuple[Interval, Interval]:
        """Own effect and collateral of the set ``reduced`` as shares of those of ``row``.

        With ``reduced`` the set less its resident neurons this tells whose doing the collateral was. A share of an
        effect whose interval reaches 0 means nothing: look at ``effect`` and ``collateral`` first.
        """
        others = self._others(own)
        everything = {"seed": seed, "replicates": replicates}
        own_share = resampled(
            lambda drawn: self._effect(reduced, own, drawn, measure) / self._effect(row, own, drawn, measure),
            {own: self.before.sizes[own]},
            **everything,
        )
        collateral_share = resampled(
            lambda drawn: self._mean(reduced, others, drawn, measure) / self._mean(row, others, drawn, measure),
            {name: self.before.sizes[name] for name in others},
            **everything,
        )
        return own_share, collateral_share

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data: every effect with its intervals, by set and capability."""
        return {
            "before": self.before.to_dict(),
            "neurons": dict(self.sizes),
            "effects": {
                row: {name: self.effect(row, name).to_dict() for name in self.before.nll} for row in self.after
            },
        }

    def _effect(self, row: str, capability: str, drawn: Drawn, measure: Measure) -> Array:
        rise_R = changes(self.before, self._row(row), drawn, [self._column(capability)])
        return np.expm1(rise_R) if measure == "percent" else rise_R

    def _mean(self, row: str, capabilities: Sequence[str], drawn: Drawn, measure: Measure) -> Array:
        return np.asarray(np.mean([self._effect(row, name, drawn, measure) for name in capabilities], axis=0))

    def _others(self, own: str) -> list[str]:
        found = [name for name in self.before.nll if name != self._column(own)]
        if not found:
            raise UsageError(f"only {own!r} was measured; a comparison with others needs two capabilities.")
        return found

    def _row(self, row: str) -> Losses:
        if row not in self.after:
            raise UsageError(f"no set {row!r} was switched off; there are {', '.join(self.after)}.")
        return self.after[row]

    def _column(self, capability: str) -> str:
        if capability not in self.before.nll:
            raise UsageError(f"{capability!r} was not measured; {', '.join(self.before.nll)} were.")
        return capability


def ablate(
    loaded: LoadedModel,
    sets: Mapping[str, Index],
    texts: Texts,
    *,
    max_tokens: int = 128,
    tokens_per_batch: int = 2048,
    store: Store | None = None,
) -> AblationTable:
    """Losses of all texts with each set of neurons switched off in turn, and with none.

    ``store`` keeps each set's losses on each capability. Use other texts than the sets were chosen on. Raises as
    ``ablated`` and ``text_losses``.
    """
    measure = partial(
        text_losses, loaded, texts, max_tokens=max_tokens, tokens_per_batch=tokens_per_batch, store=store
    )
    before = measure()
    after = {}
    for name, chosen in track(sets.items(), "switching neurons off", len(sets)):
        spelled = str({layer: neurons.tolist() for layer, neurons in sorted(chosen.neurons.items())})
        with ablated(loaded, chosen):
            after[name] = measure(name=f"without {spelled}")
    return AblationTable(before=before, after=after, sizes={name: chosen.size for name, chosen in sets.items()})


# Sparsity curves: what it costs to leave out, at every token, the neurons of lowest indicator.
#
# Legend: L layers, M neurons of an FFN, D hidden size, R replicates, S shares.

SHARES = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9)
KNEE = 0.01
"""Rise of perplexity that counts as no loss: the 1 % of CETT-PPL-1 %."""


@contextmanager
def lowest_ablated(loaded: LoadedModel, share: float, indicator: Indicator = "magnitude") -> Iterator[None]:
    """Inside the block each layer leaves out, at every token, the ``floor(share * M)`` neurons of lowest indicator.

    The indicator is read in the same pass, so a layer sees what the masks before it left: what a runtime could see.
    UsageError for a share outside [0, 1).
    """
    if not 0 <= share < 1:
        raise UsageError(f"the share of masked neurons must be 0 or more and less than 1, got {share}.")
    norms_LM = torch.from_numpy(column_norms(loaded)).float().to(loaded.device)
    with changed(loaded, {layer: _mask(norms_M, share, indicator) for layer, norms_M in enumerate(norms_LM)}):
        yield


def _mask(norms_M: Tensor, share: float, indicator: Indicator) -> Change:
    # The tiny excess keeps 0.7 of 10 from becoming 6.
    count = int(share * len(norms_M) + 1e-9)

    def mask(x: Tensor) -> Tensor:
        if not count:
            return x
        values = indicator_of(x.float().abs(), norms_M, indicator)
        return x.scatter(-1, values.topk(count, dim=-1, largest=False, sorted=False).indices, 0)

    return mask


@dataclass(frozen=True, kw_only=True, eq=False)
class AblationCurve:
    """Losses of the same texts at rising levels of masking."""

    indicator: str
    levels: tuple[float, ...]
    """Share of neurons left out at each point, rising."""

    before: Losses
    after: tuple[Losses, ...]
    """One for each level."""

    def effect(self, level: float, capability: str | None = None, *, seed: int = 0) -> Effect:
        """What masking at one of the levels costs on one capability, or on all texts."""
        return effect(self.before, self._at(level), capability, seed=seed)

    def knee(self, limit: float = KNEE, *, seed: int = 0, replicates: int = 2000) -> Interval:
        """The level at which perplexity over all texts has risen by ``limit``, linear between the points and from 0.

        Where the rise stays below the limit the last level comes out: then the knee is there or beyond.
        """
        return resampled(
            lambda drawn: crossing(self.levels, self._rises(drawn), limit),
            self.before.sizes,
            seed=seed,
            replicates=replicates,
        )

    def largest_free(self, limit: float = KNEE) -> float | None:
        """The largest level up to which every measured rise of perplexity is at most ``limit``; None for no level."""
        rises_S = self._rises({name: np.ones((1, n)) for name, n in self.before.sizes.items()})[0]
        free = int(np.argmax(np.append(rises_S > limit, True)))
        return self.levels[free - 1] if free else None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data: the effect on all texts and on each capability at every level, and the knee."""
        points = [
            {
                "level": level,
                "all": self.effect(level).to_dict(),
                "capabilities": {name: self.effect(level, name).to_dict() for name in self.before.nll},
            }
            for level in self.levels
        ]
        return {
            "indicator": self.indicator,
            "points": points,
            "knee": self.knee().to_dict(),
            "largest_free": self.largest_free(),
        }

    def _at(self, level: float) -> Losses:
        if level not in self.levels:
            raise UsageError(f"nothing was measured at {level}; the levels are {', '.join(map(str, self.levels))}.")
        return self.after[self.levels.index(level)]

    def _rises(self, drawn: Drawn) -> Array:
        """Relative rise of perplexity at each level, ``[R, S]``."""
        rises = [np.expm1(changes(self.before, one, drawn, list(self.before.nll))) for one in self.after]
        return np.stack(rises, axis=1)


def ablation_curve(
    loaded: LoadedModel,
    texts: Texts,
    *,
    shares: Sequence[float] = SHARES,
    indicator: Indicator = "magnitude",
    max_tokens: int = 128,
    tokens_per_batch: int = 2048,
    store: Store | None = None,
) -> AblationCurve:
    """Losses with the given shares of neurons of lowest indicator left out at every token.

    ``store`` keeps each share's losses on each capability. UsageError unless the shares rise within [0, 1).
    """
    if not shares or any(b <= a for a, b in pairwise(shares)):
        raise UsageError(f"shares must rise, such as 0.5, 0.7; got {', '.join(map(str, shares)) or 'none'}.")
    measure = partial(
        text_losses, loaded, texts, max_tokens=max_tokens, tokens_per_batch=tokens_per_batch, store=store
    )
    before = measure()
    after = []
    for share in track(shares, f"masking by {indicator}", len(shares)):
        with lowest_ablated(loaded, share, indicator):
            after.append(measure(name=f"masked {indicator} {share}"))
    return AblationCurve(indicator=indicator, levels=tuple(shares), before=before, after=tuple(after))


def indicator_gain(
    worse: AblationCurve, better: AblationCurve, level: float, *, seed: int = 0, replicates: int = 2000
) -> Interval:
    """Loss of ``worse`` less that of ``better`` at one level, nats per token over all texts, paired by text.

    Above 0 where the second indicator is the better one. UsageError for a level that one of them lacks, or for curves
    of other texts.
    """
    if worse.before.sizes != better.before.sizes:
        raise UsageError("two curves can be compared only on the same texts.")
    one, other = worse._at(level), better._at(level)
    names = list(worse.before.nll)
    return resampled(
        lambda drawn: changes(other, one, drawn, names), worse.before.sizes, seed=seed, replicates=replicates
    )


def crossing(levels: Sequence[float], rises_RS: Array, limit: float) -> Array:
    """Where each row first exceeds ``limit``, ``[R]``: linear between the levels and from a rise of 0 at level 0."""
    levels_S = np.concatenate([[0.0], np.asarray(levels)])
    rises_RS = np.concatenate([np.zeros((len(rises_RS), 1)), rises_RS], axis=1)
    above_RS = rises_RS > limit
    after_R = np.where(above_RS.any(axis=1), above_RS.argmax(axis=1), len(levels_S) - 1)
    rows = np.arange(len(rises_RS))
    low_R, high_R = rises_RS[rows, after_R - 1], rises_RS[rows, after_R]
    span_R = np.where(high_R > limit, high_R - low_R, 1.0)
    part_R = np.where(high_R > limit, (limit - low_R) / span_R, 1.0)
    found: Array = levels_S[after_R - 1] + part_R * (levels_S[after_R] - levels_S[after_R - 1])
    return found
