"""CETT: leave out the neurons that write least, with a threshold a layer set by the error they may make together.

"Sparsing Law", Luo and others, 2024, arXiv 2411.02335: the cumulative error of tail truncation of a layer is
``|| sum over neurons with |n_i| < t of n_i || / || sum of all n_i ||``, where n_i is a_i times the neuron's column of
the write matrix; its bias is no neuron's and stays out.
Legend: N tokens, L layers, M neurons of an FFN, D hidden size, S levels.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from armillary.activations import run_texts, streaming
from armillary.activations.neurons import Change, changed, column_norms, ffn_writes
from armillary.errors import NumericError, UsageError
from armillary.methods.bricks.losses import Texts, text_losses
from armillary.methods.bricks.neurons.ablation import KNEE, AblationCurve
from armillary.methods.bricks.payloads import Index
from armillary.models import LoadedModel
from armillary.models.batches import encode, pad, run_body
from armillary.models.feed_forward import weight_OI
from armillary.numerics.intervals import Interval
from armillary.progress import track
from armillary.runs.parts import Store, array_digest

Array = NDArray[np.float64]

LEVELS = (0.05, 0.1, 0.2, 0.3, 0.4)
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
    found = [
        _search(torch.cat(parts), weight_OI(write).float(), levels, layer)
        for layer, (parts, write) in enumerate(zip(sample.parts, writes, strict=True))
    ]
    values_LS2 = np.array(found)
    return tuple(
        CettThresholds(level=level, thresholds_L=values_LS2[:, place, 0], sparsity_L=values_LS2[:, place, 1])
        for place, level in enumerate(levels)
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
    found = []
    for level in levels:
        low, high = 0.0, float(size_NM.max()) * 2
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if float(cett(a_NM, write_DM, middle).mean()) <= level else (low, middle)
        found.append((low, float((size_NM < low).double().mean())))
    return found


@contextmanager
def truncated(loaded: LoadedModel, thresholds_L: Array) -> Iterator[None]:
    """Inside the block each layer leaves out, at every token, the neurons that write less than its threshold.

    Thresholds are output magnitudes. UsageError unless there is one for each layer.
    """
    norms_LM = torch.from_numpy(column_norms(loaded)).float().to(loaded.device)
    if len(thresholds_L) != len(norms_LM):
        raise UsageError(f"{loaded.name} has {len(norms_LM)} layers; got {len(thresholds_L)} thresholds.")
    pairs = zip(norms_LM, thresholds_L.tolist(), strict=True)
    with changed(loaded, {layer: _truncate(norms_M, least) for layer, (norms_M, least) in enumerate(pairs)}):
        yield


def _truncate(norms_M: Tensor, least: float) -> Change:
    return lambda x: x.masked_fill(x.float().abs() * norms_M < least, 0)


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

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data: the curve, and each level's CETT with the sparsity of each layer."""
        layers = [{"cett": one.level, "sparsity_by_layer": one.sparsity_L.tolist()} for one in self.thresholds]
        return {**self.curve.to_dict(), "thresholds": layers}


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
    found: list[CettThresholds] = []
    for one in cett_thresholds(loaded, calibration, levels, tokens=tokens, max_tokens=max_tokens):
        if not found or one.sparsity > found[-1].sparsity:
            found.append(one)
    measure = partial(
        text_losses, loaded, texts, max_tokens=max_tokens, tokens_per_batch=tokens_per_batch, store=store
    )
    before = measure()
    after = []
    for one in track(found, "truncating by CETT", len(found)):
        with truncated(loaded, one.thresholds_L):
            name = f"truncated {array_digest(one.thresholds_L)}"
            after.append(measure(name=name))
    curve = AblationCurve(
        indicator="magnitude by CETT", levels=tuple(one.sparsity for one in found), before=before, after=tuple(after)
    )
    return CettCurve(thresholds=tuple(found), curve=curve)


# Fixed sets of neurons for a whole answer, chosen from what a prompt or a capability's texts make the FFNs do.
#
# Legend: L layers, M neurons of an FFN, N tokens.


class _Squares:
    """Sums over tokens of squared activations."""

    def __init__(self, layers: int, width: int) -> None:
        self.sums_LM = torch.zeros(layers, width, dtype=torch.float64)
        self.tokens = 0

    def update(self, layer: int, x_ND: Float[Tensor, "n d"]) -> None:
        """Take in the activations of some tokens."""
        self.sums_LM[layer] += x_ND.float().square().sum(0, dtype=torch.float64).cpu()
        self.tokens += len(x_ND) if layer == 0 else 0


def neuron_energy(loaded: LoadedModel, texts: Sequence[str], *, max_tokens: int = 256) -> Array:
    """Mean over tokens of the squared size of what each neuron writes, ``a_i^2 ||down_i||^2``, ``[L, M]``.

    Every token counts, also the first: an answer begins after the whole prompt. UsageError for no texts, NumericError
    for activations that are not finite.
    """
    if not texts:
        raise UsageError("the energy of neurons needs at least one text.")
    norms_LM = column_norms(loaded)
    squares = _Squares(*norms_LM.shape)
    with streaming(loaded, "ffn", squares):
        run_texts(loaded, texts, max_tokens=max_tokens)
    energy_LM: Array = squares.sums_LM.numpy() / squares.tokens * norms_LM**2
    if not np.isfinite(energy_LM).all():
        raise NumericError(f"{loaded.name} gave activations that are NaN or infinite.")
    return energy_LM


def keep_by_share(energy_LM: Array, share: float, *, always: Index | None = None) -> Index:
    """The always-on neurons and the fewest others that together hold ``share`` of each layer's energy.

    UsageError for a share outside (0, 1], NumericError for a layer without energy.
    """
    if not 0 < share <= 1:
        raise UsageError(f"the share of energy must lie above 0 and up to 1; got {share}.")
    if not (energy_LM.sum(axis=1) > 0).all():
        raise NumericError("a layer has no energy at all, so no share of it can be kept.")
    first_LM = _first(energy_LM, always)
    kept = {}
    for layer, (order_M, energy_M) in enumerate(zip(_ranked(energy_LM, first_LM), energy_LM, strict=True)):
        before_M = np.concatenate([[0.0], np.cumsum(energy_M[order_M])[:-1]])
        count = int((before_M < share * energy_M.sum()).sum())
        kept[layer] = np.sort(order_M[: max(count, int(first_LM[layer].sum()))])
    return Index(kept)


def keep_like(energy_LM: Array, sizes: Index, *, always: Index | None = None) -> Index:
    """As many neurons of each layer as ``sizes`` has: the always-on ones and then those of most energy.

    With the energies of general text this is the generic set to compare a capability's with. UsageError where more
    are always on than there is room for.
    """
    first_LM = _first(energy_LM, always)
    order_LM = _ranked(energy_LM, first_LM)
    kept = {}
    for layer, neurons in sizes.neurons.items():
        if first_LM[layer].sum() > len(neurons):
            raise UsageError(
                f"layer {layer} has {first_LM[layer].sum()} always-on neurons, but room for {len(neurons)}."
            )
        kept[layer] = np.sort(order_LM[layer, : len(neurons)])
    return Index(kept)


def _first(energy_LM: Array, always: Index | None) -> NDArray[np.bool_]:
    layers, width = energy_LM.shape
    return np.zeros((layers, width), bool) if always is None else always.mask(layers, width)


def _ranked(energy_LM: Array, first_LM: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Neurons of each layer: those that are always on, then the others by falling energy."""
    return np.lexsort((-energy_LM, ~first_LM), axis=1)
