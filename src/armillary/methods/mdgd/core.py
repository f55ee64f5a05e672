"""Remove from a task gradient its component along the gradient of the visual drift.

"Mitigating Visual Knowledge Forgetting in MLLM Instruction-tuning via Modality-decoupled Gradient Descent", Wu and
others, 2025, arXiv 2502.11740. The paper says that the component along the drift direction is removed; the sign rule,
the scopes, the threshold and the random control are ours.

Shapes: P parameter tensors of any shape, R rows of a tensor.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from armillary.errors import UsageError
from armillary.methods.mdgd.config import Projection, Scope

EPSILON = 1e-24
"""Squared norms of a visual gradient below this count as zero: at the pre-trained weights the drift has no gradient,
and the direction of what is left of one that decayed is rounding."""


@dataclass(frozen=True)
class DecouplingStatistics:
    """What the projection did in one step; scalars on the gradients' device, so that reading them may wait."""

    sums: Float[Tensor, "6"]
    """Over all tensors: inner product of the two gradients, square of the task's and of the visual one, what was taken
    of the task's square, tensors (or rows) with a visual gradient, and those of them in conflict."""

    @classmethod
    def total(cls, parts: "Sequence[DecouplingStatistics]") -> "DecouplingStatistics":
        """Of all tensors, from those of some of them each."""
        return cls(torch.stack([part.sums.to(parts[0].sums.device) for part in parts]).sum(0))

    @property
    def cosine(self) -> Tensor:
        """Of the whole task gradient and the whole visual gradient; 0 where either is zero. Negative: the task's step
        raises the drift."""
        lengths = self.task_norm * self.visual_norm
        return torch.where(lengths > 0, self.sums[0] / torch.where(lengths > 0, lengths, 1.0), 0.0)

    @property
    def removed(self) -> Tensor:
        """Share of the squared norm of the task gradient that was taken away: for ``full``, ``global`` the squared
        cosine."""
        task = self.sums[1]
        return torch.where(task > 0, self.sums[3] / torch.where(task > 0, task, 1.0), 0.0)

    @property
    def conflicting(self) -> Tensor:
        """Share of the tensors (or rows) with a visual gradient in which the two point against each other."""
        return self.sums[5] / self.sums[4].clamp_min(1)

    @property
    def task_norm(self) -> Tensor:
        """Length of the whole task gradient."""
        return self.sums[1].sqrt()

    @property
    def visual_norm(self) -> Tensor:
        """Length of the whole visual gradient."""
        return self.sums[2].sqrt()

    def to_dict(self) -> dict[str, float]:
        """Plain numbers by name."""
        names = ("cosine", "removed", "conflicting", "task_norm", "visual_norm")
        return {name: float(getattr(self, name)) for name in names}


@dataclass(frozen=True)
class _Products:
    """Inner products of a task gradient with a direction, in at least float32; several only with one a row."""

    dot_R: Tensor
    task_R: Tensor
    direction_R: Tensor


@dataclass(frozen=True)
class _Plan:
    """Per tensor how much of the direction is lowered (None: nothing), and the statistics."""

    coefficients_P: list[Tensor | None]
    statistics: DecouplingStatistics


def project_out(
    task: Float[Tensor, "*shape"],
    visual: Float[Tensor, "*shape"],
    mode: Projection = "full",
    scope: Scope = "tensor",
    epsilon: float = EPSILON,
) -> Float[Tensor, "*shape"]:
    """``task - (<task, visual> / |visual|^2) visual`` in the shape and dtype of ``task``, which is left as it was.

    ``conflict`` removes only where the product is negative, that is where a step along ``-task`` raises the drift.
    ``scope="row"`` does so for each row (dimension 0, the output neurons of a Linear; a vector is one row); for one
    tensor ``global`` is the same as ``tensor``. Where ``|visual|^2 < epsilon`` the task gradient is unchanged.
    """
    edited, _ = decouple([task], [visual], mode=mode, scope=scope, epsilon=epsilon)
    return cast(Tensor, edited[0])


