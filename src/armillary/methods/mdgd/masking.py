"""Which entries of each tensor may change (MDGD-GM): those with the largest scores, fixed before training.

That a mask is applied is the paper's; what its entries are chosen by is ours.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from fractions import Fraction
from typing import TYPE_CHECKING, Any, cast, overload

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


class ScoreSums:
    """The running score of one tensor over calibration batches.

    ``decoupled_magnitude``: mean ``|g~|`` of the projected gradient; ``task_magnitude``: mean ``|g_t|``; ``ratio``:
    mean ``|g~|`` over mean ``|g_v|``, for entries that matter to the task and little to the drift; ``random``: uniform
    numbers from ``seed``.
    """

    def __init__(self, kind: MaskScore, like: Tensor, seed: int) -> None:
        self.kind, self.seed = kind, seed
        self._like = like
        self._magnitude: Tensor | None = None
        self._visual: Tensor | None = None

    def add(self, task: Tensor | None, visual: Tensor | None, decoupled: Tensor | None) -> None:
        """Take in the gradients of one batch; a missing one counts as zero."""
        used = task if self.kind == "task_magnitude" else decoupled
        if self.kind != "random":
            self._magnitude = _plus(self._magnitude, used)
        if self.kind == "ratio":
            self._visual = _plus(self._visual, visual)

    def score(self) -> Tensor:
        """The score of each entry, in the shape of the tensor."""
        if self.kind == "random":
            generator = torch.Generator().manual_seed(self.seed)
            return torch.rand(self._like.shape, generator=generator).to(self._like.device)
        magnitude = torch.zeros_like(self._like) if self._magnitude is None else self._magnitude
        if self.kind != "ratio" or self._visual is None:
            return magnitude.detach()
        # An entry without any drift gradient would win by a division by zero: floor at a part of the tensor's mean.
        floor = 1e-3 * self._visual.mean() + torch.finfo(torch.float32).tiny
        return (magnitude / (self._visual + floor)).detach()


def _plus(total: Tensor | None, gradient: Tensor | None) -> Tensor | None:
    if gradient is None:
        return total
    magnitude = gradient.detach().abs().float()
    return magnitude if total is None else total.add_(magnitude)


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
    sums = [ScoreSums(settings.mask_score, p, seed) for p, seed in zip(parameters, seeds, strict=True)]
    if settings.mask_score != "random":
        with unchanged_random(trainer.args.device):
            _measure(trainer, settings, parameters, sums)
    return {
        parameter: topk_indices(total.score(), settings.mask_ratio)
        for parameter, total in zip(parameters, sums, strict=True)
    }


def _measure(
    trainer: "SecondGradientMixin", settings: MDGDSettings, parameters: list[nn.Parameter], sums: list[ScoreSums]
) -> None:
    # Processes read different batches; the gradients are averaged over them.
    seed = trainer.args.seed + 7919 * trainer.accelerator.process_index
    batches = [
        batch for _, batch in zip(range(settings.mask_batches), dataset_batches(trainer, seed=seed), strict=False)
    ]
    if not batches:
        raise UsageError("the training set is empty, so there is nothing to choose a mask by.")
    model = trainer.network
    saved: list[Tensor] = []
    mode = model.training
    model.train()
    try:
        if settings.mask_score != "task_magnitude":
            saved = [parameter.detach().cpu().clone() for parameter in parameters]
            _probe(trainer, settings, parameters, batches[0])
        for batch in track(batches, "Scoring the entries that may change"):
            task, visual = trainer.gradients(model, batch)
            # One tensor at a time where the scope allows, so that gradients are let go as their scores are added.
            pairs = list(zip(parameters, sums, strict=True))
            for group in [pairs] if settings.projection_scope == "global" else [[pair] for pair in pairs]:
                task_P = [task.pop(parameter, None) for parameter, _ in group]
                visual_P = [visual.pop(parameter, None) for parameter, _ in group]
                decoupled, _ = decouple(
                    task_P, visual_P, mode=settings.projection or "none", scope=settings.projection_scope
                )
                for (_, total), g, v, edited in zip(group, task_P, visual_P, decoupled, strict=True):
                    total.add(g, v, edited)
    finally:
        with torch.no_grad():
            for parameter, before in zip(parameters, saved, strict=False):
                parameter.copy_(before)
        model.train(mode)


@torch.no_grad()
def _probe(
    trainer: "SecondGradientMixin", settings: MDGDSettings, parameters: list[nn.Parameter], batch: dict[str, Any]
) -> None:
    with torch.enable_grad():
        task, _ = trainer.gradients(trainer.network, batch)
    size = torch.stack([torch.linalg.vector_norm(p.float()) for p in parameters]).norm()
    slope = torch.stack([torch.linalg.vector_norm(g.float()) for g in task.values()]).norm()
    step = settings.mask_probe * size / slope.clamp_min(torch.finfo(torch.float32).tiny)
    for parameter, gradient in task.items():
        parameter.sub_((step * gradient).to(parameter.dtype))


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
        if indices is not None:
            self._set([indices.get(parameter) for parameter in self._ordered()])

    def index(self, parameter: nn.Parameter) -> Int[Tensor, " k"]:
        """Flat positions of ``parameter`` that may change. UsageError where none were given or loaded."""
        if parameter not in self._indices:
            raise UsageError("this parameter has no mask; give MaskedAdamW its positions or load a saved state.")
        return self._indices[parameter]

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
                if parameter.grad is not None:
                    self._step_one(parameter, parameter.grad, group)
        return loss

    def _step_one(self, parameter: nn.Parameter, gradient: Tensor, group: dict[str, Any]) -> None:
        index = self.index(parameter)
        gradient_K = gradient.reshape(-1)[index]
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
            self._indices[parameter] = index.to(parameter.device, torch.long)
