"""Training limited to a brick: what is named learns, every other bit stays, and the change leaves as a brick."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from armillary.errors import UsageError
from armillary.methods.bricks.growth.partial_training import (
    TrainingParts,
    adapter_training,
    neuron_training,
    train_on_texts,
)
from armillary.methods.bricks.low_rank import applied
from armillary.methods.bricks.payloads import Index, LowRank
from armillary.models import KINDS, LoadedModel, tiny
from armillary.models.feed_forward import feed_forward, weight_OI
from armillary.scoring import next_token_logits

CHOSEN = Index({0: np.array([0, 3, 40]), 1: np.array([7])})
TEXTS = ["Oslo and Rome and Oslo", "red and blue and green"]


@pytest.fixture(params=KINDS)
def loaded(request: pytest.FixtureRequest) -> LoadedModel:
    return tiny(request.param)


def bits(loaded: LoadedModel) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in loaded.model.state_dict().items()}


def train(training: TrainingParts, steps: int = 6) -> list[float]:
    losses = train_on_texts(training.loaded, training.parameters(), TEXTS, steps=steps, rate=0.05, weight_decay=0.5)
    return losses


def test_all_but_the_named_rows_and_columns_keep_their_bits(loaded: LoadedModel) -> None:
    before, flags = bits(loaded), [p.requires_grad for p in loaded.model.parameters()]
    with neuron_training(loaded, CHOSEN, keep=True) as training:
        assert training.count == 4 * sum(32 for _ in feed_forward(loaded, 0).matrices)
        losses = train(training)
    assert losses[-1] < losses[0]
    after = bits(loaded)
    assert before.keys() == after.keys()
    assert flags == [p.requires_grad for p in loaded.model.parameters()]
    named = {f"{path}.weight": layer for layer in CHOSEN.neurons for path in feed_forward(loaded, layer).matrices}
    for name, was in before.items():
        now = after[name]
        if name not in named:
            assert torch.equal(was, now), name
            continue
        was, now = (value if value.shape[0] == 48 else value.T for value in (was, now))
        chosen = torch.zeros(48, dtype=torch.bool)
        chosen[torch.from_numpy(CHOSEN.neurons[named[name]])] = True
        assert torch.equal(was[~chosen], now[~chosen]), name
        assert bool((was[chosen] != now[chosen]).any(dim=1).all()), name


def test_the_base_comes_back_and_the_change_is_a_brick(loaded: LoadedModel) -> None:
    before = bits(loaded)
    stored = {name: value.data_ptr() for name, value in loaded.model.named_parameters()}
    with neuron_training(loaded, CHOSEN) as training:
        train(training)
        trained = next_token_logits(loaded, TEXTS)
        change = training.change()
    assert {name: value.data_ptr() for name, value in loaded.model.named_parameters()} == stored
    assert all(torch.equal(before[name], value) for name, value in bits(loaded).items())
    assert np.abs(next_token_logits(loaded, TEXTS) - trained).max() > 1e-2
    with applied(loaded, change):
        np.testing.assert_allclose(next_token_logits(loaded, TEXTS), trained, atol=1e-5)
        for name, value in bits(loaded).items():
            assert torch.equal(before[name], value) == (name.removesuffix(".weight") not in change.factors), name
    assert all(torch.equal(before[name], value) for name, value in bits(loaded).items())


def test_masked_gradients_would_not_do() -> None:
    """The reason for separate parameters: with weight decay a zero gradient still moves a weight."""
    loaded = tiny("llama")
    weight = feed_forward(loaded, 0).write.weight
    before = weight.detach().clone()
    optimiser = torch.optim.AdamW([weight], lr=0.05, weight_decay=0.5)
    weight.grad = torch.zeros_like(weight)
    optimiser.step()
    assert not torch.equal(weight, before)


def test_an_interrupted_training_leaves_the_model_untouched(loaded: LoadedModel) -> None:
    before = bits(loaded)
    for keep in (False, True):
        with pytest.raises(KeyboardInterrupt), neuron_training(loaded, CHOSEN, keep=keep) as training:
            train(training)
            raise KeyboardInterrupt
        assert all(torch.equal(before[name], value) for name, value in bits(loaded).items())
        assert before.keys() == bits(loaded).keys()


def test_an_adapter_starts_at_nothing_and_leaves_as_a_brick(loaded: LoadedModel) -> None:
    before, logits = bits(loaded), next_token_logits(loaded, TEXTS)
    paths = list(feed_forward(loaded, 1).matrices)
    with adapter_training(loaded, paths, 3) as training:
        np.testing.assert_array_equal(next_token_logits(loaded, TEXTS), logits)
        losses = train(training)
        trained, change = next_token_logits(loaded, TEXTS), training.change()
    assert losses[-1] < losses[0]
    assert all(torch.equal(before[name], value) for name, value in bits(loaded).items())
    assert all(a.shape[0] == 3 for a, _ in change.factors.values()) and set(change.factors) == set(paths)
    with applied(loaded, change):
        np.testing.assert_allclose(next_token_logits(loaded, TEXTS), trained, atol=1e-5)


def test_a_change_is_the_sum_in_the_matrix(loaded: LoadedModel) -> None:
    block = feed_forward(loaded, 0)
    was = weight_OI(block.write).detach().clone()
    a_RI, b_OR = torch.randn(2, 48), torch.randn(32, 2)
    with applied(loaded, LowRank({block.write_path: (a_RI, b_OR)})):
        torch.testing.assert_close(weight_OI(block.write), was + b_OR @ a_RI)
    assert torch.equal(weight_OI(block.write), was)


@pytest.mark.parametrize(
    "act, sentence",
    [
        (lambda loaded: neuron_training(loaded, Index({})), "no neuron"),
        (lambda loaded: neuron_training(loaded, Index({0: np.array([48])})), "48 neurons"),
        (lambda loaded: neuron_training(loaded, Index({2: np.array([0])})), "0 to 1"),
        (lambda loaded: adapter_training(loaded, ["model.norm"], 2), "no Linear"),
        (lambda loaded: adapter_training(loaded, [], 2), "at least one module"),
        (lambda loaded: applied(loaded, LowRank({"nowhere": (torch.ones(1, 2), torch.ones(2, 1))})), "no matrix"),
        (
            lambda loaded: applied(
                loaded, LowRank({"model.layers.0.mlp.down_proj": (torch.ones(1, 2), torch.ones(2, 1))})
            ),
            "the change is for",
        ),
    ],
)
def test_bad_input_is_refused_before_anything_changes(act: Callable[[LoadedModel], object], sentence: str) -> None:
    loaded = tiny("llama")
    before = bits(loaded)
    with pytest.raises(UsageError, match=sentence), act(loaded):  # type: ignore[attr-defined]
        pass
    assert all(torch.equal(before[name], value) for name, value in bits(loaded).items())
