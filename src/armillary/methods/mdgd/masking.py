"""Which entries of each tensor may change (MDGD-GM): those with the largest scores, fixed before training.

That a mask is applied is the paper's; what its entries are chosen by is ours.
"""

import math
import tempfile
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from fractions import Fraction
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast, overload

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from armillary.errors import NumericError, UsageError
from armillary.methods.mdgd.config import MaskScore, MDGDSettings
from armillary.methods.mdgd.core import decouple
from armillary.progress import track

if TYPE_CHECKING:
    from armillary.training.second_gradient import SecondGradientMixin


def kept_count(ratio: float, entries: int) -> int:
    """``ceil(ratio * entries)``, exactly for the decimal that was written: 0.07 of 100 is 7, not 8."""
    if not 0 < ratio <= 1:
        raise UsageError(f"a mask's ratio is a share, above 0 and up to 1 for no mask; got {ratio}.")
    return math.ceil(Fraction(str(ratio)) * entries)


def topk_indices(score: Float[Tensor, "*shape"], ratio: float) -> Int[Tensor, " k"]:
    """Flat positions of the ``ceil(ratio * n)`` largest scores, ascending; of equal ones the first.

    NumericError for NaN.
    """
    flat = score.detach().reshape(-1)
    if bool(flat.isnan().any()):
        raise NumericError(f"{int(flat.isnan().sum())} of {flat.numel()} mask scores are NaN; all must be numbers.")
    k = kept_count(ratio, flat.numel())
    if k == 0:
        return torch.zeros(0, dtype=torch.long, device=flat.device)
    # topk breaks ties as it likes; the k-th value itself is the same everywhere.
    least = flat.topk(k).values[-1]
    chosen = flat > least
    ties = (flat == least).nonzero().reshape(-1)[: k - int(chosen.sum())]
    chosen[ties] = True
    return chosen.nonzero().reshape(-1)


def topk_mask(score: Float[Tensor, "*shape"], ratio: float) -> Bool[Tensor, "*shape"]:
    """True at the ``ceil(ratio * n)`` largest scores of one tensor; of equal ones the first in memory order."""
    mask = torch.zeros(score.numel(), dtype=torch.bool, device=score.device)
    mask[topk_indices(score, ratio)] = True
    return mask.reshape(score.shape)


