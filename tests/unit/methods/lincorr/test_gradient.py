"""Gradients follow the map exactly where the logits do so as functions of the parameters."""

import numpy as np
import pytest
import torch

from armillary.errors import NumericError, UsageError
from armillary.methods.lincorr import LinCorrConfig, gradient_correlation, lincorr
from armillary.methods.lincorr.gradient import chosen_parameters, coordinate_sample, gradient_pairs
from armillary.models import KINDS, tiny
from armillary.records.plain import plain

FAST = LinCorrConfig(n=300, replicates=20, permutations=2, control_tokens=0)
SUBJECTS = ["Paris", "snow", "red"]


def test_linear_functions_of_the_parameters_have_mapped_gradients():
    torch.manual_seed(0)
    theta = torch.randn(30, requires_grad=True)
    weight, into_source = torch.randn(6, 4), torch.randn(6, 30)
    source = into_source @ theta
    target = (weight.T @ into_source) @ theta
    picks = [torch.arange(30)]
    shuffled = weight[torch.randperm(6)]
    real, null = gradient_pairs(source, target, [weight, shuffled], [theta], picks, [0, 2, 3])
    assert real == pytest.approx([1, 1, 1], abs=1e-5)
    assert max(null) < 0.9
    assert theta.grad is None


def test_gradient_that_is_zero_is_told():
    theta = torch.zeros(5, requires_grad=True)
    value = (theta * 0).expand(5)
    with pytest.raises(NumericError, match="no target logit has a gradient"):
        gradient_pairs(value, value, [torch.eye(5)], [theta], [torch.arange(5)], [0, 1])


def test_an_exactly_linear_model_has_gradient_correlation_one(exact, relation):
    loaded, _ = exact
    fit = lincorr(loaded, relation, FAST, ridge=0.0).fit
    found = gradient_correlation(loaded, fit, SUBJECTS, targets=4, coordinates=500)
    assert found.correlation.estimate > 0.9999
    assert found.permuted.estimate < 0.7 and found.excess.low > 0
    assert found.coordinates == 500 and len(found.targets) == 4
    assert plain(found)["subjects"] == 3


def test_flags_gradients_and_weights_are_as_before(loaded, relation):
    fit = lincorr(loaded, relation, FAST).fit
    parameters = list(loaded.model.parameters())
    parameters[0].requires_grad_(False)
    parameters[1].grad = torch.ones_like(parameters[1])
    flags = [p.requires_grad for p in parameters]
    before = [p.detach().clone() for p in parameters]
    try:
        first, second = (gradient_correlation(loaded, fit, SUBJECTS, targets=2, coordinates=200) for _ in range(2))
        assert first == second, "coordinates and targets follow the seed"
        assert [p.requires_grad for p in parameters] == flags
        assert torch.equal(parameters[1].grad, torch.ones_like(parameters[1]))
        assert [p.grad is None for p in parameters].count(False) == 1
        assert all(torch.equal(a, b) for a, b in zip(before, parameters, strict=True))
    finally:
        parameters[0].requires_grad_(True)
        parameters[1].grad = None


def test_coordinates_are_drawn_over_all_parameters():
    picks = coordinate_sample([10, 5, 85], 40, np.random.default_rng(0))
    assert sum(len(p) for p in picks) == 40
    for pick, size in zip(picks, [10, 5, 85], strict=True):
        assert len(set(pick.tolist())) == len(pick) and all(0 <= i < size for i in pick.tolist())
    assert [len(p) for p in coordinate_sample([3, 4], 100, np.random.default_rng(0))] == [3, 4]


@pytest.mark.parametrize("kind", KINDS)
def test_feed_forward_matrices_are_found(kind):
    loaded = tiny(kind, layers=3)
    names = {id(p): name for name, p in loaded.model.named_parameters()}
    half, every = ([names[id(p)] for p in chosen_parameters(loaded, part)] for part in ("ffn-last-half", "ffn"))
    assert set(half) < set(every) and len(every) == 3 * len(half) / 2
    assert all(any(mark in name for mark in ("mlp", "fc1", "fc2")) for name in every)
    assert not any("bias" in name or "norm" in name for name in every)
    assert len(chosen_parameters(loaded, "all")) == len(names)
    with pytest.raises(UsageError, match="ffn-last-half, ffn, all"):
        chosen_parameters(loaded, "attention")


def test_fit_of_another_model_is_refused(loaded, relation):
    fit = lincorr(loaded, relation, FAST).fit
    with pytest.raises(UsageError, match="fit it on this one"):
        gradient_correlation(tiny(seed=9), fit, SUBJECTS)
    with pytest.raises(UsageError, match="at least 2 subjects"):
        gradient_correlation(loaded, fit, SUBJECTS[:1])
