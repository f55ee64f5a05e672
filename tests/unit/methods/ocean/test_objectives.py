"""What the objectives ascend, on distributions small enough to be written down: no model."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from armillary.methods.ocean import core
from armillary.methods.ocean.objectives import (
    divergence_terms,
    expected_reward,
    graph_factor,
    kg_ips_objective,
    nested_mean,
    spread_spans,
    stable_objective,
    weighted_likelihood,
)

BASE, GRAPH = torch.tensor([0.6, 0.39, 0.01]).double(), torch.tensor([0.1, 0.8, 0.1]).double()
NO_CLIP = 1e9


def one_step(values: Tensor) -> Tensor:
    """As chains of one token each."""
    return values[:, None]


def ascended(objective: "object", logits: Tensor, steps: int, rate: float) -> Tensor:
    """The policy after plain gradient ascent of a function of log-probabilities."""
    logits = logits.clone().requires_grad_()
    for _ in range(steps):
        (gradient,) = torch.autograd.grad(objective(logits.log_softmax(-1)), logits)  # type: ignore[operator]
        with torch.no_grad():
            logits += rate * gradient
    return logits.detach().softmax(-1)


def test_the_gradient_is_the_policy_gradient_whatever_the_baseline() -> None:
    """Note 7.4: by enumeration over lambda, to 1e-12."""
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(5, generator=draw, dtype=torch.float64, requires_grad=True)
    reward, propensity = (torch.randn(5, generator=draw, dtype=torch.float64).log_softmax(-1) for _ in range(2))
    pi = logits.detach().softmax(-1)
    exact = pi * (reward - pi @ reward)
    ones = torch.ones(5, 1, dtype=torch.float64)
    for baseline in (None, 0.0, -7.5):
        log_pi = one_step(logits.log_softmax(-1))
        if baseline is None:
            values = kg_ips_objective(log_pi, one_step(propensity), one_step(reward), ones)
        else:
            offset = torch.full((5, 1), baseline, dtype=torch.float64)
            values = stable_objective(log_pi, one_step(propensity), one_step(reward), offset, ones, NO_CLIP)
        (gradient,) = torch.autograd.grad((propensity.exp() * values).sum(), logits)
        assert float((gradient - exact).abs().max()) < 1e-12


def test_raw_ascent_flees_to_what_was_never_logged() -> None:
    """Note 7.5: ten logged draws, none of the third arm; with the baseline, or self-normalised, it stays away."""
    counts = torch.tensor([6.0, 4.0, 0.0], dtype=torch.float64)
    log_base = BASE.log()
    ones = torch.ones(3, 1, dtype=torch.float64)
    baseline = expected_reward(log_base[None], None, torch.tensor([False]), NO_CLIP)
    assert float(baseline) == pytest.approx(float((BASE * log_base).sum()))

    def raw(log_pi: Tensor) -> Tensor:
        values = kg_ips_objective(one_step(log_pi), one_step(log_base), one_step(log_base), ones)
        return (counts * values).sum() / 10

    def with_baseline(log_pi: Tensor) -> Tensor:
        offset = baseline.expand(3, 1)
        values = stable_objective(one_step(log_pi), one_step(log_base), one_step(log_base), offset, ones, NO_CLIP)
        return (counts * values).sum() / 10

    def self_normalised(log_pi: Tensor) -> Tensor:
        weights = counts * (log_pi - log_base).exp()
        return (weights * log_base).sum() / weights.sum()

    assert ascended(raw, log_base, 60, 30.0)[2] > 0.99
    for objective in (with_baseline, self_normalised):
        assert ascended(objective, log_base, 60, 30.0)[0] > 0.99


def test_the_graph_draws_the_policy() -> None:
    """Note 7.6: on chains of the base policy the graph's favourite takes the base policy's place."""
    log_base, log_kg, entity = BASE.log(), GRAPH.log(), torch.ones(3, dtype=torch.bool)
    implicit = graph_factor(log_base, log_kg, entity, NO_CLIP) * log_base
    assert implicit.tolist() == pytest.approx([-3.0650, -0.4590, -0.4605], abs=1e-4)
    ones = torch.ones(3, 1, dtype=torch.float64)

    def paper(log_pi: Tensor) -> Tensor:
        return (BASE * kg_ips_objective(one_step(log_pi), one_step(log_kg), one_step(log_base), ones)).sum()

    assert ascended(paper, log_base, 20, 0.1).tolist() == pytest.approx([0.153, 0.839, 0.008], abs=1e-3)
    assert ascended(paper, log_base, 400, 0.1).tolist() == pytest.approx([0.005, 0.993, 0.002], abs=1e-3)


def test_the_baseline_belongs_to_the_reward_with_the_graph_in_it() -> None:
    """Minus the entropy of the base policy in its place turns the graph's preference around."""
    log_base, log_kg, entity = BASE.log(), GRAPH.log(), torch.ones(3, dtype=torch.bool)
    factor = graph_factor(log_base, log_kg, entity, NO_CLIP)
    ones = torch.ones(3, 1, dtype=torch.float64)
    right = expected_reward(log_base[None], log_kg[None], entity[:1], NO_CLIP)
    assert float(right) == pytest.approx(float((BASE * factor * log_base).sum()))
    entropy = expected_reward(log_base[None], None, entity[:1], NO_CLIP)

    def stable(reward: Tensor, baseline: Tensor, log_pi: Tensor) -> Tensor:
        values = stable_objective(
            one_step(log_pi), one_step(log_base), one_step(reward), baseline.expand(3, 1), ones, NO_CLIP
        )
        return (BASE * values).sum()

    towards_graph = ascended(lambda log_pi: stable(factor * log_base, right, log_pi), log_base, 60, 1.0)
    away = ascended(lambda log_pi: stable(factor * (log_base - entropy), torch.zeros(1), log_pi), log_base, 60, 1.0)
    assert towards_graph[1] > 0.98 and away[0] > 0.98