class Shelf:
    """Tensors in an open file: only what is read takes memory."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._starts: dict[Hashable, int] = {}
        self._forms: dict[Hashable, Tensor] = {}
        self._end = 0

    def __setitem__(self, key: Hashable, value: Tensor) -> None:
        """Put a tensor in, or in the place of another of its shape and dtype."""
        if key not in self._starts:
            self._starts[key], self._forms[key] = self._end, torch.empty_like(value, device="meta")
            self._end += value.nbytes
        self._file.seek(self._starts[key])
        self._file.write(_bytes(value.detach().cpu().contiguous()))

    def get(self, key: Hashable) -> Tensor | None:
        """The tensor on the CPU; None where there is none."""
        if key not in self._starts:
            return None
        form = self._forms[key]
        value = torch.empty(form.shape, dtype=form.dtype)
        self._file.seek(self._starts[key])
        _bytes(value)[:] = self._file.read(value.nbytes)
        return value


def _bytes(contiguous: Tensor) -> memoryview:
    return contiguous.reshape(-1).view(torch.uint8).numpy().data


class ScoreSums:
    """The running score of one tensor over calibration batches.

    ``decoupled_magnitude``: mean ``|g~|`` of the projected gradient; ``task_magnitude``: mean ``|g_t|``; ``ratio``:
    mean ``|g~|`` over mean ``|g_v|``, for entries that matter to the task and little to the drift; ``random``: uniform
    numbers from ``seed``. The sums lie on the shelf, where one is given.
    """

    def __init__(self, kind: MaskScore, like: Tensor, seed: int, shelf: Shelf | None = None) -> None:
        self.kind, self.seed = kind, seed
        self._like = like
        self._sums: Shelf | dict[Hashable, Tensor] = {} if shelf is None else shelf

    def add(self, task: Tensor | None, visual: Tensor | None, decoupled: Tensor | None) -> None:
        """Take in the gradients of one batch; a missing one counts as zero."""
        used = task if self.kind == "task_magnitude" else decoupled
        if self.kind != "random":
            self._add("magnitude", used)
        if self.kind == "ratio":
            self._add("visual", visual)

    def score(self) -> Tensor:
        """The score of each entry, in the shape of the tensor."""
        if self.kind == "random":
            generator = torch.Generator().manual_seed(self.seed)
            return torch.rand(self._like.shape, generator=generator).to(self._like.device)
        magnitude, visual = self._sum("magnitude"), self._sum("visual")
        if magnitude is None:
            magnitude = torch.zeros_like(self._like)
        if self.kind != "ratio" or visual is None:
            return magnitude.detach()
        # An entry without any drift gradient would win by a division by zero: floor at a part of the tensor's mean.
        floor = 1e-3 * visual.mean() + torch.finfo(torch.float32).tiny
        return (magnitude / (visual + floor)).detach()

    def _sum(self, name: str) -> Tensor | None:
        total = self._sums.get((self, name))
        return None if total is None else total.to(self._like.device)

    def _add(self, name: str, gradient: Tensor | None) -> None:
        if gradient is None:
            return
        magnitude, total = gradient.detach().abs().float(), self._sum(name)
        self._sums[self, name] = magnitude if total is None else total.add_(magnitude)


# What is read from the training data before training: batches in a known order, and each tensor's mask.
#
# The trainer's random state is as before afterwards.


def unchanged_random(device: torch.device) -> AbstractContextManager[None]:
    """Inside, random numbers may be drawn; after it the generators of the CPU and of ``device`` are as before."""
    return cast(AbstractContextManager[None], torch.random.fork_rng(devices=[device] if device.type == "cuda" else []))


def dataset_batches(trainer: "SecondGradientMixin", *, seed: int | None = None) -> Iterator[dict[str, Any]]:
    """The training set through the trainer's collator, once: in its own order, or shuffled by ``seed``.

    Every process sees all of it. UsageError without a training set.
    """
    dataset, collate = trainer.train_dataset, trainer.data_collator
    if dataset is None:
        raise UsageError("there is no training set; give train_dataset.")
    if hasattr(dataset, "remove_columns") and hasattr(dataset, "column_names"):
        dataset = trainer._remove_unused_columns(dataset, description="training")
    else:
        collate = trainer._get_collator_with_removed_columns(collate, description="training")
    shuffled = seed is not None and not isinstance(dataset, IterableDataset)
    loader: DataLoader[Any] = DataLoader(
        dataset,
        batch_size=trainer.args.per_device_train_batch_size,
        collate_fn=collate,
        shuffle=shuffled,
        generator=torch.Generator().manual_seed(seed or 0),
    )
    for batch in loader:
        yield trainer._prepare_inputs(batch)


def kept_positions(trainer: "SecondGradientMixin", settings: MDGDSettings) -> dict[nn.Parameter, Tensor]:
    """The flat positions of each trainable tensor that may change.

    Scores are averages over ``mask_batches`` batches. Since the drift has no gradient at the pre-trained weights,
    scores that need one are read a small step off them: along the task gradient of the first batch, ``mask_probe``
    times as long as all trainable weights. The weights are back bit for bit afterwards.
    """
    parameters = trainer.trainable()
    seeds = [1_000_003 * trainer.args.seed + number for number in range(len(parameters))]
    folder = Path(str(trainer.args.output_dir))
    folder.mkdir(parents=True, exist_ok=True)
    # A file: weights as they were and sums of scores would take as much memory again as training does.
    with tempfile.TemporaryFile(dir=folder) as file:
        shelf = Shelf(file)
        sums = {p: ScoreSums(settings.mask_score, p, seed, shelf) for p, seed in zip(parameters, seeds, strict=True)}
        if settings.mask_score != "random":
            with unchanged_random(trainer.args.device):
                _measure(trainer, settings, sums, shelf)
        return {parameter: topk_indices(total.score(), settings.mask_ratio) for parameter, total in sums.items()}


def _measure(
    trainer: "SecondGradientMixin", settings: MDGDSettings, sums: dict[nn.Parameter, ScoreSums], shelf: Shelf
) -> None:
    # Processes read different batches; the gradients are averaged over them.
    seed = trainer.args.seed + 7919 * trainer.accelerator.process_index
    batches = [
        batch for _, batch in zip(range(settings.mask_batches), dataset_batches(trainer, seed=seed), strict=False)
    ]
    if not batches:
        raise UsageError("the training set is empty, so there is nothing to choose a mask by.")
    model = trainer.network
    probed = settings.mask_score != "task_magnitude"
    mode = model.training
    model.train()
    if probed:
        for parameter in sums:
            shelf[parameter] = parameter
    try:
        if probed:
            _probe(trainer, settings, list(sums), batches[0], shelf)
        for batch in track(batches, "Scoring the entries that may change"):
            _score(trainer, settings, sums, batch)
    finally:
        with torch.no_grad():
            for parameter in sums if probed else ():
                parameter.copy_(cast(Tensor, shelf.get(parameter)))
        model.train(mode)


def _score(
    trainer: "SecondGradientMixin",
    settings: MDGDSettings,
    sums: dict[nn.Parameter, ScoreSums],
    batch: dict[str, Any],
) -> None:
    """Add one batch; tensor by tensor, as in training, where the scope and the processes allow it."""

    def add(group: list[nn.Parameter], task_P: list[Tensor | None], visual_P: list[Tensor | None]) -> None:
        mode = settings.projection or "none"
        decoupled_P, _ = decouple(task_P, visual_P, mode=mode, scope=settings.projection_scope)
        for parameter, *gradients in zip(group, task_P, visual_P, decoupled_P, strict=True):
            sums[parameter].add(*gradients)

    if trainer.edits_on_arrival:
        left = trainer.stream_gradients(trainer.network, batch, lambda p, task, visual: add([p], [task], [visual]))
        for parameter, visual in left.items():
            add([parameter], [None], [visual])
        return
    tasks, visuals = trainer.gradients(trainer.network, batch)
    parameters = list(sums)
    for group in [parameters] if settings.projection_scope == "global" else [[p] for p in parameters]:
        add(group, [tasks.pop(p, None) for p in group], [visuals.pop(p, None) for p in group])


@torch.no_grad()
def _probe(
    trainer: "SecondGradientMixin",
    settings: MDGDSettings,
    parameters: list[nn.Parameter],
    batch: dict[str, Any],
    shelf: Shelf,
) -> None:
    lengths: dict[nn.Parameter, Tensor] = {}

    def keep(parameter: nn.Parameter, task: Tensor, _visual: Tensor | None) -> None:
        shelf["task", parameter] = task
        lengths[parameter] = torch.linalg.vector_norm(task.float())

    with torch.enable_grad():
        if trainer.edits_on_arrival:
            trainer.stream_gradients(trainer.network, batch, keep)
        else:
            for parameter, task in trainer.gradients(trainer.network, batch)[0].items():
                keep(parameter, task, None)
    size = torch.stack([torch.linalg.vector_norm(p.float()) for p in parameters]).norm()
    slope = torch.stack([lengths[p] for p in parameters if p in lengths]).norm()
    step = settings.mask_probe * size / slope.clamp_min(torch.finfo(torch.float32).tiny)
    for parameter in parameters:
        if parameter in lengths:
            task = cast(Tensor, shelf.get(("task", parameter))).to(parameter.device)
            parameter.sub_((step * task).to(parameter.dtype))


# AdamW that changes and remembers only chosen entries of each tensor.
#
# Shapes: K chosen entries of a tensor.


class MaskedAdamW(torch.optim.Optimizer):
    """AdamW (decoupled weight decay, Loshchilov and Hutter 2019) on the entries at the given flat positions.

    All other entries stay bit for bit: no gradient, no momentum, no weight decay. Equal to dense AdamW on a masked
    gradient at the chosen entries; the two moments are stored for those alone, so that at a ratio of 0.1 the state
    takes a tenth of AdamW's (plus one integer an entry).

    ``indices`` gives ascending flat positions a parameter; without it the optimiser waits for ``load_state_dict``,
    whose dictionary holds them. UsageError for a parameter without positions or not contiguous in memory.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
        indices: Mapping[nn.Parameter, Int[Tensor, " k"]] | None,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})
        self._indices: dict[nn.Parameter, Tensor] = {}
        self._taken: dict[nn.Parameter, Tensor] = {}
        if indices is not None:
            self._set([indices.get(parameter) for parameter in self._ordered()])

    def index(self, parameter: nn.Parameter) -> Int[Tensor, " k"]:
        """Flat positions of ``parameter`` that may change. UsageError where none were given or loaded."""
        if parameter not in self._indices:
            raise UsageError("this parameter has no mask; give MaskedAdamW its positions or load a saved state.")
        return self._indices[parameter]

    def take(self, parameter: nn.Parameter) -> None:
        """Keep of a parameter's ``.grad``, where it has one, the entries of the next step, and let the rest go."""
        if parameter.grad is not None:
            self._taken[parameter] = parameter.grad.reshape(-1)[self.index(parameter)]
            parameter.grad = None

    @torch.no_grad()
    def clip(self, most: float = math.inf) -> Tensor:
        """The length of what was taken, which is scaled down to ``most`` where it is longer."""
        norm = nn.utils.get_total_norm(list(self._taken.values()))
        # The stock way: never scaled up, and a small term against a division by zero.
        scale = (most / (norm + 1e-6)).clamp(max=1.0)
        for gradient_K in self._taken.values():
            gradient_K.mul_(scale.to(gradient_K.device))
        return norm

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step of AdamW at the chosen entries."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                self.take(parameter)
                if parameter in self._taken:
                    self._step_one(parameter, self._taken.pop(parameter), group)
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """As of any optimiser; what was taken goes too."""
        super().zero_grad(set_to_none)
        self._taken.clear()

    def _step_one(self, parameter: nn.Parameter, gradient_K: Tensor, group: dict[str, Any]) -> None:
        index = self.index(parameter)
        flat = parameter.detach().view(-1)
        weight_K = flat[index]
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"] = torch.zeros_like(weight_K)
            state["exp_avg_sq"] = torch.zeros_like(weight_K)
        state["step"] += 1
        count, (beta1, beta2) = float(state["step"]), group["betas"]
        weight_K.mul_(1 - group["lr"] * group["weight_decay"])
        state["exp_avg"].lerp_(gradient_K, 1 - beta1)
        state["exp_avg_sq"].mul_(beta2).addcmul_(gradient_K, gradient_K, value=1 - beta2)
        scale = (state["exp_avg_sq"].sqrt() / math.sqrt(1 - beta2**count)).add_(group["eps"])
        weight_K.addcdiv_(state["exp_avg"], scale, value=-group["lr"] / (1 - beta1**count))
        flat[index] = weight_K

    def state_dict(self) -> dict[str, Any]:
        """As of any optimiser, with the positions under ``indices`` in the order of the parameters."""
        return {**super().state_dict(), "indices": [self._indices.get(parameter) for parameter in self._ordered()]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Inverse of ``state_dict``: moments, steps and positions."""
        # The positions are no per-parameter state, because that is cast to the parameter's dtype when loaded.
        if "indices" not in state_dict:
            raise UsageError("this optimiser state has no 'indices'; it was not saved by MaskedAdamW.")
        if any(index is not None for index in state_dict["indices"]):
            self._set(state_dict["indices"])
        super().load_state_dict({name: value for name, value in state_dict.items() if name != "indices"})

    def _ordered(self) -> list[nn.Parameter]:
        return [parameter for group in self.param_groups for parameter in group["params"]]

    def _set(self, indices: list[Tensor | None]) -> None:
        parameters = self._ordered()
        if len(indices) != len(parameters):
            raise UsageError(f"got positions for {len(indices)} tensors, but the optimiser has {len(parameters)}.")
        for number, (parameter, index) in enumerate(zip(parameters, indices, strict=True)):
            if index is None:
                raise UsageError(f"parameter {number} of shape {tuple(parameter.shape)} has no mask; give positions.")
            if not parameter.is_contiguous():
                raise UsageError(f"parameter {number} of shape {tuple(parameter.shape)} is not contiguous in memory.")
            # Half of what a long takes, for tensors whose every position it can hold.
            size = torch.int32 if parameter.numel() <= torch.iinfo(torch.int32).max else torch.long
            self._indices[parameter] = index.to(parameter.device, size)
