"""Shares and nulls by hand and by lot, the control for rank against permutations, baseline orders by brute force."""

import numpy as np
import pytest
import torch
from torch import Tensor

from armillary.errors import NumericError, UsageError
from armillary.methods.icn import (
    capped_order,
    expected_share,
    in_top_clusters,
    mantel_haenszel,
    mmr_order,
    permutation_within,
    rank_strata,
)
from armillary.methods.icn.core import checked_ids
from armillary.records.plain import plain


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def bits(text: str) -> Tensor:
    return torch.tensor([mark == "1" for mark in text])


def test_a_query_along_a_centre_ranks_its_cluster_first_and_then_others() -> None:
    clusters_V = torch.arange(5).repeat_interleave(10)
    keys_VD = 10 * torch.eye(5, 8)[clusters_V] + 0.1 * torch.randn(50, 8, generator=generator())
    ranked_V = (keys_VD @ torch.eye(5, 8)[1]).argsort(descending=True)
    assert (clusters_V[ranked_V[:10]] == 1).all()
    inside_M = in_top_clusters(clusters_V[ranked_V], 10)
    assert len(inside_M) == 40 and not inside_M.any()


def test_shares_by_hand() -> None:
    clusters_N = torch.tensor([7, 3, 7, 5, 3, 3, 9])
    assert in_top_clusters(clusters_N, 2).tolist() == [True, False, True, True, False]


@pytest.mark.parametrize("bands", [1, 6])
def test_expected_share_is_what_random_draws_give(bands: int) -> None:
    vocabulary, top = 120, 4
    # Clusters that follow the ids, so that the bands matter.
    clusters_V = (torch.arange(vocabulary) // 9 + torch.randint(3, (vocabulary,), generator=generator())) % 11
    ranked_N = torch.randperm(vocabulary, generator=generator(1))[:30] // 2
    ranked_N = ranked_N.unique()[torch.randperm(len(ranked_N.unique()), generator=generator(2))]
    inside_V = torch.isin(clusters_V, clusters_V[ranked_N[:top]])
    band_V = torch.arange(vocabulary) * bands // vocabulary
    free_V = ~torch.isin(torch.arange(vocabulary), ranked_N[:top])
    draws: list[Tensor] = []
    for token in ranked_N[top:].tolist():
        pool = (free_V & (band_V == band_V[token])).nonzero()[:, 0]
        draws.append(inside_V[pool[torch.randint(len(pool), (4000,), generator=generator(token))]].double())
    sampled = torch.stack(draws).mean(0)
    expected = expected_share(clusters_V, ranked_N, top, bands=bands)
    assert expected == pytest.approx(float(sampled.mean()), abs=4 * float(sampled.std()) / 4000**0.5)


def test_uniform_null_is_the_size_of_the_union() -> None:
    clusters_V = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2, 3])
    expected = expected_share(clusters_V, torch.tensor([0, 3, 4, 9, 5]), 3)  # top tokens 0, 3, 4 in clusters 0 and 1
    assert expected == pytest.approx((5 - 3) / (10 - 3))


def test_frequency_bands_matter_only_where_clusters_follow_them() -> None:
    clusters_V = torch.arange(100) // 10
    near = torch.arange(100)[:10]  # all of the first band, which is the first cluster
    assert expected_share(clusters_V, near, 1, bands=10) == 1
    assert expected_share(clusters_V, near, 1) == pytest.approx(9 / 99)


def test_strata_are_bands_of_each_probe() -> None:
    assert rank_strata([3, 5], 2).tolist() == [0, 0, 1, 2, 2, 3, 3, 4]


