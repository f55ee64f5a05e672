"""Edits together: shares, paired gains and the slope, where the outcome is known."""

import json

import numpy as np
import pytest

from armillary.errors import UsageError
from armillary.methods.lincorr import LogitEdit, beside_others, combine_edits
from armillary.methods.lincorr.editing import logistic_slope
from armillary.records.plain import plain


def edit(**changes) -> LogitEdit:
    changed = np.zeros((2, 3))
    plain = {
        "source": "Paris",
        "gold": ("France",),
        "steps": 5,
        "probability": 0.6,
        "failed": False,
        "before": ("Italy", "Italy"),
        "after": ("France", "France"),
        "most_raised": ("France", "Italy"),
        "success": 1.0,
        "success_before": 0.0,
        "success_by_rise": 0.5,
        "source_change": changed,
        "target_change": changed,
        "predicted_change": changed,
        "same_token_change": changed,
        "agreement": 0.5,
        "agreement_permuted": 0.0,
        "agreement_same_tokens": 0.6,
        "agreement_taught_row": 0.1,
        "weight_reference": 0.3,
        "weight_generalised": 0.3,
        "weight_largest": 0.4,
        "standardized_reference": 0.3,
        "generalised_rank": 1.0,
    }
    return LogitEdit(**{**plain, **changes})


def test_shares_over_the_edits_that_took():
    edits = [edit(), edit(success=0.5), edit(success=0.0, weight_generalised=0.4), edit(success=0.0)]
    edits += [edit(failed=True, success=0.0), edit(steps=0, success=0.0, agreement=float("nan"))]
    found = combine_edits(edits, 10)
    assert (found.edits, found.failed, found.untouched, found.wrong) == (4, 1, 1, 2)
    assert found.success.estimate == 0.375 and found.chance == pytest.approx(0.1)
    assert found.success_majority.estimate == 0.25 and found.success_majority.n == 4
    assert found.wrong_above_reference is not None and found.wrong_above_reference.estimate == 0.5
    assert found.agreement_permuted.estimate == 0.0
    assert json.dumps(plain(found), allow_nan=False)


def test_the_simple_forecasts_stand_beside_the_map():
    found = combine_edits([edit(), edit(agreement=0.7)], 10)
    assert found.over_same_tokens.estimate == pytest.approx(0.0)
    assert found.over_taught_row.estimate == pytest.approx(0.5)
    assert found.over_others is None and found.agreement_own is None


def test_what_all_edits_share_is_a_forecast_and_is_taken_out():
    """Each edit moves all targets by one shared profile and its own by a third; the map knows the own part only."""
    generator = np.random.default_rng(0)
    shared, own = generator.normal(size=(2, 30)), generator.normal(size=(6, 2, 30)) / 3
    edits = [edit(target_change=shared + mine, predicted_change=mine, same_token_change=shared) for mine in own]
    edits.append(edit(steps=0, target_change=np.full((2, 30), np.nan)))
    found = combine_edits(beside_others(edits), 30)
    assert found.agreement_others is not None and found.agreement_others.estimate > 0.85
    assert found.agreement_own is not None and found.agreement_own.estimate > 0.99
    assert found.over_others is not None and found.over_others.upper < 0
    assert found.agreement_same_tokens_own is not None and abs(found.agreement_same_tokens_own.estimate) < 0.5
    with pytest.raises(UsageError, match="same subjects"):
        beside_others([edit(), edit(target_change=np.zeros((1, 3)))])
    assert beside_others([edit()])[0].agreement_others is None


def test_undefined_agreements_are_left_out():
    found = combine_edits([edit(), edit(agreement=float("nan")), edit(agreement=0.7)], 10)
    assert found.agreement.estimate == pytest.approx(0.6) and found.agreement.n == 2
    assert found.over_same_tokens.n == 2


def test_all_right_leaves_nothing_wrong():
    found = combine_edits([edit(), edit(standardized_reference=0.9)], 10)
    assert (found.wrong, found.wrong_rank, found.wrong_above_reference, found.slope) == (0, None, None, None)


def test_too_few_edits_are_told():
    with pytest.raises(UsageError, match=r"only 1 of 3 edits took \(1 failed, 1 were known already\)"):
        combine_edits([edit(), edit(failed=True), edit(steps=0)], 10)


def test_slope_has_the_sign_of_the_truth():
    generator = np.random.default_rng(0)
    weight = generator.normal(size=200)
    chance = 1 / (1 + np.exp(-(2.0 * (weight - weight.mean()) / weight.std() - 0.5)))
    outcome = (generator.random(200) < chance).astype(float)
    up, down = logistic_slope(weight, outcome), logistic_slope(-weight, outcome)
    assert up.low < 2.0 < up.high and up.low > 1
    assert down.estimate == pytest.approx(-up.estimate)
    flat = logistic_slope(weight, generator.permutation(outcome))
    assert not flat.excludes(0)


def test_slope_equals_scikit_learns():
    from sklearn.linear_model import LogisticRegression

    generator = np.random.default_rng(1)
    weight = generator.normal(size=60)
    outcome = (weight + generator.normal(size=60) > 0).astype(float)
    unit = (weight - weight.mean()) / weight.std()
    oracle = LogisticRegression(C=1.0, tol=1e-8).fit(unit[:, None], outcome).coef_[0, 0]
    assert logistic_slope(weight, outcome).estimate == pytest.approx(oracle, rel=1e-3)


def test_slope_stays_finite_where_outcomes_are_separable():
    weight = np.arange(20.0)
    found = logistic_slope(weight, (weight > 9).astype(float))
    assert found.estimate < 10 and found.low > 0
    assert logistic_slope(weight, np.zeros(20)) is None
    assert logistic_slope(np.ones(20), (weight > 9).astype(float)) is None