@torch.no_grad()
def decouple(
    task_P: Sequence[Tensor | None],
    visual_P: Sequence[Tensor | None],
    *,
    mode: Projection = "full",
    scope: Scope = "tensor",
    align_weight: float = 0.0,
    epsilon: float = EPSILON,
    random_seed: int | None = None,
) -> tuple[list[Tensor | None], DecouplingStatistics]:
    """Per tensor ``project_out(task, visual) + align_weight * visual``, and what was removed.

    A missing gradient counts as zero; where both are missing the result is missing. ``random_seed`` projects along a
    Gaussian direction in place of the visual one, with its norm in each tensor: the control that must do nothing;
    alignment keeps the true gradient. The given tensors are not changed. UsageError for unknown words and shapes that
    differ.
    """
    plan = _plan(task_P, visual_P, mode, scope, epsilon, random_seed)
    edited = [
        _edited(task, visual, coefficient, align_weight, random_seed, number)
        for number, (task, visual, coefficient) in enumerate(zip(task_P, visual_P, plan.coefficients_P, strict=True))
    ]
    return edited, plan.statistics


@torch.no_grad()
def decouple_(
    parameters: Sequence[nn.Parameter],
    visual_P: Sequence[Tensor | None],
    *,
    mode: Projection = "conflict",
    scope: Scope = "tensor",
    align_weight: float = 1.0,
    epsilon: float = EPSILON,
    random_seed: int | None = None,
    first: int = 0,
) -> DecouplingStatistics:
    """``decouple`` of each parameter's ``.grad``, written back into it: for training loops of one's own.

    To be called after accumulation and averaging over processes and before clipping. Tensors are worked on one after
    another, so that no further copy of all gradients is held. In calls for some of the tensors each, ``first`` numbers
    the first of them among all, since its random direction is drawn by its number.
    """
    plan = _plan([p.grad for p in parameters], visual_P, mode, scope, epsilon, random_seed, first)
    for number, (parameter, visual, coefficient) in enumerate(
        zip(parameters, visual_P, plan.coefficients_P, strict=True), first
    ):
        if parameter.grad is None:
            if visual is not None and align_weight:
                parameter.grad = (align_weight * visual).to(parameter.dtype)
        elif coefficient is not None or (visual is not None and align_weight):
            # In place: it may be a view of a communication buffer.
            edited = _edited(parameter.grad, visual, coefficient, align_weight, random_seed, number, in_place=True)
            if edited is not parameter.grad:
                parameter.grad.copy_(cast(Tensor, edited))
    return plan.statistics


def _plan(
    task_P: Sequence[Tensor | None],
    visual_P: Sequence[Tensor | None],
    mode: Projection,
    scope: Scope,
    epsilon: float,
    random_seed: int | None,
    first: int = 0,
) -> _Plan:
    _check(task_P, visual_P, mode, scope)
    true = [_products(g, v, scope) for g, v in zip(task_P, visual_P, strict=True)]
    along = true
    if random_seed is not None:
        along = [
            _products(g, _direction(v, random_seed, number), scope)
            for number, (g, v) in enumerate(zip(task_P, visual_P, strict=True), first)
        ]
    if scope == "global" and along:
        true, along = [_summed(true)], [_summed(along)]
    units = [_coefficient(product, mode, epsilon) for product in along]
    taken = [(c * product.dot_R).sum() for c, product in zip(units, along, strict=True)]
    coefficients = units * len(task_P) if scope == "global" else units
    missing = [g is None or v is None or mode == "none" for g, v in zip(task_P, visual_P, strict=True)]
    return _Plan(
        [None if gone else c for gone, c in zip(missing, coefficients, strict=True)],
        _statistics(true, taken, epsilon),
    )


def _products(task: Tensor | None, direction: Tensor | None, scope: Scope) -> _Products:
    if task is None and direction is None:
        zero = torch.zeros(1)
        return _Products(zero, zero, zero)
    g = _rows(cast(Tensor, direction if task is None else task))
    v = _rows(cast(Tensor, task if direction is None else direction))
    dot, gg, vv = _sum_rows(g * v, scope), _sum_rows(g * g, scope), _sum_rows(v * v, scope)
    zero = torch.zeros_like(dot)
    if task is None:
        return _Products(zero, zero, vv)
    return _Products(zero, gg, zero) if direction is None else _Products(dot, gg, vv)


def _rows(x: Tensor) -> Tensor:
    """As ``[rows, entries]`` in at least float32: long sums are made of the short ones of rows."""
    x = x.reshape(1, -1) if x.dim() < 2 else x.reshape(x.shape[0], -1)
    return x if x.dtype == torch.float64 else x.float()


