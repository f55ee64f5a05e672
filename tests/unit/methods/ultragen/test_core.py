"""The three losses against their closed forms."""

import math

import pytest
import torch

from armillary.methods.ultragen.core import (
    preference_loss,
    reconstruction_loss,
    token_log_probabilities,
    triplet_accuracy,
    triplet_loss,
)


def test_a_preference_of_two_tenths_costs_what_the_sigmoid_says() -> None:
    numbers = [torch.tensor([value], dtype=torch.float64) for value in (-10.0, -12.0, -11.0, -11.0)]
    assert float(preference_loss(*numbers, beta=0.1)) == pytest.approx(math.log(1 + math.exp(-0.2)), abs=1e-12)
    assert float(preference_loss(*numbers, beta=0.1)) == pytest.approx(0.598139, abs=1e-6)
    level = torch.zeros(3)
    assert float(preference_loss(level, level, level, level)) == pytest.approx(math.log(2))


def test_what_the_reference_prefers_already_does_not_count() -> None:
    chosen, rejected = torch.tensor([-3.0]), torch.tensor([-9.0])
    assert float(preference_loss(chosen, rejected, chosen, rejected)) == pytest.approx(math.log(2))


def test_triplets_at_their_corners() -> None:
    east, north = torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 0.5]])  # of any length: they are brought to one
    assert float(triplet_loss(east, east, north)) == 0  # 0 - 2 + 1
    assert float(triplet_loss(east, north, north)) == pytest.approx(1)
    assert float(triplet_loss(east, north, east)) == pytest.approx(3)  # 2 - 0 + 1
    assert [float(triplet_accuracy(east, same, other)) for same, other in ((east, north), (north, east))] == [1, 0]
    assert float(triplet_accuracy(east, north, north)) == 0.5


def test_reconstruction_counts_the_completion_alone() -> None:
    logits, ids = torch.randn(2, 5, 7), torch.randint(7, (2, 5))
    completion = torch.tensor([[0, 0, 1, 1, 1], [0, 0, 0, 1, 0]], dtype=torch.bool)
    by_hand = [
        float(logits[row, place - 1].log_softmax(-1)[ids[row, place]])
        for row, place in ((0, 2), (0, 3), (0, 4), (1, 3))
    ]
    assert float(reconstruction_loss(logits, ids, completion)) == pytest.approx(-sum(by_hand) / 4, abs=1e-6)
    assert token_log_probabilities(logits, ids).shape == (2, 4)
    changed = logits.clone()
    changed[:, 0] += torch.randn(7)  # predicts a token of the prompt
    assert torch.equal(reconstruction_loss(logits, ids, completion), reconstruction_loss(changed, ids, completion))
