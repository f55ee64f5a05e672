"""KG-IPS against enumeration, its variants, what it refuses, and what it says about itself."""

import warnings
from typing import Any

import numpy as np
import pytest

from armillary.errors import UsageError
from armillary.methods.ocean import Resampling, doubly_robust, fit_q, kg_ips
from armillary.methods.ocean.core import (
    hoeffding_half_width,
    importance_weights,
    popoviciu_bound,
    propensity_mass,
    require_distribution,
    spread_spans,
    token_shares,
)

from .enumerated import IN_STATES_OF_LAMBDA, ON_POLICY, VARIANCE, two_tokens

TWO = two_tokens()
FEW = Resampling(replicates=200)
LAMBDA: dict[str, Any] = {"logging": "lambda", "resampling": FEW}


def expected(terms: tuple[float, ...]) -> float:
    return float(TWO.by_lambda @ np.array(terms))


def test_two_tokens_enumerated() -> None:
    """Note 7.1: the value with lambda's states, the value on policy by products, and the variance of a chain."""
    plain = kg_ips(*TWO.arrays, **LAMBDA)
    assert expected(plain.per_chain) == pytest.approx(IN_STATES_OF_LAMBDA, abs=1e-7)
    products = kg_ips(*TWO.arrays, per_decision=True, **LAMBDA)
    assert expected(products.per_chain) == pytest.approx(ON_POLICY, abs=1e-7)
    terms = np.array(plain.per_chain)
    assert expected(tuple(terms**2)) - expected(plain.per_chain) ** 2 == pytest.approx(VARIANCE, abs=1e-7)
    on_policy = TWO.by_target @ TWO.base.mean(1)
    assert on_policy == pytest.approx(ON_POLICY, abs=1e-7)
    assert plain.unbiased and products.unbiased and "own chains" in products.estimand


@pytest.mark.parametrize("seed", [0, 1])
def test_doubly_robust_is_unbiased_for_any_q(seed: int) -> None:
    """By enumeration, token by token and along the chain; Q of a token is any function of state and token."""
    draw = np.random.default_rng(seed)
    first, second = draw.normal(size=2), draw.normal(size=(2, 2))
    pairs = [(a, b) for a in (0, 1) for b in (0, 1)]
    q_logged = np.array([[first[a], second[a, b]] for a, b in pairs])
    target_first, target_second = np.exp([TWO.target[0, 0], TWO.target[2, 0]]), np.exp(TWO.target[:, 1].reshape(2, 2))
    q_target = np.array([[target_first @ first, target_second[a] @ second[a]] for a, _ in pairs])
    given: dict[str, Any] = {"q_logged": q_logged, "q_target": q_target, **LAMBDA}
    plain, products = (doubly_robust(*TWO.arrays, per_decision=along, **given) for along in (False, True))
    assert expected(plain.per_chain) == pytest.approx(IN_STATES_OF_LAMBDA, abs=1e-7)
    assert expected(products.per_chain) == pytest.approx(ON_POLICY, abs=1e-7)


def test_doubly_robust_with_the_known_reward_has_no_variance_of_the_draw() -> None:
    """The reward is known for every word: at one state every draw gives the same term."""
    base, target = np.log([0.6, 0.3, 0.1]), np.array([0.2, 0.5, 0.3])
    arrays = np.log(target)[:, None], base[:, None], base[:, None], np.zeros((3, 1), bool), np.zeros((3, 1), int)
    exact = float(target @ base)
    result = doubly_robust(*arrays, q_logged=base[:, None], q_target=np.full((3, 1), exact), **LAMBDA)
    assert result.per_chain == pytest.approx([exact] * 3) and result.stderr == pytest.approx(0)


