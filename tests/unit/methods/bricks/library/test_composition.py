"""Retrieval against fixed, oracle, average and base choices; what a merged brick keeps."""

import numpy as np
import pytest

from armillary.errors import NumericError, UsageError
from armillary.methods.bricks.library.mounting import mounted
from armillary.methods.bricks.library.retrieval import Retrieval, RetrievedBrick
from armillary.methods.bricks.merging.adapters import merge
from armillary.models import tiny
from armillary.scoring.nll import sequence_nll
from reproductions.bricks.adapters import BrickLosses, brick_losses, retention, retrieval_gain

from ..bricks_toy import bit_equal, lora_brick, snapshot

TEXTS = ["The capital of France is Paris", "red blue green", "one two three four five"]


def test_losses_are_those_of_each_brick_mounted_alone() -> None:
    loaded = tiny()
    bricks = [lora_brick(loaded, seed) for seed in range(2)]
    kept = snapshot(loaded)
    found = brick_losses(loaded, bricks, TEXTS)
    assert bit_equal(loaded, kept) and found.alone_NB.shape == (3, 2)
    np.testing.assert_array_equal(found.base_N, sequence_nll(loaded, TEXTS).per_token)
    for place, brick in enumerate(bricks):
        with mounted(loaded, [brick]):
            np.testing.assert_array_equal(found.alone_NB[:, place], sequence_nll(loaded, TEXTS).per_token)
    with mounted(loaded, [merge(bricks).brick]):
        np.testing.assert_array_equal(found.average_N, sequence_nll(loaded, TEXTS).per_token)
    with pytest.raises(UsageError, match="bricks and texts"):
        brick_losses(loaded, [], TEXTS)


def chosen(brick: str | None) -> Retrieval:
    picks = () if brick is None else (RetrievedBrick(brick=brick, score=0.9, weight=1.0),)
    return Retrieval(chosen=picks, best_score=0.9, threshold=0.5)


def planted(n: int = 40) -> tuple[BrickLosses, list[str]]:
    """Two kinds of text; a brick gains 1 on its own kind and loses 0.5 on the other."""
    own = ["a" if row % 2 else "b" for row in range(n)]
    noise = np.random.default_rng(0).normal(0, 0.01, (n, 1))
    alone = np.array([[2.0, 3.5] if one == "a" else [3.5, 2.0] for one in own]) + noise
    return BrickLosses(bricks=("a", "b"), base_N=3 + noise[:, 0], alone_NB=alone, average_N=2.8 + noise[:, 0]), own


def test_right_retrieval_equals_the_oracle_and_beats_the_rest() -> None:
    losses, own = planted()
    found = retrieval_gain(losses, own, [chosen(one) for one in own])
    assert found.retrieved_minus_oracle.estimate == 0 and found.right.estimate == 1 and found.none.estimate == 0
    assert found.retrieved_minus_base.estimate == pytest.approx(-1, abs=1e-9)
    assert found.retrieved_minus_fixed.upper < 0 and found.retrieved_minus_fixed.estimate == pytest.approx(-0.75)
    means = {name: one.estimate for name, one in found.means.items()}
    assert means == pytest.approx(
        {"base": 3, "retrieved": 2, "oracle": 2, "random": 2.75, "average": 2.8, "a": 2.75, "b": 2.75}, abs=0.02
    )


def test_wrong_or_no_retrieval_shows() -> None:
    losses, own = planted()
    wrong = retrieval_gain(losses, own, [chosen("b" if one == "a" else "a") for one in own])
    assert wrong.retrieved_minus_oracle.estimate == pytest.approx(1.5) and wrong.right.estimate == 0
    alone = retrieval_gain(losses, own, [chosen(None)] * len(own))
    assert alone.none.estimate == 1 and alone.retrieved_minus_base.estimate == 0
    with pytest.raises(UsageError, match="each of the 40 texts"):
        retrieval_gain(losses, own[:3], [chosen("a")] * 40)


def test_retention_is_the_share_of_the_gain_kept() -> None:
    generator = np.random.default_rng(0)
    base = generator.normal(3, 0.2, 60)
    own = base - generator.normal(1, 0.05, 60)
    for share in (1.0, 0.6, 0.0, -0.5):
        found = retention(base, base - share * (base - own), own)
        assert found.estimate == pytest.approx(share, abs=1e-9)
        assert found.lower == pytest.approx(share, abs=1e-6) and found.upper == pytest.approx(share, abs=1e-6)
    half = retention(base, base - generator.normal(0.5, 0.1, 60), own)
    assert half.low is not None and half.low < 0.5 < half.upper and half.upper - half.low < 0.1
    with pytest.raises(NumericError, match="gains nothing"):
        retention(base, own, base)
    with pytest.raises(UsageError, match="three lists"):
        retention(base, own[:5], own)
