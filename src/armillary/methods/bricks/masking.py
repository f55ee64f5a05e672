"""Sparsity curves: what it costs to leave out, at every token, the neurons of lowest indicator.

Legend: L layers, M neurons of an FFN, D hidden size, R replicates, S shares.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from armillary.errors import UsageError
from armillary.methods.bricks.indicators import Indicator, indicator_of
from armillary.methods.bricks.losses import Effect, Losses, Texts, changes, effect, text_losses
from armillary.methods.bricks.neurons import Change, changed, column_norms
from armillary.methods.bricks.resampling import Array, Drawn, resampled
from armillary.methods.bricks.stored import Store
from armillary.models import LoadedModel
from armillary.numerics.intervals import Interval
from armillary.progress import track

SHARES = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9)
KNEE = 0.01
"""Rise of perplexity that counts as no loss: the 1 % of CETT-PPL-1 %."""


@contextmanager
def lowest_masked(loaded: LoadedModel, share: float, indicator: Indicator = "magnitude") -> Iterator[None]:
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
class MaskingCurve:
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


def masking_curve(
    loaded: LoadedModel,
    texts: Texts,
    *,
    shares: Sequence[float] = SHARES,
    indicator: Indicator = "magnitude",
    max_tokens: int = 128,
    tokens_per_batch: int = 2048,
    store: Store | None = None,
) -> MaskingCurve:
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
        with lowest_masked(loaded, share, indicator):
            after.append(measure(name=f"masked {indicator} {share}"))
    return MaskingCurve(indicator=indicator, levels=tuple(shares), before=before, after=tuple(after))


def indicator_gain(
    worse: MaskingCurve, better: MaskingCurve, level: float, *, seed: int = 0, replicates: int = 2000
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
