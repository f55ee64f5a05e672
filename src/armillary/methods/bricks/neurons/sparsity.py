"""What it costs to leave out the neurons that do least at a token, at rising levels.

Left out is either a fixed share of every layer, those of lowest indicator, or, by CETT, what lies below a threshold
that is set for each layer by the error that all left-out neurons may make together.
"Sparsing Law", Luo and others, 2024, arXiv 2411.02335: the cumulative error of tail truncation of a layer is
``|| sum over neurons with |n_i| < t of n_i || / || sum of all n_i ||``, where n_i is a_i times the neuron's column of
the write matrix; its bias is no neuron's and stays out.
Legend: N tokens, L layers, M neurons of an FFN, D hidden size, S levels or shares, R replicates.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from armillary.activations import streaming
from armillary.activations.neurons import Change, changed, column_norms, ffn_writes
from armillary.errors import NumericError, UsageError
from armillary.methods.bricks.losses import LossEffect, Losses, Texts, changes, effect, text_losses
from armillary.methods.bricks.neurons.profiling import Indicator, indicator_of
from armillary.models import LoadedModel
from armillary.models.batches import encode, pad, run_body
from armillary.models.feed_forward import weight_OI
from armillary.numerics.intervals import Array, Drawn, Interval, resampled
from armillary.progress import track
from armillary.runs.parts import Store, array_digest

SHARES = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Of the neurons that are left out, closer where curves rise; each costs one more reading of the texts."""

KNEE = 0.01
"""Rise of perplexity that counts as no loss: the 1 % of CETT-PPL-1 %."""


@contextmanager
def lowest_ablated(loaded: LoadedModel, share: float, indicator: Indicator = "magnitude") -> Iterator[None]:
    """Inside the block each layer leaves out, at every token, the ``floor(share * M)`` neurons of lowest indicator.

    The indicator is read in the same pass, so a layer sees what the layers before it left: what a runtime could see.
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


@contextmanager
def lot_ablated(loaded: LoadedModel, share: float, *, seed: int) -> Iterator[None]:
    """Inside the block every neuron is left out of a token with probability ``share``, drawn anew at each token.

    What no indicator gives, beside ``lowest_ablated``. The first token of a text keeps its neurons: it holds the
    attention sink, which those of lowest indicator do not make. UsageError for a share outside [0, 1).
    """
    if not 0 <= share < 1:
        raise UsageError(f"the share of masked neurons must be 0 or more and less than 1, got {share}.")
    generator = torch.Generator(loaded.device).manual_seed(seed)

    def mask(x: Tensor) -> Tensor:
        return x.masked_fill(torch.rand(x.shape, generator=generator, device=x.device) < share, 0)

    changes: dict[int, Change] = dict.fromkeys(range(loaded.anatomy.num_layers), mask)
    with changed(loaded, changes, skip=1):
        yield


@dataclass(frozen=True, kw_only=True, eq=False)
class AblationCurve:
    """Losses of the same texts with rising shares of the neurons left out."""

    levels: tuple[float, ...]
    """Share of neurons left out at each point, rising."""

    before: Losses
    after: tuple[Losses, ...]
    """One for each level."""

    def effect(self, level: float, capability: str | None = None, *, seed: int = 0) -> LossEffect:
        """What leaving out so many costs on one capability, or on all texts."""
        return effect(self.before, self.at(level), capability, seed=seed)

    def knee(self, limit: float = KNEE, *, seed: int = 0) -> Interval:
        """The level at which perplexity over all texts has risen by ``limit``, linear between the points and from 0.

        Where the rise stays below the limit the last level comes out: then the knee is there or beyond.
        """
        return resampled(lambda drawn: crossing(self.levels, self._rises(drawn), limit), self.before.sizes, seed=seed)

    def at(self, level: float) -> Losses:
        """Losses at one of the levels; UsageError for a level that was not measured."""
        if level not in self.levels:
            raise UsageError(f"nothing was measured at {level}; the levels are {', '.join(map(str, self.levels))}.")
        return self.after[self.levels.index(level)]

    def _rises(self, drawn: Drawn) -> Array:
        """Relative rise of perplexity at each level, ``[R, S]``."""
        rises = [np.expm1(changes(self.before, after, drawn, list(self.before.nll))) for after in self.after]
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
    for share in track(shares, f"leaving out neurons by {indicator}", len(shares)):
        with lowest_ablated(loaded, share, indicator):
            after.append(measure(name=f"masked {indicator} {share}"))
    return AblationCurve(levels=tuple(shares), before=before, after=tuple(after))


def indicator_gain(worse: AblationCurve, better: AblationCurve, level: float) -> Interval:
    """Loss of ``worse`` less that of ``better`` at one level, nats per token over all texts, paired by text.

    Above 0 where the second indicator is the better one. UsageError for a level that one of them lacks, or for curves
    of other texts.
    """
    if worse.before.sizes != better.before.sizes:
        raise UsageError("two curves can be compared only on the same texts.")
    return effect(better.at(level), worse.at(level)).delta_nll


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
    level_R: Array = levels_S[after_R - 1] + part_R * (levels_S[after_R] - levels_S[after_R - 1])
    return level_R


LEVELS = (0.05, 0.1, 0.2, 0.3, 0.4)
"""Of CETT; each costs one more reading of the texts."""
HALVINGS = 24
"""Steps of the search for a threshold: it is known to a 2^-24 of the layer's largest output magnitude."""


