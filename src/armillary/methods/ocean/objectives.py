"""What alignment maximises: the paper's KG-IPS value, and a form of it that finite logs do not lead astray.

Legend: B chains, L tokens, N tokens of one list, V vocabulary. Everything but the target's log-probabilities is a
constant: no gradient flows into propensity, reward or baseline.
"""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def nested_mean(x_BL: Float[Tensor, "b l"], shares_BL: Float[Tensor, "b l"]) -> Float[Tensor, "b"]:
    """Each chain's mean over steps of means over tokens; ``shares_BL`` of ``core.token_shares``.

    What stands where nothing is scored counts nothing, also where it is not finite.
    """
    return torch.where(shares_BL > 0, x_BL * shares_BL, 0.0).sum(1)


def kg_ips_objective(
    logp_target_BL: Float[Tensor, "b l"],
    log_propensity_BL: Float[Tensor, "b l"],
    reward_BL: Float[Tensor, "b l"],
    shares_BL: Float[Tensor, "b l"],
) -> Float[Tensor, "b"]:
    """Equation 3 by chain, to be maximised as equation 4 does: ``pi_theta / lambda`` times ``log pi_0``.

    Each reward is below 0, so every logged token is pushed down: on few logs the probability escapes to tokens that
    were never logged.
    """
    weight_BL = (logp_target_BL - log_propensity_BL.detach()).exp()
    return nested_mean(weight_BL * reward_BL.detach(), shares_BL)


def graph_factor(
    logp_base: Float[Tensor, "*n"], logp_kg: Float[Tensor, "*n"], is_entity: Bool[Tensor, "*n"], ratio_clip: float
) -> Float[Tensor, "*n"]:
    """``pi_0 / mu`` on entity tokens, kept between ``1 / ratio_clip`` and ``ratio_clip``; 1 on all others.

    On chains of the base policy this is all that the graph has to say: it multiplies the reward. Without the lower end
    it makes tokens attractive that neither policy would say.
    """
    most = math.log(ratio_clip)
    return torch.where(is_entity, (logp_base - logp_kg).clamp(-most, most), 0.0).exp().detach()


def expected_reward(
    log_base_NV: Float[Tensor, "n v"],
    log_kg_NV: Float[Tensor, "n v"] | None,
    is_entity_N: Bool[Tensor, "n"],
    ratio_clip: float,
) -> Float[Tensor, "n"]:
    """Mean reward of what the base policy says at each state, exact over the vocabulary: the baseline.

    Minus the entropy of pi_0 where no entity stands; ``E_{pi_0} [graph_factor log pi_0]`` where one does. [derived] To
    subtract minus the entropy there too, with the factor outside, would turn the graph's preference around: tokens
    that pi_0 likes and the graph does not would have the largest advantage. ``log_kg_NV`` of None takes minus the
    entropy.
    """
    reward_NV = log_base_NV
    if log_kg_NV is not None:
        reward_NV = reward_NV * graph_factor(
            log_base_NV, log_kg_NV, is_entity_N[:, None].expand_as(log_base_NV), ratio_clip
        )
    # Of a token without probability the product is 0, and not 0 times infinity.
    return torch.where(torch.isneginf(log_base_NV), 0.0, log_base_NV.exp() * reward_NV).sum(-1)


def stable_objective(
    logp_target_BL: Float[Tensor, "b l"],
    logp_logging_BL: Float[Tensor, "b l"],
    reward_BL: Float[Tensor, "b l"],
    baseline_BL: Float[Tensor, "b l"],
    shares_BL: Float[Tensor, "b l"],
    weight_clip: float,
) -> Float[Tensor, "b"]:
    """``min(pi_theta / pi_log, weight_clip) (reward - baseline)`` by chain: the same gradient for a shifted reward.

    [derived] A baseline known at the state changes nothing in expectation, since probabilities sum to 1. ``reward_BL``
    has ``graph_factor`` in it already.
    """
    weight_BL = (logp_target_BL - logp_logging_BL.detach()).clamp(max=math.log(weight_clip)).exp()
    return nested_mean(weight_BL * (reward_BL - baseline_BL).detach(), shares_BL)


def divergence_terms(
    logp_target_BL: Float[Tensor, "b l"], logp_base_BL: Float[Tensor, "b l"], logp_logging_BL: Float[Tensor, "b l"]
) -> Float[Tensor, "b l"]:
    """A term a token whose mean over the logging policy is ``KL(pi_theta || pi_0)`` at its state; never below 0.

    ``(pi_0 / pi_log) (q log q - q + 1)`` with ``q = pi_theta / pi_0``: needs the logged tokens alone, so that no
    reference is run.
    """
    log_q = logp_target_BL - logp_base_BL.detach()
    return (logp_base_BL - logp_logging_BL).detach().exp() * (log_q.exp() * (log_q - 1) + 1)


def spread_spans(logp_BL: Float[Tensor, "b l"], span_ids_BL: Int[Tensor, "b l"]) -> Float[Tensor, "b l"]:
    """``core.spread_spans`` with a gradient."""
    inside = span_ids_BL >= 0
    if not bool(inside.any()):
        return logp_BL
    most = int(span_ids_BL.max()) + 1
    keys = (span_ids_BL + torch.arange(len(span_ids_BL), device=span_ids_BL.device)[:, None] * most)[inside]
    zeros = logp_BL.new_zeros(len(span_ids_BL) * most)
    means = zeros.index_add(0, keys, logp_BL[inside]) / zeros.index_add(0, keys, torch.ones_like(logp_BL[inside]))
    return logp_BL.masked_scatter(inside, means[keys])


def weighted_likelihood(
    logp_BL: Float[Tensor, "b l"], scored_BL: Bool[Tensor, "b l"], reward_B: Float[Tensor, "b"]
) -> Float[Tensor, ""]:
    """``-sum_k R_k sum_t log mu(y_kt) / sum_k R_k |y_k|``, nats a token: what the graph's policy minimises.

    The gradient is REINFORCE's, up to its scale, for texts that were not drawn from the policy itself.
    """
    total = torch.where(scored_BL, logp_BL, 0.0).sum(1)
    return -(reward_B * total).sum() / (reward_B * scored_BL.sum(1)).sum()
