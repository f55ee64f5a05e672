"""Partitions against planted blocks, brute force and closed forms; functional experts against the law and by lot."""

import itertools

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import hypergeom

from armillary.errors import NumericError, UsageError
from armillary.methods.bricks.experts.modularity import functional_experts, least_counts
from armillary.methods.bricks.experts.partitioning import (
    Rows,
    partition_by_coactivation,
    partition_by_weights,
    random_partition,
)
from armillary.methods.bricks.payloads import Index, Partition
from armillary.models import LoadedModel
from armillary.models.feed_forward import ffn_functions
from armillary.models.tiny_models import tiny
from armillary.numerics.clustering import balanced_kmeans, best_assignment, group_sizes, unit_rows
from unit.methods.bricks.split_ffns import TEXTS, direct_sum, same_groups


def test_sizes_differ_by_one_at_most() -> None:
    assert group_sizes(10, 4).tolist() == [3, 3, 2, 2]
    labels = balanced_kmeans(np.random.default_rng(0).standard_normal((50, 6)), 7, seed=0)
    assert sorted(np.bincount(labels).tolist()) == [7] * 6 + [8]


def test_assignment_is_the_best_of_all() -> None:
    score_NG = np.random.default_rng(1).standard_normal((6, 3))
    result = best_assignment(score_NG, np.array([2, 2, 2]))
    every = {order for order in itertools.permutations((0, 0, 1, 1, 2, 2))}
    best = max(sum(score_NG[row, group] for row, group in enumerate(order)) for order in every)
    assert score_NG[np.arange(6), result].sum() == pytest.approx(best, abs=1e-12)


def test_rows_of_one_direction_go_together_whatever_their_length() -> None:
    generator = np.random.default_rng(2)
    owner = generator.permutation(np.repeat(np.arange(4), 10))
    rows = np.eye(4, 9)[owner] * generator.uniform(0.01, 100, (40, 1)) + 0.001 * generator.standard_normal((40, 9))
    assert same_groups(balanced_kmeans(rows, 4, seed=0)[None], owner[None])


def test_zero_rows_fill_up_and_are_not_nan() -> None:
    rows = np.zeros((12, 5))
    rows[:4, 0], rows[4:8, 1] = 1, 3
    labels = balanced_kmeans(rows, 2, seed=0)
    assert np.bincount(labels).tolist() == [6, 6]
    assert len(set(labels[:4])) == len(set(labels[4:8])) == 1 and labels[0] != labels[4]
    assert balanced_kmeans(np.zeros((6, 2)), 3, seed=0).shape == (6,)
    assert np.isfinite(unit_rows(rows)).all()


def test_bad_rows_and_numbers_of_groups_are_refused() -> None:
    with pytest.raises(NumericError, match="row 1"):
        balanced_kmeans(np.array([[1.0], [np.nan]]), 1, seed=0)
    for groups in (0, 3):
        with pytest.raises(UsageError, match=f"got {groups}"):
            balanced_kmeans(np.eye(2), groups, seed=0)
    with pytest.raises(UsageError, match="iteration"):
        balanced_kmeans(np.eye(2), 2, seed=0, iterations=0)


@pytest.mark.parametrize("blocks", [2, 4])
@pytest.mark.parametrize("rows", ["gate", "gate_up"])
def test_weights_find_the_planted_blocks(blocks: int, rows: Rows) -> None:
    loaded, owner_LM = direct_sum(blocks)
    result = partition_by_weights(loaded, blocks, rows=rows)
    assert same_groups(result.labels_LM, owner_LM)
    assert not same_groups(random_partition(2, 48, blocks, seed=7).labels_LM, owner_LM)


def fire_together(owner_M: NDArray[np.int64]) -> LoadedModel:
    """A Llama in which the gate and up rows of a group are one row up to noise, so that its neurons fire together."""
    loaded = tiny("llama", intermediate=len(owner_M))
    generator = torch.Generator().manual_seed(0)
    for function in ffn_functions(loaded):
        for read in function.reads:
            base_GD = torch.randn(4, 32, generator=generator)
            read.weight.data = base_GD[owner_M] + 0.01 * torch.randn(len(owner_M), 32, generator=generator)
        function.parts.write.weight.data /= function.parts.write.weight.data.norm(dim=0)
    return loaded


OWNER_M = np.random.default_rng(0).permutation(np.repeat(np.arange(4), 12))


