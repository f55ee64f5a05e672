"""KG-IPS as pure functions of log-probabilities; NumPy in float64.

Legend: C chains, L tokens, S states, V vocabulary. ``step_ids_CL`` numbers the steps of a chain, -1 on its prompt and
on padding; tokens with a number are scored. Log-probabilities are natural logarithms of next-token probabilities
behind the whole left context. Equations are those of docs/methods/ocean.md.
"""

from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from armillary.errors import UsageError

Array: TypeAlias = NDArray[np.float64]

ROUNDING = 1e-4
"""Nats above 0 that a log-probability may have by rounding: float32 sums over 100,000 words err by less."""


def token_shares(step_ids_CL: Int[np.ndarray, "c l"]) -> Float[np.ndarray, "c l"]:
    """Weight of each token in the nested mean of equation 3: ``1 / (T_i |c_t|)``, 0 where nothing is scored.

    Each chain's weights sum to 1, so that ``(shares * x).sum(1)`` is the mean over steps of means over tokens. A step
    without tokens counts as none. UsageError naming the row of a chain without steps.
    """
    step_ids = np.asarray(step_ids_CL)
    scored = step_ids >= 0
    if not scored.any(1).all():
        row = int(np.argmin(scored.any(1)))
        raise UsageError(f"chain {row} has no step with a token; give chains of at least one step.")
    chains, most = len(step_ids), int(step_ids.max()) + 1
    keys_CL = np.where(scored, step_ids + np.arange(chains)[:, None] * most, chains * most)
    sizes = np.bincount(keys_CL.reshape(-1), minlength=chains * most + 1)[:-1].reshape(chains, most)
    steps_C = (sizes > 0).sum(1)
    tokens_CL = np.append(sizes.reshape(-1), 1)[keys_CL]
    shares: Array = np.where(scored, 1.0 / (tokens_CL * steps_C[:, None]), 0.0)
    return shares


def log_propensity(
    logp_base_CL: Float[np.ndarray, "c l"], logp_kg_CL: Float[np.ndarray, "c l"], is_entity_CL: Bool[np.ndarray, "c l"]
) -> Float[np.ndarray, "c l"]:
    """Log of equation 3's lambda: the knowledge graph's policy on entity tokens, the base policy on all others."""
    return np.where(is_entity_CL, logp_kg_CL, logp_base_CL).astype(np.float64)


def importance_weights(
    logp_target_CL: Float[np.ndarray, "c l"],
    log_propensity_CL: Float[np.ndarray, "c l"],
    step_ids_CL: Int[np.ndarray, "c l"],
    *,
    per_decision: bool = False,
) -> Float[np.ndarray, "c l"]:
    """``pi_theta / lambda`` of each scored token, 0 elsewhere.

    ``per_decision`` multiplies the ratios of all scored tokens up to and with this one, which corrects the states too:
    unbiased for the target's own chains, with a variance that grows exponentially with their length.
    """
    scored = np.asarray(step_ids_CL) >= 0
    log_ratio = np.where(scored, np.asarray(logp_target_CL, np.float64) - log_propensity_CL, 0.0)
    if per_decision:
        log_ratio = np.cumsum(log_ratio, axis=1)
    with np.errstate(over="ignore"):
        weights: Array = np.where(scored, np.exp(log_ratio), 0.0)
    return weights


def spread_spans(logp_CL: Float[np.ndarray, "c l"], span_ids_CL: Int[np.ndarray, "c l"]) -> Float[np.ndarray, "c l"]:
    """Log-probabilities with those of each entity span replaced by their mean over the span's tokens.

    ``span_ids_CL`` numbers the spans of a chain, -1 outside. A ratio of whole spans, read by tokenizers that differ,
    is spread so over the target's tokens: their product stays that of the span.
    """
    spans = np.asarray(span_ids_CL)
    chains, most = len(spans), int(spans.max(initial=-1)) + 1
    logp: Array = np.asarray(logp_CL, np.float64)
    if most == 0:
        return logp.copy()
    inside = spans >= 0
    keys = (spans + np.arange(chains)[:, None] * most)[inside]
    sizes = np.bincount(keys, minlength=chains * most)
    sums = np.bincount(keys, weights=logp[inside], minlength=chains * most)
    spread = logp.copy()
    spread[inside] = sums[keys] / sizes[keys]
    return spread


def effective_sample_size(weights: Float[np.ndarray, "n"]) -> float:
    """``(sum w)^2 / sum w^2``: as many equally weighted tokens would tell as much; 0 where all weights are 0."""
    square = float((weights**2).sum())
    return float(weights.sum()) ** 2 / square if square > 0 else 0.0


# What a propensity must be.


def propensity_mass(
    base_SV: Float[np.ndarray, "s v"], kg_SV: Float[np.ndarray, "s v"], is_entity_SV: Bool[np.ndarray, "#s #v"]
) -> Float[np.ndarray, "s"]:
    """What lambda sums to over the vocabulary of each state; 1 where "entity" is decided by the slot.

    Where it is decided by the token itself the sum is ``mu(A|s) + pi_0(not A|s)``, no distribution.
    """
    mass: Array = np.where(is_entity_SV, kg_SV, base_SV).sum(-1)
    return mass


def require_distribution(
    base_SV: Float[np.ndarray, "s v"], kg_SV: Float[np.ndarray, "s v"], is_entity_SV: Bool[np.ndarray, "#s #v"]
) -> None:
    """UsageError where lambda does not sum to 1 in every state, with what it sums to."""
    mass_S = propensity_mass(base_SV, kg_SV, is_entity_SV)
    worst = int(np.argmax(np.abs(mass_S - 1)))
    if abs(mass_S[worst] - 1) > 1e-6:  # float32 probabilities of a large vocabulary sum to 1 within this
        raise UsageError(
            f"lambda sums to {mass_S[worst]:.4g} in state {worst}, so it is no distribution and the estimate would be "
            "biased; decide by the slot, not by the token, whether an entity stands there."
        )


def check_logp(name: str, logp_CL: Float[np.ndarray, "c l"], scored_CL: Bool[np.ndarray, "c l"]) -> None:
    """UsageError naming the first scored token whose log-probability is not a number or above 0.

    -inf is let through: what it means depends on whose probability it is.
    """
    wrong = scored_CL & ~(logp_CL <= ROUNDING)
    if wrong.any():
        row, token = (int(index) for index in np.argwhere(wrong)[0])
        raise UsageError(
            f"{name} is {logp_CL[row, token]:.4g} at chain {row}, token {token}, and must be a log-probability, 0 or "
            "less."
        )


# Concentration.


def popoviciu_bound(span: float, chains: int) -> float:
    """Upper bound ``M^2 / (4n)`` on the variance of a mean of n independent terms from an interval of length M.

    The paper calls it a lower bound, which it is not: constant terms have no variance at all.
    """
    return span**2 / (4 * chains)


def hoeffding_half_width(span: float, chains: int, level: float) -> float:
    """The e of ``P(|V - E V| >= e) <= 2 exp(-2 n e^2 / M^2) = 1 - level`` for terms from an interval of length M."""
    return span * float(np.sqrt(np.log(2 / (1 - level)) / (2 * chains)))
