"""Which brick fits an input: keys from a brick's own inputs, cosine, a threshold, and an honest "none".

A key is the unit mean of encodings of about a dozen inputs that the brick was made for (LoraRetriever's rule). Two
things are ours: up to four keys by k-means where a brick serves unlike inputs, and the default encoder, which is the
base model itself, read at its middle layer, so that no second model is needed.

Legend: N texts, B bricks, K keys of all bricks together, Q size of an encoding.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from armillary.errors import NumericError, UsageError
from armillary.methods.bricks.brick import MOST_KEYS, Brick, Keys
from armillary.methods.bricks.low_rank import first_input_direction
from armillary.methods.bricks.payloads import LowRank, matrix
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
        seen: list[Tensor] = []

        def watch(_module: nn.Module, _args: tuple[object, ...], output: Tensor | tuple[Tensor, ...]) -> None:
            seen.append(output if isinstance(output, Tensor) else output[0])

        found = np.empty((len(rows), self._loaded.anatomy.hidden_size), dtype=np.float32)
        handle = self._loaded.anatomy.layers[self._layer].register_forward_hook(watch)
        try:
            for batch in padded_batches(rows, 2048):
                ids_BT, mask_BT = pad([rows[index] for index in batch], device=self._loaded.device)
                run_body(self._loaded, ids_BT, mask_BT)
                found[batch] = _text_means(seen.pop(), mask_BT).cpu().numpy()
        finally:
            handle.remove()
        return found


def _text_means(states: Tensor, mask_BT: Tensor) -> Tensor:
    weights_BT = mask_BT.clone()
    weights_BT[:, 0] = (mask_BT.sum(1) == 1).to(mask_BT.dtype)
    states_BTD = states.reshape(*mask_BT.shape, -1).double() * weights_BT[:, :, None]
    return (states_BTD.sum(1) / weights_BT.sum(1, keepdim=True)).float()


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
    centers = kmeans(torch.from_numpy(encoded_NQ), keys, seed=seed, cosine=True).centers
    return Keys(values_KQ=_unit(centers.numpy()).astype(np.float32), encoder=name)


@dataclass(frozen=True, kw_only=True)
class RetrievedBrick:
    """A brick that was retrieved."""

    brick: str
    """Its id."""

    score: float
    """Cosine of the input with the nearest of its keys."""

    weight: float
    """Its part in a mixture; the parts of one input sum to 1."""


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
        return ", ".join(f"{one.brick[:12]} ({one.score:.3f}, weight {one.weight:.2f})" for one in self.chosen)

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
    score_NB = np.stack([cosine_NK[:, owner_of == place].max(1) for place in range(len(bricks))], axis=1)
    return [_chosen(row, bricks, k, threshold, temperature) for row in score_NB]


def _chosen(
    score_B: NDArray[np.float64], bricks: Sequence[str], k: int, threshold: float, temperature: float | None
) -> Retrieval:
    order = np.argsort(-score_B, kind="stable")[:k]
    kept = [int(place) for place in order if score_B[place] >= threshold]
    raw = [1.0 if temperature is None else math.exp((score_B[p] - score_B[order[0]]) / temperature) for p in kept]
    chosen = tuple(
        RetrievedBrick(brick=bricks[place], score=float(score_B[place]), weight=part / sum(raw))
        for place, part in zip(kept, raw, strict=True)
    )
    return Retrieval(chosen=chosen, best_score=float(score_B.max()), threshold=threshold)


def _encoded(encoder: Encoder, texts: Sequence[str]) -> NDArray[np.float64]:
    """Unit encodings."""
    if not texts:
        raise UsageError("there is no text to encode.")
    found = np.asarray(encoder(list(texts)), dtype=np.float64)
    if found.ndim != 2 or len(found) != len(texts):
        raise UsageError(f"an encoder gives one row a text; got {found.shape} for {len(texts)} texts.")
    return _unit(found)


def _unit(rows: NDArray[Any]) -> NDArray[np.float64]:
    wide = np.asarray(rows, dtype=np.float64)
    sizes = np.linalg.norm(wide, axis=1, keepdims=True)
    if not np.isfinite(sizes).all() or (sizes == 0).any():
        raise NumericError("an encoding is zero or not finite, so it has no direction.")
    return cast(NDArray[np.float64], wide / sizes)


# Keys that need no data: the input direction that a low-rank change answers most (Arrow).
#
# As in PEFT's Arrow. The direction is the top right singular vector of ``B A``; power
# iteration finds it, and so does the SVD of the small core, which is exact. Its sign is arbitrary, so scores are
# magnitudes.
#
# Legend: B bricks, I inputs of a module, N tokens.


def arrow_prototypes(brick: Brick) -> dict[str, Tensor]:
    """Unit vector ``[in]`` of each module that a low-rank brick changes, float64; UsageError for another payload."""
    if not isinstance(brick.payload, LowRank):
        raise UsageError(f"{brick.name!r} is no low-rank change, so it has no direction that it answers most.")
    return {path: first_input_direction(*factors) for path, factors in brick.payload.factors.items()}


@torch.inference_mode()
def arrow_scores(
    loaded: LoadedModel, texts: Sequence[str], bricks: Sequence[Brick], *, max_tokens: int = 128
) -> NDArray[np.float64]:
    """Mean over modules and tokens of ``|v . x| / |x|``, ``[texts, bricks]``, between 0 and 1.

    Read while the base runs alone; the first token is left out where there are others. Compare bricks within a text
    only.
    """
    prototypes = [arrow_prototypes(brick) for brick in bricks]
    found = np.zeros((len(texts), len(bricks)))
    for place, row in enumerate(encode(loaded, texts, max_tokens=max_tokens)):
        seen: dict[str, Tensor] = {}
        with _inputs(loaded, sorted({path for one in prototypes for path in one}), seen):
            run_body(loaded, torch.tensor([row], device=loaded.device))
        for which, one in enumerate(prototypes):
            found[place, which] = np.mean([_answer(seen[path], vector_I) for path, vector_I in one.items()])
    return found


def arrow_weights(scores_B: NDArray[np.float64], k: int, temperature: float = 1.0) -> NDArray[np.float64]:
    """Softmax over the ``k`` highest scores, 0 for the others; UsageError for k outside 1 to the number of bricks."""
    if not 1 <= k <= len(scores_B) or temperature <= 0:
        raise UsageError(f"k is 1 to {len(scores_B)} and the temperature above 0; got {k} and {temperature}.")
    kept = np.argsort(-scores_B, kind="stable")[:k]
    raw = np.exp((scores_B[kept] - scores_B[kept[0]]) / temperature)
    weights = np.zeros_like(scores_B)
    weights[kept] = raw / raw.sum()
    return weights


@contextmanager
def _inputs(loaded: LoadedModel, paths: Sequence[str], seen: dict[str, Tensor]) -> Iterator[None]:
    with ExitStack() as hooks:
        for path in paths:
            hook = _recorder(path, seen)
            hooks.callback(matrix(loaded.model, path).register_forward_pre_hook(hook).remove)
        yield


def _recorder(path: str, seen: dict[str, Tensor]) -> Any:
    def record(_module: nn.Module, args: tuple[Any, ...]) -> None:
        x_NI = args[0].detach().reshape(-1, args[0].shape[-1])
        seen[path] = x_NI[1:] if len(x_NI) > 1 else x_NI

    return record


def _answer(x_NI: Tensor, vector_I: Tensor) -> float:
    wide = x_NI.double()
    sizes = wide.norm(dim=1).clamp_min(torch.finfo(torch.float64).tiny)
    return float(((wide @ vector_I.to(wide)).abs() / sizes).mean())
