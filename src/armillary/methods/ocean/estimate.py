"""The value of a policy from logged chains, with what tells how far it can be trusted.

Shapes: C chains, L tokens. An estimate is never compared across base policies, whose log-likelihood is its unit.
"""

import warnings
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import ArrayLike

from armillary.errors import UsageError
from armillary.methods.ocean import core
from armillary.methods.ocean.config import Logging, listed
from armillary.methods.ocean.core import Array
from armillary.numerics.intervals import Interval, bootstrap_mean, bootstrap_weighted

Estimator = Literal["kg-ips", "snips", "per-decision", "doubly robust", "per-decision doubly robust"]

FEW = 0.05
"""Effective sample size as a share of the tokens below which a warning is given: one token in twenty counts (note)."""

ESTIMAND: dict[Logging, str] = {
    "base": (
        "agreement of the policy with the base policy, on entity tokens times how much less the knowledge graph's "
        "policy expects them: shaped by the graph, and no value of the policy"
    ),
    "lambda": (
        "mean log-likelihood, by the base policy, of what the policy says next at states that lambda visits: the "
        "graph has no part in it"
    ),
    "unknown": "not known, since it is not known who wrote the chains: not unbiased for anything",
}


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A policy's value by logged chains, nats a token."""

    value: float
    stderr: float | None
    """Standard error over chains; None of one chain."""

    bootstrap: Interval
    """Percentile bootstrap over chains."""

    hoeffding: Interval | None
    """Distribution-free; a guarantee only for bounds that were given. None for a self-normalised value, which is no
    mean of independent terms."""

    estimator: Estimator
    logging: Logging
    ess: float
    """Effective sample size of the tokens, ``(sum w)^2 / sum w^2``."""

    tokens: int
    chains: int
    entity_share: float
    """Share of the scored tokens that are entities."""

    max_weight: float
    clipped_share: float
    """Share of the scored tokens whose weight was cut to the clip."""

    floored_share: float
    """Share of the scored tokens whose propensity was raised to the floor."""

    unbiased: bool
    """True where theory gives an unbiased estimate of ``estimand``: known logging, no clip or floor at work."""

    per_chain: tuple[float, ...]
    """Each chain's term; their mean is the value unless self-normalised."""

    cautions: tuple[str, ...] = ()
    """Sentences that a reader should see beside the value."""

    @property
    def estimand(self) -> str:
        """What is estimated, in words."""
        if self.logging == "lambda" and self.estimator.startswith("per-decision"):
            return "mean log-likelihood, by the base policy, of the policy's own chains"
        return ESTIMAND[self.logging]


@dataclass(frozen=True)
class _Logs:
    """Checked arrays, float64; what is not scored is 0."""

    shares_CL: Array
    weights_CL: Array
    reward_CL: Array
    is_entity_CL: Bool[np.ndarray, "c l"]
    scored_CL: Bool[np.ndarray, "c l"]
    clipped_share: float
    floored_share: float

    @property
    def entity_share(self) -> float:
        return float(self.is_entity_CL[self.scored_CL].mean())


@dataclass(frozen=True, kw_only=True)
class Resampling:
    """How intervals are made."""

    level: float = 0.95
    replicates: int = 2000
    """2,000 replicates place the ends of a 95 % interval within a few hundredths of its width."""

    seed: int = 0
    term_bounds: tuple[float, float] | None = None
    """Least and greatest term that a chain can have, for Hoeffding's interval; None takes the observed ones, which
    bound nothing that was not drawn."""


