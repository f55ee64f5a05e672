"""The key space against brute force and known clusters, on every kind of tiny model."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score
from torch import Tensor, nn

from armillary.errors import ModelError, NumericError, UsageError
from armillary.methods.icn import KeyClusters, KeySpace, auto_clusters, in_top_clusters, keys
from armillary.models import LoadedModel, tiny
from armillary.models.anatomy import shaped
from armillary.records.plain import plain

KINDS = ("llama", "gemma3", "gemma2", "qwen3", "gpt2", "opt")
PROMPT = "The capital of France is"


@pytest.fixture(scope="module", params=[(kind, tied) for kind in KINDS for tied in (False, True)], ids=str)
def loaded(request: pytest.FixtureRequest) -> LoadedModel:
    kind, tied = request.param
    size = len(tiny().tokenizer) + 13
    made = tiny(kind, vocabulary=size, settings={"tie_word_embeddings": tied})
    assert made.anatomy.tied is tied
    return made


@pytest.fixture(params=[7, 8192])
def block_rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(keys, "BLOCK_ROWS", request.param)
    yield


@torch.no_grad()
def query(loaded: LoadedModel) -> Tensor:
    inputs = loaded.tokenizer(PROMPT, return_tensors="pt")
    return loaded.anatomy.base(**inputs).last_hidden_state[0, -1]


def blobs(spread: float = 0.05, offset: float = 0.0, count: int = 6, each: int = 40) -> tuple[Tensor, Tensor]:
    """Keys of shuffled tokens around orthogonal centres, away from the origin; and the cluster of each."""
    generator = torch.Generator().manual_seed(0)
    truth_V = torch.arange(count).repeat_interleave(each)[torch.randperm(count * each, generator=generator)]
    keys_VD = torch.eye(count, 16)[truth_V] + spread * torch.randn(count * each, 16, generator=generator)
    return keys_VD + offset, truth_V


def brute_cosine(keys_VD: Tensor) -> Tensor:
    centred = keys_VD.double() - keys_VD.double().mean(0)
    unit = centred / centred.norm(dim=1, keepdim=True)
    return unit @ unit.T


def test_keys_are_the_heads_rows_in_place(loaded: LoadedModel) -> None:
    space = KeySpace.from_model(loaded)
    assert space.vocabulary_size == len(loaded.tokenizer) == loaded.anatomy.vocabulary_size - 13
    assert space.keys_VD.data_ptr() == loaded.anatomy.head.weight.data_ptr()
    assert not space.keys_VD.requires_grad
    hidden_D = query(loaded)
    logits_V = loaded.anatomy.logits(hidden_D).detach()[: space.vocabulary_size]
    mine_V = shaped(space.keys_VD @ hidden_D, loaded.anatomy.scale, loaded.anatomy.softcap)
    torch.testing.assert_close(mine_V, logits_V, rtol=1e-5, atol=1e-5)


def test_like_keys_have_like_logits(loaded: LoadedModel) -> None:
    """Cauchy and Schwarz: two raw logits differ by at most the query's length times the distance of the keys."""
    keys_VD, hidden_D = KeySpace.from_model(loaded).keys_VD.double(), query(loaded).double()
    pairs = torch.randint(len(keys_VD), (2, 10_000), generator=torch.Generator().manual_seed(0))
    apart = (keys_VD[pairs[0]] - keys_VD[pairs[1]]).norm(dim=1) * hidden_D.norm()
    logits_V = keys_VD @ hidden_D
    assert bool(((logits_V[pairs[0]] - logits_V[pairs[1]]).abs() <= apart + 1e-12).all())


def test_every_kind_of_model_clusters_and_has_neighbours(loaded: LoadedModel, block_rows: None) -> None:
    space = KeySpace.from_model(loaded)
    cosine = brute_cosine(space.keys_VD)
    found = space.cluster(max_iterations=5)
    assert found.n_clusters == auto_clusters(space.vocabulary_size) == space.vocabulary_size // 100
    assert int(found.sizes_C.sum()) == len(found.labels_V) == space.vocabulary_size
    ids, values = space.neighbours(20, 15)
    cosine[20, 20] = -torch.inf
    np.testing.assert_allclose(values.numpy(), cosine[20].sort(descending=True).values[:15].numpy(), atol=1e-5)
    np.testing.assert_allclose(values.numpy(), cosine[20][ids].numpy(), atol=1e-5)


def test_similarity_and_nearest_by_brute_force(block_rows: None) -> None:
    keys_VD = torch.randn(60, 5, generator=torch.Generator().manual_seed(0)) + 3
    space, cosine = KeySpace.from_matrix(keys_VD), brute_cosine(keys_VD)
    np.testing.assert_allclose(space.similarity([4, 9, 4], [1, 4]), cosine[[4, 9, 4]][:, [1, 4]], atol=1e-5)
    np.testing.assert_allclose(space.nearest([3, 50]), cosine[:, [3, 50]].amax(1), atol=1e-5)