def test_the_factor_is_clipped_on_both_sides_so_that_junk_is_no_bargain() -> None:
    """A token that neither policy says: its implicit reward would be better than that of the graph's favourite."""
    log_base, log_kg = torch.tensor([0.6, 0.39, 0.001]).log(), torch.tensor([0.1, 0.8, 0.1]).log()
    entity = torch.ones(3, dtype=torch.bool)
    free, held = (graph_factor(log_base, log_kg, entity, clip) * log_base for clip in (NO_CLIP, 10.0))
    assert free[2] > free[1] and held[2] < held[1] and held[0] == free[0]
    assert graph_factor(log_base, log_kg, ~entity, 10.0).tolist() == [1, 1, 1]


def test_the_divergence_is_that_to_the_base_whoever_wrote_the_chains() -> None:
    target = torch.tensor([0.2, 0.7, 0.1]).double()
    exact = float((target * (target / BASE).log()).sum())
    for logging in (BASE, GRAPH):
        terms = divergence_terms(one_step(target.log()), one_step(BASE.log()), one_step(logging.log()))
        assert float(logging @ terms[:, 0]) == pytest.approx(exact) and bool((terms >= 0).all())
    logits = target.log().requires_grad_()
    log_pi = one_step(logits.log_softmax(-1))
    (gradient,) = torch.autograd.grad(
        (BASE * divergence_terms(log_pi, one_step(BASE.log()), one_step(BASE.log()))[:, 0]).sum(), logits
    )
    expected = target * ((target / BASE).log() - exact)  # the gradient of the divergence itself
    assert torch.allclose(gradient, expected)


def test_clipped_weights_push_no_further() -> None:
    log_pi = torch.tensor([[math.log(0.9)], [math.log(0.3)]]).double().requires_grad_()
    base = torch.full((2, 1), math.log(0.02)).double()
    base[1] = math.log(0.2)
    ones = torch.ones(2, 1, dtype=torch.float64)
    values = stable_objective(log_pi, base, torch.ones_like(ones), torch.zeros_like(ones), ones, 10.0)
    assert values.tolist() == pytest.approx([10.0, 1.5])
    (gradient,) = torch.autograd.grad(values.sum(), log_pi)
    assert gradient[0] == 0 and gradient[1] == pytest.approx(1.5)


def test_weighted_likelihood_is_exact_reinforce_for_logged_texts() -> None:
    """Note 7.7: as an expectation over what logged the texts, with rewards 0, 0.3 and 1."""
    logits = torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64, requires_grad=True)
    texts, reward = torch.tensor([0.5, 0.3, 0.2]).double(), torch.tensor([0.0, 0.3, 1.0]).double()
    weights = texts * reward  # each text as often as it is logged
    loss = weighted_likelihood(one_step(logits.log_softmax(-1)), torch.ones(3, 1, dtype=torch.bool), weights)
    (gradient,) = torch.autograd.grad(-loss * weights.sum(), logits)
    pi = logits.detach().softmax(-1)
    scores = torch.eye(3, dtype=torch.float64) - pi  # of each text, the gradient of its log-probability
    assert torch.allclose(gradient, (weights[:, None] * scores).sum(0))


def test_tensors_say_what_arrays_say() -> None:
    draw = np.random.default_rng(0)
    steps = np.array([[-1, 0, 0, 1, 1], [0, 1, 2, 2, -1]])
    logp = np.log(draw.uniform(0.1, 0.9, (2, 5)))
    shares = torch.from_numpy(core.token_shares(steps))
    values = nested_mean(torch.from_numpy(logp), shares)
    assert values.numpy() == pytest.approx((core.token_shares(steps) * logp).sum(1))
    spans = np.array([[-1, 0, 0, 1, -1], [-1, -1, 0, 0, -1]])
    assert spread_spans(torch.from_numpy(logp), torch.from_numpy(spans)).numpy() == pytest.approx(
        core.spread_spans(logp, spans)
    )
    logp[0, 0] = -np.inf  # on a prompt
    assert bool(torch.isfinite(nested_mean(torch.from_numpy(logp), shares)).all())