class _Sample:
    """Keeps the activations of evenly spaced tokens of each text, the only place where activations are stored."""

    def __init__(self, layers: int, per_text: int) -> None:
        self.parts: list[list[Tensor]] = [[] for _ in range(layers)]
        self._per_text = per_text

    def update(self, layer: int, x_ND: Float[Tensor, "n d"]) -> None:
        """Take in one text; its first token, an attention sink, stays out."""
        count = min(self._per_text, len(x_ND) - 1)
        chosen = torch.linspace(1, len(x_ND) - 1, count, device=x_ND.device).round().long()
        self.parts[layer].append(x_ND[chosen].float().clone())


@dataclass(frozen=True, kw_only=True, eq=False)
class CettThresholds:
    """For one level of CETT the least output magnitude that each layer keeps."""

    level: float
    thresholds_L: Array
    sparsity_L: Array
    """Share of neurons below the threshold, over the tokens that it was set on, before anything is left out."""

    @property
    def sparsity(self) -> float:
        """Mean over layers."""
        return float(self.sparsity_L.mean())


@torch.inference_mode()
def cett_thresholds(
    loaded: LoadedModel,
    texts: Sequence[str],
    levels: Sequence[float] = LEVELS,
    *,
    tokens: int = 256,
    max_tokens: int = 128,
) -> tuple[CettThresholds, ...]:
    """The thresholds at which the mean CETT over about ``tokens`` tokens of the texts reaches each level, per layer.

    The activations of these tokens are kept while it works (tokens x L x M float32). UsageError unless the levels rise
    between 0 and 1; NumericError for a layer that writes nothing or gives NaN.
    """
    if not levels or any(b <= a for a, b in zip((0.0, *levels), (*levels, 1.0), strict=True)):
        raise UsageError(f"levels of CETT must rise between 0 and 1, got {', '.join(map(str, levels)) or 'none'}.")
    rows = encode(loaded, texts, max_tokens=max_tokens, least=2)
    if not rows or tokens < 1:
        raise UsageError(f"CETT needs texts and at least one token; got {len(rows)} texts and tokens = {tokens}.")
    writes = ffn_writes(loaded)
    sample = _Sample(len(writes), -(-tokens // len(rows)))
    with streaming(loaded, "ffn", sample):
        for row in rows:
            run_body(loaded, pad([row], device=loaded.device)[0])
    searched = [
        _search(torch.cat(parts), weight_OI(write).float(), levels, layer)
        for layer, (parts, write) in enumerate(zip(sample.parts, writes, strict=True))
    ]
    values_LS2 = np.array(searched)
    return tuple(
        CettThresholds(level=level, thresholds_L=values_LS2[:, index, 0], sparsity_L=values_LS2[:, index, 1])
        for index, level in enumerate(levels)
    )


def cett(a_NM: Float[Tensor, "n m"], write_DM: Float[Tensor, "d m"], threshold: float) -> Float[Tensor, " n"]:
    """CETT of each token: size of what the neurons below the threshold write together over size of what all write."""
    size_NM = a_NM.abs() * torch.linalg.vector_norm(write_DM, dim=0)
    tail_ND = (a_NM * (size_NM < threshold)) @ write_DM.T
    cett_N: Tensor = torch.linalg.vector_norm(tail_ND, dim=1) / torch.linalg.vector_norm(a_NM @ write_DM.T, dim=1)
    return cett_N


def _search(a_NM: Tensor, write_DM: Tensor, levels: Sequence[float], layer: int) -> list[tuple[float, float]]:
    """(threshold, sparsity) for each level, by halving: the mean CETT grows with it but for cancellation."""
    a_NM = a_NM[torch.linalg.vector_norm(a_NM @ write_DM.T, dim=1) != 0]  # CETT of a token without output is 0 / 0
    if not len(a_NM) or not bool(a_NM.isfinite().all()):
        raise NumericError(f"The FFN of layer {layer} writes nothing, or NaN, so its CETT is undefined.")
    size_NM = a_NM.abs() * torch.linalg.vector_norm(write_DM, dim=0)
    pairs = []
    for level in levels:
        low, high = 0.0, float(size_NM.max()) * 2
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if float(cett(a_NM, write_DM, middle).mean()) <= level else (low, middle)
        pairs.append((low, float((size_NM < low).double().mean())))
    return pairs


@contextmanager
def truncated(loaded: LoadedModel, thresholds_L: Array) -> Iterator[None]:
    """Inside the block each layer leaves out, at every token, the neurons that write less than its threshold.

    Thresholds are output magnitudes. UsageError unless there is one for each layer.
    """
    norms_LM = torch.from_numpy(column_norms(loaded)).float().to(loaded.device)
    if len(thresholds_L) != len(norms_LM):
        raise UsageError(f"{loaded.name} has {len(norms_LM)} layers; got {len(thresholds_L)} thresholds.")
    pairs = zip(norms_LM, thresholds_L.tolist(), strict=True)
    with changed(loaded, {layer: partial(_truncate, *pair) for layer, pair in enumerate(pairs)}):
        yield


def _truncate(norms_M: Tensor, least: float, x: Tensor) -> Tensor:
    return x.masked_fill(x.float().abs() * norms_M < least, 0)


@dataclass(frozen=True, kw_only=True, eq=False)
class CettCurve:
    """What truncation costs at rising levels of CETT."""

    thresholds: tuple[CettThresholds, ...]
    curve: AblationCurve
    """Its levels are the sparsities, mean over layers."""

    def knee(self, limit: float = KNEE, *, seed: int = 0) -> Interval:
        """CETT-PPL: sparsity at which perplexity has risen by ``limit``. The interval knows of the texts that were
        scored, not of the tokens that the thresholds were set on."""
        return self.curve.knee(limit, seed=seed)


def cett_curve(
    loaded: LoadedModel,
    calibration: Sequence[str],
    texts: Texts,
    levels: Sequence[float] = LEVELS,
    *,
    tokens: int = 256,
    max_tokens: int = 128,
    tokens_per_batch: int = 2048,
    store: Store | None = None,
) -> CettCurve:
    """Losses of ``texts`` truncated at each level of CETT, thresholds set on ``calibration`` texts.

    Levels that leave out no more neurons than the one before are dropped. Raises as ``cett_thresholds`` and
    ``text_losses``.
    """
    rising: list[CettThresholds] = []
    for thresholds in cett_thresholds(loaded, calibration, levels, tokens=tokens, max_tokens=max_tokens):
        if not rising or thresholds.sparsity > rising[-1].sparsity:
            rising.append(thresholds)
    measure = partial(
        text_losses, loaded, texts, max_tokens=max_tokens, tokens_per_batch=tokens_per_batch, store=store
    )
    before = measure()
    after = []
    for thresholds in track(rising, "truncating by CETT", len(rising)):
        with truncated(loaded, thresholds.thresholds_L):
            after.append(measure(name=f"truncated {array_digest(thresholds.thresholds_L)}"))
    curve = AblationCurve(levels=tuple(row.sparsity for row in rising), before=before, after=tuple(after))
    return CettCurve(thresholds=tuple(rising), curve=curve)
