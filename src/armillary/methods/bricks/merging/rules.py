"""Rules that join several changes of one tensor into one, in delta space: averages, task arithmetic, TIES, DARE.

Every rule works entry by entry once the thresholds of TIES are known, so tensors of any size go through in blocks.
The three libraries that compute TIES do not compute the same thing, so each convention has a name here:

=============  ======================  ========================================  ================================
name           trim                    vote on the sign                          divisor
=============  ======================  ========================================  ================================
ties_global    over the whole model    trimmed values; 0 as the model's majority  number of agreeing values
ties_tensor    tensor by tensor        weighted trimmed values; 0 is positive     sum of the agreeing weights
ties_peft      tensor by tensor        trimmed values; 0 is positive              number of agreeing values
=============  ======================  ========================================  ================================

``ties_global`` is that of the authors' notebook, ``ties_tensor`` mergekit's, ``ties_peft`` PEFT's on products
(``ties_svd``). TIES: Yadav and others, 2023, arXiv 2306.01708. DARE: Yu and others, 2023, arXiv 2311.03099.

Legend: T things to merge, N entries of a tensor (or of a block of it), I inputs, O outputs of a matrix.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from armillary.errors import NumericError, UsageError

Method = Literal["average", "task_arithmetic", "ties_global", "ties_tensor", "ties_peft", "dare", "dare_ties"]
METHODS: tuple[str, ...] = get_args(Method)
EXACT = ("average", "task_arithmetic")
"""Methods that are weighted sums, which a low-rank brick holds exactly."""

_BY_WEIGHT = ("ties_tensor", "dare_ties")  # vote and divide by weights, as mergekit does
_DEFAULT_DENSITY = {"ties_global": 0.2, "ties_tensor": 1.0, "dare": 0.5, "dare_ties": 0.5}
_SMALLEST_DIVISOR = 1e-8  # below it agreeing weights cancel, and their sum is not divided by


@dataclass(frozen=True, kw_only=True)
class MergeRule:
    """A method with its settings, checked. ``MergeRule.of`` fills in what depends on the method."""

    method: Method
    weights: tuple[float, ...]
    """One a thing to merge; negative ones subtract."""

    density: float
    """Share of the entries that TIES and DARE keep."""

    scale: float
    """Factor on the merged change (lambda)."""

    seed: int
    """Decides which entries DARE keeps; each tensor and each thing has its own draws, whatever the order of work."""

    @classmethod
    def of(
        cls,
        method: str,
        count: int,
        *,
        weights: Sequence[float] | None = None,
        density: float | None = None,
        scale: float = 1.0,
        seed: int = 0,
    ) -> "MergeRule":
        """The rule for ``count`` things; weights 1 where none are given.

        Density by default: 0.2 for ``ties_global`` (its authors'), 1 for ``ties_tensor`` (mergekit's), 0.5 for DARE;
        ``ties_peft`` has none and must be given one. Raises UsageError for an unknown method, a density outside
        (0, 1], weights that are not finite or not one a thing, and an average whose weights sum to zero.
        """
        if method not in METHODS:
            raise UsageError(f"no merge is named {method!r}; the methods are {', '.join(METHODS)}.")
        chosen = tuple(map(float, weights)) if weights is not None else (1.0,) * count
        if count < 1 or len(chosen) != count or not all(map(math.isfinite, (*chosen, scale))):
            raise UsageError(
                f"a merge of {count} needs {max(count, 1)} finite weights and a finite scale; got {chosen}."
            )
        if method == "average" and abs(sum(chosen)) < 1e-12 * max(map(abs, chosen)) + 1e-300:
            raise UsageError(f"the weights of an average may not sum to zero; got {chosen}; task_arithmetic may.")
        kept = density if density is not None else _DEFAULT_DENSITY.get(method, None if "ties" in method else 1.0)
        if kept is None or not 0 < kept <= 1:
            raise UsageError(f"the density of {method} must lie above 0 and be at most 1; got {kept}.")
        return cls(method=method, weights=chosen, density=float(kept), scale=float(scale), seed=seed)  # type: ignore[arg-type]

    @property
    def coefficients(self) -> tuple[float, ...]:
        """Factors of the plain weighted sum that the method stands for: what errors are measured against."""
        total = sum(self.weights) if self.method in ("average", *_BY_WEIGHT) else 1.0
        total = len(self.weights) if self.method in ("ties_global", "ties_peft") else total
        return tuple(self.scale * weight / (total or 1.0) for weight in self.weights)

    @property
    def trims(self) -> bool:
        """True where thresholds are needed before the first entry can be merged."""
        return self.method.startswith("ties") and self.density < 1

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return asdict(self)


def merged(
    rule: MergeRule,
    deltas_TN: Float[Tensor, "t n"],
    *,
    thresholds: Sequence[float] | None = None,
    sign_of_zero: float = 1.0,
    generators: Sequence[torch.Generator] | None = None,
) -> Float[Tensor, " n"]:
    """The merged change of some entries, float64.

    ``thresholds`` (one a thing, from ``trim_thresholds``) are what TIES trims by: smaller values count as zero.
    ``sign_of_zero`` is the elected sign where the vote is a tie. ``generators`` (``draws_of``) are DARE's.
    """
    deltas = deltas_TN.double()
    weights = torch.tensor(rule.weights, dtype=torch.float64, device=deltas.device)
    if rule.method in EXACT:
        coefficients = torch.tensor(rule.coefficients, dtype=torch.float64, device=deltas.device)
        return coefficients @ deltas
    if rule.method.startswith("dare"):
        if generators is None:
            raise UsageError(f"{rule.method} needs a generator of random numbers for each thing to merge.")
        deltas = dropped(deltas, rule.density, generators)
        if rule.method == "dare":
            return rule.scale * (weights @ deltas)
    elif rule.trims:
        if thresholds is None:
            raise UsageError(f"{rule.method} at density {rule.density} needs a threshold for each thing to merge.")
        bounds = torch.tensor(list(thresholds), dtype=torch.float32, device=deltas.device)[:, None]
        deltas = deltas.masked_fill(deltas.float().abs() < bounds, 0.0)
    return rule.scale * _agreeing(rule.method, deltas, weights, sign_of_zero)


def elected(method: str, deltas_TN: Float[Tensor, "t n"], weights_T: Float[Tensor, " t"]) -> Float[Tensor, " n"]:
    """Sign of the vote on each entry (-1, 0 for a tie, 1) of values that are trimmed already."""
    return ((deltas_TN * weights_T[:, None]) if method in _BY_WEIGHT else deltas_TN).sum(0).sign()


def _agreeing(method: str, deltas_TN: Tensor, weights_T: Tensor, sign_of_zero: float) -> Tensor:
    """Mean of the values that have the elected sign."""
    vote_N = elected(method, deltas_TN, weights_T)
    vote_N = torch.where(vote_N == 0, sign_of_zero, vote_N)
    weighted_TN = deltas_TN * weights_T[:, None]
    judged_TN = weighted_TN if method in _BY_WEIGHT else deltas_TN
    agrees_TN: Bool[Tensor, "t n"] = judged_TN.sign() == vote_N
    total_N = (weighted_TN * agrees_TN).sum(0)
    if method in _BY_WEIGHT:
        divisor_N = (weights_T[:, None] * agrees_TN).sum(0)
        return total_N / torch.where(divisor_N.abs() < _SMALLEST_DIVISOR, 1.0, divisor_N)
    return total_N / agrees_TN.sum(0).clamp_min(1)


def kept_entries(size: int, density: float) -> int:
    """How many of ``size`` entries a density keeps: rounded down, one at least."""
    return max(1, int(density * size))


def dropped(
    deltas_TN: Float[Tensor, "t n"], density: float, generators: Sequence[torch.Generator]
) -> Float[Tensor, "t n"]:
    """Each entry kept with probability ``density`` and divided by it, else zero: the same in expectation (DARE)."""
    if density == 1:
        return deltas_TN
    n = deltas_TN.shape[1]
    draws_TN = torch.stack([torch.rand(n, generator=one, dtype=torch.float64) for one in generators])
    return torch.where(draws_TN.to(deltas_TN.device) < density, deltas_TN / density, 0.0)


def draws_of(seed: int, name: str, count: int) -> list[torch.Generator]:
    """DARE's generators for the tensor ``name``: one a thing, the same in whatever order tensors are merged."""
    digests = [hashlib.sha256(f"{seed}/{name}/{thing}".encode()).digest() for thing in range(count)]
    return [torch.Generator().manual_seed(int.from_bytes(digest[:7], "big")) for digest in digests]