def table(*cells: tuple[int, int, int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens of strata with (gold in, all in, gold out, all out)."""
    inside, gold, strata = "", "", []
    for stratum, (gold_in, n_in, gold_out, n_out) in enumerate(cells):
        inside += "1" * n_in + "0" * n_out
        gold += "1" * gold_in + "0" * (n_in - gold_in) + "1" * gold_out + "0" * (n_out - gold_out)
        strata += [stratum] * (n_in + n_out)
    return bits(inside), bits(gold), torch.tensor(strata)


def test_mantel_haenszel_by_hand() -> None:
    found = mantel_haenszel(*table((4, 10, 3, 5), (1, 6, 6, 12), (2, 2, 0, 0)))
    assert found.estimate == pytest.approx(-2 / (50 / 15 + 72 / 18))
    # Sato (1989): P = (75/225, 288/324), Q = (26/30, 36/36), weights 50/15 + 72/18.
    variance = (found.estimate * (75 / 225 + 288 / 324) + 26 / 30 + 1) / (50 / 15 + 72 / 18) ** 2
    assert found.high is not None and found.low is not None
    assert found.high - found.low == pytest.approx(2 * 1.959964 * variance**0.5, rel=1e-6)
    assert found.n == 33  # the last stratum has no out-of-cluster tokens


def test_mantel_haenszel_interval_covers_in_many_small_strata() -> None:
    covered, runs = 0, 400
    for run in range(runs):
        strata_N = torch.arange(240) // 6
        base_N = torch.rand(40, generator=generator(run))[strata_N] * 0.6
        inside_N = torch.rand(240, generator=generator(1000 + run)) < 0.4
        gold_N = torch.rand(240, generator=generator(2000 + run)) < base_N + 0.2 * inside_N
        covered += not mantel_haenszel(inside_N, gold_N, strata_N).excludes(0.2)
    assert 0.92 < covered / runs < 0.98


def test_rank_alone_makes_no_difference_within_strata() -> None:
    # Good early ranks are mostly inside, bad late ones mostly outside; within a band both are alike.
    cells = table((8, 10, 4, 5), (1, 5, 2, 10))
    tested = permutation_within(*cells)
    assert tested.difference == pytest.approx(9 / 15 - 6 / 15)
    assert mantel_haenszel(*cells).estimate == pytest.approx(0)
    assert tested.p_lower > 0.5 and tested.p_higher > 0.5


def test_exact_test_equals_permutations() -> None:
    inside_N, gold_N, strata_N = table((2, 6, 3, 4), (1, 4, 5, 7), (0, 0, 2, 3))
    tested = permutation_within(inside_N, gold_N, strata_N)
    order = np.random.default_rng(0)
    sums = np.zeros(4000)
    for stratum in strata_N.unique():
        rows = (strata_N == stratum).numpy()
        inside, gold = inside_N.numpy()[rows], gold_N.numpy()[rows]
        sums += [(order.permutation(inside) & gold).sum() for _ in sums]
    assert tested.p_lower == pytest.approx((sums <= 3).mean(), abs=0.015)
    assert tested.p_higher == pytest.approx((sums >= 3).mean(), abs=0.015)
    assert tested.n == 24


def test_p_is_uniform_under_the_null_and_small_with_an_effect() -> None:
    strata_N = rank_strata([90] * 8, 15)
    lower, higher = [], []
    for run in range(300):
        late_N = (strata_N % 6) / 6
        inside_N = torch.rand(720, generator=generator(run)) < 0.6 - 0.4 * late_N
        gold_N = torch.rand(720, generator=generator(1000 + run)) < 0.6 - 0.5 * late_N  # by rank alone
        found = permutation_within(inside_N, gold_N, strata_N)
        lower.append(found.p_lower)
        higher.append(found.p_higher)
    for level in (0.05, 0.25, 0.5, 0.75):
        room = 3 * (level * (1 - level) / 300) ** 0.5
        for values in (lower, higher):
            assert level - room - 0.05 < np.mean(np.array(values) <= level) < level + room
    worse_N = (torch.rand(720, generator=generator(9)) < 0.5) & ~(inside_N & (torch.arange(720) % 2 == 0))
    tested = permutation_within(inside_N, worse_N, strata_N)
    assert tested.p_lower < 1e-4 and tested.p_higher > 0.99
    assert plain(tested)["n"] == 720


def test_capped_order_by_brute_force() -> None:
    clusters_V = torch.randint(7, (60,), generator=generator())
    ranked_N = torch.randperm(60, generator=generator(1))[:50]
    for cap in (1, 2, 5, 100):
        kept: list[int] = []
        for token in ranked_N.tolist():
            if sum(int(clusters_V[other] == clusters_V[token]) for other in kept) < cap:
                kept.append(token)
        assert capped_order(ranked_N, clusters_V, cap).tolist() == kept
    once = capped_order(ranked_N, clusters_V, 1)
    assert len(clusters_V[once].unique()) == len(once) == len(clusters_V[ranked_N].unique())


def test_mmr_without_weight_is_the_ranking() -> None:
    logits_P = torch.randn(200, generator=generator()).round(decimals=1)  # with ties
    keys_PD = torch.randn(200, 6, generator=generator(1))
    ranking = logits_P.argsort(descending=True, stable=True)
    assert torch.equal(mmr_order(logits_P, keys_PD, 200, 0.0), ranking)


def test_mmr_by_brute_force() -> None:
    logits_P = torch.randn(30, generator=generator())
    keys_PD = torch.randn(30, 4, generator=generator(1))
    chosen: list[int] = []
    for _ in range(12):
        scores = {}
        for index in set(range(30)) - set(chosen):
            others = keys_PD[chosen]
            near = torch.nn.functional.cosine_similarity(keys_PD[index][None].double(), others.double())
            scores[index] = float(logits_P[index]) - (1.5 * float(near.max()) if len(others) else 0)
        chosen.append(max(scores, key=lambda index: scores[index]))
    assert mmr_order(logits_P, keys_PD, 12, 1.5).tolist() == chosen


YES, IDS = torch.ones(3, dtype=torch.bool), torch.arange(3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: in_top_clusters(IDS, 3), "top must lie between 1 and the ranked tokens less one, 2; got 3"),
        (lambda: expected_share(IDS, IDS, 1, bands=4), "bands must lie between 1 and the vocabulary of 3 tokens"),
        (lambda: expected_share(IDS, IDS + 1, 1), "token id 3 is outside this vocabulary of 3 tokens"),
        (lambda: rank_strata([3], 0), "at least 1 rank wide"),
        (lambda: mantel_haenszel(YES, YES, torch.zeros(2, dtype=torch.long)), "strata_N has 2"),
        (lambda: capped_order(IDS, IDS, 0), "cap must be at least 1; got 0"),
        (lambda: mmr_order(torch.ones(3), torch.ones(3, 2), 4, 1.0), "can't order 4 of 3 logits"),
        (lambda: checked_ids([0, -1], 5), "token id -1 is outside"),
    ],
)
def test_wrong_input_is_told_in_one_sentence(call, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()


def test_numbers_that_allow_no_answer() -> None:
    with pytest.raises(NumericError, match="no stratum holds tokens in and out"):
        mantel_haenszel(bits("110"), YES, torch.tensor([0, 0, 1]))
    with pytest.raises(NumericError, match="got 3 and 0"):
        permutation_within(YES, YES, IDS)
    with pytest.raises(NumericError, match="must be finite"):
        mmr_order(torch.tensor([1.0, -torch.inf]), torch.ones(2, 2), 1, 1.0)
