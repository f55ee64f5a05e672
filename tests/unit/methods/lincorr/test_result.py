"""hit@N against counting by hand, its null against all exchanges of the answers, and relations that do not exist."""

from itertools import permutations

import numpy as np
import pytest
import torch

from armillary.errors import UsageError
from armillary.methods.lincorr import LinCorrConfig, hit_at, measure
from armillary.methods.lincorr.report import findings, headline
from armillary.methods.lincorr.result import by_target, hits
from armillary.records.plain import plain

GOLD = (frozenset({0}), frozenset({2, 3}), frozenset[int]())
OLS = LinCorrConfig(ridge=0.0, replicates=50, permutations=2)


def test_hits_by_hand():
    weight = torch.tensor([[0.1, 0.9, 0.2, 0.0], [0.4, 0.3, 0.35, 0.1], [1.0, 0.0, 0.0, 0.0]])
    assert hits(weight, GOLD, 1).diagonal().tolist() == [False, False]
    assert hits(weight, GOLD, 2).tolist() == [[False, True], [True, True]]
    assert hits(weight, GOLD, 3).diagonal().tolist() == [True, True]
    # Targets 0, 2 and 3 have a gold source; target 0 is led by source 2.
    assert hits(weight, GOLD, 1, "influencing").diagonal().tolist() == [False, True, True]
    assert by_target(GOLD, 4) == (frozenset({0}), frozenset(), frozenset({1}), frozenset({1}))


def test_ties_do_not_count_as_hits():
    singles = (frozenset({0}), frozenset({1}))
    assert not hits(torch.zeros(2, 3), singles, 2).any()
    assert hits(torch.zeros(2, 3), singles, 3).all()


def test_the_null_is_that_of_all_exchanges():
    weight = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
    gold = [frozenset({0}), frozenset({0}), frozenset({1, 2}), frozenset({3}), frozenset({0, 3})]
    rates = [np.mean(hits(weight, [gold[k] for k in order], 2).diagonal()) for order in permutations(range(len(gold)))]
    hit = hit_at(weight, gold, 2)
    assert hit.chance == pytest.approx(np.mean(rates))
    assert hit.p_value == pytest.approx(np.mean(np.array(rates) >= hit.rate.estimate), abs=0.03)
    ends = [hit.rate.estimate - end for end in np.quantile(rates, [0.975, 0.025])]
    assert [hit.excess.low, hit.excess.high] == pytest.approx(ends, abs=0.21), "a word more or less"


def test_a_favourite_answer_is_right_by_chance_as_often_as_it_is_gold():
    """All rows favour column 0, which is right for three words of four: random ranks would say 5 %, and 70 points
    would look like knowledge."""
    gold = [frozenset({0 if i % 4 else 1 + i % 19}) for i in range(80)]
    weight = torch.randn(80, 20, generator=torch.Generator().manual_seed(0)) + 9.0 * (torch.arange(20) == 0)
    hit = hit_at(weight, gold, 1)
    assert hit.rate.estimate == pytest.approx(0.75) and hit.chance == pytest.approx(0.75)
    assert hit.excess.lower <= 0 <= hit.excess.upper and hit.p_value > 0.5


def test_rate_carries_its_interval_null_and_excess():
    hit = hit_at(torch.eye(5), [frozenset({i}) for i in range(5)], 1)
    assert (hit.rate.estimate, hit.rate.n, hit.chance) == (1, 5, pytest.approx(0.2))
    assert hit.rate.low == pytest.approx(0.025 ** (1 / 5))
    assert hit.excess.estimate == pytest.approx(0.8) and hit.excess.lower > 0 and hit.p_value < 0.025
    assert plain(hit)["rate"]["estimate"] == 1


@pytest.mark.parametrize("skewed", [False, True])
def test_made_up_answers_are_found_in_few_of_many_relations(make, skewed):
    """A real map between the logits, answers drawn at random: the excess reaches 0 in all but about one in forty."""
    generator = np.random.default_rng(5)
    source = generator.normal(size=(300, 24))
    target = source @ (generator.normal(size=(24, 12)) + np.linspace(0, 3, 12))
    shares = np.arange(1, 13) ** 3.0 if skewed else np.ones(12)
    shown = 0
    for _ in range(40):
        gold = [{int(j)} for j in generator.choice(12, size=24, p=shares / shares.sum())]
        result = measure(make(source, target, OLS, gold), OLS)
        hit = result.precision
        assert hit is not None and hit.n == 1
        shown += hit.excess.lower > 0
        if hit.excess.lower <= 0:
            assert headline(result).startswith("No linear map of this relation is shown")
            assert findings(result)[0].text == headline(result) and "so no more than chance" in headline(result)
    assert shown <= 4


def test_the_headline_says_that_a_map_carries_only_beyond_both_nulls(make):
    source = np.random.default_rng(0).normal(size=(400, 12))
    result = measure(make(source, source, OLS, [{i} for i in range(12)]), OLS)
    assert headline(result).startswith("One linear map carries")
    wrong = measure(make(source, np.roll(source, 1, axis=1), OLS, [{i} for i in range(12)]), OLS)
    assert headline(wrong).startswith("No linear map of this relation is shown")


def test_refusals():
    with pytest.raises(UsageError, match="do not fit"):
        hits(torch.eye(3), GOLD[:2], 1)
    with pytest.raises(UsageError, match="gold partner"):
        hits(torch.eye(2), (frozenset(), frozenset()), 1)
