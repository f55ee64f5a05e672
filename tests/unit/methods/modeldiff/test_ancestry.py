"""Descent by calibration: features grow with the distance, verdicts follow the rule, samples are drawn once."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

from armillary.errors import UsageError
from armillary.methods.modeldiff import CompareConfig, InputSpace
from armillary.methods.modeldiff.ancestry import Kind, Lineage, Relative, known_derivations, lineage, noisy
from armillary.methods.modeldiff.curves import Spread
from armillary.models.tiny_models import tiny
from armillary.numerics.intervals import Interval

A = tiny("llama")
with torch.no_grad():
    # The padding token's embedding is all zeros: any noise on it, however small, is blown up by the first norm.
    A.anatomy.embedding.weight[0] = A.anatomy.embedding.weight[1]
STRANGER = tiny("llama", seed=1)
SPACE = InputSpace(length=5)
CONFIG = CompareConfig(samples=150, pilot=60, replicates=100, weighting="profile")
MAKERS = {f"noise {size:g}": partial(noisy, eps=size, seed=0) for size in (0.01, 0.05, 0.2)}


@pytest.fixture(scope="module")
def found() -> Lineage:
    unrelated = {"stranger": STRANGER}
    return lineage(
        A, noisy(A, 0.03, seed=9), SPACE, CONFIG, derivations=MAKERS, unrelated=unrelated, reference=STRANGER
    )


def test_the_spread_grows_with_the_noise(found: Lineage) -> None:
    spread = {one.name: one.spread.deviation.estimate for one in found.relatives}
    assert spread["noise 0.01"] < spread[found.candidate.name] < spread["noise 0.2"] < spread["stranger"]
    correlation = {one.name: one.spread.correlation for one in found.relatives}
    near, far = correlation["noise 0.01"], correlation["noise 0.2"]
    assert near is not None
    assert far is not None
    assert 1 >= near.estimate > far.estimate


def test_a_disturbed_copy_is_derived_and_a_stranger_is_not(found: Lineage) -> None:
    assert found.verdict == "derived"
    other = lineage(A, tiny("llama", seed=2), SPACE, CONFIG, derivations=MAKERS, unrelated={"stranger": STRANGER})
    assert other.candidate.spread.deviation.estimate > max(other.deviations("derivation"))
    assert other.verdict != "derived"


def test_a_model_and_itself_are_alike() -> None:
    same = lineage(A, A, SPACE, CONFIG, derivations={})
    assert same.candidate.spread.deviation.estimate < 1e-5
    assert same.candidate.spread.overlap.estimate > 0.99
    assert same.verdict == "undecided"


def test_samples_and_scores_are_kept() -> None:
    kept: dict[str, Any] = {}

    def store(name: str, compute: Callable[[], Any]) -> Any:
        return kept[name] if name in kept else kept.setdefault(name, compute())

    first = lineage(A, STRANGER, SPACE, CONFIG, derivations=MAKERS, store=store)
    broken = dict.fromkeys(MAKERS, lambda _: pytest.fail("made again"))
    assert lineage(A, STRANGER, SPACE, CONFIG, derivations=broken, store=store) == first


def relative(kind: Kind, low: float, high: float) -> Relative:
    one = Interval(estimate=(low + high) / 2, low=low, high=high)
    return Relative(name=kind, kind=kind, spread=Spread(mean=one, deviation=one, overlap=one))


@pytest.mark.parametrize(
    ("low", "high", "unrelated", "verdict"),
    [
        (0.1, 0.2, (0.5,), "derived"),
        (0.1, 0.2, (), "undecided"),
        (0.1, 0.2, (0.15,), "undecided"),
        (0.4, 0.6, (0.5,), "not derived"),
        (0.4, 0.6, (), "not derived"),
        (0.4, 0.45, (0.9,), "undecided"),
        (0.2, 0.4, (0.9,), "undecided"),
    ],
)
def test_the_verdict_reads_ends(low: float, high: float, unrelated: tuple[float, ...], verdict: str) -> None:
    others = [relative("unrelated", value, value) for value in unrelated]
    found = Lineage(relatives=(relative("candidate", low, high), relative("derivation", 0.3, 0.3), *others))
    assert found.verdict == verdict
    assert verdict in found.sentence()


def test_known_derivations_are_noise_and_rounding() -> None:
    makers = known_derivations(seeds=(0, 1))
    assert len(makers) == 10
    assert all(callable(make) for make in makers.values())


def test_several_temperatures_are_refused() -> None:
    with pytest.raises(UsageError, match="temperature 1 alone"):
        lineage(A, STRANGER, SPACE, CompareConfig(temperatures=(1.0, 1.3)))