def fisher_average(
    thetas: Sequence[Tensor], fishers: Sequence[Tensor], *, floor: float = 1e-12
) -> Float[Tensor, "..."]:
    """``sum F_t theta_t / sum F_t``, entry by entry, float64; F_t is the mean squared gradient of thing t.

    Where no thing has a gradient above ``floor`` the plain mean. Matena and Raffel, 2021, arXiv 2111.09832. Raises
    UsageError for other shapes, NumericError for a negative F.
    """
    _same_shapes(thetas, fishers, "parameters", "Fisher values")
    values, importance = (torch.stack([one.double() for one in many]) for many in (thetas, fishers))
    if bool((importance < 0).any()):
        raise NumericError("Fisher values are means of squares; a negative one was given.")
    total = importance.sum(0)
    return torch.where(total > floor, (importance * values).sum(0) / total.clamp_min(floor), values.mean(0))


def regmean(
    weights: Sequence[Float[Tensor, "o i"]], grams: Sequence[Float[Tensor, "i i"]], *, shrink: float = 0.9
) -> Float[Tensor, "o i"]:
    """The matrix whose outputs are nearest, in least squares, to each matrix's own on its own inputs; float64.

    ``W^T = (sum G_t)^-1 sum G_t W_t^T`` with ``G_t = X_t^T X_t`` of the inputs of thing t, the entries of ``G_t`` off
    its diagonal times ``shrink`` (1 is plain least squares). Jin and others, 2022, arXiv 2212.09849. Raises UsageError
    for shapes that don't fit, NumericError where the inputs don't span all directions.
    """
    if not 0 <= shrink <= 1:
        raise UsageError(f"shrink must lie between 0 and 1; got {shrink}.")
    if len(weights) != len(grams) or not weights or {w.shape for w in weights} != {weights[0].shape}:
        raise UsageError(f"RegMean needs matrices of one shape and a Gram matrix for each; got {len(weights)}.")
    left, right = torch.zeros_like(grams[0], dtype=torch.float64), torch.zeros_like(weights[0].T, dtype=torch.float64)
    for weight_OI, gram_II in zip(weights, grams, strict=True):
        if gram_II.shape != (weight_OI.shape[1], weight_OI.shape[1]):
            raise UsageError(
                f"a Gram matrix of {tuple(gram_II.shape)} does not fit a matrix {tuple(weight_OI.shape)}."
            )
        shrunk = gram_II.double() * shrink
        shrunk.diagonal().copy_(gram_II.double().diagonal())
        left += shrunk
        right += shrunk @ weight_OI.double().T
    factor, failed = torch.linalg.cholesky_ex(left)
    if bool(failed):
        raise NumericError("the inputs leave some direction empty, so RegMean has no unique answer; lower shrink.")
    return torch.cholesky_solve(right, factor).T