def kg_ips(
    logp_target: ArrayLike,
    logp_base: ArrayLike,
    logp_kg: ArrayLike,
    is_entity: ArrayLike,
    step_ids: ArrayLike,
    *,
    self_normalized: bool = False,
    per_decision: bool = False,
    clip: float | None = None,
    propensity_floor: float | None = None,
    logging: Logging = "unknown",
    span_ids: ArrayLike | None = None,
    resampling: Resampling = Resampling(),
) -> Estimate:
    """``mean_i mean_t mean_v (pi_theta / lambda) log pi_0``: KG-IPS, equation 3, over logged chains.

    Log-probabilities of the logged tokens under the target, the base and the knowledge graph's policy; the last is
    read on entity tokens alone. ``step_ids`` are -1 on prompts and padding. ``self_normalized`` divides by the mean
    weight of entity tokens and of others each. ``per_decision`` takes products of ratios along the chain. ``clip``
    cuts weights. With ``span_ids`` entity ratios are of whole spans (``core.spread_spans``), ``logp_kg`` then holding
    the span's log-probability divided by its number of tokens here.

    UsageError for shapes that differ, a chain without steps, NaN or missing support: -inf of the base or the graph's
    policy, unless ``propensity_floor`` (such as 1e-6) is given, whose share is told.
    """
    if self_normalized and per_decision:
        raise UsageError("self_normalized and per_decision are two estimators; give one of them.")
    logs = _read(
        logp_target, logp_base, logp_kg, is_entity, step_ids, per_decision, clip, propensity_floor, logging, span_ids
    )
    name: Estimator = "snips" if self_normalized else "per-decision" if per_decision else "kg-ips"
    if self_normalized:
        return _self_normalised(logs, logging, resampling)
    terms_C = (logs.shares_CL * logs.weights_CL * logs.reward_CL).sum(1)
    return _of_terms(terms_C, logs, name, logging, resampling)


def doubly_robust(
    logp_target: ArrayLike,
    logp_base: ArrayLike,
    logp_kg: ArrayLike,
    is_entity: ArrayLike,
    step_ids: ArrayLike,
    *,
    q_logged: ArrayLike,
    q_target: ArrayLike,
    per_decision: bool = False,
    clip: float | None = None,
    propensity_floor: float | None = None,
    logging: Logging = "unknown",
    span_ids: ArrayLike | None = None,
    resampling: Resampling = Resampling(),
) -> Estimate:
    """KG-IPS with a model Q of the reward as control variate: ``E_target Q + w (r - Q)`` at each token.

    ``q_logged`` is Q of the logged token, ``q_target`` its mean over what the target would say at the same state.
    Unbiased for any Q where KG-IPS is, and without variance from the draw where Q is right. As the reward is known for
    every word, ``q_logged = logp_base`` with ``q_target`` the target's mean of log pi_0 is right at the visited
    states.

    With ``per_decision`` Q is what the rest of the chain adds to its term, this token included (Jiang and Li 2016).
    Errors as ``kg_ips``.
    """
    logs = _read(
        logp_target, logp_base, logp_kg, is_entity, step_ids, per_decision, clip, propensity_floor, logging, span_ids
    )
    q_logged_CL, q_target_CL = (
        np.where(logs.scored_CL, _array(name, values, logs.scored_CL.shape), 0.0)
        for name, values in (("q_logged", q_logged), ("q_target", q_target))
    )
    if not (np.isfinite(q_logged_CL).all() and np.isfinite(q_target_CL).all()):
        raise UsageError("q_logged and q_target must be finite on every scored token.")
    if per_decision:
        before_CL = _weights_before(logs.weights_CL, logs.scored_CL)
        rest = before_CL * q_target_CL + logs.weights_CL * (logs.shares_CL * logs.reward_CL - q_logged_CL)
        terms_C = np.where(logs.scored_CL, rest, 0.0).sum(1)
    else:
        corrected_CL = q_target_CL + logs.weights_CL * (logs.reward_CL - q_logged_CL)
        terms_C = (logs.shares_CL * corrected_CL).sum(1)
    return _of_terms(
        terms_C, logs, "per-decision doubly robust" if per_decision else "doubly robust", logging, resampling
    )


@dataclass(frozen=True, kw_only=True)
class FittedQ:
    """Q of each logged token and its mean under the target, each predicted by a fit on other chains."""

    q_logged: Float[np.ndarray, "c l"]
    q_target: Float[np.ndarray, "c l"]


