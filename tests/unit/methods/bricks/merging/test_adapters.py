"""Low-rank bricks merged: exactly where it is a sum, with its error where it is not."""

import dataclasses

import numpy as np
import pytest
import torch
from benchmarks.peft_cat import peft_cat
from torch import Tensor

from armillary.errors import UsageError
from armillary.methods.bricks.brick import Brick
from armillary.methods.bricks.library.mounting import mounted
from armillary.methods.bricks.low_rank import compressed, distance, factored, norm
from armillary.methods.bricks.merging.adapters import MOST_LOST, _Terms, _united, merge
from armillary.methods.bricks.merging.rules import METHODS, mergekit_recipe
from armillary.methods.bricks.merging.streaming import Merger
from armillary.methods.bricks.payloads import Index, LowRank
from armillary.models import LoadedModel, tiny

from ..bricks_toy import logits, lora, lora_brick, matrices

UP, DOWN = "model.layers.0.mlp.up_proj", "model.layers.1.mlp.down_proj"


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return tiny()


def unlike(loaded: LoadedModel) -> list[Brick]:
    """Bricks of other ranks on other modules."""
    paths = list(matrices(loaded))
    return [
        lora_brick(loaded, 0, rank=1, paths=paths[:5]),
        lora_brick(loaded, 1, rank=3, paths=paths[3:9]),
        lora_brick(loaded, 2, rank=2, paths=[UP, DOWN]),
    ]


def dense(brick: Brick, path: str, like: Tensor) -> Tensor:
    assert isinstance(brick.payload, LowRank)
    if path not in brick.payload.factors:
        return torch.zeros_like(like, dtype=torch.float64)
    a_RI, b_OR = brick.payload.factors[path]
    return b_OR.double() @ a_RI.double()


def relative(result: Tensor, exact: Tensor) -> float:
    return float((result.double() - exact).norm() / exact.norm())


@pytest.mark.parametrize("method", METHODS)
def test_merging_identical_bricks_is_the_identity(loaded: LoadedModel, method: str) -> None:
    brick = lora_brick(loaded, 0)
    scale = 1 / 4 if method in ("task_arithmetic", "dare") else 1.0
    result = merge([brick] * 4, method, density=1.0, scale=scale)
    for path in matrices(loaded):
        exact = dense(brick, path, brick.payload.delta(path))
        assert relative(result.brick.payload.delta(path), exact) < 1e-6
    assert result.report.error < 1e-6


@pytest.mark.parametrize("weights", [[1.0, 1.0, 1.0], [0.3, -2.0, 0.5]])
def test_a_sum_is_exact_over_unlike_ranks_and_targets(loaded: LoadedModel, weights: list[float]) -> None:
    bricks = unlike(loaded)
    result = merge(bricks, "task_arithmetic", weights=weights, scale=0.5)
    assert set(result.brick.payload.factors) == {site.path for brick in bricks for site in brick.sites}
    for path, (a_RI, _) in result.brick.payload.factors.items():
        stored = result.brick.payload.delta(path)
        exact = 0.5 * sum(w * dense(one, path, stored) for w, one in zip(weights, bricks, strict=True))
        assert relative(stored, exact) < 1e-6
        there = [one for one in bricks if path in one.payload.factors]
        assert len(a_RI) == sum(len(one.payload.factors[path][0]) for one in there)
    assert 0 < result.report.error < 1e-6


