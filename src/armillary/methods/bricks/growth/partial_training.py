"""Training of a few parts and of nothing else: chosen neurons, a low-rank path, or what a model was grown by.

Masking the gradients of whole matrices would not do: weight decay and the moments of Adam still move what is masked.
So the parts stand apart and are put into the matrix at each forward, and the bits of the rest are compared afterwards.
Legend: I inputs, O outputs, N neurons, R rank, T tokens.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize
from transformers.pytorch_utils import Conv1D

from armillary.errors import CheckFailed, NumericError, UsageError
from armillary.methods.bricks.growth.grown import Grown
from armillary.methods.bricks.payloads import Index, LowRank
from armillary.models import LoadedModel
from armillary.models.batches import encode, pad, run_body
from armillary.models.feed_forward import feed_forward, weight_OI
from armillary.training.checkpoints import only_trainable


class _Part(nn.Module):
    """A parametrisation that knows its change."""

    def change(self, weight_OI: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError


class _Slices(_Part):
    """Some rows (of a read) or columns (of a write) of a matrix."""

    def __init__(self, matrix: nn.Module, chosen_N: Tensor, side: Literal["rows", "columns"]) -> None:
        super().__init__()
        self.is_rows, is_transposed = side == "rows", isinstance(matrix, Conv1D)
        self.axis = int(self.is_rows == is_transposed)
        stored = cast(Tensor, matrix.weight).detach()
        self.register_buffer("chosen_N", chosen_N.to(stored.device))
        self.part = nn.Parameter(stored.index_select(self.axis, chosen_N.to(stored.device)).clone())

    def forward(self, stored: Tensor) -> Tensor:
        return stored.index_copy(self.axis, cast(Tensor, self.chosen_N), self.part)

    def change(self, weight_OI: Tensor) -> tuple[Tensor, Tensor]:
        chosen_N = cast(Tensor, self.chosen_N)
        part = self.part.detach()
        oriented = part if (self.axis == 0) == self.is_rows else part.T
        old = weight_OI.index_select(0 if self.is_rows else 1, chosen_N)
        moved = (oriented.double() - old.double()).float()
        unit_rows = nn.functional.one_hot(chosen_N, weight_OI.shape[0 if self.is_rows else 1]).float()
        return (moved, unit_rows.T) if self.is_rows else (unit_rows, moved)

    def write(self, stored: Tensor) -> None:
        stored.index_copy_(self.axis, cast(Tensor, self.chosen_N), self.part.detach())


class _Adapter(_Part):
    """``B @ A`` beside a matrix; B starts at zero, so that nothing changes before the first step."""

    def __init__(self, matrix: nn.Module, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        self.is_transposed = isinstance(matrix, Conv1D)
        weight = weight_OI(matrix)
        a_RI = torch.randn(rank, weight.shape[1], generator=generator) / weight.shape[1] ** 0.5
        self.a_RI = nn.Parameter(a_RI.to(weight))
        self.b_OR = nn.Parameter(weight.new_zeros(weight.shape[0], rank))

    def forward(self, stored: Tensor) -> Tensor:
        change_OI = self.b_OR @ self.a_RI
        return stored + (change_OI.T if self.is_transposed else change_OI)

    def change(self, weight_OI: Tensor) -> tuple[Tensor, Tensor]:
        return self.a_RI.detach().float().clone(), self.b_OR.detach().float().clone()


class TrainingParts:
    """Parameters that stand apart while a training block is open."""

    def __init__(self, loaded: LoadedModel, parts: Mapping[str, _Part]) -> None:
        self.loaded, self._parts = loaded, parts

    def parameters(self) -> list[nn.Parameter]:
        """What an optimiser gets; nothing else requires a gradient inside the block."""
        return [p for part in self._parts.values() for p in part.parameters()]

    @property
    def count(self) -> int:
        """Numbers that are trained."""
        return sum(parameter.numel() for parameter in self.parameters())

    @torch.no_grad()
    def change(self) -> LowRank:
        """What training has changed so far, as a brick: of slices the rank is the number of neurons."""
        return LowRank({path: self._factors(path, part) for path, part in self._parts.items()})

    def _factors(self, path: str, part: _Part) -> tuple[Tensor, Tensor]:
        module = self.loaded.model.get_submodule(path)
        original = _original(module)
        a_RI, b_OR = part.change(original.T if isinstance(module, Conv1D) else original)
        return a_RI.cpu(), b_OR.cpu()


@contextmanager
def neuron_training(loaded: LoadedModel, index: Index, *, keep: bool = False) -> Iterator[TrainingParts]:
    """Inside, only the neurons of ``index`` can be trained: their rows of gate and up, their columns of down.

    Biases stay. After the block the matrices are as before bit for bit, unless ``keep`` is True and no error left it:
    then the trained rows and columns are in them and every other element is untouched. UsageError for no neuron or
    one that the model lacks.
    """
    if index.size == 0:
        raise UsageError("the brick names no neuron, so there is nothing to train.")
    parts: dict[str, _Slices] = {}
    for layer, chosen in index.neurons.items():
        block = feed_forward(loaded, layer)
        if len(chosen) and chosen[-1] >= block.width:
            raise UsageError(f"layer {layer} has {block.width} neurons; the brick names neuron {chosen[-1]}.")
        if len(chosen):
            chosen_N = torch.from_numpy(chosen)
            for path, matrix in block.matrices.items():
                parts[path] = _Slices(matrix, chosen_N, "columns" if matrix is block.write else "rows")
    with _standing_apart(loaded, parts) as training:
        yield training
        if keep:
            with torch.no_grad():
                for path, part in parts.items():
                    part.write(_original(loaded.model.get_submodule(path)).data)


@contextmanager
def adapter_training(
    loaded: LoadedModel, paths: Sequence[str], rank: int, *, seed: int = 0
) -> Iterator[TrainingParts]:
    """Inside, a low-rank path beside each named matrix can be trained; it starts at zero, so logits are bit-equal.

    After the block the matrices are as before bit for bit. UsageError for a rank below 1, no path, or a path that is
    no Linear or Conv1D.
    """
    if rank < 1 or not paths:
        raise UsageError(f"adapters need a rank of at least 1 and at least one module; got {rank} and {len(paths)}.")
    generator = torch.Generator().manual_seed(seed)
    modules = dict(loaded.model.named_modules())
    for path in paths:
        if not isinstance(modules.get(path), nn.Linear | Conv1D):
            raise UsageError(f"{loaded.name} has no Linear or Conv1D called {path!r}.")
    parts = {path: _Adapter(modules[path], rank, generator) for path in paths}
    with _standing_apart(loaded, parts) as training:
        yield training


@contextmanager
def _standing_apart(loaded: LoadedModel, parts: Mapping[str, _Part]) -> Iterator[TrainingParts]:
    modules = {path: loaded.model.get_submodule(path) for path in parts}
    with ExitStack() as stack:
        stack.enter_context(only_trainable(loaded.model, []))
        for path, part in parts.items():
            parametrize.register_parametrization(modules[path], "weight", part)
            stack.callback(parametrize.remove_parametrizations, modules[path], "weight", leave_parametrized=False)
        yield TrainingParts(loaded, parts)


def _original(module: nn.Module) -> Tensor:
    return cast(Tensor, module.parametrizations["weight"].original)  # type: ignore[index, union-attr]


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
            new += stack.enter_context(neuron_training(grown.loaded, grown.neurons, keep=True)).parameters()
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
    digests = {}
    for name, value in loaded.model.state_dict().items():
        if name in new:
            continue
        if name in slices:
            value = value.index_fill(*slices[name], 0.0)
        flat = value.detach().cpu().contiguous().reshape(-1)
        digests[name] = hashlib.sha256(flat.view(torch.uint8).numpy().tobytes()).hexdigest()
    return digests
