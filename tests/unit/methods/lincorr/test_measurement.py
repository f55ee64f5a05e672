"""Cases whose answer is known beforehand: what the scores must be on tables made of known numbers."""

import numpy as np
import pytest
import torch

from armillary.errors import NumericError, UsageError
from armillary.methods.lincorr import LinCorrConfig, core, fit_relation, measure
from armillary.numerics import RidgePath, fit_linear, pearson_columns

OLS = LinCorrConfig(ridge=0.0, replicates=50, permutations=3)


def random(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def test_an_exactly_linear_relation_is_recovered(make):
    source, weight, offset = random(0, 800, 20), random(1, 20, 7), random(2, 7)
    result = measure(make(source, source @ weight + offset, OLS), OLS)
    assert result.correlation.estimate == pytest.approx(1, abs=1e-6)
    assert result.correlation_ols is not None and result.correlation_ols.low == pytest.approx(1, abs=1e-6)
    assert result.r_squared.estimate == pytest.approx(1, abs=1e-6)
    torch.testing.assert_close(result.fit.weight_ST, torch.from_numpy(weight), atol=1e-5, rtol=0)
    torch.testing.assert_close(result.fit.linear.intercept, torch.from_numpy(offset), atol=1e-5, rtol=0)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
def test_noise_lowers_the_correlation_as_it_should(make, sigma):
    source = random(0, 20_000, 5)
    weight = np.linalg.qr(random(1, 5, 4))[0]  # orthonormal columns: a signal of unit variance
    measured = source @ weight + sigma * random(2, 20_000, 4)
    result = measure(make(source, measured, OLS), OLS)
    assert result.correlation.estimate == pytest.approx(1 / np.sqrt(1 + sigma**2), abs=0.02)
    assert result.r_squared.estimate == pytest.approx(1 / (1 + sigma**2), abs=0.02)


def test_independent_logits_correlate_only_where_they_were_fitted(make):
    source, target = random(0, 4000, 80), random(1, 4000, 30)
    tables = make(source, target, OLS)
    result = measure(tables, OLS)
    assert abs(result.correlation.estimate) < 3 / np.sqrt(len(tables.test))
    assert result.correlation.low < 0 < result.correlation.high
    predicted = result.fit.predict(tables.source.rows(tables.train))
    on_train = pearson_columns(predicted, tables.target.rows(tables.train)).mean()
    assert float(on_train) == pytest.approx(np.sqrt(80 / 2000), abs=0.03)


def test_a_random_target_stays_inside_the_permuted_null(make):
    config = LinCorrConfig(permutations=100, replicates=50)
    result = measure(make(random(0, 600, 20), random(1, 600, 15), config), config)
    assert result.permuted.n == 100
    assert result.permuted.low < result.correlation.estimate < result.permuted.high
    assert abs(result.permuted.estimate) < 0.03


def test_few_rows_fit_noise(make):
    source, weight = random(0, 4000, 60), random(1, 60, 10)
    target = source @ weight + 6 * random(2, 4000, 10)
    scores = {}
    for rows in (260, 4000):
        tables = make(source[:rows], target[:rows], OLS)
        scores[rows] = measure(tables, OLS).correlation.estimate
    assert scores[260] < scores[4000] - 0.1


def test_too_few_rows_are_refused_or_noted(make):
    source, target = random(0, 100, 40), random(1, 100, 4)
    with pytest.raises(UsageError, match=r"50 fitting rows are too few .* 40 source tokens \(at least 80"):
        measure(make(source, target, OLS), OLS)
    with pytest.raises(UsageError, match="too few"):
        fit_relation(make(source, target, OLS), OLS)
    ridge = LinCorrConfig(replicates=20)
    result = measure(make(source, target, ridge), ridge)
    assert result.correlation_ols is None
    assert any("5 each are advised" in note for note in result.notes)
    assert any("least squares left out" in note for note in result.notes)
    enough = measure(make(random(0, 100, 4), target, ridge), ridge)
    assert not [note for note in enough.notes if "advised" in note]


def test_a_permutation_is_found_in_the_weights_both_ways(make):
    order = np.random.default_rng(3).permutation(12)
    source = random(0, 600, 12)
    target = np.empty_like(source)
    target[:, order] = source  # source i drives target order[i]
    gold = [{int(j)} for j in order]
    result = measure(make(source, target, OLS, gold), OLS)
    for direction in ("influenced", "influencing"):
        hit = result.hit(1, direction)
        assert hit is not None and hit.rate.estimate == 1 and hit.chance == pytest.approx(1 / 12)
    rates = []
    for seed in range(40):
        wrong = [{int(j)} for j in np.random.default_rng(seed).permutation(12)]
        hit = measure(make(source, target, OLS, wrong), OLS).hit(1)
        assert hit is not None
        rates.append(hit.rate.estimate)
    assert np.mean(rates) == pytest.approx(1 / 12, abs=0.05)


def test_a_common_offset_correlates_until_rows_are_centred(make):
    offset = 5 * random(0, 2000, 1)
    source = offset + 0.1 * random(1, 2000, 10)
    target = np.repeat(offset, 6, axis=1) + 0.1 * random(2, 2000, 6)
    result = measure(make(source, target, OLS), OLS)
    assert result.correlation.estimate > 0.99
    assert result.rank_one.estimate > 0.99
    assert abs(result.centred.estimate) < 0.1
    assert not result.over_rank_one.excludes(0) or abs(result.over_rank_one.estimate) < 1e-3


def test_a_map_of_single_tokens_beats_the_rank_one_baseline(make):
    source = random(0, 2000, 10)
    result = measure(make(source, source @ random(1, 10, 6), OLS), OLS)
    assert result.rank_one.estimate < 0.6
    assert result.over_rank_one.low > 0.3


def test_scale_of_a_source_column_changes_only_its_raw_weights(make):
    source, weight = random(0, 600, 8), random(1, 8, 5)
    target = source @ weight + random(2, 600, 5)
    scaled = source.copy()
    scaled[:, 3] *= 10
    plain, big = (fit_relation(make(x, target, OLS), OLS) for x in (source, scaled))
    torch.testing.assert_close(big.weight_ST[3], plain.weight_ST[3] / 10)
    torch.testing.assert_close(big.weights("standardized"), plain.weights("standardized"))
    torch.testing.assert_close(big.predict(torch.from_numpy(scaled)), plain.predict(torch.from_numpy(source)))


def test_constant_target_tokens_are_left_out_and_counted(make):
    source = random(0, 400, 6)
    target = source @ random(1, 6, 4)
    target[:, 2] = 7.0
    result = measure(make(source, target, OLS), OLS)
    assert result.excluded == 1 and np.isnan(result.per_word["t2"])
    assert result.correlation.estimate == pytest.approx(1, abs=1e-6)
    assert any("constant logit" in note for note in result.notes)
    with pytest.raises(NumericError, match="constant"):
        measure(make(source, np.full((400, 3), 2.0), OLS), OLS)


def test_resamples_are_weighted_correlations_of_the_drawn_rows():
    predicted, measured = (torch.from_numpy(random(seed, 40, 3)) for seed in (0, 1))
    rows = core.TestRows(40, replicates=5, level=0.9, seed=7)
    found = rows.mean_correlation(predicted, measured)
    r_squared = rows.mean_r_squared(predicted, measured)
    counts = np.random.default_rng(7).multinomial(40, np.full(40, 1 / 40), size=5)
    for value, r2, drawn in zip(found.values_R, r_squared.values_R, counts, strict=True):
        picked = torch.from_numpy(np.repeat(np.arange(40), drawn))
        a, b = predicted[picked], measured[picked]
        assert value == pytest.approx(float(pearson_columns(a, b).mean()), abs=1e-10)
        oracle = 1 - (a - b).square().sum(0) / (b - b.mean(0)).square().sum(0)
        assert r2 == pytest.approx(float(oracle.mean()), abs=1e-10)
    same = rows.interval(found, found)
    assert (same.estimate, same.low, same.high) == (0, 0, 0)


def test_shuffled_fits_equal_fits_to_shuffled_rows():
    source, target = (torch.from_numpy(random(seed, 60, 5)) for seed in (0, 1))
    fits = list(core.shuffled_fits(RidgePath(source), target, 0.5, permutations=2, seed=4))
    generator = np.random.default_rng(4)
    for fit in fits:
        oracle = fit_linear(source, target[torch.from_numpy(generator.permutation(60))], 0.5)
        torch.testing.assert_close(fit.weight, oracle.weight)
    assert not torch.equal(fits[0].weight, fits[1].weight)
