"""Training of a projector through a frozen language model: packs of examples, one optimiser step a batch.

Legend: N examples, E encoder width.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional
from transformers import get_cosine_schedule_with_warmup

from armillary.errors import NumericError, UsageError
from armillary.methods.vector_icl.config import STEPS, TrainingConfig
from armillary.methods.vector_icl.embedding import embed_with_slots, run_embeds
from armillary.methods.vector_icl.projector import Projector
from armillary.methods.vector_icl.prompts import Row
from armillary.models.batches import pad, padded_batches
from armillary.models.loaded import LoadedModel
from armillary.progress import track
from armillary.scoring.nll import CHUNK_ELEMENTS
from armillary.training.checkpoints import only_trainable

# The loss on target tokens of rows with slots in them; the head runs on the positions that carry loss alone.
#
# Legend: B rows of a batch, T tokens, N learned tokens, K slots, D hidden size, V vocabulary.

SlotVectors = Callable[[Sequence[int]], Float[Tensor, "k d"]]
"""Gives the slots of these vectors, in this order."""


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
    loaded: LoadedModel, rows: Sequence[Row], slots: SlotVectors
) -> tuple[Float[Tensor, " n"], Int[Tensor, " n"]]:
    """``-log p`` (nats, float32 or wider) of every learned token, row by row, and the row that each belongs to.

    Gradients flow into the slots and the model's body, not into its head. Rows are padded at the right and run
    together.
    """
    ids_BT, mask_BT = pad([row.tokens for row in rows], device=loaded.device)
    learned_BT, _ = pad([[int(flag) for flag in row.learned] for row in rows], device=loaded.device)
    slots_KD = slots([vector for row in rows for vector in row.vectors])
    embeds_BTD = embed_with_slots(loaded, ids_BT, slots_KD)
    hidden_BTD = run_embeds(loaded, embeds_BTD, None if bool(mask_BT.all()) else mask_BT)
    scored_BT = learned_BT[:, 1:].bool()
    hidden_ND, targets_N = hidden_BTD[:, :-1][scored_BT], ids_BT[:, 1:][scored_BT]
    losses_N: Tensor = _HeadLosses.apply(hidden_ND, targets_N, loaded)  # type: ignore[no-untyped-call]
    return losses_N, scored_BT.nonzero()[:, 0]


@torch.inference_mode()
def row_losses(loaded: LoadedModel, rows: Sequence[Row], slots: SlotVectors) -> RowLoss:
    """The loss of each row, in the order given; NumericError where one is not finite."""
    nll, tokens = np.zeros(len(rows)), np.zeros(len(rows), dtype=np.int64)
    for batch in padded_batches([row.tokens for row in rows], TrainingConfig.tokens_per_batch):
        losses_N, owner_N = token_losses(loaded, [rows[index] for index in batch], slots)
        owners = owner_N.cpu().numpy()
        nll[batch] = np.bincount(owners, weights=losses_N.double().cpu().numpy(), minlength=len(batch))
        tokens[batch] = np.bincount(owners, minlength=len(batch))
    if not np.isfinite(nll).all():
        raise NumericError("the model gave NaN or infinite logits for a text after a vector.")
    return RowLoss(nll=nll, tokens=tokens)


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


Pack = list[int]
"""Indices of examples that stand in one sequence."""

MakeRow = Callable[[Pack, torch.Generator], Row]
"""Makes the sequence of a pack."""

Order = Callable[[torch.Generator], list[Pack]]
"""Lists of examples in a new order, one for each group whose examples may stand in one sequence."""


@dataclass(frozen=True)
class TrainingCurve:
    """Mean loss (nats a learned token) before each step."""

    losses: tuple[float, ...]
    stopped_early: bool

    @property
    def steps(self) -> int:
        """Optimiser steps taken."""
        return len(self.losses)


def train(
    loaded: LoadedModel,
    projector: Projector,
    vectors: Float[Tensor, "n e"],
    training_row: MakeRow,
    order: Order,
    config: TrainingConfig,
    *,
    label: str,
) -> TrainingCurve:
    """Change ``projector`` in place by AdamW on the mean loss of all learned tokens of a batch.

    Nothing of the language model changes or gets a gradient. UsageError where
    a sequence is longer than the model has positions, NumericError where the loss is not finite.
    """
    generator = torch.Generator().manual_seed(config.seed)
    first = _steps_of(order(generator), config, generator)
    total = config.steps
    if total is None:
        total = max(STEPS, len(first)) if config.epochs is None else config.epochs * len(first)
    projector.to(loaded.device).train()
    optimiser = torch.optim.AdamW(_groups(projector, config), lr=config.learning_rate)
    schedule = get_cosine_schedule_with_warmup(optimiser, round(config.warmup * total), total)
    losses: list[float] = []
    best, best_step, stopped = math.inf, 0, False
    table_NE = vectors.to(device=loaded.device, dtype=projector.into.weight.dtype)
    with only_trainable(loaded.model, []):
        for step, packs in enumerate(track(_repeated(first, order, config, generator, total), label, total)):
            rows = [row for pack in packs for row in _rows(loaded, pack, training_row, config, generator)]
            losses.append(_step(loaded, projector, table_NE, rows, config, optimiser))
            schedule.step()
            if losses[-1] < best:
                best, best_step = losses[-1], step
            if config.patience is not None and step - best_step >= config.patience:
                stopped = True
                break
    projector.eval()
    return TrainingCurve(losses=tuple(losses), stopped_early=stopped)


def _step(
    loaded: LoadedModel,
    projector: Projector,
    table_NE: Tensor,
    rows: Sequence[Row],
    config: TrainingConfig,
    optimiser: torch.optim.Optimizer,
) -> float:
    """One optimiser step; the gradient is that of the mean over all learned tokens, however the rows are split."""
    count = sum(sum(row.learned) for row in rows)
    total = 0.0
    optimiser.zero_grad()
    for batch in padded_batches([row.tokens for row in rows], config.tokens_per_batch):
        losses_N, _ = token_losses(
            loaded, [rows[index] for index in batch], lambda chosen: projector(table_NE[list(chosen)])
        )
        loss = losses_N.sum() / count
        loss.backward()
        total += loss.item()
    if not math.isfinite(total):
        raise NumericError(f"the loss became {total}; a smaller learning_rate or smaller vectors may help.")
    if config.clip is not None:
        torch.nn.utils.clip_grad_norm_(projector.parameters(), config.clip)
    optimiser.step()
    return total


def _groups(projector: Projector, config: TrainingConfig) -> list[dict[str, object]]:
    """Parameters with and without decay: the matched scale is not pulled to zero."""
    scale = {"gain", "centre"}
    named = [(name, p) for name, p in projector.named_parameters() if p.requires_grad]
    groups: list[dict[str, object]] = [
        {"params": [p for name, p in named if name not in scale], "weight_decay": config.weight_decay},
        {"params": [p for name, p in named if name in scale], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _steps_of(groups: Sequence[Pack], config: TrainingConfig, generator: torch.Generator) -> list[list[Pack]]:
    """The packs of one pass, as many a step as hold ``batch_size`` examples."""
    packs = [pack for group in groups for pack in _cut(group, config, generator)]
    if len(groups) > 1:
        packs = [packs[index] for index in torch.randperm(len(packs), generator=generator).tolist()]
    steps: list[list[Pack]] = []
    held = config.batch_size
    for pack in packs:
        if held >= config.batch_size:
            steps.append([])
            held = 0
        steps[-1].append(pack)
        held += len(pack)
    return steps


def _cut(group: Pack, config: TrainingConfig, generator: torch.Generator) -> Iterator[Pack]:
    least, most = (1, 1) if config.attend == "isolated" else config.pack or (config.batch_size, config.batch_size)
    start = 0
    while start < len(group):
        length = int(torch.randint(least, most + 1, (), generator=generator))
        yield group[start : start + length]
        start += length


def _repeated(
    first: list[list[Pack]], order: Order, config: TrainingConfig, generator: torch.Generator, total: int
) -> Iterator[list[Pack]]:
    steps, taken = first, 0
    while taken < total:
        yield from steps[: total - taken]
        taken += len(steps)
        if taken < total:
            steps = _steps_of(order(generator), config, generator)


def _rows(
    loaded: LoadedModel, pack: Pack, training_row: MakeRow, config: TrainingConfig, generator: torch.Generator
) -> list[Row]:
    """The sequence of a pack; where no length was asked for and it does not fit, those of its halves."""
    row, room = training_row(pack, generator), loaded.max_positions
    if room is None or len(row) <= room:
        return [row]
    if config.pack is None and len(pack) > 1:
        halves = (pack[: len(pack) // 2], pack[len(pack) // 2 :])
        return [row for half in halves for row in _rows(loaded, half, training_row, config, generator)]
    raise UsageError(
        f"{len(pack)} examples in one sequence take {len(row)} tokens and {loaded.name} has {room} positions; "
        "shorten the texts or the packs."
    )
