"""Training of MoEfication's router on the inputs and expert scores of one layer.

Legend: N tokens, D hidden size, E experts, B tokens of a batch.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from armillary.errors import NumericError, UsageError

BATCH, LEARNING_RATE = 512, 0.01
HELD_OUT, TOP = 0.1, 0.2
LEAST_TOKENS = 20


def train_mlp(
    x_ND: Float[Tensor, "n d"],
    s_NE: Float[Tensor, "n e"],
    centroids_ED: Float[Tensor, "e d"],
    *,
    epochs: int = 30,
    seed: int = 0,
) -> tuple[Float[Tensor, "e d"], Float[Tensor, "e e"]]:
    """The two matrices of ``x / ||x|| -> Linear -> tanh -> Linear``, float32 on the CPU, no biases.

    As in MoEfication: the first starts as the centroids and the second as the identity; targets are scores over the
    largest of the batch, under binary cross-entropy; Adam at 0.01, batches of 512, 30 epochs. Of the start and the
    state after each epoch the one is kept whose top 20 % of experts catch most score mass on a held-out tenth.
    UsageError for fewer than 20 tokens or a negative number of epochs; NumericError for scores that are all 0.
    """
    if len(x_ND) < LEAST_TOKENS or epochs < 0:
        raise UsageError(f"an MLP router needs {LEAST_TOKENS} tokens or more; got {len(x_ND)} and {epochs} epochs.")
    if not bool(s_NE.isfinite().all()) or float(s_NE.max()) <= 0:
        raise NumericError("the experts' scores must be finite and somewhere above 0 to train a router.")
    generator = torch.Generator().manual_seed(seed)
    unit_ND, s_NE = functional.normalize(x_ND.detach().cpu().float(), dim=1), s_NE.detach().cpu().float()
    order_N = torch.randperm(len(unit_ND), generator=generator)
    held = max(1, round(HELD_OUT * len(order_N)))
    test_N, train_N = order_N[:held], order_N[held:]
    weights = [centroids_ED.detach().clone().requires_grad_(), torch.eye(s_NE.shape[1]).requires_grad_()]
    optimizer = torch.optim.Adam(weights, lr=LEARNING_RATE)
    best, kept = _caught(weights, unit_ND[test_N], s_NE[test_N]), [one.detach().clone() for one in weights]
    for _ in range(epochs):
        shuffled_N = train_N[torch.randperm(len(train_N), generator=generator)]
        for batch_B in shuffled_N.split(BATCH):
            _step(optimizer, weights, unit_ND[batch_B], s_NE[batch_B])
        caught = _caught(weights, unit_ND[test_N], s_NE[test_N])
        if caught > best:
            best, kept = caught, [one.detach().clone() for one in weights]
    return kept[0], kept[1]


def _step(optimizer: torch.optim.Optimizer, weights: list[Tensor], x_BD: Tensor, s_BE: Tensor) -> None:
    largest = s_BE.max()
    if float(largest) <= 0:
        return
    optimizer.zero_grad()
    with torch.enable_grad():
        logits_BE = (x_BD @ weights[0].T).tanh() @ weights[1].T
        functional.binary_cross_entropy_with_logits(logits_BE, s_BE / largest).backward()
    optimizer.step()


@torch.no_grad()
def _caught(weights: list[Tensor], x_ND: Tensor, s_NE: Tensor) -> float:
    """Share of the score mass in the top experts of the router."""
    logits_NE = (x_ND @ weights[0].T).tanh() @ weights[1].T
    top_NK = logits_NE.topk(max(1, round(TOP * s_NE.shape[1])), dim=1).indices
    return float(s_NE.gather(1, top_NK).sum() / s_NE.sum().clamp_min(1e-30))
