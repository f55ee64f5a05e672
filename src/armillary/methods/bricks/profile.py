"""A profile of a model's neurons: how active each one is in each text, read in one pass that stores no activations.

Legend: N texts, L layers, M neurons of an FFN, F capabilities, D texts counted in detail, I indicators, H bins,
T tokens.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from armillary.activations import streaming
from armillary.errors import NumericError, UsageError
from armillary.methods.bricks.config import ProfileConfig
from armillary.methods.bricks.indicators import INDICATORS, firing, histogram, indicator_of
from armillary.methods.bricks.neurons import column_norms
from armillary.methods.bricks.profile_result import Profile
from armillary.methods.bricks.stored import Arrays, Store, kept, part_name
from armillary.models import LoadedModel
from armillary.models.batches import encode, pad, padded_batches, run_body
from armillary.progress import counted


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
    have no single FFN write matrix.
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
        for place, some, detail in _chunks(texts, details_F, config.chunk):
            reader = _Chunk(loaded, norms_LM, some, detail, config)
            arrays = kept(store, reader.name(), reader.read)
            means_NLM[done : done + len(some)] = arrays["means"]
            tokens.append(arrays["tokens"])
            histograms.append(arrays["histogram"])
            firing_FLM[place] += arrays["firing"]
            firing_tokens_F[place] += int(arrays["firing_tokens"])
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
    """Place of a capability, some of its texts, and how many of these are counted in detail."""
    for place, rows in enumerate(texts.values()):
        for start in range(0, len(rows), size):
            some = list(rows[start : start + size])
            yield place, some, min(len(some), max(0, int(details_F[place]) - start))


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
        return part_name("profile", self.loaded.fingerprint, settings, self.texts, self.detail)

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
                for place, indicator in enumerate(INDICATORS):
                    values_TM = indicator_of(size_TM, norms_M, indicator)
                    self._histogram[index, place, layer] = histogram(values_TM, self.config.bins)
                    if indicator == "magnitude":
                        self._firing_LM[layer] += firing(values_TM, self.config.firing_share)

    def _refuse_infinite(self) -> None:
        finite_N = self._means_NLM.isfinite().flatten(1).all(dim=1)
        if not bool(finite_N.all()):
            text = self.texts[int((~finite_N).nonzero()[0])]
            raise NumericError(f"The model gave NaN or infinite activations within the text {text[:60]!r}.")
