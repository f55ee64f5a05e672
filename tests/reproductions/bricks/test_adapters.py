"""Retrieval against fixed, oracle and base choices; what a merged brick keeps."""

import numpy as np
import pytest

from armillary.methods.bricks.brick import Brick
from armillary.methods.bricks.library.mounting import mounted
from armillary.methods.bricks.payloads import Index
from armillary.models import tiny
from armillary.scoring import sequence_nll
from reproductions.bricks.adapters import AdapterDraw, losses_under
from reproductions.bricks.measures import merging_measures, retrieval_measures
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
        learned={},
    )


OWNERS = [TASKS[row % len(TASKS)] for row in range(42)]


def test_right_retrieval_equals_the_oracle_and_beats_the_rest() -> None:
    measures = retrieval_measures([planted(list(OWNERS), OWNERS)])
    assert measures["retrieval/retrieved minus oracle"].estimate == 0
    assert measures["retrieval/own brick first"].estimate == 1
    assert measures["retrieval/oracle minus base"].estimate == pytest.approx(-1, abs=1e-9)
    fixed = measures["retrieval/retrieved minus best fixed"]
    assert fixed.upper < 0 and fixed.estimate == pytest.approx(-1)
    assert measures["retrieval/retrieved minus one by lot"].estimate == pytest.approx(-1)


def test_wrong_or_no_retrieval_shows() -> None:
    wrong = retrieval_measures([planted([TASKS[(row + 1) % len(TASKS)] for row in range(42)], OWNERS)])
    assert wrong["retrieval/retrieved minus oracle"].estimate == pytest.approx(1.5)
    assert wrong["retrieval/own brick first"].estimate == 0
    nothing = retrieval_measures([planted([None] * 42, OWNERS)])
    assert nothing["retrieval/retrieved minus oracle"].estimate == pytest.approx(1)
    assert nothing["retrieval/own brick first"].estimate == 0


def merged(kept: float, falls: dict[str, list[float]]) -> AdapterDraw:
    """Adapters that gain 1 on texts of their own, of which the merge keeps a share; ``falls`` judge nothing."""
    owners = [task for task in TASKS for _ in range(4)]
    alone = {task: [2.0 if own == task else 3.0 for own in owners] for task in TASKS}
    return AdapterDraw(
        owners=owners,
        base=[3.0] * len(owners),
        alone=alone,
        first=[None] * len(owners),
        merged={"average": [3.0 - kept] * len(owners)},
        negated=[3.5 if own == TASKS[0] else 3.1 for own in owners],
        learned=falls,
    )


def test_retention_is_over_the_adapters_that_learned_on_other_texts() -> None:
    sure, unsure = [0.5, 0.4, 0.6, 0.5], [0.5, -0.4, 0.3, -0.2]
    draws = [merged(share, dict(zip(TASKS, (sure, sure, unsure), strict=True))) for share in (0.4, 0.8)]
    measures = merging_measures(draws)
    gained = measures["merging/adapters with a sure gain"]
    assert gained.estimate == pytest.approx(4 / 6) and gained.n == 6 and gained.how.startswith("4 of 6")
    retention = measures["merging/retention, average"]
    assert retention.estimate == pytest.approx(0.6) and retention.n == 4
    assert 0.39 < retention.lower < 0.5 and 0.7 < retention.upper < 0.81
    assert measures["merging/negation, own minus others"].estimate == pytest.approx(0.4)
    assert measures["merging/gain of the subtracted adapter"].estimate == pytest.approx(1)


def test_retention_is_absent_where_no_adapter_learned() -> None:
    measures = merging_measures([merged(0.5, {task: [0.1, -0.1, 0.1, -0.1] for task in TASKS})])
    assert measures["merging/adapters with a sure gain"].estimate == 0
    assert "merging/retention, average" not in measures
