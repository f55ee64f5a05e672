"""What thresholds leave out of texts that did not set them, and the bytes of weights that a token then reads.

Legend: N texts, P inputs of all layers.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from armillary.errors import UsageError
from armillary.methods.bricks.experts.cost import dense_bytes
from armillary.methods.bricks.payloads import Thresholds
from armillary.methods.bricks.sparsity.inputs import MatrixInput
from armillary.models import LoadedModel
from armillary.models.batches import encode, equal_length_batches, run_body
from armillary.numerics.intervals import Array, Interval, bootstrap_weighted
from armillary.progress import counted


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenBytes:
    """Share of each input left out, text by text, and what follows for the bytes of weights read at a token."""

    inputs: tuple[MatrixInput, ...]
    """P inputs, layer by layer."""

    left_out_NP: Array
    """Numbers of the inputs left out, summed over a text's tokens."""

    tokens_N: Array
    dense: int
    """Bytes that the dense model reads at a token; the KV cache, which grows with the text, is not counted."""

    def share(self, chosen: Sequence[int] | None = None) -> float:
        """Of the bytes of some inputs' weights (by index; by default of all) the share left out, over all tokens."""
        which = range(len(self.inputs)) if chosen is None else chosen
        all_P = np.array([self.inputs[index].bytes for index in which], dtype=np.float64)
        return float(self._saved(np.ones((1, len(self.tokens_N))), list(which))[0] / all_P.sum())

    def limit(self, *, seed: int = 0) -> Interval:
        """The most by which decoding can get faster: bytes, dense over read; with an interval over texts."""

        def ratio(counts_RN: Array) -> Array:
            result: Array = self.dense / (self.dense - self._saved(counts_RN, list(range(len(self.inputs)))))
            return result

        return bootstrap_weighted(ratio, len(self.tokens_N), seed=seed)

    def _saved(self, counts_RN: Array, which: list[int]) -> Array:
        """Bytes of some inputs' weights that a token leaves unread, in each replicate."""
        row_P = np.array([self.inputs[index].bytes / self.inputs[index].width for index in which])
        saved_R: Array = (counts_RN @ self.left_out_NP[:, which]) @ row_P / (counts_RN @ self.tokens_N)
        return saved_R


def token_bytes(
    loaded: LoadedModel,
    inputs: Sequence[Sequence[MatrixInput]],
    thresholds: Thresholds,
    texts: Sequence[str],
    *,
    max_tokens: int = 128,
    tokens_per_batch: int = 2048,
    skip: int = 1,
) -> TokenBytes:
    """What is left out of the texts, first tokens aside, while the model runs as it is now: inside ``sparsified`` what
    earlier layers left out counts. UsageError for no texts, or one without tokens behind those that are skipped.
    """
    flat = [an_input for layer in inputs for an_input in layer]
    rows = encode(loaded, texts, max_tokens=max_tokens, least=skip + 1)
    if not rows:
        raise UsageError("what is left out needs at least one text; got none.")
    left_out_NP = np.zeros((len(rows), len(flat)))
    batch: list[int] = []

    def count(index: int, least: float, _: nn.Module, args: tuple[Any, ...]) -> None:
        x_NTI = args[0].reshape(len(batch), -1, args[0].shape[-1])[:, skip:]
        left_out_NP[batch, index] = (x_NTI.abs().float() < least).sum((1, 2)).cpu().numpy()

    with ExitStack() as hooks, torch.no_grad(), counted("what thresholds leave out", len(rows)) as bar:
        for index, an_input in enumerate(flat):
            module = loaded.model.get_submodule(an_input.paths[0])
            least = thresholds.least.get(an_input.paths[0], 0.0)
            hooks.callback(module.register_forward_pre_hook(partial(count, index, least)).remove)
        for batch in equal_length_batches(rows, tokens_per_batch):
            run_body(loaded, torch.tensor([rows[index] for index in batch], device=loaded.device))
            bar.advance(len(batch))
    return TokenBytes(
        inputs=tuple(flat),
        left_out_NP=left_out_NP,
        tokens_N=np.array([float(len(row) - skip) for row in rows]),
        dense=dense_bytes(loaded),
    )
