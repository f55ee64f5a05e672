"""The rules by hand, against PEFT's own functions, and in expectation."""

import importlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from armillary.errors import NumericError, UsageError
from armillary.methods.bricks.merging.rules import (
    METHODS,
    RULES,
    MergeRule,
    Whole,
    draws_of,
    dropped,
    merged,
)
from armillary.methods.bricks.merging.streaming import Merger, trim_thresholds


class Held:
    """Changes in memory, in blocks of three entries."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.tensors = tensors

    @property
    def names(self) -> Sequence[str]:
        return list(self.tensors)

    def blocks(self, name: str) -> Iterator[Tensor]:
        yield from self.tensors[name].split(3, dim=1)


def joined(rule: MergeRule, tensors: dict[str, Tensor]) -> list[float]:
    """The merged entries of all tensors in a row."""
    merger = Merger(rule, Held(tensors))
    return torch.cat([block for name in tensors for _, block in merger.blocks(name)]).tolist()


BY_HAND = torch.tensor([[1.0, -2.0, 0.0, 0.5], [-1.0, 3.0, 0.0, 0.2], [4.0, 0.0, 0.0, -0.1]])
TIES = torch.tensor([[2.0, -1.0, -3.0, 0.0], [-2.0, -1.0, -1.0, 0.0], [0.0, 0.0, 0.0, 0.0]])


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        # Two entries of each row stay. Votes 4, 1, 0, -0.1; divided by the number of agreeing values.
        ("ties_peft", [2.5, 6.0, 0.0, -0.1]),
        # Votes of weighted values 3, 4, 0, -0.1; divided by the sum of the agreeing weights.
        ("ties_tensor", [2.5, 3.0, 0.0, -0.1]),
        # One tensor, so the trim is the same; votes and divisor as in the first.
        ("ties_global", [2.5, 6.0, 0.0, -0.1]),
    ],
)
def test_ties_by_hand(method: str, expected: list[float]) -> None:
    rule = MergeRule.of(method, 3, weights=[1, 2, 1], density=0.5)
    assert joined(rule, {"all": BY_HAND}) == pytest.approx(expected, rel=1e-6)


def test_the_scope_of_the_trim_is_what_tells_global_from_tensor() -> None:
    halves = {"a": BY_HAND[:, :2], "b": BY_HAND[:, 2:]}
    # By tensor one entry of two stays: -2, 3, 4 of a (votes 4 and 1) and 0.5, 0.2, -0.1 of b (vote 0.6).
    result = joined(MergeRule.of("ties_peft", 3, density=0.5), halves)
    assert result == pytest.approx([4.0, 3.0, 0.0, 0.35], rel=1e-6)
    # Over both tensors the same two of four stay as in one tensor, with weights of 1.
    result = joined(MergeRule.of("ties_global", 3, density=0.5), halves)
    assert result == pytest.approx([2.5, 3.0, 0.0, -0.1], rel=1e-6)


@pytest.mark.parametrize(("method", "tied"), [("ties_peft", 2.0), ("ties_tensor", 2.0), ("ties_global", -2.0)])
def test_a_tied_vote_is_positive_or_the_models_majority(method: str, tied: float) -> None:
    result = joined(MergeRule.of(method, 3, density=1.0), {"all": TIES})
    assert result == pytest.approx([tied, -1.0, -2.0, 0.0])


@pytest.mark.parametrize("density", [0.1, 0.37, 1.0])
def test_ties_peft_is_what_peft_computes(density: float) -> None:
    theirs: Any = importlib.import_module("peft.utils.merge_utils")
    deltas = torch.randn(4, 33, 7, generator=torch.Generator().manual_seed(0))
    weights = [0.5, -1.0, 2.0, 1.0]
    with np.errstate(all="ignore"), pytest.warns() if density == 1 else _nothing():
        expected = theirs.ties(list(deltas), torch.tensor(weights), density)
    result = joined(MergeRule.of("ties_peft", 4, weights=weights, density=density), {"x": deltas.reshape(4, -1)})
    np.testing.assert_allclose(result, expected.reshape(-1), rtol=1e-5, atol=1e-6)


def _nothing() -> Any:
    return pytest.MonkeyPatch.context()


@pytest.mark.parametrize("density", [0.001, 0.2, 0.5, 1.0])
def test_thresholds_are_the_kth_magnitudes(density: float) -> None:
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(3, 1000, generator=generator).double() * torch.tensor([[1e-6], [1.0], [1e6]])
    values[1] = values[1].round(decimals=1)  # many ties
    values[0, 100:] = 0.0
    result = trim_thresholds(lambda: iter(values.split(77, dim=1)), density)
    expected = values.float().abs().sort(dim=1, descending=True).values[:, max(1, int(density * 1000)) - 1]
    assert result == expected.tolist()


@pytest.mark.parametrize("method", METHODS)
def test_merging_one_thing_with_itself_is_itself(method: str) -> None:
    delta = torch.randn(1, 40, generator=torch.Generator().manual_seed(2)).double()
    scale = 1 / 5 if method in ("task_arithmetic", "dare") else 1.0
    rule = MergeRule.of(method, 5, density=1.0, scale=scale)
    np.testing.assert_allclose(joined(rule, {"x": delta.expand(5, -1)}), delta[0], rtol=1e-12)


def test_sums_are_the_sums_they_say() -> None:
    deltas = torch.randn(3, 40, generator=torch.Generator().manual_seed(3)).double()
    weights = [0.2, -0.7, 2.0]
    total = (torch.tensor(weights, dtype=torch.float64)[:, None] * deltas).sum(0)
    result = joined(MergeRule.of("task_arithmetic", 3, weights=weights, scale=0.4), {"x": deltas})
    np.testing.assert_allclose(result, 0.4 * total, rtol=1e-12)
    result = joined(MergeRule.of("average", 3, weights=weights), {"x": deltas})
    np.testing.assert_allclose(result, total / sum(weights), rtol=1e-12)


@pytest.mark.parametrize("density", [0.1, 0.5])
def test_dare_is_unbiased(density: float) -> None:
    deltas = torch.randn(3, 30, generator=torch.Generator().manual_seed(4)).double()
    weights, draws = [1.0, -0.5, 2.0], 2000
    total = torch.zeros(30, dtype=torch.float64)
    for seed in range(draws):
        rule = MergeRule.of("dare", 3, weights=weights, density=density, seed=seed)
        total += merged(rule, deltas, Whole(generators=draws_of(seed, "x", 3)))
    exact = joined(MergeRule.of("task_arithmetic", 3, weights=weights), {"x": deltas})
    spread = ((torch.tensor(weights)[:, None] * deltas) ** 2).sum(0) * (1 - density) / density
    z = (total / draws - torch.tensor(exact, dtype=torch.float64)) / (spread / draws).sqrt()
    # Thirty standard normal numbers: their mean square near 1, and none far out.
    assert 0.4 < float(z.square().mean()) < 1.8 and float(z.abs().max()) < 3.5


def test_dare_is_seeded_by_tensor_and_thing_not_by_order() -> None:
    deltas = torch.ones(2, 200).double()
    rule = MergeRule.of("dare", 2, density=0.5, seed=7)
    both = {"a": deltas, "b": deltas}
    first = joined(rule, both)
    assert first == joined(rule, both)
    backwards = joined(rule, {"b": deltas, "a": deltas})
    assert first == backwards[200:] + backwards[:200] and first[:200] != first[200:]
    assert first != joined(MergeRule.of("dare", 2, density=0.5, seed=8), both)
    kept = dropped(deltas, 0.5, draws_of(7, "a", 2))
    assert set(kept.unique().tolist()) == {0.0, 2.0} and not torch.equal(kept[0], kept[1])


@pytest.mark.parametrize(
    ("method", "settings", "sentence"),
    [
        ("mean", {}, "no merge is named 'mean'"),
        ("average", {"weights": [1.0, -1.0]}, "may not sum to zero"),
        ("average", {"weights": [0.0, 0.0]}, "may not sum to zero"),
        ("average", {"weights": [1.0]}, "needs 2 finite weights"),
        ("average", {"weights": [1.0, float("nan")]}, "needs 2 finite weights"),
        ("ties_peft", {}, "density of ties_peft must lie above 0"),
        ("ties_global", {"density": 0.0}, "above 0 and be at most 1; got 0"),
        ("dare", {"density": 1.5}, "above 0 and be at most 1; got 1.5"),
    ],
)
def test_bad_settings_are_refused(method: str, settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        MergeRule.of(method, 2, **settings)


def test_every_method_has_its_rule_and_says_what_it_lacks() -> None:
    assert tuple(RULES) == METHODS
    for method, lacking in (("ties_tensor", "a threshold"), ("dare", "a generator")):
        with pytest.raises(UsageError, match=f"{method} .*needs {lacking}"):
            merged(MergeRule.of(method, 2, density=0.5), torch.ones(2, 3))


def test_a_number_that_is_not_finite_is_named() -> None:
    with pytest.raises(NumericError, match="x holds numbers"):
        joined(MergeRule.of("average", 1), {"x": torch.tensor([[1.0, torch.nan]])})
