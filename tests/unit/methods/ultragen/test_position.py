"""Position bias: a known slope comes back, and kinds at different places are told from places."""

import numpy as np
import pytest

from armillary.errors import InsufficientSamplesError, UsageError
from armillary.methods.ultragen.analyse import PlacedVerdicts, position_bias
from armillary.methods.ultragen.analyse.position import logistic_slopes

KINDS = ("include", "exclude", "word_count", "starts_with", "casing", "bullets")
EFFECTS = dict(zip(KINDS, (-0.5, 2.5, -1.5, 0.5, 1.0, -1.0), strict=True))


def drawn(slope: float, *, samples: int, seed: int, sorted_by_ease: bool = False) -> list[PlacedVerdicts]:
    """Verdicts under logit p = effect of the kind + slope * place; 20 attributes a prompt."""
    generator = np.random.default_rng(seed)
    reports = []
    for _ in range(samples):
        kinds = list(generator.choice(KINDS, 20))
        if sorted_by_ease:
            # Easy kinds tend to come first, but any kind may stand anywhere.
            kinds.sort(key=lambda kind: -EFFECTS[kind] + 2 * generator.standard_normal())
        log_odds = np.array([EFFECTS[kind] for kind in kinds]) + slope * np.linspace(0, 1, 20)
        passed = generator.random(20) < 1 / (1 + np.exp(-log_odds))
        reports.append(PlacedVerdicts(kinds=tuple(kinds), satisfied=tuple(map(bool, passed))))
    return reports


@pytest.mark.parametrize("slope", [-0.8, 0.0, 1.2])
def test_a_known_slope_is_recovered(slope: float) -> None:
    bias = position_bias(drawn(slope, samples=200, seed=1), replicates=100)
    spread = (bias.slope.upper - bias.slope.lower) / 3.92
    assert bias.slope.estimate == pytest.approx(slope, abs=2 * spread)
    assert bias.slope.excludes(0) == (slope != 0)
    assert (bias.samples, bias.verdicts) == (200, 4000)
    rising = [interval.estimate for interval in bias.fifths]
    assert len(rising) == 5
    if slope:
        assert np.sign(rising[-1] - rising[0]) == np.sign(slope)
        assert bias.range.estimate > bias.range_by_chance


def test_kinds_at_different_places_are_no_bias() -> None:
    slopes, naive = [], []
    for seed in range(12):
        bias = position_bias(drawn(0.5, samples=100, seed=seed, sorted_by_ease=True), replicates=2)
        slopes.append(bias.slope.estimate)
        naive.append(bias.slope_without_kinds.estimate)
    error = np.std(slopes, ddof=1) / np.sqrt(len(slopes))
    assert np.mean(slopes) == pytest.approx(0.5, abs=2.5 * error)
    assert np.mean(naive) < 0  # even of the wrong sign


def test_the_regression_is_scikit_learns() -> None:
    from sklearn.linear_model import LogisticRegression

    generator = np.random.default_rng(0)
    kinds, places = generator.integers(4, size=300), generator.random(300)
    passed = (generator.random(300) < 1 / (1 + np.exp(-(kinds - 1.5 + 0.7 * places)))).astype(float)
    weights = np.stack([np.ones(300), generator.integers(0, 3, size=300).astype(float)])
    ours = logistic_slopes(places, passed, kinds, weights)
    columns = np.column_stack([np.eye(4)[kinds], places])
    for slope, weight in zip(ours, weights, strict=True):
        theirs = LogisticRegression(C=1e6, fit_intercept=False, tol=1e-10, max_iter=1000)
        theirs.fit(columns, passed, sample_weight=weight)
        assert slope == pytest.approx(theirs.coef_[0, -1], abs=1e-3)


def test_what_was_not_judged_keeps_its_place_and_counts_nowhere() -> None:
    row = PlacedVerdicts(kinds=("a",) * 5, satisfied=(True, None, False, None, False))
    other = PlacedVerdicts(kinds=("a",) * 5, satisfied=(True, None, True, None, False))
    bias = position_bias([row, other], replicates=20)
    assert [interval.estimate for interval in bias.fifths] == [1.0, 0.5, 0.0]
    assert bias.verdicts == 6
    with pytest.raises(InsufficientSamplesError, match="got 1 with 3 verdicts"):
        position_bias([row])
    with pytest.raises(UsageError, match="2 kinds but 1 verdicts"):
        PlacedVerdicts(kinds=("a", "b"), satisfied=(True,))