def test_a_fitted_q_narrows_the_estimate_and_hits_the_value() -> None:
    draw = np.random.default_rng(0)
    rounds, choices = 1500, 4
    features = draw.normal(size=(rounds, choices, 3))
    rewards = -np.exp(features @ np.array([0.5, -0.3, 0.2]))
    logging, target = (_softmax(draw.normal(size=(rounds, choices))) for _ in range(2))
    chosen = np.array([draw.choice(choices, p=row) for row in logging])
    pick = np.arange(rounds), chosen
    logs = (array[pick][:, None] for array in (np.log(target), rewards, np.log(logging)))
    arrays = (*logs, np.ones((rounds, 1), bool), np.zeros((rounds, 1), int))
    q = fit_q(features[pick][:, None], features[:, None], target[:, None], arrays[1], arrays[4])
    plain = kg_ips(*arrays, **LAMBDA)
    fitted = doubly_robust(*arrays, q_logged=q.q_logged, q_target=q.q_target, **LAMBDA)
    truth = float((target * rewards).sum(1).mean())
    assert plain.stderr is not None and fitted.stderr is not None and fitted.stderr < 0.7 * plain.stderr
    for result in (plain, fitted):
        assert result.stderr is not None and abs(result.value - truth) < 3.5 * result.stderr


def _softmax(logits: np.ndarray) -> np.ndarray:
    odds = np.exp(logits)
    return odds / odds.sum(-1, keepdims=True)


def test_two_arms_and_the_bound_that_is_none() -> None:
    """Note 7.2: each regime its own value; Popoviciu is attained; the paper's "lower bound" is above the variance."""
    base, graph, target = np.array([0.8, 0.2]), np.array([0.5, 0.5]), np.array([0.6, 0.4])
    logs = (np.log(p)[:, None] for p in (target, base, graph))
    arrays = (*logs, np.ones((2, 1), bool), np.zeros((2, 1), int))
    terms = np.array(kg_ips(*arrays, **LAMBDA).per_chain)
    assert graph @ terms == pytest.approx(-0.7776613, abs=1e-7)
    assert base @ terms == pytest.approx(-0.4717279, abs=1e-7)
    variance = float(graph @ terms**2 - (graph @ terms) ** 2)
    assert variance == pytest.approx(0.2599868, abs=1e-7)
    assert variance == pytest.approx(popoviciu_bound(float(np.ptp(terms)), 1))
    lower = popoviciu_bound(float(np.abs(terms).max()), 1)  # the paper's
    assert lower == pytest.approx(0.4144465, abs=1e-7) and lower > variance
    in_practice = kg_ips(*arrays, logging="base", resampling=FEW)
    assert not in_practice.unbiased and "no value of the policy" in in_practice.estimand + in_practice.cautions[0]


def test_lambda_by_the_tokens_identity_is_no_distribution() -> None:
    """Note 7.3."""
    graph, base = np.array([[0.5, 0.2, 0.2, 0.1]]), np.array([[0.1, 0.4, 0.3, 0.2]])
    by_token, by_slot = np.array([[True, False, True, False]]), np.array([[True]])
    assert propensity_mass(base, graph, by_token) == pytest.approx([1.3])
    assert propensity_mass(base, graph, by_slot) == pytest.approx([1.0])
    require_distribution(base, graph, by_slot)
    with pytest.raises(UsageError, match=r"lambda sums to 1\.3 in state 0"):
        require_distribution(base, graph, by_token)


def test_without_entities_the_base_policy_has_weight_one() -> None:
    """Note 7.8."""
    base = np.log(np.random.default_rng(0).uniform(0.1, 0.9, (3, 6)))
    steps = np.array([[-1, 0, 0, 1, 1, 1], [0, 1, 2, 3, 4, 5], [-1, -1, 0, 0, -1, -1]])
    result = kg_ips(base, base, np.full_like(base, np.nan), np.zeros_like(base, bool), steps, logging="base")
    assert result.max_weight == 1 and result.ess == result.tokens == 13
    nested = [np.mean([base[0, 1:3].mean(), base[0, 3:].mean()]), base[1].mean(), base[2, 2:4].mean()]
    assert result.per_chain == pytest.approx(nested) and result.value == pytest.approx(np.mean(nested))
    assert result.unbiased
    flat = base[steps >= 0].mean()
    assert abs(result.value - flat) > 1e-3  # steps and chains are of unequal lengths


def test_many_draws_agree_with_enumeration_and_errors_halve_with_four_times_as_many() -> None:
    """Note 7.9."""
    draw = np.random.default_rng(1)
    sequences = draw.choice(4, size=20_000, p=TWO.by_lambda)
    result = kg_ips(*TWO.rows(sequences), logging="lambda", resampling=Resampling(replicates=50))
    assert result.stderr is not None
    assert abs(result.value - IN_STATES_OF_LAMBDA) < 3 * result.stderr
    assert result.stderr == pytest.approx(np.sqrt(VARIANCE / 20_000), rel=0.03)
    terms = np.array(result.per_chain)
    means = [terms[: size * 400].reshape(400, size).mean(1).std() for size in (10, 40)]
    assert means[0] / means[1] == pytest.approx(2, rel=0.15)


