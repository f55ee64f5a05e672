"""A model against itself, through the defaults that users use: one pilot for both, its chance in the intervals."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from armillary.methods.modeldiff import CompareConfig, InputSpace, Pilot, compare
from armillary.methods.modeldiff.report import headline
from armillary.models import LoadedModel
from armillary.models.tiny_models import tiny
from copies import permuted, rounded_to_bfloat16
from reproductions.modeldiff.known_models import KnownPair, TableModel
from reproductions.modeldiff.stages import exact_windows


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma3"])
@pytest.mark.parametrize("copied", [lambda loaded: loaded, permuted])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_model_and_its_copy_find_the_same_inputs_plausible(
    kind: str, copied: Callable[[LoadedModel], LoadedModel], seed: int
) -> None:
    loaded = tiny(kind)
    result = compare(loaded, copied(loaded), InputSpace(length=6), samples=500, seed=seed, replicates=200)
    for side in ("a", "b"):
        share, flat = result.overlap_share[side], result.spread(side)
        assert share.estimate == share.lower == share.upper == 1.0
        assert flat.overlap.lower == flat.overlap.upper == 1.0 and flat.deviation.estimate < 1e-5
    assert result.a.window == pytest.approx(result.b.window, abs=1e-4)
    total = result.log_total
    assert total["a"].lower < total["b"].estimate < total["a"].upper
    if result.reliability["a"].enough and result.reliability["b"].enough:
        assert "100% [100%, 100%] of A's and 100% [100%, 100%] of B's are plausible to both" in headline(result)


def test_without_any_argument() -> None:
    loaded = tiny("llama")
    result = compare(loaded, loaded)
    assert [result.overlap_share[side].estimate for side in ("a", "b")] == [1.0, 1.0]
    table = TableModel.random(5, 16, seed=1)
    assert compare(table, table).overlap_share["a"].lower == 1.0


def test_a_copy_in_bfloat16_is_nearly_the_same() -> None:
    loaded = tiny("llama")
    result = compare(loaded, rounded_to_bfloat16(loaded), InputSpace(length=8), samples=600, weighting="profile")
    for side in ("a", "b"):
        assert result.overlap_share[side].estimate > 0.9
        assert result.spread(side).overlap.upper > 0.99


def test_the_chance_of_the_pilot_is_in_the_intervals() -> None:
    """Overlap and count within the windows of the whole distribution, estimated with those of small pilots."""
    length = 5
    a = TableModel.random(5, length, seed=1)
    b = a.perturbed(0.8, seed=2)
    known = KnownPair.of_tables(a, b)
    windows = exact_windows(known)
    both = known.log_overlap(windows["a"], windows["b"])
    exact = {"total": known.log_size("a", windows["a"]), "share": np.exp(both - known.log_size("a", windows["a"]))}
    hits: dict[str, list[bool]] = {"total": [], "share": [], "with the windows held": []}
    for seed in range(50):
        config = CompareConfig(samples=800, pilot=100, replicates=150, seed=seed, block=800)
        result = compare(a, b, InputSpace(length=length), config)
        total, share = result.log_total["a"], result.overlap_share["a"]
        held = replace(result, pilot=None).log_total["a"]
        hits["total"].append(total.lower <= exact["total"] <= total.upper)
        hits["share"].append(share.lower <= exact["share"] <= share.upper)
        hits["with the windows held"].append(held.lower <= exact["total"] <= held.upper)
    # 95 % less three standard errors of 50 runs.
    assert np.mean(hits["total"]) >= 0.86 and np.mean(hits["share"]) >= 0.86
    assert np.mean(hits["with the windows held"]) < 0.7, "the sensitivity of this test"


def test_a_far_model_leaves_the_other_its_own_draws() -> None:
    nll = np.array([[1.0, 2.0, 3.0, 4.0, 80.0, 81.0], [70.0, 71.0, 72.0, np.inf, 5.0, 9.0]])
    pilot = Pilot(nll_MN=nll, drawn_from_N=np.array([0, 0, 0, 0, 1, 1]), quantiles=(0.05, 0.5))
    (low_a, high_a), (low_b, high_b) = pilot.windows
    assert (low_a, high_a) == pytest.approx((1.0, 2.5), abs=1e-3)
    assert (low_b, high_b) == pytest.approx((5.0, 7.0), abs=1e-3)
    again = pilot.resampled(200, [0, 1])
    assert again.shape == (200, 2, 2) and np.isfinite(again).all() and (again[..., 0] < again[..., 1]).all()