def _same_shapes(first: Sequence[Tensor], second: Sequence[Tensor], what: str, other: str) -> None:
    if not first or len(first) != len(second) or {one.shape for one in (*first, *second)} != {first[0].shape}:
        raise UsageError(f"{what} and {other} must be as many and of one shape; got {len(first)} and {len(second)}.")


# The recipe of a merge as mergekit reads it, for models too large to merge here.

_THEIRS = {
    "average": "linear",
    "task_arithmetic": "task_arithmetic",
    "ties_tensor": "ties",
    "dare": "dare_linear",
    "dare_ties": "dare_ties",
}


def mergekit_recipe(base: str, models: Sequence[str], rule: MergeRule, *, dtype: str = "float32") -> str:
    """YAML for ``mergekit-yaml``: the same rule on models named by folder or hub id.

    An average of models is mergekit's ``linear`` with normalised weights, times the scale only where that is 1. DARE
    draws other entries there than here. Raises UsageError for TIES of another convention than mergekit's, a scaled
    average, or as many models as the rule has not.
    """
    if rule.method not in _THEIRS:
        raise UsageError(f"mergekit has no {rule.method}; its own convention is ties_tensor.")
    if len(models) != len(rule.weights):
        raise UsageError(f"the rule is for {len(rule.weights)} models; got {len(models)}.")
    if rule.method == "average" and rule.scale != 1:
        raise UsageError(f"mergekit's linear has no scale; got {rule.scale}, give 1.")
    lines = [f"merge_method: {_THEIRS[rule.method]}"]
    if rule.method != "average":
        lines.append(f"base_model: {json.dumps(base)}")
    lines.append("models:")
    for model, weight in zip(models, rule.weights, strict=True):
        lines += [f"  - model: {json.dumps(model)}", "    parameters:", f"      weight: {weight!r}"]
        if rule.method in ("ties_tensor", "dare", "dare_ties"):
            lines.append(f"      density: {rule.density!r}")
    normalised = rule.method in ("average", "ties_tensor", "dare_ties")
    lines += ["parameters:", f"  normalize: {str(normalised).lower()}"]
    if rule.method != "average":
        lines.append(f"  lambda: {rule.scale!r}")
    return "\n".join([*lines, f"dtype: {dtype}"]) + "\n"
