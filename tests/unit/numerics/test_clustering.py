"""k-means against the exact clustering of few rows, its start, its memory, and its degenerate cases."""

import itertools
import resource

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans as Reference
from sklearn.metrics import adjusted_rand_score

from armillary.errors import NumericError, UsageError
from armillary.numerics.clustering import SEEDING_ROWS, KMeans, kmeans


def blobs(n: int, d: int, k: int, spread: float) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    generator = np.random.default_rng(0)
    centers = generator.standard_normal((k, d))
    truth = generator.integers(k, size=n)
    return (centers[truth] + spread * generator.standard_normal((n, d))).astype(np.float32), truth


def inertia(x: NDArray[np.floating], fit: KMeans) -> float:
    return float(np.square(x.astype(np.float64) - fit.centers_KD[fit.labels_N]).sum())


def test_separated_blobs_are_found() -> None:
    x, truth = blobs(1500, 20, 12, 0.05)
    fit = kmeans(x, 12, seed=0)
    assert fit.converged
    assert adjusted_rand_score(truth, fit.labels_N) == 1.0


def test_of_few_rows_the_best_of_all_clusterings_is_found() -> None:
    x = np.random.default_rng(1).standard_normal((7, 3))
    best = min(
        sum(np.square(x[labels == c] - x[labels == c].mean(0)).sum() for c in range(2) if (labels == c).any())
        for labels in map(np.array, itertools.product(range(2), repeat=7))
    )
    assert min(inertia(x, kmeans(x.copy(), 2, seed=seed)) for seed in range(5)) == pytest.approx(best)


def test_a_start_from_a_sample_ends_as_low_as_one_from_all_rows() -> None:
    x, _ = blobs(4 * SEEDING_ROWS, 8, 20, 0.6)
    reference = Reference(20, n_init=1, random_state=0).fit(x).inertia_
    assert inertia(x, kmeans(x.copy(), 20, seed=0)) == pytest.approx(reference, rel=0.03)


def test_centers_are_the_means_of_their_rows() -> None:
    x, _ = blobs(400, 5, 6, 0.8)
    wide = x.astype(np.float64)
    fit = kmeans(wide.copy(), 6, seed=3)
    means = np.stack([wide[fit.labels_N == cluster].mean(0) for cluster in range(6)])
    np.testing.assert_allclose(fit.centers_KD, means, atol=1e-12)
    nearest = np.square(wide[:, None] - fit.centers_KD).sum(2).argmin(1)
    np.testing.assert_array_equal(nearest, fit.labels_N)


def test_a_seed_repeats_its_clustering_bit_for_bit_with_any_number_of_threads_allowed() -> None:
    x, _ = blobs(5000, 8, 5, 0.5)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        one, again = kmeans(x.copy(), 5, seed=1), kmeans(x.copy(), 5, seed=1)
        torch.set_num_threads(4)
        four = kmeans(x.copy(), 5, seed=1)
    finally:
        torch.set_num_threads(before)
    for other in (again, four):
        np.testing.assert_array_equal(one.centers_KD, other.centers_KD)
        np.testing.assert_array_equal(one.labels_N, other.labels_N)
    assert not np.array_equal(one.centers_KD, kmeans(x.copy(), 5, seed=2).centers_KD)


def test_far_off_rows_keep_their_digits_and_are_put_back() -> None:
    x, truth = blobs(600, 4, 3, 0.05)
    far = x + np.float32(3000)
    assert adjusted_rand_score(truth, kmeans(far, 3, seed=0).labels_N) == 1.0
    np.testing.assert_allclose(far, x + np.float32(3000), atol=1e-3)


def test_no_copy_of_the_rows_is_made() -> None:
    x = np.random.default_rng(0).standard_normal((60_000, 256), dtype=np.float32)  # 61 MB
    kmeans(x[:2000].copy(), 64, seed=0, max_iterations=1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    kmeans(x, 64, seed=0, max_iterations=2)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < x.nbytes / 2


def test_as_many_clusters_as_rows_and_one_cluster() -> None:
    x = np.random.default_rng(0).standard_normal((9, 3))
    assert sorted(kmeans(x.copy(), 9, seed=0).labels_N.tolist()) == list(range(9))
    np.testing.assert_allclose(kmeans(x.copy(), 1, seed=0).centers_KD[0], x.mean(0))


def test_fewer_distinct_rows_than_clusters() -> None:
    x = np.array([[0.0, 0.0], [1.0, 1.0]]).repeat(10, axis=0)
    fit = kmeans(x.copy(), 5, seed=0)
    assert inertia(x, fit) == pytest.approx(0, abs=1e-10)
    assert len(np.unique(fit.labels_N)) == 2


def test_bad_input_is_one_sentence() -> None:
    x = np.random.default_rng(0).standard_normal((5, 2))
    for k in (0, 6):
        with pytest.raises(UsageError, match=f"between 1 and 5 clusters for 5 rows; got k={k}"):
            kmeans(x, k, seed=0)
    with pytest.raises(UsageError, match="max_iterations must be at least 1; got 0"):
        kmeans(x, 2, seed=0, max_iterations=0)
    with pytest.raises(UsageError, match="non-empty table"):
        kmeans(x[0], 2, seed=0)
    for bad in (np.nan, np.inf, 1e200):
        x[3, 0] = bad
        with pytest.raises(NumericError, match="row 3"):
            kmeans(x, 2, seed=0)
