"""Rules that join several changes of one tensor into one, in delta space: averages, task arithmetic, TIES, DARE.

Each rule is one function that can be read alone; ``RULES`` says beside it what it needs to know of the whole and how
mergekit calls it. Every rule works entry by entry once the thresholds of TIES are known, so tensors of any size go
through in blocks. The three libraries that compute TIES do not compute the same thing, so each convention has a name:

=============  ======================  ========================================  ================================
name           trim                    vote on the sign                          divisor
=============  ======================  ========================================  ================================
ties_global    over the whole model    trimmed values; 0 as the model's majority  number of agreeing values
ties_tensor    tensor by tensor        weighted trimmed values; 0 is positive     sum of the agreeing weights
ties_peft      tensor by tensor        trimmed values; 0 is positive              number of agreeing values
=============  ======================  ========================================  ================================

``ties_global`` is that of the authors' notebook, ``ties_tensor`` mergekit's, ``ties_peft`` PEFT's on products
(``ties_svd``). TIES: Yadav and others, 2023, arXiv 2306.01708. DARE: Yu and others, 2023, arXiv 2311.03099.

Legend: T things to merge, N entries of a tensor (or of a block of it).
"""

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from armillary.errors import UsageError
from armillary.methods.bricks.merging.config import Method

METHODS: tuple[str, ...] = get_args(Method)

SMALLEST_DIVISOR = 1e-8
"""mergekit's: below it agreeing weights of both signs cancel, and the sum is left undivided."""


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
        known = next((name for name in RULES if name == method), None)
        if known is None:
            raise UsageError(f"no merge is named {method!r}; the methods are {', '.join(METHODS)}.")
        chosen = tuple(map(float, weights)) if weights is not None else (1.0,) * count
        if count < 1 or len(chosen) != count or not all(map(math.isfinite, (*chosen, scale))):
            raise UsageError(
                f"a merge of {count} needs {max(count, 1)} finite weights and a finite scale; got {chosen}, {scale}."
            )
        # The tiny addend refuses weights that are all zero, too.
        if method == "average" and abs(sum(chosen)) < 1e-12 * max(map(abs, chosen)) + 1e-300:
            raise UsageError(f"the weights of an average may not sum to zero; got {chosen}; task_arithmetic may.")
        kept = density if density is not None else RULES[known].density
        if kept is None or not 0 < kept <= 1:
            raise UsageError(f"the density of {method} must lie above 0 and be at most 1; got {kept}.")
        return cls(method=known, weights=chosen, density=float(kept), scale=float(scale), seed=seed)

    @property
    def coefficients(self) -> tuple[float, ...]:
        """Factors of the plain weighted sum that the method stands for: what errors are measured against."""
        totals = {"one": 1.0, "weights": sum(self.weights), "number": len(self.weights)}
        total = totals[self.how.divisor] or 1.0
        return tuple(self.scale * weight / total for weight in self.weights)

    @property
    def how(self) -> "MergeMethod":
        """The method's equation, and what stands around it."""
        return RULES[self.method]

    @property
    def trim(self) -> Literal["model", "tensor"] | None:
        """Over what the thresholds are taken that must be known before the first entry can be merged."""
        return self.how.trim if self.density < 1 else None


@dataclass(frozen=True, kw_only=True)
class Whole:
    """What a rule must know beside the entries of a block."""

    thresholds: Sequence[float] | None = None
    """One a thing (``streaming.trim_thresholds``): TIES counts smaller magnitudes as zero."""

    sign_of_zero: float = 1.0
    """Elected sign where the vote is a tie."""

    generators: Sequence[torch.Generator] | None = None
    """One a thing (``draws_of``): DARE's."""


def merged(rule: MergeRule, deltas_TN: Float[Tensor, "t n"], whole: Whole | None = None) -> Float[Tensor, " n"]:
    """The merged change of some entries, float64; UsageError where the rule needs more of the whole than is given."""
    whole = whole or Whole()
    if rule.trim is not None and whole.thresholds is None:
        raise UsageError(f"{rule.method} at density {rule.density} needs a threshold for each thing to merge.")
    if rule.how.is_random and whole.generators is None:
        raise UsageError(f"{rule.method} needs a generator of random numbers for each thing to merge.")
    return rule.how.merge(rule, deltas_TN.double(), whole)


