"""The table of what was forgotten."""

import json

import numpy as np
import pytest

from armillary.errors import UsageError
from armillary.methods.mdgd.forgetting import forgetting_table

BEFORE = {"colour": [1] * 90 + [0] * 10, "style": [1] * 40 + [0] * 10, "code": [0] * 60}
AFTER = {"colour": [1] * 45 + [0] * 55, "style": [1] * 40 + [0] * 10, "code": [1] * 57 + [0] * 3}


def test_numbers_by_hand() -> None:
    table = forgetting_table(BEFORE, AFTER, target="code", seed=0, replicates=500)
    colour, style, code = table.rows
    assert [row.task for row in table.rows] == ["colour", "style", "code"] and code.target and not colour.target
    assert colour.before.estimate == 0.9 and colour.after.estimate == pytest.approx(0.45)
    assert colour.change.estimate == pytest.approx(-0.45) and colour.change.excludes(0)
    assert style.change.estimate == 0 and not style.change.excludes(0)
    assert table.pretrained_before.estimate == pytest.approx(0.85)
    assert table.pretrained_after.estimate == pytest.approx(0.625)  # each task counts alike, whatever its size
    assert table.pretrained_change.estimate == pytest.approx(-0.225)
    assert table.h_score.estimate == pytest.approx(2 * 0.625 * 0.95 / (0.625 + 0.95))
    assert table.h_score.low is not None and table.h_score.low < table.h_score.estimate
    json.dumps(table.to_dict())


def test_pairing_narrows_the_change() -> None:
    generator = np.random.default_rng(0)
    before = (generator.random(400) < 0.5).astype(float)
    after = before.copy()
    after[:10] = 0  # almost the same questions are right
    table = forgetting_table({"a": before, "t": before}, {"a": after, "t": before}, target="t", seed=0)
    change = table.pretrained_change
    assert change.low is not None and change.high is not None and change.high - change.low < 0.04
    apart = table.pretrained_before
    assert apart.low is not None and apart.high is not None and apart.high - apart.low > 0.08


def test_nothing_learned_and_nothing_kept_has_no_score() -> None:
    nothing = {"a": [0, 0], "t": [0, 0]}
    assert forgetting_table(nothing, nothing, target="t", seed=0, replicates=10).h_score.estimate == 0


def test_bad_input_is_one_sentence() -> None:
    for before, after, target in (
        (BEFORE, AFTER, "none"),
        (BEFORE, {"code": [1]}, "code"),
        ({"t": [1]}, {"t": [1]}, "t"),
    ):
        with pytest.raises(UsageError, match="the same tasks before and after"):
            forgetting_table(before, after, target=target, seed=0)
    with pytest.raises(UsageError, match="one length"):
        forgetting_table({"a": [1, 0], "t": [1]}, {"a": [1], "t": [1]}, target="t", seed=0)
