"""A profile of a model's neurons: how active each one is in each text, read in one pass that stores no activations.

Two indicators say how strongly a neuron takes part in a token: its activation |a_i|, and its output magnitude, which
is |a_i| times the norm of the neuron's column of the FFN write matrix.
Legend: N texts, L layers, M neurons of an FFN, F capabilities, D texts counted in detail, I indicators, H bins,
T tokens, R replicates.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from armillary.activations import streaming
from armillary.activations.neurons import column_norms
from armillary.errors import NumericError, UsageError
from armillary.methods.bricks.neurons.config import ProfileConfig
from armillary.models import LoadedModel
from armillary.models.batches import encode, pad, padded_batches, run_body
from armillary.numerics.intervals import Interval, resampled
from armillary.progress import counted
from armillary.runs.parts import Arrays, Store, kept, part_name

Indicator = Literal["activation", "magnitude"]
INDICATORS: tuple[Indicator, ...] = ("activation", "magnitude")
_MOST_IN_BYTE = 127  # the upper end of the last bin is a number of its own


def indicator_of(size_TM: Tensor, norms_M: Tensor, indicator: Indicator) -> Tensor:
    """The indicator of every neuron from the sizes |a|."""
    return size_TM * norms_M if indicator == "magnitude" else size_TM


def histogram(indicator_TM: Float[Tensor, "t m"], bins: int) -> Int[Tensor, " h"]:
    """How many of the text's values fall into each bin of [0, 1] after each token is divided by its largest, int64.

    Values at the upper end belong to the last bin; a token that is zero throughout falls into the first.
    """
    largest_T1 = indicator_TM.amax(dim=1, keepdim=True)
    height_TM = (indicator_TM / torch.where(largest_T1 > 0, largest_T1, 1.0)).mul_(bins)
    if bins > _MOST_IN_BYTE or indicator_TM.numel() % 2:
        bin_TM = height_TM.to(torch.int32).clamp_(0, bins - 1)  # NaN becomes any integer
        return torch.bincount(bin_TM.reshape(-1), minlength=bins)
    # Two bytes read as one number: counting is what takes the time, and this halves it.
    pairs = height_TM.to(torch.int8).clamp_(0, bins - 1).reshape(-1).view(torch.int16)
    counts_HH = torch.bincount(pairs, minlength=256 * bins).view(bins, 256)[:, :bins]
    return counts_HH.sum(dim=0) + counts_HH.sum(dim=1)


def firing(magnitude_TM: Float[Tensor, "t m"], share: float) -> Int[Tensor, " m"]:
    """At how many tokens each neuron is within the ``share`` of largest output magnitudes, int64.

    At least one neuron counts a token; one that writes nothing never fires.
    """
    width = magnitude_TM.shape[1]
    count = max(1, int(share * width))
    if magnitude_TM.device.type == "cpu":  # where NumPy selects more than twice as fast
        # Numbers that aren't negative lie in the order of their bits, and NumPy selects integers faster.
        bits_TM = magnitude_TM.numpy().view(np.int32)
        rank = width - count
        bound_T1 = np.maximum(np.partition(bits_TM, rank, axis=1)[:, rank, None], 1)  # the bits 0 are the number 0
        fired_M = np.add.reduce(bits_TM >= bound_T1, axis=0, dtype=np.int32)
        return torch.from_numpy(fired_M.astype(np.int64))
    least_T1 = magnitude_TM.kthvalue(width - count + 1, dim=1, keepdim=True).values
    return ((magnitude_TM >= least_T1) & (magnitude_TM > 0)).sum(dim=0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Profile:
    """How active every neuron is in every text; first positions and padding are left out throughout."""

    model: str
    fingerprint: str
    """Of the weights."""

    config: ProfileConfig
    capabilities: tuple[str, ...]
    labels_N: NDArray[np.int64]
    """Index of each text's capability in ``capabilities``."""

    tokens_N: NDArray[np.int64]
    """Tokens of each text that were counted."""

    means_NLM: NDArray[np.float32]
    """Mean over the tokens of a text of |a|, the neuron's activation."""

    norms_LM: NDArray[np.float64]
    """Norm of each neuron's column of the FFN write matrix: |a| times it is the output magnitude."""

    histogram_DILH: NDArray[np.int64]
    """Of the texts counted in detail: how often a neuron's indicator, divided by the largest of its token, fell into
    each bin of [0, 1]."""

    detail_labels_D: NDArray[np.int64]
    firing_FLM: NDArray[np.int64]
    """Tokens at which a neuron was among the largest output magnitudes, of the texts counted in detail."""

    firing_tokens_F: NDArray[np.int64]
    """Tokens of those texts."""

    @property
    def layers(self) -> int:
        """Number of layers."""
        return len(self.norms_LM)

    @property
    def width(self) -> int:
        """Neurons of a layer."""
        return len(self.norms_LM[0])

    def label(self, capability: str) -> int:
        """The capability's number in ``labels_N``; UsageError naming those there are."""
        if capability not in self.capabilities:
            raise UsageError(f"no texts of {capability!r} were read; there are {', '.join(self.capabilities)}.")
        return self.capabilities.index(capability)

    def layer(self, layer: int, *, relative: bool = False) -> NDArray[np.float32]:
        """Mean activity in one layer, ``[N, M]``; ``relative`` divides each text by the mean over the layer's neurons.

        The relative form takes out how active a layer is as a whole in a text. A text without any activity stays 0.
        """
        means_NM = self.means_NLM[:, layer]
        if not relative:
            return means_NM
        level_N1 = means_NM.mean(axis=1, dtype=np.float64, keepdims=True)
        shares: NDArray[np.float32] = np.divide(means_NM, level_N1, out=np.zeros_like(means_NM), where=level_N1 > 0)
        return shares

    def magnitude(self, capability: str | None = None) -> NDArray[np.float64]:
        """Mean output magnitude of each neuron, ``[L, M]``, over one capability's texts, or over all capabilities
        with equal weight."""
        chosen = self.capabilities if capability is None else (capability,)
        labels = [self.label(name) for name in chosen]
        means = [self.means_NLM[self.labels_N == label].mean(axis=0, dtype=np.float64) for label in labels]
        mean_LM: NDArray[np.float64] = np.mean(means, axis=0) * self.norms_LM
        return mean_LM

    def firing_share(self) -> NDArray[np.float64]:
        """Share of tokens at which each neuron fires, ``[L, M]``, capabilities with equal weight."""
        shares_LM: NDArray[np.float64] = (self.firing_FLM / self.firing_tokens_F[:, None, None]).mean(axis=0)
        return shares_LM

    def share_below(
        self,
        threshold: float,
        indicator: Literal["activation", "magnitude"] = "magnitude",
        *,
        layer: int | None = None,
        seed: int = 0,
        replicates: int = 2000,
    ) -> Interval:
        """Share of neurons (over tokens) whose indicator is below ``threshold`` of the token's largest, over texts.

        Of one layer, or of all. UsageError where ``threshold`` is no edge of the histogram's bins.
        """
        bins = self.histogram_DILH.shape[3]
        edge = round(threshold * bins)
        if abs(edge - threshold * bins) > 1e-9 or not 0 < edge < bins:
            raise UsageError(f"threshold must be a multiple of 1/{bins} between 0 and 1, got {threshold}.")
        counts = self.histogram_DILH[:, ("activation", "magnitude").index(indicator)]
        counts_DLH = counts if layer is None else counts[:, [layer]]
        below_D, all_D = counts_DLH[:, :, :edge].sum((1, 2)), counts_DLH.sum((1, 2))
        strata = {name: np.flatnonzero(self.detail_labels_D == p) for p, name in enumerate(self.capabilities)}

        def share(drawn: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
            below_R = np.sum([drawn[name] @ below_D[rows] for name, rows in strata.items()], axis=0)
            all_R = np.sum([drawn[name] @ all_D[rows] for name, rows in strata.items()], axis=0)
            share_R: NDArray[np.float64] = below_R / all_R
            return share_R

        sizes = {name: len(rows) for name, rows in strata.items()}
        return resampled(share, sizes, seed=seed, replicates=replicates)

    def relabelled(self, labels_N: NDArray[np.int64]) -> "Profile":
        """The same activities under other capabilities of the texts, for a null; histograms and firing stay.

        UsageError where a label is missing or names no capability.
        """
        if labels_N.shape != self.labels_N.shape or not np.isin(labels_N, np.arange(len(self.capabilities))).all():
            raise UsageError(f"labels must be {len(self.labels_N)} numbers of {len(self.capabilities)} capabilities.")
        return replace(self, labels_N=labels_N.astype(np.int64))


def profile(
    loaded: LoadedModel,
    texts: Mapping[str, Sequence[str]],
    config: ProfileConfig | None = None,
    *,
    store: Store | None = None,
) -> Profile:
    """Mean activity of every neuron in every text, by capability, with histograms and firing counts.

    ``store`` (such as ``Parts.arrays``) keeps each chunk of texts, so that a killed run goes on. Beyond the result
    (L x M float32 a text) memory doesn't depend on the number of texts. UsageError for no texts or one too short to
    count, naming it; NumericError naming a text whose activations are not finite; ModelError for a model whose layers
    have neither a single FFN write matrix nor readable experts.
    """
    config = config or ProfileConfig()
    if not texts or not all(len(rows) for rows in texts.values()):
        raise UsageError("a profile needs at least one text of each capability.")
    norms_LM = column_norms(loaded)
    counts_F = np.array([len(rows) for rows in texts.values()])
    details_F = np.minimum(counts_F, config.detail_texts or counts_F)
    means_NLM = np.empty((counts_F.sum(), *norms_LM.shape), np.float32)
    firing_FLM = np.zeros((len(texts), *norms_LM.shape), np.int64)
    firing_tokens_F = np.zeros(len(texts), np.int64)
    tokens, histograms, done = [], [], 0
    with counted("reading texts", len(means_NLM)) as bar:
        for label, some, detail in _chunks(texts, details_F, config.chunk):
            reader = _Chunk(loaded, norms_LM, some, detail, config)
            arrays = kept(store, reader.name(), reader.read)
            means_NLM[done : done + len(some)] = arrays["means"]
            tokens.append(arrays["tokens"])
            histograms.append(arrays["histogram"])
            firing_FLM[label] += arrays["firing"]
            firing_tokens_F[label] += int(arrays["firing_tokens"])
            done += len(some)
            bar.advance(len(some))
    return Profile(
        model=loaded.name,
        fingerprint=loaded.fingerprint,
        config=config,
        capabilities=tuple(texts),
        labels_N=np.repeat(np.arange(len(texts)), counts_F),
        tokens_N=np.concatenate(tokens),
        means_NLM=means_NLM,
        norms_LM=norms_LM,
        histogram_DILH=np.concatenate(histograms),
        detail_labels_D=np.repeat(np.arange(len(texts)), details_F),
        firing_FLM=firing_FLM,
        firing_tokens_F=firing_tokens_F,
    )


def _chunks(
    texts: Mapping[str, Sequence[str]], details_F: NDArray[np.int64], size: int
) -> Iterator[tuple[int, list[str], int]]:
    """Number of a capability, some of its texts, and how many of these are counted in detail."""
    for label, rows in enumerate(texts.values()):
        for start in range(0, len(rows), size):
            some = list(rows[start : start + size])
            yield label, some, min(len(some), max(0, int(details_F[label]) - start))


class _Chunk:
    """Reads some texts of one capability; as a reducer it takes in each layer's activations batch by batch."""

    def __init__(
        self,
        loaded: LoadedModel,
        norms_LM: NDArray[np.float64],
        texts: Sequence[str],
        detail: int,
        config: ProfileConfig,
    ) -> None:
        self.loaded, self.norms_LM, self.texts, self.detail, self.config = loaded, norms_LM, texts, detail, config
        self._batch: list[int] = []
        self._lengths: list[int] = []

    def name(self) -> str:
        """Under which the arrays are kept."""
        # How texts are batched and cut into chunks changes nothing but rounding.
        settings = {k: v for k, v in asdict(self.config).items() if k not in ("tokens_per_batch", "chunk")}
        return part_name("profile", self.loaded.identity, settings, self.texts, self.detail)

    @torch.inference_mode()
    def read(self) -> Arrays:
        """Arrays ``means [n, L, M]``, ``tokens [n]``, ``histogram [d, I, L, H]``, ``firing [L, M]`` and its tokens."""
        layers, width = self.norms_LM.shape
        device = self.loaded.device
        rows = encode(self.loaded, self.texts, max_tokens=self.config.max_tokens, least=self.config.skip + 1)
        self._norms_LM = torch.from_numpy(self.norms_LM).float().to(device)
        self._means_NLM = torch.empty(len(rows), layers, width, device=device)
        self._histogram = torch.zeros(self.detail, len(INDICATORS), layers, self.config.bins, dtype=torch.int64)
        self._firing_LM = torch.zeros(layers, width, dtype=torch.int64, device=device)
        with streaming(self.loaded, "ffn", self):
            for batch in padded_batches(rows, self.config.tokens_per_batch):
                self._batch, self._lengths = batch, [len(rows[index]) for index in batch]
                ids_BT, mask_BT = pad([rows[index] for index in batch], device=device)
                run_body(self.loaded, ids_BT, None if bool(mask_BT.all()) else mask_BT)
        self._refuse_infinite()
        tokens = np.array([len(row) - self.config.skip for row in rows], np.int64)
        return {
            "means": self._means_NLM.cpu().numpy(),
            "tokens": tokens,
            "histogram": self._histogram.numpy(),
            "firing": self._firing_LM.cpu().numpy(),
            "firing_tokens": tokens[: self.detail].sum(),
        }

    def update(self, layer: int, x_ND: Float[Tensor, "n d"]) -> None:
        """Take in one layer of one batch: the texts' tokens one after the other, without padding."""
        wide = torch.float32 if x_ND.device.type == "mps" else torch.float64
        for index, x_TM in zip(self._batch, x_ND.split(self._lengths), strict=True):
            size_TM = x_TM[self.config.skip :].float().abs()
            self._means_NLM[index, layer] = size_TM.sum(dim=0, dtype=wide) / len(size_TM)
            if index < self.detail:
                norms_M = self._norms_LM[layer]
                for number, indicator in enumerate(INDICATORS):
                    values_TM = indicator_of(size_TM, norms_M, indicator)
                    self._histogram[index, number, layer] = histogram(values_TM, self.config.bins)
                    if indicator == "magnitude":
                        self._firing_LM[layer] += firing(values_TM, self.config.firing_share)

    def _refuse_infinite(self) -> None:
        finite_N = self._means_NLM.isfinite().flatten(1).all(dim=1)
        if not bool(finite_N.all()):
            text = self.texts[int((~finite_N).nonzero()[0])]
            raise NumericError(f"The model gave NaN or infinite activations within the text {text[:60]!r}.")