def test_the_variance_decays_with_the_number_of_chains_below_popoviciu() -> None:
    terms = np.array(kg_ips(*TWO.arrays, **LAMBDA).per_chain)
    draw = np.random.default_rng(2)
    for chains in (1, 4, 16):
        sample = terms[draw.choice(4, size=(4000, chains), p=TWO.by_lambda)].mean(1)
        assert sample.var() == pytest.approx(VARIANCE / chains, rel=0.1)
        assert sample.var() < popoviciu_bound(float(np.ptp(terms)), chains)


def test_intervals_cover() -> None:
    """Bootstrap about as often as it says, Hoeffding with the true bounds nearly always."""
    draw = np.random.default_rng(3)
    terms = np.array(kg_ips(*TWO.arrays, **LAMBDA).per_chain)
    bounds = (float(terms.min()), float(terms.max()))
    covered = np.zeros(2)
    for repetition in range(120):
        resampling = Resampling(seed=repetition, replicates=200, term_bounds=bounds)
        result = kg_ips(*TWO.rows(draw.choice(4, 60, p=TWO.by_lambda)), logging="lambda", resampling=resampling)
        assert result.hoeffding is not None
        covered += [not interval.excludes(IN_STATES_OF_LAMBDA) for interval in (result.bootstrap, result.hoeffding)]
    assert 105 <= covered[0] <= 120 and covered[1] == 120
    half = hoeffding_half_width(2.0, 50, 0.95)
    assert 2 * np.exp(-2 * 50 * half**2 / 4) == pytest.approx(0.05)


def test_self_normalised_shifts_with_the_reward_and_its_error_is_right() -> None:
    draw = np.random.default_rng(4)
    values, errors = [], []
    for repetition in range(120):
        rows = TWO.rows(draw.choice(4, 50, p=TWO.by_lambda))
        result = kg_ips(*rows, self_normalized=True, logging="lambda", resampling=Resampling(replicates=2))
        values.append(result.value)
        errors.append(result.stderr)
        if repetition == 0:
            moved = rows[0], rows[1] - 0.7, rows[2], rows[3], rows[4]
            weights = importance_weights(rows[0], np.where(rows[3], rows[2], rows[1]), rows[4])
            shifted = kg_ips(
                # The weight on plain tokens stays when target and base move together.
                moved[0] - 0.7 * ~rows[3], *moved[1:], self_normalized=True, logging="lambda",
                resampling=Resampling(replicates=2),
            )  # fmt: skip
            assert shifted.value == pytest.approx(result.value - 0.7)
            assert shifted.hoeffding is None and result.max_weight == pytest.approx(weights.max())
            assert not result.unbiased
    assert np.std(values) == pytest.approx(np.mean(errors), rel=0.2)


def test_clip_and_floor_are_told() -> None:
    target, base, kg, entity, steps = (array.copy() for array in TWO.arrays)
    clipped = kg_ips(*TWO.arrays, clip=1.5, **LAMBDA)
    weights = importance_weights(target, np.where(entity, kg, base), steps)
    assert clipped.max_weight == 1.5 and clipped.clipped_share == (weights > 1.5).mean() > 0
    assert not clipped.unbiased and any("clipped" in caution for caution in clipped.cautions)
    kg[0, 1] = -np.inf
    with pytest.raises(UsageError, match="logp_kg is -inf at chain 0, token 1 and at 1 tokens in all"):
        kg_ips(target, base, kg, entity, steps, **LAMBDA)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        floored = kg_ips(target, base, kg, entity, steps, propensity_floor=1e-6, **LAMBDA)
    assert floored.floored_share == 1 / 8 and floored.max_weight == pytest.approx(0.8e6)
    assert not floored.unbiased and "floor" in " ".join(floored.cautions)


def test_a_clip_holds_a_weight_that_no_number_can() -> None:
    entity = np.ones((1, 1), bool)
    logs = np.zeros((1, 1)), np.full((1, 1), -2.0), np.full((1, 1), -800.0)
    clipped = kg_ips(*logs, entity, np.zeros((1, 1), int), clip=10.0, **LAMBDA)
    assert clipped.value == pytest.approx(-20) and clipped.clipped_share == 1


