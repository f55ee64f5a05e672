"""k-means against scikit-learn, its memory, and its degenerate cases."""

import resource

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans as Reference
from sklearn.metrics import adjusted_rand_score

from armillary.errors import NumericError, UsageError
from armillary.numerics.clustering import BLOCK_BYTES, KMeans, _Rows, block_rows, kmeans


def blobs(n: int, d: int, k: int, spread: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    centers = torch.randn(k, d, generator=generator)
    truth = torch.randint(k, (n,), generator=generator)
    return centers[truth] + spread * torch.randn(n, d, generator=generator), truth


def exact_inertia(x: torch.Tensor, fit: KMeans) -> float:
    return float((x.double() - fit.centers.double()[fit.labels]).square().sum())


def test_separated_blobs_are_found() -> None:
    x, truth = blobs(1500, 20, 12, 0.05)
    fit = kmeans(x, 12, seed=0)
    assert fit.converged
    assert adjusted_rand_score(truth.numpy(), fit.labels.numpy()) == 1.0
    assert fit.inertia == pytest.approx(exact_inertia(x, fit), rel=1e-5)


@pytest.mark.parametrize(("spread", "k"), [(0.6, 20), (2.0, 35)])
def test_inertia_is_close_to_scikit_learn(spread: float, k: int) -> None:
    x, _ = blobs(3000, 16, 20, spread)
    reference = Reference(k, n_init=1, random_state=0).fit(x.numpy()).inertia_
    assert kmeans(x, k, seed=0).inertia == pytest.approx(reference, rel=0.04)


def test_a_run_from_the_same_start_gives_the_same_clustering() -> None:
    x, _ = blobs(400, 5, 6, 0.8)
    x = x.double()
    fit = kmeans(x, 6, seed=3, tolerance=0.0)
    oracle = Reference(6, init=fit.centers.numpy(), n_init=1, tol=0).fit(x.numpy())
    np.testing.assert_array_equal(oracle.labels_, fit.labels.numpy())
    np.testing.assert_allclose(oracle.cluster_centers_, fit.centers.numpy(), atol=1e-10)
    assert fit.inertia == pytest.approx(oracle.inertia_, rel=1e-10)


def test_blocks_do_not_change_the_answer_and_a_seed_repeats_it() -> None:
    x, _ = blobs(700, 8, 5, 0.5)
    whole, again, other = kmeans(x, 5, seed=1), kmeans(x, 5, seed=1), kmeans(x, 5, seed=2)
    blocked = kmeans(x, 5, seed=1, block_bytes=16 * 8 * 50)
    assert torch.equal(whole.centers, again.centers)
    assert torch.equal(whole.labels, blocked.labels)
    torch.testing.assert_close(whole.centers, blocked.centers, rtol=0, atol=1e-5)
    assert not torch.equal(whole.centers, other.centers)


def test_far_off_data_keeps_its_digits() -> None:
    x, truth = blobs(600, 4, 3, 0.05)
    fit = kmeans((x + 3000).float(), 3, seed=0)
    assert adjusted_rand_score(truth.numpy(), fit.labels.numpy()) == 1.0


def test_the_block_of_the_largest_accepted_shape_is_bounded() -> None:
    x = torch.zeros(1, 2048).expand(300_000, 2048)  # the shape alone: one stored row
    assert block_rows(x, 1000, BLOCK_BYTES) * (2048 * (4 + 4 + 8) + 4 * 1000) <= BLOCK_BYTES
    assert block_rows(x, 1000, BLOCK_BYTES) > 1000
    assert block_rows(x, 1000, 1) == 1


def test_memory_stays_below_a_copy_of_the_rows() -> None:
    x = torch.randn(60_000, 256, generator=torch.Generator().manual_seed(0))  # 61 MB
    kmeans(x[:2000], 64, seed=0, max_iterations=1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    kmeans(x, 64, seed=0, max_iterations=3, block_bytes=2**20)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < x.numel() * 4


def test_cosine_ignores_length() -> None:
    generator = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(5, 10, generator=generator), dim=1)
    truth = torch.randint(5, (500,), generator=generator)
    x = directions[truth] + 0.03 * torch.randn(500, 10, generator=generator)
    x = x * torch.rand(500, 1, generator=generator).add(0.01) * 100
    fit = kmeans(x, 5, seed=0, cosine=True)
    assert adjusted_rand_score(truth.numpy(), fit.labels.numpy()) == 1.0
    torch.testing.assert_close(fit.centers.norm(dim=1), torch.ones(5))
    assert adjusted_rand_score(truth.numpy(), kmeans(x, 5, seed=0).labels.numpy()) < 0.9


def test_as_many_clusters_as_rows_and_one_cluster() -> None:
    x = torch.randn(9, 3, generator=torch.Generator().manual_seed(0))
    assert kmeans(x, 9, seed=0).inertia == pytest.approx(0, abs=1e-10)
    torch.testing.assert_close(kmeans(x, 1, seed=0).centers[0], x.mean(0))


def test_fewer_distinct_rows_than_clusters() -> None:
    x = torch.tensor([[0.0, 0.0], [1.0, 1.0]]).repeat(10, 1)
    fit = kmeans(x, 5, seed=0)
    assert fit.inertia == pytest.approx(0, abs=1e-10)
    assert len(fit.labels.unique()) == 2


def test_an_empty_cluster_restarts_at_the_farthest_row() -> None:
    x = torch.tensor([[0.0], [0.1], [0.2], [50.0]])
    rows = _Rows(x, 2, cosine=False, block_bytes=2**20)
    labels = torch.zeros(4, dtype=torch.int64)
    means = rows.means(labels, torch.tensor([0.0, 0.1, 0.2, 50.0]), torch.zeros(2, 1)) + rows.origin
    torch.testing.assert_close(means, torch.tensor([[0.1], [50.0]]))


def test_bad_input_is_one_sentence() -> None:
    x = torch.randn(5, 2)
    for k in (0, 6):
        with pytest.raises(UsageError, match=f"between 1 and 5 clusters for 5 rows; got k={k}"):
            kmeans(x, k, seed=0)
    x[3, 0] = float("nan")
    with pytest.raises(NumericError, match="row 3"):
        kmeans(x, 2, seed=0)
    with pytest.raises(NumericError, match="row 0 is zero"):
        kmeans(torch.zeros(4, 2), 2, seed=0, cosine=True)
