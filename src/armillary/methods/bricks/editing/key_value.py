"""What an edit reads and what it writes: keys of general text and of one subject, and the value to be found there.

A key is the input of a layer's FFN write matrix. The value is found by Adam on a vector added to the raw output of the
write matrix at the subject's last token, before any norm that follows it (Gemma has one), since that is what a change
of the matrix can do.
Legend: N tokens, M neurons, D hidden size, P prefixes, B rows, T tokens, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from armillary.activations import run_texts, streaming
from armillary.errors import NumericError, UsageError
from armillary.methods.bricks.editing.answers import PREFIXES, FactRow, fact_row, fact_rows
from armillary.methods.bricks.editing.facts import Fact
from armillary.models import LoadedModel
from armillary.models.batches import pad, run_body
from armillary.models.feed_forward import Matrix, feed_forward

RIDGE = 1e-3
"""Added to the diagonal of C, in units of its mean; ours, for text that is short against the number of neurons."""


@dataclass(frozen=True, kw_only=True, eq=False)
class KeyCovariance:
    """``C = E[k k^T]`` of one layer, not centred."""

    layer: int
    second_moment_MM: Tensor
    """``[m, m]``, float64."""

    tokens: int

    def with_ridge(self, ridge: float | int = RIDGE) -> Tensor:
        """``C + ridge * mean(diag C) * I``. UsageError for a negative ridge; NumericError where C is zero."""
        if not 0 <= ridge < float("inf"):
            raise UsageError(f"ridge must be a finite number of at least 0; got {ridge}.")
        scale = float(self.second_moment_MM.diagonal().mean())
        if not scale > 0:
            raise NumericError(f"the neurons of layer {self.layer} were all zero over {self.tokens} tokens.")
        return self.second_moment_MM + ridge * scale * torch.eye(len(self.second_moment_MM), dtype=torch.float64)


class _SecondMoments:
    """A reducer for some layers: sums of products in float64 on the host."""

    def __init__(self, layers: Sequence[int]) -> None:
        self.sums: dict[int, Tensor | None] = dict.fromkeys(layers)
        self.tokens = 0

    def update(self, layer: int, x_ND: Float[Tensor, "n d"]) -> None:
        """Add the products of some tokens."""
        if layer not in self.sums:
            return
        wide_ND = x_ND.cpu().double()
        total_MM = self.sums[layer]
        self.sums[layer] = wide_ND.T @ wide_ND if total_MM is None else total_MM.addmm_(wide_ND.T, wide_ND)
        self.tokens += len(x_ND) if layer == next(iter(self.sums)) else 0


def key_covariances(
    loaded: LoadedModel,
    texts: Sequence[str],
    layers: Sequence[int],
    *,
    max_tokens: int = 256,
    tokens_per_batch: int = 2048,
    label: str | None = None,
) -> dict[int, KeyCovariance]:
    """Second moment of the keys of each layer over general text, one pass, sums in float64.

    Every token counts, the first of a text too: what an edit does to an attention sink is then limited like the rest.
    Texts are cut after ``max_tokens``. UsageError for no text, no layer or an unknown layer.
    """
    if not texts or not layers:
        raise UsageError("a covariance of keys needs at least one text and one layer.")
    for layer in layers:
        feed_forward(loaded, layer)
    reducer = _SecondMoments(layers)
    with streaming(loaded, "ffn", reducer):
        run_texts(loaded, texts, max_tokens=max_tokens, tokens_per_batch=tokens_per_batch, label=label)
    return {
        layer: KeyCovariance(layer=layer, second_moment_MM=total / reducer.tokens, tokens=reducer.tokens)
        for layer, total in reducer.sums.items()
        if total is not None
    }


@dataclass(frozen=True, kw_only=True, eq=False)
class SubjectReading:
    """What one layer held at the subject's last token, mean over the rows, float64 on the host."""

    key_M: Tensor
    """Input of the FFN write matrix."""

    write_D: Tensor
    """Output of the FFN write matrix, bias included, before any norm that follows."""

    stream_D: Tensor
    """Output of the whole layer."""


@torch.no_grad()
def read_subject(loaded: LoadedModel, rows: Sequence[FactRow], layers: Sequence[int]) -> dict[int, SubjectReading]:
    """Values at the subject's last token in each of some layers, one forward of all rows."""
    ids_BT, mask_BT = pad([row.ids for row in rows], device=loaded.device)
    at = torch.tensor([row.subject for row in rows], device=loaded.device)
    taken: dict[tuple[int, str], Tensor] = {}
    with ExitStack() as hooks:
        for layer in layers:
            write, whole = feed_forward(loaded, layer).write, loaded.anatomy.layers[layer]
            hooks.enter_context(write.register_forward_hook(_taker(taken, (layer, "write"), at)))
            hooks.enter_context(whole.register_forward_hook(_taker(taken, (layer, "stream"), at)))
        run_body(loaded, ids_BT, None if bool(mask_BT.all()) else mask_BT)
    return {
        layer: SubjectReading(
            key_M=taken[layer, "write input"], write_D=taken[layer, "write"], stream_D=taken[layer, "stream"]
        )
        for layer in layers
    }


def at_subject(x: Tensor, at_B: Tensor) -> Tensor:
    """``[b, d]``: each row at its token ``at``; where a model flattens batch and tokens that is undone."""
    x_BTD = x.reshape(len(at_B), -1, x.shape[-1])
    return x_BTD[torch.arange(len(at_B), device=x.device), at_B]


def _taker(taken: dict[tuple[int, str], Tensor], name: tuple[int, str], at_B: Tensor) -> Any:
    def take(_module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        value = output if isinstance(output, Tensor) else output[0]
        taken[name] = at_subject(value, at_B).cpu().double().mean(dim=0)
        if name[1] == "write":
            taken[name[0], "write input"] = at_subject(args[0], at_B).cpu().double().mean(dim=0)

    return take


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
class EditedValue:
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
) -> EditedValue:
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
    return EditedValue(delta_D=delta_D.detach().cpu().double(), base_norm=base_norm, losses=tuple(losses))


@contextmanager
def added_at(write: Matrix, at_B: Tensor, delta_D: Tensor) -> Iterator[None]:
    """Inside, ``delta`` is added to the output of ``write`` at one token of each row."""

    def add(_module: nn.Module, _args: tuple[Any, ...], output: Tensor) -> Tensor:
        x_BTD = output.reshape(len(at_B), -1, output.shape[-1])  # OPT flattens batch and tokens
        here_BT1 = functional.one_hot(at_B, x_BTD.shape[1])[..., None].to(output.dtype)
        return (x_BTD + here_BT1 * delta_D.to(output.dtype)).reshape(output.shape)

    with write.register_forward_hook(add):
        yield


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
        self.position_N = [position for span in spans for position in span]
        self.share_N = torch.tensor(
            [1 / (len(spans) * len(span)) for span in spans for _ in span], device=loaded.device
        )
        self.last = len(essence.ids) - 1
        with torch.no_grad():
            self.before_V = self._log_probabilities(self._hidden()[-1:, self.last])

    def __call__(self, delta_D: Tensor) -> Tensor:
        with added_at(self.write, self.at_B, delta_D):
            hidden_BTD = self._hidden()
        predicted_NV = self._log_probabilities(hidden_BTD[self.owner_N, self.position_N])
        target_N = self.ids_BT[self.owner_N, [position + 1 for position in self.position_N]]
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