def test_few_effective_tokens_are_warned_of() -> None:
    base = np.full((40, 1), np.log(0.5))
    target = np.full((40, 1), np.log(1e-4))
    target[0] = np.log(0.9)
    with pytest.warns(UserWarning, match=r"effective sample size is 1\.0 of 40 tokens"):
        result = kg_ips(target, base, base, np.zeros((40, 1), bool), np.zeros((40, 1), int), logging="base")
    assert result.cautions[0].startswith("the effective sample size")


def test_a_span_keeps_the_product_of_its_ratio() -> None:
    target = np.log([[0.5, 0.2, 0.4, 0.9]])
    spans = np.array([[-1, 0, 0, 0]])
    graph = np.full((1, 4), np.log(0.1) / 3)  # the span's probability under its own tokenizer, spread over three
    spread = spread_spans(target, spans)
    assert spread[0, 0] == target[0, 0] and spread[0, 1:].sum() == pytest.approx(target[0, 1:].sum())
    result = kg_ips(target, target, graph, spans >= 0, np.zeros((1, 4), int), span_ids=spans, resampling=FEW)
    ratio = (0.2 * 0.4 * 0.9 / 0.1) ** (1 / 3)
    assert result.max_weight == pytest.approx(max(1, ratio))
    assert not result.unbiased and "not known" in " ".join(result.cautions)
    assert np.array_equal(spread_spans(target, np.full((1, 4), -1)), target)


def test_shares_sum_to_one_and_follow_steps() -> None:
    steps = np.array([[-1, 0, 0, 2, 2, 2, 2], [-1, -1, -1, 4, -1, -1, -1]])
    shares = token_shares(steps)
    assert shares.sum(1) == pytest.approx(1)
    assert shares[0].tolist() == [0, 0.25, 0.25, 0.125, 0.125, 0.125, 0.125] and shares[1, 3] == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"logging": "gold"}, "base, lambda, unknown; got 'gold'"),
        ({"clip": 0.0}, "clip must be above 0"),
        ({"propensity_floor": 1.0}, "between 0 and 1"),
        ({"step_ids": np.full((4, 2), -1)}, "chain 0 has no step"),
        ({"step_ids": np.array([[0, 0], [0, 0], [-1, -1], [0, 0]])}, "chain 2 has no step"),
        ({"step_ids": np.zeros(4, int)}, r"table of chains and tokens; got the shape \(4,\)"),
        ({"logp_kg": np.zeros((4, 3))}, r"logp_kg has the shape \(4, 3\)"),
        ({"is_entity": np.zeros((4, 2))}, "table of true and false"),
        ({"logp_target": TWO.target + 3}, "logp_target is 2.895 at chain 0, token 0"),
        ({"logp_base": np.full((4, 2), np.nan)}, "logp_base is nan at chain 0, token 0"),
        ({"self_normalized": True, "per_decision": True}, "two estimators"),
        ({"logp_target": np.full((4, 2), -np.inf), "self_normalized": True}, "every weight is 0"),
        ({"resampling": Resampling(term_bounds=(-0.5, 0.0))}, r"term_bounds are \(-0.5, 0\)"),
        ({"logp_base": np.array([[0.0, -800.0]] * 4), "logp_kg": np.full((4, 2), -800.0)}, "beyond what a number"),
    ],
)
def test_bad_input_is_one_sentence(changes: dict[str, Any], words: str) -> None:
    names = ("logp_target", "logp_base", "logp_kg", "is_entity", "step_ids")
    given: dict[str, Any] = dict(zip(names, TWO.arrays, strict=True)) | changes
    with pytest.raises(UsageError, match=words):
        kg_ips(**given)


def test_a_fit_without_chains_or_with_a_part_of_the_choices_is_refused() -> None:
    features, steps = np.zeros((3, 1, 1)), np.zeros((3, 1), int)
    for folds, mass, words in ((4, 1.0, "between 2 and the number of chains, 3"), (2, 0.5, "one row sums to 0.5")):
        with pytest.raises(UsageError, match=words):
            fit_q(features, features[:, :, None], np.full((3, 1, 1), mass), np.zeros((3, 1)), steps, folds=folds)