def _sum_rows(x_RN: Tensor, scope: Scope) -> Tensor:
    # Sums of row sums in float64, which Apple's devices don't have.
    sums_R = x_RN.sum(1).to(torch.float32 if x_RN.device.type == "mps" else torch.float64)
    return sums_R if scope == "row" else sums_R.sum(0, keepdim=True)


def _summed(products: Sequence[_Products]) -> _Products:
    """The products of all tensors as one long vector."""
    device = next((p.dot_R.device for p in products if p.dot_R.dtype == torch.float64), products[0].dot_R.device)
    return _Products(
        torch.stack([p.dot_R.to(device) for p in products]).sum(0),
        torch.stack([p.task_R.to(device) for p in products]).sum(0),
        torch.stack([p.direction_R.to(device) for p in products]).sum(0),
    )


def _coefficient(product: _Products, mode: Projection, epsilon: float) -> Tensor:
    """By how much of the direction each row is lowered: 0 where nothing is removed."""
    used_R = product.direction_R >= epsilon
    if mode == "conflict":
        used_R = used_R & (product.dot_R < 0)
    elif mode == "none":
        used_R = torch.zeros_like(used_R)
    return torch.where(used_R, product.dot_R / torch.where(used_R, product.direction_R, 1.0), 0.0)


def _edited(
    task: Tensor | None,
    visual: Tensor | None,
    coefficient_R: Tensor | None,
    align_weight: float,
    random_seed: int | None,
    number: int,
    *,
    in_place: bool = False,
) -> Tensor | None:
    if visual is None or (task is None and align_weight == 0):
        return task
    if task is None:
        return visual * align_weight
    g = task if task.dtype == torch.float64 else task.float()
    out = g if in_place and g is task else None
    if coefficient_R is not None:
        c = coefficient_R.to(g.device, g.dtype).reshape([-1] + [1] * (g.dim() - 1) if g.dim() else [])
        g = torch.addcmul(g, c, cast(Tensor, _direction(visual, random_seed, number)).to(g.dtype), value=-1, out=out)
    if align_weight:
        g = torch.add(g, visual.to(g.dtype), alpha=align_weight, out=out)
    return g.to(task.dtype)


def _direction(visual: Tensor | None, random_seed: int | None, number: int) -> Tensor | None:
    """The visual gradient, or a Gaussian one of its norm: drawn anew from its seed where needed, so never kept."""
    if visual is None or random_seed is None:
        return visual
    generator = torch.Generator(device=visual.device).manual_seed(1_000_003 * random_seed + number)
    dtype = torch.float64 if visual.dtype == torch.float64 else torch.float32
    noise = torch.randn(visual.shape, generator=generator, device=visual.device, dtype=dtype)
    scale = torch.linalg.vector_norm(visual.to(dtype)) / torch.linalg.vector_norm(noise)
    return torch.mul(noise, scale)


def _statistics(products: Sequence[_Products], taken: Sequence[Tensor], epsilon: float) -> DecouplingStatistics:
    device = next((p.dot_R.device for p in products if p.dot_R.dtype == torch.float64), torch.device("cpu"))

    def total(values: Sequence[Tensor]) -> Tensor:
        return torch.stack([value.sum().to(device) for value in values] or [torch.zeros((), device=device)]).sum()

    there_P = [p.direction_R >= epsilon for p in products]
    sums = (
        total([p.dot_R for p in products]),
        total([p.task_R for p in products]),
        total([p.direction_R for p in products]),
        total(taken),
        total(there_P),
        total([there & (p.dot_R < 0) for there, p in zip(there_P, products, strict=True)]),
    )
    return DecouplingStatistics(torch.stack([value.to(sums[0].dtype) for value in sums]))


def _check(task_P: Sequence[Tensor | None], visual_P: Sequence[Tensor | None], mode: str, scope: str) -> None:
    if mode not in get_args(Projection):
        raise UsageError(f"the projection must be one of {', '.join(get_args(Projection))}; got {mode!r}.")
    if scope not in get_args(Scope):
        raise UsageError(f"the projection's scope must be one of {', '.join(get_args(Scope))}; got {scope!r}.")
    if len(task_P) != len(visual_P):
        raise UsageError(f"got {len(task_P)} task gradients and {len(visual_P)} visual ones; give one each a tensor.")
    for g, v in zip(task_P, visual_P, strict=True):
        if g is not None and v is not None and g.shape != v.shape:
            raise UsageError(f"gradients of one tensor have one shape; got {tuple(g.shape)} and {tuple(v.shape)}.")