def weighted_sum(rule: MergeRule, deltas_TN: Tensor, whole: Whole) -> Tensor:
    """``average``: ``scale * sum w_t d_t / sum w_t``. ``task_arithmetic``: the same without the divisor."""
    return torch.tensor(rule.coefficients, dtype=torch.float64, device=deltas_TN.device) @ deltas_TN


def ties_by_count(rule: MergeRule, deltas_TN: Tensor, whole: Whole) -> Tensor:
    """``ties_global``, ``ties_peft``: each thing has one vote as large as its value; weighted values that agree with
    the elected sign are divided by how many they are."""
    kept_TN = trimmed(deltas_TN, whole.thresholds)
    vote_N = kept_TN.sum(0).sign()
    vote_N = torch.where(vote_N == 0, whole.sign_of_zero, vote_N)
    agrees_TN = kept_TN.sign() == vote_N
    total_N = (kept_TN * _weights(rule, deltas_TN)[:, None] * agrees_TN).sum(0)
    return rule.scale * (total_N / agrees_TN.sum(0).clamp_min(1))


def ties_by_weight(rule: MergeRule, deltas_TN: Tensor, whole: Whole) -> Tensor:
    """``ties_tensor``: weighted values vote, and those that agree are divided by the sum of their weights."""
    return rule.scale * _mean_of_agreeing(trimmed(deltas_TN, whole.thresholds), _weights(rule, deltas_TN))


def dare(rule: MergeRule, deltas_TN: Tensor, whole: Whole) -> Tensor:
    """``dare``: the weighted sum of changes of which a random share is left out and the rest made larger."""
    kept_TN = dropped(deltas_TN, rule.density, whole.generators or ())
    return rule.scale * (_weights(rule, deltas_TN) @ kept_TN)


def dare_ties(rule: MergeRule, deltas_TN: Tensor, whole: Whole) -> Tensor:
    """``dare_ties``: DARE's changes, joined by TIES' vote of weighted values."""
    kept_TN = dropped(deltas_TN, rule.density, whole.generators or ())
    return rule.scale * _mean_of_agreeing(kept_TN, _weights(rule, deltas_TN))


@dataclass(frozen=True, kw_only=True)
class MergeMethod:
    """One way to merge: its equation, and what stands around it."""

    merge: Callable[[MergeRule, Tensor, Whole], Tensor]
    """Merged entries ``[n]`` of the changes ``[t, n]``, float64."""

    divisor: Literal["one", "weights", "number"]
    """Of the plain weighted sum that the method stands for: nothing, the sum of weights, or the number of things."""

    density: float | None = 1.0
    """Share of entries kept where a user names none; None where he must."""

    trim: Literal["model", "tensor"] | None = None
    """Over what the smallest entries are left out."""

    is_sum: bool = False
    """The result is the weighted sum itself, which a low-rank brick holds exactly."""

    is_random: bool = False
    """The result depends on the seed."""

    asks_majority: bool = False
    """A tied vote goes the way of the whole model's votes."""

    mergekit: str | None = None
    """Its name there; None where mergekit computes something else."""


RULES: dict[Method, MergeMethod] = {
    "average": MergeMethod(merge=weighted_sum, divisor="weights", is_sum=True, mergekit="linear"),
    "task_arithmetic": MergeMethod(merge=weighted_sum, divisor="one", is_sum=True, mergekit="task_arithmetic"),
    "ties_global": MergeMethod(merge=ties_by_count, divisor="number", density=0.2, trim="model", asks_majority=True),
    "ties_tensor": MergeMethod(merge=ties_by_weight, divisor="weights", trim="tensor", mergekit="ties"),
    "ties_peft": MergeMethod(merge=ties_by_count, divisor="number", density=None, trim="tensor"),
    "dare": MergeMethod(merge=dare, divisor="one", density=0.5, is_random=True, mergekit="dare_linear"),
    "dare_ties": MergeMethod(merge=dare_ties, divisor="weights", density=0.5, is_random=True, mergekit="dare_ties"),
}
"""Every method by name."""


