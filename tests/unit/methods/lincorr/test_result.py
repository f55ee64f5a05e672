"""hit@N against counting by hand, chance against all possible rankings."""

from itertools import permutations

import pytest
import torch

from armillary.errors import UsageError
from armillary.methods.lincorr import chance_hit, hit_at
from armillary.methods.lincorr.result import by_target, hits
from armillary.records.plain import plain

GOLD = (frozenset({0}), frozenset({2, 3}), frozenset[int]())


def test_hits_by_hand():
    weight = torch.tensor([[0.1, 0.9, 0.2, 0.0], [0.4, 0.3, 0.35, 0.1], [1.0, 0.0, 0.0, 0.0]])
    assert hits(weight, GOLD, 1) == [False, False]
    assert hits(weight, GOLD, 2) == [False, True]
    assert hits(weight, GOLD, 3) == [True, True]
    # Targets 0, 2 and 3 have a gold source; target 0 is led by source 2.
    assert hits(weight, GOLD, 1, "influencing") == [False, True, True]
    assert by_target(GOLD, 4) == (frozenset({0}), frozenset(), frozenset({1}), frozenset({1}))


def test_ties_do_not_count_as_hits():
    assert hits(torch.zeros(2, 3), (frozenset({0}), frozenset({1})), 2) == [False, False]
    assert hits(torch.zeros(2, 3), (frozenset({0}), frozenset({1})), 3) == [True, True]


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_chance_equals_the_share_of_all_rankings(n):
    rankings = list(permutations(range(4)))
    shares = [sum(bool(set(r[:n]) & right) for r in rankings) / len(rankings) for right in GOLD if right]
    assert chance_hit(GOLD, 4, n) == pytest.approx(sum(shares) / len(shares))


def test_rate_carries_its_interval_and_chance():
    rate = hit_at(torch.eye(5), [frozenset({i}) for i in range(5)], 1)
    assert (rate.rate.estimate, rate.rate.n, rate.chance) == (1, 5, pytest.approx(0.2))
    assert rate.rate.low == pytest.approx(0.025 ** (1 / 5))
    assert plain(rate)["rate"]["estimate"] == 1


def test_refusals():
    with pytest.raises(UsageError, match="do not fit"):
        hits(torch.eye(3), GOLD[:2], 1)
    with pytest.raises(UsageError, match="gold partner"):
        hits(torch.eye(2), (frozenset(), frozenset()), 1)
    with pytest.raises(UsageError, match="no chance level"):
        chance_hit([frozenset()], 3, 1)
