"""Which brick fits an input: keys from a brick's own inputs, cosine, a threshold, and an honest "none".

A key is the unit mean of encodings of about a dozen inputs that the brick was made for (LoraRetriever's rule). Two
things are ours: up to four keys by k-means where a brick serves unlike inputs, and the default encoder, which is the
base model itself, read at its middle layer, so that no second model is needed.

Legend: N texts, B bricks, K keys of all bricks together, Q size of an encoding.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from armillary.errors import NumericError, UsageError
from armillary.methods.bricks.brick import MOST_KEYS, Keys
from armillary.models.batches import encode, pad, padded_batches, run_body
from armillary.models.loaded import LoadedModel
from armillary.numerics.clustering import kmeans

Encoder = Callable[[list[str]], NDArray[np.floating[Any]]]
"""Texts to encodings ``[n, q]``."""


class MidLayerEncoder:
    """The mean hidden state of a text at one layer of the model; a callable ``list[str] -> float32 [n, q]``.

    The first token is left out where there are others: its state is large and the same for every text. With
    ``background`` texts their mean encoding is subtracted, since hidden states of all texts share most of their
    direction and cosines would all be near 1.
    """

    def __init__(
        self, loaded: LoadedModel, *, layer: int | None = None, background: Sequence[str] = (), max_tokens: int = 128
    ) -> None:
        depth = loaded.anatomy.num_layers
        self._layer = depth // 2 if layer is None else layer
        if not 0 <= self._layer < depth:
            raise UsageError(f"{loaded.name} has layers 0 to {depth - 1}; got {layer}.")
        self._loaded, self._max_tokens = loaded, max_tokens
        self._origin = self._raw(background).mean(0) if background else np.float32(0.0)
        centred = f", {len(background)} texts subtracted" if background else ""
        self.name = f"mean state after layer {self._layer} of {loaded.name} {loaded.fingerprint}{centred}"

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encodings of the texts, not scaled to unit length."""
        return cast(NDArray[np.float32], self._raw(texts) - self._origin)

    @torch.inference_mode()
    def _raw(self, texts: Sequence[str]) -> NDArray[np.float32]:
        rows = encode(self._loaded, texts, max_tokens=self._max_tokens)
        states: list[Tensor] = []

        def record(_module: nn.Module, _args: tuple[object, ...], output: Tensor | tuple[Tensor, ...]) -> None:
            states.append(output if isinstance(output, Tensor) else output[0])

        means_NQ = np.empty((len(rows), self._loaded.anatomy.hidden_size), dtype=np.float32)
        with self._loaded.anatomy.layers[self._layer].register_forward_hook(record):
            for batch in padded_batches(rows, 2048):
                ids_BT, mask_BT = pad([rows[index] for index in batch], device=self._loaded.device)
                run_body(self._loaded, ids_BT, mask_BT)
                weights_BT = mask_BT.clone()
                # Only a text of a single token keeps its first one.
                weights_BT[:, 0] = (mask_BT.sum(1) == 1).to(mask_BT.dtype)
                states_BTQ = states.pop().reshape(*mask_BT.shape, -1).double() * weights_BT[:, :, None]
                mean_BQ = (states_BTQ.sum(1) / weights_BT.sum(1, keepdim=True)).float()
                means_NQ[batch] = mean_BQ.cpu().numpy()
        return means_NQ


def make_keys(encoder: Encoder, texts: Sequence[str], *, name: str, keys: int = 1, seed: int = 0) -> Keys:
    """The keys of a brick from inputs it was made for; ``name`` names the encoder.

    One key is the unit mean of the encodings, more are their k-means centers by direction. UsageError for no texts or
    more keys than texts or than four; NumericError where the encodings cancel.
    """
    if not 1 <= keys <= min(MOST_KEYS, len(texts)):
        raise UsageError(f"a brick has 1 to {MOST_KEYS} keys, no more than it has texts ({len(texts)}); got {keys}.")
    encoded_NQ = _encoded(encoder, texts)
    if keys == 1:
        return Keys(values_KQ=_unit(encoded_NQ.mean(0, keepdims=True)).astype(np.float32), encoder=name)
    centers_KQ = kmeans(_unit(encoded_NQ), keys, seed=seed).centers_KD
    return Keys(values_KQ=_unit(centers_KQ).astype(np.float32), encoder=name)


