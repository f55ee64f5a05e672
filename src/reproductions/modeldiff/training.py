"""Language models trained in place on rows of token ids: the zoo from nothing, a copy of a model a little further.

Legend: R rows, T tokens of a row.
"""

import copy
from typing import Literal

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedModel

from armillary.errors import NumericError, UsageError
from armillary.models import LoadedModel, find_anatomy
from armillary.progress import counted

Schedule = Literal["constant", "cosine"]
LARGEST_GRADIENT = 1.0
"""Norm to which a longer gradient is cut."""


def finetuned(
    loaded: LoadedModel,
    rows_RT: Int[Tensor, "r t"],
    *,
    steps: int,
    learning_rate: float,
    seed: int,
    batch_size: int = 16,
) -> LoadedModel:
    """A copy trained on by AdamW at a constant rate on rows of token ids (prefix included), all parameters.

    Raises UsageError like ``fit``, NumericError where the loss stops being finite.
    """
    model = copy.deepcopy(loaded.model)
    fit(model, rows_RT, steps=steps, batch_size=batch_size, learning_rate=learning_rate, seed=seed)
    source = f"{loaded.source}, fine-tuned for {steps} steps, seed {seed}"
    return LoadedModel(model, loaded.tokenizer, find_anatomy(model), f"{loaded.name} fine-tuned", source)


def fit(
    model: PreTrainedModel,
    rows_RT: Int[Tensor, "r t"],
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    schedule: Schedule = "constant",
    label: str = "Training",
) -> list[float]:
    """Train a model in place by AdamW on next-token loss; the loss (nats per token) of each step.

    Rows are shuffled anew each time all were seen; the seed governs that and dropout, and the global generator is
    left as it was. ``"cosine"`` warms up over the first twentieth of the steps and then falls to 0. The model ends
    in eval mode. UsageError for fewer rows than a batch, rows of one token, or ``steps`` below 1.
    """
    rows, width = rows_RT.shape
    if not (1 <= batch_size <= rows and width >= 2 and steps >= 1):
        raise UsageError(
            f"training needs 1 step or more, rows of 2 tokens or more, and at least as many rows as a batch; got "
            f"{steps} steps, rows of {width} tokens, {rows} rows and batches of {batch_size}."
        )
    optimiser = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.01)
    rate = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, steps, schedule))
    generator = torch.Generator().manual_seed(seed)
    order = torch.empty(0, dtype=torch.long)
    losses: list[float] = []
    device = next(model.parameters()).device
    with torch.random.fork_rng(), torch.enable_grad(), counted(label, steps) as bar:
        torch.manual_seed(seed)
        model.train()
        for step in range(steps):
            if len(order) < batch_size:
                order = torch.randperm(rows, generator=generator)
            batch_BT, order = rows_RT[order[:batch_size]].to(device), order[batch_size:]
            loss = model(input_ids=batch_BT, labels=batch_BT, use_cache=False).loss
            losses.append(float(loss.detach()))
            if not losses[-1] < float("inf"):
                raise NumericError(f"The training loss was {losses[-1]} at step {step + 1}; lower the learning rate.")
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), LARGEST_GRADIENT)
            optimiser.step()
            rate.step()
            bar.advance()
    model.eval()
    return losses


def _rate(step: int, steps: int, schedule: Schedule) -> float:
    """Share of the full learning rate at a step counted from 0."""
    if schedule == "constant":
        return 1.0
    warm = max(1, steps // 20)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + torch.cos(torch.tensor(torch.pi * (step - warm) / max(1, steps - warm))).item())