def fit_q(
    features_logged: Float[np.ndarray, "c l f"],
    features_choices: Float[np.ndarray, "c l k f"],
    target_probabilities: Float[np.ndarray, "c l k"],
    reward: Float[np.ndarray, "c l"],
    step_ids: Int[np.ndarray, "c l"],
    *,
    folds: int = 5,
    ridge: float = 1e-3,
    seed: int = 0,
) -> FittedQ:
    """Ridge regression of the reward on features of state and token, fitted on other folds of chains.

    ``features_choices`` are those of all K tokens that could stand there and ``target_probabilities`` the target's,
    which sum to 1. Fitting on other chains keeps the doubly robust estimate unbiased (Chernozhukov and others 2018).
    A constant is added to the features. UsageError for fewer chains than folds, or probabilities that do not sum to 1.
    """
    scored = np.asarray(step_ids) >= 0
    chains = len(scored)
    if not 2 <= folds <= chains:
        raise UsageError(f"folds must lie between 2 and the number of chains, {chains}; got {folds}.")
    mass = target_probabilities.sum(-1)[scored]
    if np.abs(mass - 1).max(initial=0.0) > 1e-4:  # float32 softmax of many choices sums to 1 within this
        raise UsageError(f"target_probabilities must sum to 1 over the choices; one row sums to {mass.min():.4g}.")
    logged = np.concatenate([features_logged, np.ones((*features_logged.shape[:-1], 1))], -1)
    # Q is linear, so that its mean under the target is Q of the mean features.
    mean = np.einsum("clk,clkf->clf", target_probabilities, features_choices)
    mean = np.concatenate([mean, np.ones((*mean.shape[:-1], 1))], -1)
    q_logged, q_target = np.zeros(scored.shape), np.zeros(scored.shape)
    order = np.random.default_rng(seed).permutation(chains)
    for held_out in np.array_split(order, folds):
        train = np.setdiff1d(order, held_out)
        x, y = logged[train][scored[train]], np.asarray(reward, np.float64)[train][scored[train]]
        penalty = ridge * len(x) * np.diag([*np.ones(x.shape[1] - 1), 0.0])  # none on the constant
        coefficients = np.linalg.lstsq(x.T @ x + penalty, x.T @ y, rcond=None)[0]
        q_logged[held_out], q_target[held_out] = logged[held_out] @ coefficients, mean[held_out] @ coefficients
    return FittedQ(q_logged=np.where(scored, q_logged, 0.0), q_target=np.where(scored, q_target, 0.0))


def _array(name: str, values: ArrayLike, shape: tuple[int, ...]) -> Array:
    array = np.asarray(values, np.float64)
    if array.shape != shape:
        raise UsageError(f"{name} has the shape {array.shape}; it must be that of step_ids, {shape}.")
    return array


