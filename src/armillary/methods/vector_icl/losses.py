"""The loss on target tokens of rows with boxes in them; the head runs on the positions that carry loss alone.

Legend: B rows of a batch, T tokens, N learned tokens, K boxes, D hidden size, V vocabulary.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from armillary.errors import NumericError
from armillary.methods.vector_icl.embedding import embed_with_boxes, run_embeds
from armillary.methods.vector_icl.layout import Row
from armillary.models.batches import pad, padded_batches
from armillary.models.loaded import LoadedModel
from armillary.scoring.nll import CHUNK_ELEMENTS

Boxes = Callable[[Sequence[int]], Float[Tensor, "k d"]]
"""Gives the boxes of these vectors, in this order."""


@dataclass(frozen=True, eq=False)
class RowLoss:
    """Summed negative log-likelihood (nats, float64) of each row's learned tokens, and their number."""

    nll: NDArray[np.float64]
    tokens: NDArray[np.int64]

    @property
    def mean(self) -> float:
        """Nats a token, over all rows."""
        return float(self.nll.sum() / self.tokens.sum())


def token_losses(
    loaded: LoadedModel, rows: Sequence[Row], boxes: Boxes
) -> tuple[Float[Tensor, " n"], Int[Tensor, " n"]]:
    """``-log p`` (nats, float32 or wider) of every learned token, row by row, and the row that each belongs to.

    Gradients flow into the boxes and the model's body, not into its head. Rows are padded at the right and run
    together.
    """
    ids_BT, mask_BT = pad([row.tokens for row in rows], device=loaded.device)
    learned_BT, _ = pad([[int(flag) for flag in row.learned] for row in rows], device=loaded.device)
    boxes_KD = boxes([vector for row in rows for vector in row.vectors])
    embeds_BTD = embed_with_boxes(loaded, ids_BT, boxes_KD)
    hidden_BTD = run_embeds(loaded, embeds_BTD, None if bool(mask_BT.all()) else mask_BT)
    scored_BT = learned_BT[:, 1:].bool()
    hidden_ND, targets_N = hidden_BTD[:, :-1][scored_BT], ids_BT[:, 1:][scored_BT]
    return _losses(loaded, hidden_ND, targets_N), scored_BT.nonzero()[:, 0]


@torch.inference_mode()
def row_losses(loaded: LoadedModel, rows: Sequence[Row], boxes: Boxes, *, tokens_per_batch: int = 4096) -> RowLoss:
    """The loss of each row, in the order given; NumericError where one is not finite."""
    nll, tokens = np.zeros(len(rows)), np.zeros(len(rows), dtype=np.int64)
    for batch in padded_batches([row.tokens for row in rows], tokens_per_batch):
        losses_N, owner_N = token_losses(loaded, [rows[index] for index in batch], boxes)
        owners = owner_N.cpu().numpy()
        nll[batch] = np.bincount(owners, weights=losses_N.double().cpu().numpy(), minlength=len(batch))
        tokens[batch] = np.bincount(owners, minlength=len(batch))
    if not np.isfinite(nll).all():
        raise NumericError("the model gave NaN or infinite logits for a text after a vector.")
    return RowLoss(nll=nll, tokens=tokens)


def _losses(loaded: LoadedModel, hidden_ND: Tensor, targets_N: Tensor) -> Tensor:
    losses_N: Tensor = _HeadLosses.apply(hidden_ND, targets_N, loaded)  # type: ignore[no-untyped-call]
    return losses_N


class _HeadLosses(torch.autograd.Function):
    """The head and the loss by chunks. A chunk's gradient is taken while its logits exist, so they are made once."""

    @staticmethod
    def forward(ctx: Any, hidden_ND: Tensor, targets_N: Tensor, loaded: LoadedModel) -> Tensor:
        size = max(1, CHUNK_ELEMENTS // (2 * loaded.anatomy.vocabulary_size))  # logits exist beside their gradient
        losses, gradients = [], []
        for some_ND, some_N in zip(hidden_ND.split(size), targets_N.split(size), strict=True):
            with torch.set_grad_enabled(ctx.needs_input_grad[0]):
                given_ND = some_ND.detach().requires_grad_(ctx.needs_input_grad[0])
                logits_NV = loaded.anatomy.logits(given_ND)
                wide = torch.promote_types(logits_NV.dtype, torch.float32)
                losses_N = functional.cross_entropy(logits_NV.to(wide), some_N, reduction="none")
                total = losses_N.sum()  # each loss depends on its own hidden state alone
            losses.append(losses_N.detach())
            if ctx.needs_input_grad[0]:
                gradients += torch.autograd.grad(total, given_ND)
            del logits_NV, losses_N, total
        if gradients:
            ctx.save_for_backward(torch.cat(gradients))
        return torch.cat(losses)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream_N: Tensor) -> tuple[Tensor, None, None]:
        (gradient_ND,) = ctx.saved_tensors
        return gradient_ND * upstream_N[:, None].to(gradient_ND.dtype), None, None
