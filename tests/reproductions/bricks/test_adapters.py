"""Retrieval against fixed, oracle and base choices; what a merged brick keeps."""

import numpy as np
import pytest

from armillary.errors import NumericError, UsageError
from armillary.methods.bricks.brick import Brick
from armillary.methods.bricks.library.mounting import mounted
from armillary.methods.bricks.payloads import Index
from armillary.models import tiny
from armillary.scoring import sequence_nll
from reproductions.bricks.adapters import AdapterDraw, losses_under, retention
from reproductions.bricks.measures import retrieval_measures
from reproductions.bricks.scale import TASKS

TEXTS = ["The capital of France is Paris", "red blue green", "one two three four five"]


def test_losses_are_those_of_the_brick_mounted_alone() -> None:
    loaded = tiny()
    brick = Brick.of(loaded, Index({0: np.arange(8)}), name="without eight", op="mask")
    assert losses_under(loaded, [], TEXTS) == list(sequence_nll(loaded, TEXTS).per_token)
    with mounted(loaded, [brick]):
        masked = list(sequence_nll(loaded, TEXTS).per_token)
    assert losses_under(loaded, [brick], TEXTS) == masked != losses_under(loaded, [], TEXTS)


def planted(first: list[str | None], owners: list[str]) -> AdapterDraw:
    """A brick gains 1 on texts of its own task and loses 0.5 on the others."""
    noise = np.random.default_rng(0).normal(0, 0.01, len(owners))
    return AdapterDraw(
        owners=owners,
        base=(3 + noise).tolist(),
        alone={task: (np.array([2.0 if own == task else 3.5 for own in owners]) + noise).tolist() for task in TASKS},
        first=first,
        merged={"average": (2.8 + noise).tolist()},
        negated=[],
        retention={},
    )


OWNERS = [TASKS[row % len(TASKS)] for row in range(42)]


def test_right_retrieval_equals_the_oracle_and_beats_the_rest() -> None:
    measures = retrieval_measures([planted(list(OWNERS), OWNERS)])
    assert measures["retrieval/retrieved minus oracle"].estimate == 0
    assert measures["retrieval/own brick first"].estimate == 1
    assert measures["retrieval/retrieved minus base"].estimate == pytest.approx(-1, abs=1e-9)
    assert measures["retrieval/retrieved minus average of all"].estimate == pytest.approx(-0.8)
    fixed = measures["retrieval/retrieved minus best fixed"]
    assert fixed.upper < 0 and fixed.estimate == pytest.approx(-1)
    assert measures["retrieval/retrieved minus one by lot"].estimate == pytest.approx(-1)


def test_wrong_or_no_retrieval_shows() -> None:
    wrong = retrieval_measures([planted([TASKS[(row + 1) % len(TASKS)] for row in range(42)], OWNERS)])
    assert wrong["retrieval/retrieved minus oracle"].estimate == pytest.approx(1.5)
    assert wrong["retrieval/own brick first"].estimate == 0
    nothing = retrieval_measures([planted([None] * 42, OWNERS)])
    assert nothing["retrieval/retrieved minus base"].estimate == 0
    assert nothing["retrieval/own brick first"].estimate == 0


def test_retention_is_the_share_of_the_gain_kept() -> None:
    generator = np.random.default_rng(0)
    base = generator.normal(3, 0.2, 60)
    own = base - generator.normal(1, 0.05, 60)
    for share in (1.0, 0.6, 0.0, -0.5):
        kept = retention(base, base - share * (base - own), own)
        assert kept.estimate == pytest.approx(share, abs=1e-9)
        assert kept.lower == pytest.approx(share, abs=1e-6) and kept.upper == pytest.approx(share, abs=1e-6)
    half = retention(base, base - generator.normal(0.5, 0.1, 60), own)
    assert half.low is not None and half.low < 0.5 < half.upper and half.upper - half.low < 0.1
    with pytest.raises(NumericError, match="gains nothing"):
        retention(base, own, base)
    with pytest.raises(UsageError, match="three lists"):
        retention(base, own[:5], own)
