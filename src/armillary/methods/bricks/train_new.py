"""Training of what was grown and of nothing else, and a look at the bits of the rest afterwards. T tokens."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from armillary.errors import CheckFailed, NumericError, UsageError
from armillary.methods.bricks.feed_forward import feed_forward
from armillary.methods.bricks.grown import Grown
from armillary.methods.bricks.limited import limited
from armillary.models import LoadedModel
from armillary.models.batches import encode, pad, run_body
from armillary.training.trainable import only_trainable


@contextmanager
def train_only_new(grown: Grown) -> Iterator[list[nn.Parameter]]:
    """The new parameters and the rows and columns of new neurons: inside, nothing else requires a gradient.

    What was trained stays in the model. Afterwards every other number of the model has the bits it had, which is
    checked; CheckFailed names the first tensor that has not. After an error new neurons are as before it. UsageError
    where nothing is new.
    """
    named = dict(grown.loaded.model.named_parameters())
    if not grown.parameters and grown.neurons.size == 0:
        raise UsageError(f"nothing of {grown.how} can be trained alone.")
    before = _old_bits(grown)
    with ExitStack() as stack:
        new = [named[name] for name in grown.parameters]
        stack.enter_context(only_trainable(grown.loaded.model, new))
        if grown.neurons.size:
            new += stack.enter_context(limited(grown.loaded, grown.neurons, keep=True)).parameters()
            for name in grown.parameters:
                named[name].requires_grad_(True)
        yield new
    after = _old_bits(grown)
    moved = [name for name, bits in before.items() if after[name] != bits]
    if moved:
        raise CheckFailed(f"training of new parts changed {moved[0]}, which is old ({len(moved)} such tensors).")


def train_on_texts(
    loaded: LoadedModel,
    parameters: Sequence[nn.Parameter],
    texts: Sequence[str],
    *,
    steps: int,
    batch: int = 4,
    rate: float = 1e-3,
    weight_decay: float = 0.01,
    max_tokens: int = 128,
    seed: int = 0,
) -> list[float]:
    """NLL per token (nats) of each step's batch, under AdamW on plain next-token loss; batches are drawn by ``seed``.

    The model stays in eval mode: nothing is dropped. UsageError for no step, no parameter, or a text of fewer than two
    tokens; NumericError where the loss is not finite.
    """
    if steps < 1 or not parameters:
        raise UsageError(f"training needs at least one step and one parameter; got {steps} and {len(parameters)}.")
    rows = encode(loaded, texts, max_tokens=max_tokens, least=2)
    if not rows:
        raise UsageError("training needs at least one text.")
    optimiser = torch.optim.AdamW(parameters, lr=rate, weight_decay=weight_decay)
    generator = torch.Generator().manual_seed(seed)
    losses: list[float] = []
    for step in range(steps):
        drawn = torch.randint(len(rows), (batch,), generator=generator).tolist()
        loss = _next_token_loss(loaded, [rows[index] for index in drawn])
        losses.append(float(loss.detach()))
        if not abs(losses[-1]) < float("inf"):
            raise NumericError(f"the loss of step {step} is {losses[-1]}; try a smaller rate than {rate}.")
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return losses


def _next_token_loss(loaded: LoadedModel, rows: list[list[int]]) -> Tensor:
    ids_BT, mask_BT = pad(rows, device=loaded.device)
    hidden_BTD = run_body(loaded, ids_BT, None if bool(mask_BT.all()) else mask_BT)
    scored_BT = mask_BT[:, 1:].bool()
    logits_NV = loaded.anatomy.logits(hidden_BTD[:, :-1][scored_BT]).float()
    return functional.cross_entropy(logits_NV, ids_BT[:, 1:][scored_BT])


def _old_bits(grown: Grown) -> dict[str, str]:
    """Name -> digest of everything that is not new; new rows and columns are left out as zeros."""
    loaded = grown.loaded
    slices: dict[str, tuple[int, Tensor]] = {}
    for layer, chosen in grown.neurons.neurons.items():
        block = feed_forward(loaded, layer)
        for path, matrix in block.matrices.items():
            rows = (matrix is not block.write) != isinstance(matrix, Conv1D)
            slices[f"{path}.weight"] = (0 if rows else 1, torch.from_numpy(chosen).to(loaded.device))
    new = set(grown.parameters)
    found = {}
    for name, value in loaded.model.state_dict().items():
        if name in new:
            continue
        if name in slices:
            value = value.index_fill(*slices[name], 0.0)
        flat = value.detach().cpu().contiguous().reshape(-1)
        found[name] = hashlib.sha256(flat.view(torch.uint8).numpy().tobytes()).hexdigest()
    return found
