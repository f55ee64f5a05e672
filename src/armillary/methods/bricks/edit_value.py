"""The value that an edit writes: found by Adam on a vector added to the FFN's output at the subject's last token.

The vector is added to the raw output of the write matrix, before any norm that follows it (Gemma has one), since that
is what a change of the matrix can do. Legend: B rows, T tokens, D hidden size, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from armillary.errors import NumericError, UsageError
from armillary.methods.bricks.edit_keys import read_subject
from armillary.methods.bricks.fact_rows import PREFIXES, FactRow, fact_row, fact_rows
from armillary.methods.bricks.facts import Fact
from armillary.methods.bricks.feed_forward import Matrix, feed_forward
from armillary.models import LoadedModel
from armillary.models.batches import pad, run_body


@dataclass(frozen=True, kw_only=True)
class ValueSettings:
    """How the value is searched; defaults are those of EasyEdit for Llama models."""

    steps: int = 25
    rate: float = 0.5
    """Learning rate of Adam."""

    divergence: float = 0.0625
    """Weight of KL(edited || base) of the token after "<subject> is a"."""

    decay: float = 1e-3
    """Weight of ``|delta| / |v0|^2``."""

    stop_below: float = 0.05
    """Loss at which the search ends."""

    largest: float = 4.0
    """``|delta|`` is kept at most this times ``|v0|``."""

    def __post_init__(self) -> None:
        if self.steps < 1 or not self.rate > 0 or not self.largest > 0:
            raise UsageError(
                "the search needs steps of at least 1, a positive rate and a positive largest change; got "
                f"{self.steps}, {self.rate} and {self.largest}."
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class Value:
    """The vector to be added at the subject."""

    delta_D: Tensor
    """``[d]``, float64 on the host."""

    base_norm: float
    """``|v0|`` of the write matrix's output there, mean over the prefixes."""

    losses: tuple[float, ...]
    """Loss before each step; the last one belongs to the vector returned."""


def find_value(
    loaded: LoadedModel,
    fact: Fact,
    layer: int,
    *,
    prefixes: Sequence[str] = PREFIXES,
    settings: ValueSettings | None = None,
) -> Value:
    """The vector that makes ``target_new`` likely after every prefix, added at ``layer``; the model is not changed.

    Loss: mean over prefixes of the NLL of the whole answer (per token) + divergence + decay. NumericError where it is
    not finite or does not depend on the vector, as in the last layer.
    """
    settings = settings or ValueSettings()
    write = feed_forward(loaded, layer).write
    rows = fact_rows(loaded, fact, prefixes, answer=fact.target_new)
    base_norm = float(read_subject(loaded, fact_rows(loaded, fact, prefixes), [layer])[layer].write_D.norm())
    if not 0 < base_norm < float("inf"):
        raise NumericError(f"the FFN of layer {layer} gives {base_norm} at {fact.subject!r}: nothing to change.")
    loss_of = _Loss(loaded, write, rows, fact_row(loaded, f"{fact.subject} is a", fact.subject), base_norm, settings)
    delta_D = torch.zeros(loaded.anatomy.hidden_size, device=loaded.device, requires_grad=True)
    optimiser = torch.optim.Adam([delta_D], lr=settings.rate)
    losses: list[float] = []
    for _ in range(settings.steps):
        loss = loss_of(delta_D)
        losses.append(_finite(loss, fact))
        if losses[-1] < settings.stop_below:
            break
        (delta_D.grad,) = torch.autograd.grad(loss, [delta_D])
        if not bool(delta_D.grad.any()):
            raise NumericError(
                f"what layer {layer} writes at {fact.subject!r} does not reach the answer (no layer after it "
                "reads it); edit an earlier layer."
            )
        optimiser.step()
        with torch.no_grad():
            delta_D.mul_((settings.largest * base_norm / delta_D.norm().clamp_min(1e-12)).clamp_max(1.0))
    else:
        with torch.no_grad():
            losses.append(_finite(loss_of(delta_D), fact))
    return Value(delta_D=delta_D.detach().cpu().double(), base_norm=base_norm, losses=tuple(losses))


@contextmanager
def added_at(write: Matrix, at_B: Tensor, delta_D: Tensor) -> Iterator[None]:
    """Inside, ``delta`` is added to the output of ``write`` at one place of each row."""

    def add(_module: nn.Module, _args: tuple[Any, ...], output: Tensor) -> Tensor:
        x_BTD = output.reshape(len(at_B), -1, output.shape[-1])  # OPT flattens batch and tokens
        here_BT1 = functional.one_hot(at_B, x_BTD.shape[1])[..., None].to(output.dtype)
        return (x_BTD + here_BT1 * delta_D.to(output.dtype)).reshape(output.shape)

    handle = write.register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()


class _Loss:
    """The loss of a vector; the base's prediction after "<subject> is a" is read once."""

    def __init__(
        self,
        loaded: LoadedModel,
        write: Matrix,
        rows: Sequence[FactRow],
        essence: FactRow,
        base_norm: float,
        settings: ValueSettings,
    ) -> None:
        self.loaded, self.write, self.settings, self.base_norm = loaded, write, settings, base_norm
        every = [*rows, essence]
        self.ids_BT, self.mask_BT = pad([row.ids for row in every], device=loaded.device)
        self.at_B = torch.tensor([row.subject for row in every], device=loaded.device)
        spans = [range(row.answer - 1, len(row.ids) - 1) for row in rows]
        self.owner_N = [index for index, span in enumerate(spans) for _ in span]
        self.place_N = [place for span in spans for place in span]
        self.share_N = torch.tensor(
            [1 / (len(spans) * len(span)) for span in spans for _ in span], device=loaded.device
        )
        self.last = len(essence.ids) - 1
        with torch.no_grad():
            self.before_V = self._log_probabilities(self._hidden()[-1:, self.last])

    def __call__(self, delta_D: Tensor) -> Tensor:
        with added_at(self.write, self.at_B, delta_D):
            hidden_BTD = self._hidden()
        predicted_NV = self._log_probabilities(hidden_BTD[self.owner_N, self.place_N])
        target_N = self.ids_BT[self.owner_N, [place + 1 for place in self.place_N]]
        nll = (functional.nll_loss(predicted_NV, target_N, reduction="none") * self.share_N).sum()
        after_V = self._log_probabilities(hidden_BTD[-1:, self.last])
        divergence = (after_V.exp() * (after_V - self.before_V)).sum()
        # The gradient of a norm is undefined at zero, where the search starts; the decay has none there.
        size = delta_D.norm() if bool(delta_D.detach().any()) else delta_D.sum() * 0
        return nll + self.settings.divergence * divergence + self.settings.decay * size / self.base_norm**2

    def _hidden(self) -> Tensor:
        return run_body(self.loaded, self.ids_BT, None if bool(self.mask_BT.all()) else self.mask_BT)

    def _log_probabilities(self, hidden_ND: Tensor) -> Tensor:
        return self.loaded.anatomy.logits(hidden_ND).float().log_softmax(dim=-1)


def _finite(loss: Tensor, fact: Fact) -> float:
    value = float(loss.detach())
    if not abs(value) < float("inf"):
        raise NumericError(f"the search for a value of {fact.subject!r} met a loss of {value}; try a smaller rate.")
    return value