def test_low_precision_and_transposed_keys() -> None:
    keys_VD = blobs()[0]
    low, turned = KeySpace.from_matrix(keys_VD.bfloat16()), KeySpace.from_matrix(keys_VD.T.contiguous().T)
    assert low.keys_VD.dtype == torch.bfloat16 and low.mean_D.dtype == torch.float32
    assert torch.equal(turned.cluster(6).labels_V, KeySpace.from_matrix(keys_VD).cluster(6).labels_V)
    assert adjusted_rand_score(low.cluster(6).labels_V, turned.cluster(6).labels_V) == 1


def test_a_bias_is_one_more_dimension() -> None:
    loaded = tiny(vocabulary=len(tiny().tokenizer) + 3)
    head = nn.Linear(loaded.anatomy.hidden_size, loaded.anatomy.vocabulary_size)
    space = KeySpace.from_model(replace(loaded, anatomy=replace(loaded.anatomy, head=head)))
    hidden_D = query(loaded)
    mine_V = space.keys_VD @ torch.cat([hidden_D, torch.ones(1)])
    torch.testing.assert_close(mine_V, head(hidden_D).detach()[: len(loaded.tokenizer)], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_known_clusters_are_found(metric, block_rows: None) -> None:
    keys_VD, truth_V = blobs()
    space = KeySpace.from_matrix(keys_VD)
    found = space.cluster(6, metric)
    assert adjusted_rand_score(truth_V, found.labels_V) == 1
    assert torch.equal(found.labels_V, space.cluster(6, metric).labels_V)
    ranked_V = (keys_VD @ keys_VD[5]).argsort(descending=True)
    assert (
        int(in_top_clusters(found.labels_V[ranked_V[:100]], 10).sum()) == 30
    )  # the other members of the cluster of token 5


def test_centring_undoes_a_common_direction() -> None:
    truth_V = blobs()[1]
    near, far = (KeySpace.from_matrix(blobs(offset=offset)[0].double()) for offset in (0.0, 50.0))
    assert torch.equal(near.cluster(6).labels_V, far.cluster(6).labels_V)
    assert adjusted_rand_score(truth_V, far.cluster(6).labels_V) == 1
    torch.testing.assert_close(near.similarity([0], range(20)), far.similarity([0], range(20)), rtol=0, atol=1e-5)


def test_equal_keys_share_a_cluster_and_all_clusters_are_used() -> None:
    rows = torch.randn(30, 8, generator=torch.Generator().manual_seed(0))
    found = KeySpace.from_matrix(torch.cat([rows, rows, rows])).cluster(12)
    assert torch.equal(found.labels_V[:30], found.labels_V[30:60])
    assert torch.equal(found.labels_V[:30], found.labels_V[60:])
    assert int(found.sizes_C.min()) > 0


def test_distances_are_to_the_centre() -> None:
    keys_VD, _ = blobs(spread=0.3, offset=1.0)
    found = KeySpace.from_matrix(keys_VD).cluster(6, "euclidean", max_iterations=100)
    center_D = keys_VD[found.labels_V == 2].mean(0)
    apart = (keys_VD[found.labels_V == 2] - center_D).norm(dim=1)
    torch.testing.assert_close(found.distances_V[found.labels_V == 2], apart, rtol=1e-2, atol=1e-2)
    members = found.members(2)
    assert sorted(members.tolist()) == (found.labels_V == 2).nonzero()[:, 0].tolist()
    assert found.distances_V[members].diff().min() >= 0


def test_cohesion_of_known_clusters() -> None:
    keys_VD, _ = blobs(spread=0.0)
    found = KeySpace.from_matrix(keys_VD).cluster(6)
    cohesion = found.cohesion(KeySpace.from_matrix(keys_VD), pairs=300)
    assert cohesion.within.estimate == pytest.approx(1, abs=1e-5)
    assert cohesion.between.estimate == pytest.approx(-1 / 5, abs=1e-5)  # corners of a simplex
    assert cohesion.difference.estimate == pytest.approx(6 / 5, abs=1e-5)
    assert cohesion.within.n == 300
    assert plain(cohesion)["difference"]["n"] == 300


def with_labels(labels_V: Tensor) -> KeyClusters:
    return KeyClusters(
        labels_V=labels_V,
        distances_V=torch.arange(len(labels_V)).flip(0).float(),
        n_clusters=int(labels_V.max()) + 1,
        metric="cosine",
        seed=0,
        iterations=1,
        converged=True,
    )


def test_cohesion_of_random_labels_is_none_and_of_sampled_pairs_is_near_the_whole() -> None:
    generator = torch.Generator().manual_seed(3)
    labels_V = torch.randint(4, (300,), generator=generator)
    chance = with_labels(labels_V).cohesion(KeySpace.from_matrix(torch.randn(300, 8, generator=generator)))
    assert not chance.difference.excludes(0)
    keys_VD = torch.randn(300, 8, generator=generator) + torch.eye(4, 8)[labels_V]
    same = (labels_V[:, None] == labels_V) & ~torch.eye(300, dtype=torch.bool)
    other = labels_V[:, None] != labels_V
    cosine = brute_cosine(keys_VD)
    found = with_labels(labels_V).cohesion(KeySpace.from_matrix(keys_VD), pairs=20_000)
    assert found.within.estimate == pytest.approx(float(((cosine * same).sum(1) / same.sum(1)).mean()), abs=0.015)
    assert found.between.estimate == pytest.approx(float(((cosine * other).sum(1) / other.sum(1)).mean()), abs=0.015)


def test_pairs_are_what_they_are_called() -> None:
    labels_V = torch.tensor([2, 0, 1, 1, 0, 3, 0, 1, 0])  # clusters 2 and 3 have one token
    first, near, far = with_labels(labels_V)._pairs(500, torch.Generator().manual_seed(0))
    assert (labels_V[first] == labels_V[near]).all() and (first != near).all()
    assert (labels_V[first] != labels_V[far]).all()
    assert set(first.tolist()) == {1, 2, 3, 4, 6, 7, 8}
    assert set(near[first == 1].tolist()) == {4, 6, 8}
    assert set(far[first == 1].tolist()) == {0, 2, 3, 5, 7}


def test_concentration_giants_and_examples() -> None:
    loaded = tiny()
    found = with_labels(torch.tensor([0, 1, 1, 1, 2, 1, 0, 1]))
    spread = found.concentration([1, 2, 0, 4, 3])
    assert (spread.tokens, spread.clusters, spread.largest, spread.largest_two) == (5, 3, 0.6, 0.8)
    assert found.sizes_C.tolist() == [2, 5, 1]
    assert found.giants(0.2) == (1, 0)
    assert found.giants() == (1, 0, 2)
    assert found.examples(loaded.tokenizer, 1, 2) == [loaded.tokenizer.decode([7]), loaded.tokenizer.decode([5])]
    facts = plain(found.facts())
    assert (facts["tokens"], facts["smallest"], facts["median"], facts["giants"]) == (8, 1, 2, [5, 2, 1])
    assert plain(spread)["clusters"] == 3


def test_number_of_clusters_follows_the_vocabulary() -> None:
    assert [auto_clusters(size) for size in (50, 50_280, 128_256, 262_144)] == [2, 502, 1282, 2048]


SPACE = KeySpace.from_matrix(torch.eye(5))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SPACE.neighbours(0, 5), "k must lie between 1 and the other tokens, 4; got 5"),
        (lambda: SPACE.neighbours(5, 1), "token id 5 is outside this vocabulary of 5 tokens"),
        (lambda: SPACE.similarity([0], [-1]), "token id -1 is outside"),
        (lambda: SPACE.nearest([]), "no token was given"),
        (lambda: SPACE.cluster(2, "dot"), "metric must be 'cosine' or 'euclidean'; got 'dot'"),
        (lambda: SPACE.cluster("some"), "n_clusters must be a number or 'auto'; got 'some'"),
        (lambda: SPACE.cluster(6), "between 1 and 5 clusters for 5 rows; got k=6"),
        (lambda: KeySpace.from_matrix(torch.ones(1, 3)), "at least 2 tokens; got shape"),
        (lambda: SPACE.cluster(2).members(2), "cluster 2 does not exist; there are 2"),
        (lambda: SPACE.cluster(2).concentration([]), "no token was given"),
        (lambda: SPACE.cluster(2).concentration([9]), "token id 9 is outside"),
        (lambda: with_labels(torch.zeros(3, dtype=torch.long)).cohesion(SPACE), "5 keys don't fit clusters of 3"),
    ],
)
def test_wrong_input_is_told_in_one_sentence(call, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()


def test_numbers_that_allow_no_answer() -> None:
    with pytest.raises(NumericError, match="NaN or infinite"):
        KeySpace.from_matrix(torch.tensor([[1.0, 2.0], [torch.nan, 0.0]])).neighbours(0, 1)
    with pytest.raises(NumericError, match="key 2 is the mean of all keys, so it has no direction"):
        KeySpace.from_matrix(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]])).cluster(2)
    with pytest.raises(NumericError, match="no pairs to compare"):
        with_labels(torch.arange(5)).cohesion(SPACE)


def test_a_quantised_head_is_refused() -> None:
    loaded = tiny()
    head = nn.Module()
    head.weight = nn.Parameter(torch.zeros(4, 4, dtype=torch.int8), requires_grad=False)
    with pytest.raises(ModelError, match="no plain matrix"):
        KeySpace.from_model(replace(loaded, anatomy=replace(loaded.anatomy, head=head)))