def _read(
    logp_target: ArrayLike,
    logp_base: ArrayLike,
    logp_kg: ArrayLike,
    is_entity: ArrayLike,
    step_ids: ArrayLike,
    per_decision: bool,
    clip: float | None,
    floor: float | None,
    logging: Logging,
    span_ids: ArrayLike | None,
) -> _Logs:
    listed("logging", logging, get_args(Logging))
    if clip is not None and not clip > 0:
        raise UsageError(f"clip must be above 0, or None for none; got {clip}.")
    if floor is not None and not 0 < floor < 1:
        raise UsageError(f"propensity_floor must lie between 0 and 1, or be None for none; got {floor}.")
    step_ids_CL = np.asarray(step_ids)
    if step_ids_CL.ndim != 2 or not step_ids_CL.size:
        raise UsageError(f"step_ids must be a table of chains and tokens; got the shape {step_ids_CL.shape}.")
    shape, scored = step_ids_CL.shape, step_ids_CL >= 0
    target, base, kg = (
        _array(name, values, shape)
        for name, values in (("logp_target", logp_target), ("logp_base", logp_base), ("logp_kg", logp_kg))
    )
    entity = np.asarray(is_entity)
    if entity.shape != shape or entity.dtype != bool:
        raise UsageError(f"is_entity must be a table of true and false of the shape {shape}, that of step_ids.")
    shares = core.token_shares(step_ids_CL)
    entity = entity & scored
    core.check_logp("logp_target", target, scored)
    core.check_logp("logp_base", base, scored)
    core.check_logp("logp_kg", kg, entity)
    low = -np.inf if floor is None else float(np.log(floor))
    propensity = core.log_propensity(base, kg, entity)
    floored = scored & ((propensity < low) | (base < low))
    propensity, base = np.maximum(propensity, low), np.maximum(base, low)
    _require_support("logp_base", base, scored)
    _require_support("logp_kg", propensity, entity)
    if span_ids is not None:
        target = core.spread_spans(np.where(scored, target, 0.0), np.where(entity, np.asarray(span_ids), -1))
    weights = core.importance_weights(target, propensity, step_ids_CL, per_decision=per_decision)
    over = np.zeros_like(scored) if clip is None else weights > clip
    weights = weights if clip is None else np.minimum(weights, clip)
    if not np.isfinite(weights).all():
        row, token = (int(index) for index in np.argwhere(~np.isfinite(weights))[0])
        raise UsageError(
            f"the weight at chain {row}, token {token} is beyond what a number can hold; give clip, or a "
            "propensity_floor."
        )
    return _Logs(
        shares_CL=shares,
        weights_CL=weights,
        reward_CL=np.where(scored, base, 0.0),
        is_entity_CL=entity,
        scored_CL=scored,
        clipped_share=float(over[scored].mean()),
        floored_share=float(floored[scored].mean()),
    )


def _require_support(name: str, logp_CL: Array, where_CL: Bool[np.ndarray, "c l"]) -> None:
    missing = where_CL & np.isneginf(logp_CL)
    if missing.any():
        row, token = (int(index) for index in np.argwhere(missing)[0])
        raise UsageError(
            f"{name} is -inf at chain {row}, token {token} and at {int(missing.sum())} tokens in all: a token that "
            "was logged can't have no probability; mend the log, or give a propensity_floor such as 1e-6, whose share "
            "is told."
        )


def _weights_before(weights_CL: Array, scored_CL: Bool[np.ndarray, "c l"]) -> Array:
    """The product of ratios up to the scored token before, 1 at the first; clipped as the weights are."""
    before = np.ones_like(weights_CL)
    for row in range(len(weights_CL)):
        places = np.flatnonzero(scored_CL[row])
        before[row, places[1:]] = weights_CL[row, places[:-1]]
    return before


def _of_terms(terms_C: Array, logs: _Logs, estimator: Estimator, logging: Logging, resampling: Resampling) -> Estimate:
    """The mean of independent terms, one a chain."""
    chains, level = len(terms_C), resampling.level
    value = float(terms_C.mean())
    low, high = resampling.term_bounds or (float(terms_C.min()), float(terms_C.max()))
    if terms_C.min() < low or terms_C.max() > high:
        raise UsageError(
            f"term_bounds are ({low:g}, {high:g}), but the chains have terms from {terms_C.min():.4g} to "
            f"{terms_C.max():.4g}."
        )
    half = core.hoeffding_half_width(high - low, chains, level)
    known = "the bounds given" if resampling.term_bounds else "the observed range, which is no bound"
    hoeffding = Interval(
        estimate=value, low=value - half, high=value + half, n=chains, level=level, how=f"Hoeffding by {known}"
    )
    return _estimate(
        value=value,
        stderr=float(terms_C.std(ddof=1) / np.sqrt(chains)) if chains > 1 else None,
        bootstrap=bootstrap_mean(
            terms_C,
            seed=resampling.seed,
            replicates=resampling.replicates,
            level=level,
            how=f"bootstrap over {chains:,} chains",
        ),
        hoeffding=hoeffding if chains > 1 or resampling.term_bounds else None,
        terms_C=terms_C,
        logs=logs,
        estimator=estimator,
        logging=logging,
    )