def test_a_sum_merged_is_a_sum_mounted(loaded: LoadedModel) -> None:
    bricks = unlike(loaded)
    with mounted(loaded, bricks, combine="sum"):
        together = logits(loaded)
    with mounted(loaded, [merge(bricks, "task_arithmetic").brick]):
        torch.testing.assert_close(logits(loaded), together, rtol=1e-5, atol=1e-5)
    base = logits(loaded)
    negated = merge([bricks[0], bricks[0]], "task_arithmetic", weights=[1.0, -1.0])
    with mounted(loaded, [negated.brick]):
        torch.testing.assert_close(logits(loaded), base, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(together, base, atol=1e-2)


@pytest.mark.parametrize("method", ["task_arithmetic", "ties_tensor"])
def test_no_error_is_told_against_a_sum_of_zero(loaded: LoadedModel, method: str) -> None:
    brick = lora_brick(loaded, 0)
    assert merge([brick, brick], method, weights=[0.3, -0.3], density=1.0).report.error is None


def test_our_sum_is_pefts_cat(loaded: LoadedModel) -> None:
    bricks, weights = unlike(loaded), [0.7, 0.2, 1.5]
    ours = merge(bricks, "task_arithmetic", weights=weights).brick.payload
    theirs = peft_cat(bricks, weights)
    assert set(ours.factors) == set(theirs.factors)
    for path in ours.factors:
        assert relative(theirs.delta(path), ours.delta(path).double()) < 1e-6


def test_full_rank_loses_nothing_and_less_loses_the_tail() -> None:
    generator = torch.Generator().manual_seed(0)
    a_RI, b_OR = torch.randn(6, 20, generator=generator), torch.randn(30, 6, generator=generator)
    values = torch.linalg.svdvals(b_OR.double() @ a_RI.double())
    assert norm(a_RI, b_OR) == pytest.approx(float(values.norm()), rel=1e-12)
    for rank in range(1, 7):
        small, lost = compressed(a_RI, b_OR, rank)
        tail = float(values[rank:6].norm())
        assert lost == pytest.approx(tail, rel=1e-9, abs=1e-12)
        assert distance(small, (a_RI, b_OR)) == pytest.approx(tail, rel=1e-7, abs=1e-11)
        again, again_lost = factored(b_OR.double() @ a_RI.double(), rank)
        assert distance(small, again) < 1e-10 and again_lost == pytest.approx(tail, rel=1e-9, abs=1e-10)


def test_compression_reports_its_error(loaded: LoadedModel) -> None:
    bricks = [lora_brick(loaded, seed) for seed in range(3)]
    whole = merge(bricks)
    for rank in (6, 2):
        result = merge(bricks, rank=rank)
        wrong = whole_norm = 0.0
        for path in matrices(loaded):
            exact = sum(dense(one, path, one.payload.delta(path)) for one in bricks) / 3
            tail = torch.linalg.svdvals(exact)[rank:]
            wrong, whole_norm = wrong + float(tail.square().sum()), whole_norm + float(exact.square().sum())
            assert len(result.brick.payload.factors[path][0]) == rank
        assert result.report.error == pytest.approx((wrong / whole_norm) ** 0.5, rel=1e-4, abs=3e-7)
    assert whole.report.error < 1e-6 and merge(bricks, rank=100).report.ranks == whole.report.ranks


@pytest.mark.parametrize("method", ["ties_global", "ties_tensor", "ties_peft", "dare", "dare_ties"])
def test_other_rules_are_kept_whole_or_refused(loaded: LoadedModel, method: str) -> None:
    bricks = [lora_brick(loaded, seed, paths=[UP, DOWN]) for seed in range(3)]
    result = merge(bricks, method, density=0.5)
    assert 0.01 < result.report.error < 10 and result.report.compression_error < 1e-5
    # What is stored is what the rule gives on the full matrices, entry by entry.
    merger = Merger(result.report.rule, _Terms([brick.payload for brick in bricks], _united(bricks)))
    for path in (UP, DOWN):
        given = torch.cat([block for _, block in merger.blocks(path)])
        torch.testing.assert_close(result.brick.payload.delta(path).flatten().double(), given, rtol=0, atol=1e-6)
    with pytest.raises(UsageError, match=rf"a rank of 6 holds what {method} gives only to a relative distance of 0\."):
        merge(bricks, method, density=0.5, rank=6)  # the sum of ranks
    nearly = merge(bricks, method, density=0.5, rank=31)
    assert nearly.report.compression_error < MOST_LOST and max(nearly.report.ranks.values()) <= 31
    exact = {path: sum(dense(one, path, one.payload.delta(path)) for one in bricks) for path in (UP, DOWN)}
    factor = {"dare": 1.0}.get(method, 1 / 3)
    wrong = sum(float((result.brick.payload.delta(p).double() - factor * e).square().sum()) for p, e in exact.items())
    total = sum(float((factor * e).square().sum()) for e in exact.values())
    assert result.report.error == pytest.approx((wrong / total) ** 0.5, rel=1e-6)


def test_the_result_knows_its_parents_base_and_errors(loaded: LoadedModel) -> None:
    bricks = unlike(loaded)
    result = merge(bricks, "ties_tensor", density=0.3, name="joined")
    assert result.brick.parents == tuple(brick.id for brick in bricks) and result.brick.name == "joined"
    assert set(result.brick.base.touched) == {name for brick in bricks for name in brick.base.touched}
    assert result.brick.meta.notes["merge"]["error"] == result.report.error
    assert result.brick.id == merge(bricks, "ties_tensor", density=0.3, name="joined").brick.id


def test_bases_that_differ_are_refused_by_name(loaded: LoadedModel) -> None:
    here, other = lora_brick(loaded, 0), lora_brick(tiny(seed=1), 1)
    first = min(here.base.touched)
    with pytest.raises(UsageError) as refused:
        merge([here, other])
    assert all(part in str(refused.value) for part in (here.base.fingerprint, other.base.fingerprint, first))
    allowed = merge([here, other], allow_different_base=True)
    assert first in str(allowed.report.different_base)
    assert first in allowed.brick.meta.notes["merge"]["different_base"]
    wider = lora_brick(tiny(hidden=64), 0)
    with pytest.raises(UsageError, match="first difference"):
        merge([here, wider], allow_different_base=True)
    retold = dataclasses.replace(here, base=dataclasses.replace(here.base, tokenizer="0" * 64))
    with pytest.raises(UsageError, match="tokenizer transplant"):
        merge([here, retold], allow_different_base=True)


def test_bad_merges_are_refused(loaded: LoadedModel) -> None:
    brick = lora_brick(loaded, 0)
    mask = Brick.of(loaded, Index({0: np.array([1])}), name="mask")
    with pytest.raises(UsageError, match="low-rank bricks; got Index"):
        merge([mask])
    with pytest.raises(UsageError, match="got nothing"):
        merge([])
    with pytest.raises(UsageError, match="rank of a merged brick"):
        merge([brick], rank=0)
    with pytest.raises(UsageError, match="may not sum to zero"):
        merge([brick, brick], weights=[1.0, -1.0])
    with pytest.raises(UsageError, match=f"{UP} holds numbers that are not finite"):
        lora(loaded, 0, paths=[UP], size=float("inf"))


def test_a_recipe_says_the_same_to_mergekit() -> None:
    yaml = pytest.importorskip("yaml")
    rule = merge_rule("ties_tensor", weights=[1.0, 0.5], density=0.2, scale=0.9)
    result = yaml.safe_load(mergekit_recipe("owner/base", ["one: two", "b"], rule, dtype="bfloat16"))
    assert result == {
        "merge_method": "ties",
        "base_model": "owner/base",
        "models": [
            {"model": "one: two", "parameters": {"weight": 1.0, "density": 0.2}},
            {"model": "b", "parameters": {"weight": 0.5, "density": 0.2}},
        ],
        "parameters": {"normalize": True, "lambda": 0.9},
        "dtype": "bfloat16",
    }
    plain = yaml.safe_load(mergekit_recipe("base", ["a", "b"], merge_rule("average")))
    assert plain["merge_method"] == "linear" and "base_model" not in plain and plain["parameters"]["normalize"]
    for method in ("ties_global", "ties_peft"):
        with pytest.raises(UsageError, match=f"mergekit has no {method}"):
            mergekit_recipe("base", ["a", "b"], merge_rule(method, density=0.5))
    with pytest.raises(UsageError, match="for 2 models; got 1"):
        mergekit_recipe("base", ["a"], merge_rule("average"))


def merge_rule(method: str, **settings: object):  # type: ignore[no-untyped-def]
    from armillary.methods.bricks.merging.rules import MergeRule

    return MergeRule.of(method, 2, **settings)  # type: ignore[arg-type]
