"""The loss on answers whose logits exist only where an answer stands: for the stock Trainer's ``compute_loss_func``.

Prompts are most of a row, and the head of a small language model is a large part of its work.

Shapes: B rows, T tokens, K positions kept, V vocabulary.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn import functional

IGNORED = -100
"""Label of a token that is not learned."""

Batch = dict[str, Tensor]


def answer_positions(labels: Int[Tensor, "B T"]) -> Int[Tensor, " K"]:
    """Positions whose next token is learned in some row of the batch."""
    return (labels[:, 1:] != IGNORED).any(0).nonzero()[:, 0]


def with_answer_positions(collate: Callable[[Sequence[Mapping[str, Any]]], Batch]) -> Callable[[Sequence[Any]], Batch]:
    """A collator whose batches ask the model for these positions' logits only; ``image_key`` is left out."""

    def collated(rows: Sequence[Any]) -> Batch:
        batch = {name: tensor for name, tensor in collate(rows).items() if name != "image_key"}
        return {**batch, "logits_to_keep": answer_positions(batch["labels"])}

    return collated


def answer_loss(outputs: Any, labels: Int[Tensor, "B T"], num_items_in_batch: Tensor | int | None = None) -> Tensor:
    """Mean negative log-likelihood (nats) of the learned tokens, from logits ``[B, K, V]`` at ``answer_positions``.

    ``num_items_in_batch`` is the Trainer's count over all micro-batches; None takes the mean over this one.
    """
    logits_BKV = outputs["logits"] if isinstance(outputs, dict) else outputs.logits
    targets_BK = labels[:, 1:][:, answer_positions(labels)]
    learned_BK = targets_BK != IGNORED
    total = functional.cross_entropy(logits_BKV[learned_BK].float(), targets_BK[learned_BK], reduction="sum")
    count = learned_BK.sum() if num_items_in_batch is None else torch.as_tensor(num_items_in_batch)
    return total / count.to(total.device)