def trimmed(deltas_TN: Tensor, thresholds: Sequence[float] | None) -> Tensor:
    """The changes with those below their thing's threshold set to zero (TIES); compared as float32, as they are
    counted. Without thresholds all stay."""
    if thresholds is None:
        return deltas_TN
    bounds_T1 = torch.tensor(list(thresholds), dtype=torch.float32, device=deltas_TN.device)[:, None]
    return deltas_TN.masked_fill(deltas_TN.float().abs() < bounds_T1, 0.0)


def _mean_of_agreeing(kept_TN: Tensor, weights_T: Tensor) -> Tensor:
    """Weighted mean of the values whose weighted sign is that of their sum; a tie counts as positive."""
    weighted_TN = kept_TN * weights_T[:, None]
    vote_N = weighted_TN.sum(0).sign()
    agrees_TN = weighted_TN.sign() == torch.where(vote_N == 0, 1.0, vote_N)
    divisor_N = (weights_T[:, None] * agrees_TN).sum(0)
    return (weighted_TN * agrees_TN).sum(0) / torch.where(divisor_N.abs() < SMALLEST_DIVISOR, 1.0, divisor_N)


def _weights(rule: MergeRule, deltas_TN: Tensor) -> Tensor:
    return torch.tensor(rule.weights, dtype=torch.float64, device=deltas_TN.device)


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
    draws_TN = torch.stack([torch.rand(n, generator=generator, dtype=torch.float64) for generator in generators])
    return torch.where(draws_TN.to(deltas_TN.device) < density, deltas_TN / density, 0.0)


def draws_of(seed: int, name: str, count: int) -> list[torch.Generator]:
    """DARE's generators for the tensor ``name``: one a thing, the same in whatever order tensors are merged."""
    digests = [hashlib.sha256(f"{seed}/{name}/{thing}".encode()).digest() for thing in range(count)]
    # Seven bytes: a seed of torch is at most 63 bits and not negative.
    return [torch.Generator().manual_seed(int.from_bytes(digest[:7], "big")) for digest in digests]


def mergekit_recipe(base: str, models: Sequence[str], rule: MergeRule, *, dtype: str = "float32") -> str:
    """YAML for ``mergekit-yaml``: the like rule on models named by folder or hub id, however large they are.

    An average of models is mergekit's ``linear`` with normalised weights, times the scale only where that is 1. DARE
    is not the same there: mergekit draws other entries, and brings what is kept back to the tensor's l1 norm where
    this one divides by the density, which agrees in expectation only. Raises UsageError for TIES of another convention
    than mergekit's, a scaled average, or as many models as the rule has not.
    """
    method = rule.how
    if method.mergekit is None:
        raise UsageError(f"mergekit has no {rule.method}; its own convention is ties_tensor.")
    if len(models) != len(rule.weights):
        raise UsageError(f"the rule is for {len(rule.weights)} models; got {len(models)}.")
    # mergekit's linear averages the models themselves, not their changes: it takes neither a base nor a scale.
    averages = rule.method == "average"
    if averages and rule.scale != 1:
        raise UsageError(f"mergekit's linear has no scale; got {rule.scale}, give 1.")
    lines = [f"merge_method: {method.mergekit}"]
    if method.is_random:
        lines.insert(
            0, "# mergekit brings what DARE keeps back to the tensor's l1 norm; armillary divides by the density"
        )
    if not averages:
        lines.append(f"base_model: {json.dumps(base)}")
    lines.append("models:")
    for model, weight in zip(models, rule.weights, strict=True):
        lines += [f"  - model: {json.dumps(model)}", "    parameters:", f"      weight: {weight!r}"]
        if not method.is_sum:
            lines.append(f"      density: {rule.density!r}")
    lines += ["parameters:", f"  normalize: {str(method.divisor == 'weights').lower()}"]
    if not averages:
        lines.append(f"  lambda: {rule.scale!r}")
    return "\n".join([*lines, f"dtype: {dtype}"]) + "\n"