def test_coactivation_finds_neurons_that_fire_together() -> None:
    loaded = fire_together(OWNER_M)
    result, again = (partition_by_coactivation(loaded, TEXTS, 4, tokens=200, share=0.25) for _ in range(2))
    assert same_groups(result.labels_LM, np.stack([OWNER_M, OWNER_M]))
    assert np.array_equal(result.labels_LM, again.labels_LM)


def test_neurons_that_write_nothing_do_not_fire() -> None:
    """By activation the first group would be the largest at every token, and the others would never show."""
    loaded = fire_together(OWNER_M)
    for function in ffn_functions(loaded):
        function.up.weight.data[OWNER_M == 0] *= 1000  # type: ignore[union-attr]
        function.parts.write.weight.data[:, OWNER_M == 0] = 0
    result = partition_by_coactivation(loaded, TEXTS, 4, tokens=200, share=0.25)
    assert same_groups(result.labels_LM[:1], OWNER_M[None])


@pytest.mark.parametrize("kind", ["gpt2", "opt", "gpt_neox", "gemma3"])
def test_every_kind_of_ffn_can_be_split(kind: str) -> None:
    loaded = tiny(kind)
    for result in (
        partition_by_weights(loaded, 5),
        partition_by_weights(loaded, 5, rows="gate_up"),
        partition_by_coactivation(loaded, TEXTS, 5, tokens=60),
    ):
        assert result.labels_LM.shape == (2, 48)
        assert sorted(np.bincount(result.labels_LM[0]).tolist()) == [9, 9, 10, 10, 10]


def test_random_partitions_differ_by_seed_and_layer_alone() -> None:
    one = random_partition(2, 40, 8, seed=3)
    assert np.array_equal(one.labels_LM, random_partition(2, 40, 8, seed=3).labels_LM)
    assert not np.array_equal(one.labels_LM, random_partition(2, 40, 8, seed=4).labels_LM)
    assert not np.array_equal(one.labels_LM[0], one.labels_LM[1])


def test_bad_requests_for_a_partition_are_refused() -> None:
    loaded = tiny("llama")
    with pytest.raises(UsageError, match="'gate_up'"):
        partition_by_weights(loaded, 4, rows="down")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="got 49"):
        partition_by_weights(loaded, 49)
    with pytest.raises(UsageError, match="share"):
        partition_by_coactivation(loaded, TEXTS, 4, share=1.0)
    with pytest.raises(UsageError, match="texts"):
        partition_by_coactivation(loaded, [], 4)


def test_least_counts_follow_the_law_at_both_sizes() -> None:
    partition = random_partition(1, 50, 8, seed=0)  # sizes 6 and 7
    least = least_counts(np.array([[10]]), partition, 0.001)[0, 0]
    for size, count in zip((6, 7), least, strict=True):
        assert hypergeom.sf(count - 1, 50, 10, size) <= 0.001 < hypergeom.sf(count - 2, 50, 10, size)


def test_planted_experts_are_functional_and_random_ones_are_not() -> None:
    partition = random_partition(3, 160, 10, seed=0)
    best = Index({layer: np.flatnonzero(partition.labels_LM[layer] == 4)[:8] for layer in range(3)})
    lot = Index({layer: np.sort(np.random.default_rng(layer).choice(160, 8, replace=False)) for layer in range(3)})
    result = functional_experts(partition, {"planted": best, "lot": lot}, partitions=200)
    planted = result["planted"]
    assert np.flatnonzero(planted.functional_LE[0]).tolist() == [4] and planted.number == 3
    assert planted.counts_LE[:, 4].tolist() == [8, 8, 8]
    assert planted.degree == pytest.approx(8 / (8 * 16 / 160))
    assert planted.concentration == 1
    assert planted.p_of_number == pytest.approx(1 / 201)
    assert result["lot"].number == 0 and result["lot"].degree is None and result["lot"].p_of_number == 1
    assert planted.null_number.estimate < 30 * 0.001 * 3
    assert planted.functional_LE.sum(axis=1).tolist() == [1, 1, 1]


def test_bad_requests_for_functional_experts_are_refused() -> None:
    partition = Partition(np.zeros((1, 4), np.int64), 1)
    with pytest.raises(UsageError, match="no best neurons"):
        functional_experts(partition, {"code": Index({})})
    with pytest.raises(UsageError, match="p_value"):
        functional_experts(partition, {}, p_value=0)
    assert functional_experts(partition, {}) == {}