def _self_normalised(logs: _Logs, logging: Logging, resampling: Resampling) -> Estimate:
    """``sum_g A_g (sum_g w r) / (sum_g w)`` over entity tokens and others, A_g the weight of g in the nested mean.

    A shift of the reward shifts the value by as much. Standard error by the delta method.
    """
    groups = [group for group in (logs.is_entity_CL, logs.scored_CL & ~logs.is_entity_CL) if group.any()]
    # Of each chain and group: its weight in the nested mean, the weighted reward and the weight. [C, G]
    share_CG, reward_CG, weight_CG = (
        np.stack([(values * group).sum(1) for group in groups], 1)
        for values in (
            logs.shares_CL,
            logs.shares_CL * logs.weights_CL * logs.reward_CL,
            logs.shares_CL * logs.weights_CL,
        )
    )
    if not (weight_CG.sum(0) > 0).all():
        raise UsageError("every weight is 0, so nothing can be normalised: the target says nothing that was logged.")
    mean_G = reward_CG.sum(0) / weight_CG.sum(0)
    influence_C = (share_CG * mean_G + share_CG.mean(0) * (reward_CG - mean_G * weight_CG) / weight_CG.mean(0)).sum(1)
    chains = len(influence_C)

    def of_counts(counts_RC: Array) -> Array:
        weight = counts_RC @ weight_CG
        ratio: Array = (counts_RC @ share_CG) * (counts_RC @ reward_CG) / np.where(weight > 0, weight, np.inf)
        total: Array = ratio.sum(1) / chains
        return total

    return _estimate(
        value=float((share_CG.mean(0) * mean_G).sum()),
        stderr=float(influence_C.std(ddof=1) / np.sqrt(chains)) if chains > 1 else None,
        bootstrap=bootstrap_weighted(
            of_counts,
            chains,
            seed=resampling.seed,
            replicates=resampling.replicates,
            level=resampling.level,
            how=f"bootstrap over {chains:,} chains",
        ),
        hoeffding=None,
        terms_C=influence_C,
        logs=logs,
        estimator="snips",
        logging=logging,
    )


def _estimate(
    *,
    value: float,
    stderr: float | None,
    bootstrap: Interval,
    hoeffding: Interval | None,
    terms_C: Array,
    logs: _Logs,
    estimator: Estimator,
    logging: Logging,
) -> Estimate:
    weights = logs.weights_CL[logs.scored_CL]
    tokens, ess = len(weights), core.effective_sample_size(weights)
    cautions = []
    if ess < FEW * tokens:
        cautions.append(
            f"the effective sample size is {ess:.1f} of {tokens:,} tokens: a few weights decide the value."
        )
        warnings.warn(cautions[0], stacklevel=4)
    if logging == "unknown":
        cautions.append("who wrote the chains is not known, so the value is not unbiased.")
    elif logging == "base" and logs.entity_share > 0:
        cautions.append("chains of the base policy: the value is shaped by the graph and is no value of the policy.")
    if logs.floored_share:
        cautions.append(f"{logs.floored_share:.2%} of the tokens have a propensity that was raised to the floor.")
    if logs.clipped_share:
        cautions.append(f"{logs.clipped_share:.2%} of the weights were clipped, which biases the value.")
    by_theory = logging == "lambda" or (logging == "base" and logs.entity_share == 0)
    return Estimate(
        value=value,
        stderr=stderr,
        bootstrap=bootstrap,
        hoeffding=hoeffding,
        estimator=estimator,
        logging=logging,
        ess=ess,
        tokens=tokens,
        chains=len(terms_C),
        entity_share=logs.entity_share,
        max_weight=float(weights.max()),
        clipped_share=logs.clipped_share,
        floored_share=logs.floored_share,
        unbiased=by_theory and estimator != "snips" and not logs.clipped_share and not logs.floored_share,
        per_chain=tuple(float(term) for term in terms_C),
        cautions=tuple(cautions),
    )
