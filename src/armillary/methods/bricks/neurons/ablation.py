"""Switching neurons off: what a set of neurons is worth to its own capability, and to the others.

Legend: R replicates.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from armillary.activations.neurons import Change, changed, neurons_shape
from armillary.errors import UsageError
from armillary.methods.bricks.losses import LossEffect, Losses, Texts, changes, effect, text_losses
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

    The first token of a text keeps what they write: it holds the attention sink, which scores and magnitudes leave out
    as well, and whose loss would drown what the neurons do. No weight is touched. UsageError for a neuron that the
    model doesn't have, ModelError as ``changed``.
    """
    chosen.mask(*neurons_shape(loaded))
    with changed(loaded, {layer: _silencer(neurons) for layer, neurons in chosen.neurons.items()}, skip=1):
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

    def effect(self, row: str, capability: str, *, seed: int = 0) -> LossEffect:
        """What switching off the set ``row`` costs on one capability."""
        return effect(self.before, self._row(row), self._column(capability), seed=seed)

    def own_against_others(self, row: str, own: str, *, measure: Measure = "percent", seed: int = 0) -> Interval:
        """Effect on the capability ``own`` less the mean effect on all others: above 0 the set hurts its own more."""
        others = self._others(own)

        def statistic(drawn: Drawn) -> Array:
            return self._effect(row, own, drawn, measure) - self._mean(row, others, drawn, measure)

        return resampled(statistic, self.before.sizes, seed=seed)

    def own_against_controls(
        self, row: str, own: str, controls: Sequence[str], *, measure: Measure = "percent", seed: int = 0
    ) -> Interval:
        """Effect on ``own`` less the mean effect of the control sets on ``own`` (random or magnitude-matched ones)."""
        if not controls:
            raise UsageError("a comparison needs at least one control set.")

        def statistic(drawn: Drawn) -> Array:
            control_R = np.mean([self._effect(control, own, drawn, measure) for control in controls], axis=0)
            return np.asarray(self._effect(row, own, drawn, measure) - control_R)

        return resampled(statistic, {own: self.before.sizes[own]}, seed=seed)

    def own_against_one_more(self, row: str, own: str, controls: Sequence[str], *, level: float = 0.95) -> Interval:
        """Effect on ``own`` less the mean effect of drawn control sets on it, nats per token.

        The interval is that of the difference to *one more* drawn set, so a set that is but another draw lies within
        it: t over texts, in pairs, and t over the controls, whose squares are added. UsageError for fewer than two
        texts or controls.
        """
        from scipy.stats import t

        tokens_N, before_N = self.before.tokens[self._column(own)], self.before.nll[own]
        texts, count = len(before_N), len(controls)
        if texts < 2 or count < 2:
            raise UsageError(f"a comparison with one more set needs two texts and two sets; got {texts} and {count}.")
        own_N = self._row(row).nll[own] - before_N
        others_KN = np.array([self._row(control).nll[own] - before_N for control in controls])
        difference_N = (own_N - others_KN.mean(axis=0)) / tokens_N.mean()
        by_set_K, tail = others_KN.sum(axis=1) / tokens_N.sum(), (1 + level) / 2
        over_texts = t.ppf(tail, texts - 1) * difference_N.std(ddof=1) / np.sqrt(texts)
        over_sets = t.ppf(tail, count - 1) * by_set_K.std(ddof=1) * np.sqrt(1 + 1 / count)
        estimate, half = float(difference_N.mean()), float(np.hypot(over_texts, over_sets))
        how = f"t over {texts} texts and over {count} drawn sets, against one more of them"
        return Interval(estimate=estimate, low=estimate - half, high=estimate + half, n=texts, level=level, how=how)

    def collateral(
        self, row: str, own: str, *, measure: Measure = "percent", seed: int = 0, replicates: int = 2000
    ) -> Interval:
        """Mean effect of the set on all capabilities but ``own``."""
        others = self._others(own)
        sizes = {name: self.before.sizes[name] for name in others}
        return resampled(
            lambda drawn: self._mean(row, others, drawn, measure), sizes, seed=seed, replicates=replicates
        )

    def kept(self, row: str, reduced: str, own: str, *, measure: Measure = "percent") -> tuple[Interval, Interval]:
        """Own effect and collateral of the set ``reduced`` as shares of those of ``row``.

        With ``reduced`` the set less its resident neurons this says whose doing the collateral was. A share of an
        effect whose interval reaches 0 means nothing: look at ``effect`` and ``collateral`` first.
        """
        others = self._others(own)
        own_share = resampled(
            lambda drawn: self._effect(reduced, own, drawn, measure) / self._effect(row, own, drawn, measure),
            {own: self.before.sizes[own]},
            seed=0,
        )
        collateral_share = resampled(
            lambda drawn: self._mean(reduced, others, drawn, measure) / self._mean(row, others, drawn, measure),
            {name: self.before.sizes[name] for name in others},
            seed=0,
        )
        return own_share, collateral_share

    def _effect(self, row: str, capability: str, drawn: Drawn, measure: Measure) -> Array:
        rise_R = changes(self.before, self._row(row), drawn, [self._column(capability)])
        return np.expm1(rise_R) if measure == "percent" else rise_R

    def _mean(self, row: str, capabilities: Sequence[str], drawn: Drawn, measure: Measure) -> Array:
        return np.asarray(np.mean([self._effect(row, name, drawn, measure) for name in capabilities], axis=0))

    def _others(self, own: str) -> list[str]:
        others = [name for name in self.before.nll if name != self._column(own)]
        if not others:
            raise UsageError(f"only {own!r} was measured; a comparison with others needs two capabilities.")
        return others

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
            after[name] = measure(name=f"without {spelled} after the first token")
    return AblationTable(before=before, after=after, sizes={name: chosen.size for name, chosen in sets.items()})
