"""The balance of components and what follows from it: divergences, multipliers, weights of the regulariser.

Legend: N answer tokens, V vocabulary. Components stand in a fixed order; of two, the feature encoder S is the first
and the language model X the second, and kappa = change by X / change by S.

The paper defines kappa as a ratio of two KL divergences between generation distributions of neighbouring steps. The
direction of KL, its mean over answer tokens, the map from kappa to rates and the weights below are our choices.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from armillary.errors import UsageError
from armillary.methods.commit.config import Divergence, Mode


def _double(logits: Tensor) -> Tensor:
    # Apple's devices have no float64.
    return (logits.cpu() if logits.device.type == "mps" else logits).double()


def kl64(reference_NV: Float[Tensor, "N V"], moved_NV: Float[Tensor, "N V"]) -> Float64[Tensor, " N"]:
    """KL(p_reference || p_moved) of each token in nats from logits, in float64; differentiable, and never negative.

    Written as ``sum p (exp(u) - 1 - u)`` with ``u = log p_moved - log p_reference``: equal to KL, since both sum to 1,
    but non-negative term by term, so that a tiny step doesn't cancel to something below 0. Infinite logits of tokens
    that can't be drawn are allowed; infinite where ``moved`` rules out what ``reference`` allows.
    """
    log_p, log_q = _double(reference_NV).log_softmax(-1), _double(moved_NV).log_softmax(-1)
    p = log_p.exp()
    impossible = p == 0  # false for NaN, which must come out
    u = torch.where(impossible, 0.0, log_q - log_p)
    terms = torch.where(impossible, log_q.exp(), p * (torch.expm1(u) - u))
    # expm1(u) - u of |u| < 1e-8 is all rounding, of either sign.
    return terms.clamp(min=0.0).sum(-1)


def kl64_second_order(reference_NV: Float[Tensor, "N V"], moved_NV: Float[Tensor, "N V"]) -> Float64[Tensor, " N"]:
    """Half the variance of the logits' change under p_reference: KL of each token for small changes, in float64."""
    reference = _double(reference_NV)
    p, change = reference.softmax(-1), _double(moved_NV) - reference
    mean = (p * change).sum(-1, keepdim=True)
    return 0.5 * (p * (change - mean).square()).sum(-1)


def divergence(
    kind: Divergence, reference_NV: Float[Tensor, "N V"], moved_NV: Float[Tensor, "N V"]
) -> Float64[Tensor, " N"]:
    """``kl64`` or ``kl64_second_order``."""
    return (kl64 if kind == "exact" else kl64_second_order)(reference_NV, moved_NV)


def lags(changes: Sequence[float]) -> tuple[float, ...]:
    """How far each component's change stays behind their geometric mean, in log units; the lags sum to 0.

    Of two components the first lag is half of log kappa. ``changes`` must be positive and finite.
    """
    if any(not 0 < change < math.inf for change in changes):
        raise UsageError(f"changes must be positive and finite; got {', '.join(map(str, changes))}.")
    logs = [math.log(change) for change in changes]
    mean = sum(logs) / len(logs)
    return tuple(mean - value for value in logs)


def log_kappa(component_lags: Sequence[float]) -> float:
    """Log of the change by the second of two components over that by the first; above 0 the first one lags."""
    first, second = component_lags
    return first - second


def smoothed(past: Sequence[float] | None, value: Sequence[float], weight: float) -> tuple[float, ...]:
    """Exponential moving average, ``weight`` of the past; the first value is taken as it is."""
    if past is None:
        return tuple(value)
    return tuple(weight * old + (1 - weight) * new for old, new in zip(past, value, strict=True))


def multipliers(mode: Mode, component_lags: Sequence[float], gamma: float, clip: float) -> tuple[float, ...]:
    """Rate multipliers from smoothed lags r: ``lift`` max(1, exp(4 gamma r)), ``balance`` exp(2 gamma r), clipped.

    Of two components: lift max(1, k^(2 gamma)) and max(1, k^(-2 gamma)), balance k^gamma and k^-gamma, where k is the
    exponential of the moving average of log kappa. For small steps KL goes with the square of the step, so
    ``log kappa = log kappa_0 + 2 log m_X - 2 log m_S``: one step at gamma = 1/4 equalises, and proportional control
    rests at ``log kappa_0 / (1 + 4 gamma)``. Neither the exponents nor ``lift`` is from the paper.
    """
    if mode == "integral":
        raise UsageError("mode integral needs the multipliers before; use integrated().")
    gain = 4 * gamma if mode == "lift" else 2 * gamma
    raw = [_exp(gain * lag) for lag in component_lags]
    return _clipped([max(1.0, value) for value in raw] if mode == "lift" else raw, clip)


def integrated(
    before: Sequence[float], component_lags: Sequence[float], gamma: float, clip: float
) -> tuple[float, ...]:
    """Multipliers of mode ``integral``: those before times exp(2 gamma r), of two k^gamma and k^-gamma, clipped.

    With lags of the last probe alone, ``log kappa`` shrinks by (1 - 4 gamma) at each.
    """
    return _clipped([old * _exp(2 * gamma * lag) for old, lag in zip(before, component_lags, strict=True)], clip)


def _exp(value: float) -> float:
    return math.exp(min(value, 700.0))  # beyond it overflows; the clip is far below


def _clipped(values: Sequence[float], clip: float) -> tuple[float, ...]:
    return tuple(min(max(value, 1 / clip), clip) for value in values)


def push_weights(component_lags: Sequence[float] | None, count: int) -> tuple[float, ...]:
    """Weights of the regulariser that sum to 1, more for what lags: softmax of the lags; of two, k/(1+k) and 1/(1+k).

    All equal where nothing has been measured (None).
    """
    values = [0.0] * count if component_lags is None else list(component_lags)
    largest = max(values)
    raw = [math.exp(value - largest) for value in values]
    return tuple(value / sum(raw) for value in raw)