@dataclass(frozen=True, kw_only=True)
class RetrievedBrick:
    """A brick that was retrieved."""

    brick: str
    """Its id."""

    score: float
    """Cosine of the input with the nearest of its keys."""

    weight: float
    """Its share in a mixture; the shares of one input sum to 1."""


@dataclass(frozen=True, kw_only=True)
class Retrieval:
    """The bricks for one input, best first; none where nothing comes near."""

    chosen: tuple[RetrievedBrick, ...]
    best_score: float
    """Of all bricks, chosen or not; what the threshold is compared with."""

    threshold: float

    @property
    def none(self) -> bool:
        """True where the base model is to run alone."""
        return not self.chosen

    @property
    def sentence(self) -> str:
        """For a reader."""
        if self.none:
            return (
                f"No brick comes near enough (the best scores {self.best_score:.3f}, the threshold is "
                f"{self.threshold:.3f}); the base model runs alone."
            )
        return ", ".join(f"{row.brick[:12]} ({row.score:.3f}, weight {row.weight:.2f})" for row in self.chosen)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {**asdict(self), "none": self.none}


def retrieve(
    encoder: Encoder,
    queries: Sequence[str],
    keys_KQ: Float[np.ndarray, "k q"],
    owners: Sequence[str],
    *,
    k: int = 1,
    threshold: float = 0.0,
    temperature: float | None = None,
) -> list[Retrieval]:
    """For each query the ``k`` bricks of highest cosine, those below ``threshold`` left out.

    ``owners`` names the brick of each key; a brick scores by its nearest key. Weights are equal, or a softmax of
    scores over ``temperature``. UsageError for settings out of range or keys of another size than the encodings.
    """
    if k < 1 or len(owners) != len(keys_KQ) or not owners:
        raise UsageError(
            f"retrieval needs k of 1 or more and an owner for each key; got {k} and {len(owners)} owners."
        )
    if not -1 <= threshold <= 1 or (temperature is not None and temperature <= 0):
        raise UsageError(f"the threshold is a cosine and the temperature above 0; got {threshold} and {temperature}.")
    encoded_NQ = _encoded(encoder, queries)
    if encoded_NQ.shape[1] != keys_KQ.shape[1]:
        raise UsageError(f"the encoder gives {encoded_NQ.shape[1]} numbers, the keys have {keys_KQ.shape[1]}.")
    cosine_NK = encoded_NQ @ keys_KQ.T.astype(np.float64)
    bricks = list(dict.fromkeys(owners))
    owner_of = np.array([bricks.index(owner) for owner in owners])
    score_NB = np.stack([cosine_NK[:, owner_of == index].max(1) for index in range(len(bricks))], axis=1)
    return [best_scored(score_B, bricks, k, threshold, temperature) for score_B in score_NB]


def best_scored(
    score_B: NDArray[np.float64], bricks: Sequence[str], k: int, threshold: float, temperature: float | None
) -> Retrieval:
    """The ``k`` bricks of highest score that reach the threshold, with their weights; ``bricks`` are their ids."""
    order = np.argsort(-score_B, kind="stable")[:k]
    kept = [int(index) for index in order if score_B[index] >= threshold]
    # Less the best score, so that the exponential can't overflow at a small temperature.
    raw = [1.0 if temperature is None else math.exp((score_B[i] - score_B[order[0]]) / temperature) for i in kept]
    chosen = tuple(
        RetrievedBrick(brick=bricks[index], score=float(score_B[index]), weight=part / sum(raw))
        for index, part in zip(kept, raw, strict=True)
    )
    return Retrieval(chosen=chosen, best_score=float(score_B.max()), threshold=threshold)


def _encoded(encoder: Encoder, texts: Sequence[str]) -> NDArray[np.float64]:
    """Unit encodings."""
    if not texts:
        raise UsageError("there is no text to encode.")
    encoded_NQ = np.asarray(encoder(list(texts)), dtype=np.float64)
    if encoded_NQ.ndim != 2 or len(encoded_NQ) != len(texts):
        raise UsageError(f"an encoder gives one row a text; got {encoded_NQ.shape} for {len(texts)} texts.")
    return _unit(encoded_NQ)


def _unit(rows: NDArray[Any]) -> NDArray[np.float64]:
    wide = np.asarray(rows, dtype=np.float64)
    sizes = np.linalg.norm(wide, axis=1, keepdims=True)
    if not np.isfinite(sizes).all() or (sizes == 0).any():
        raise NumericError("an encoding is zero or not finite, so it has no direction.")
    return cast(NDArray[np.float64], wide / sizes)
