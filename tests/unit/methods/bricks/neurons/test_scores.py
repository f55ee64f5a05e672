"""Average precision against scikit-learn, its nulls, sets of neurons and their overlap, by known answers."""

import numpy as np
import pytest
from scipy.stats import hypergeom
from sklearn.metrics import average_precision_score

from armillary.errors import UsageError
from armillary.methods.bricks.neurons.config import ProfileConfig
from armillary.methods.bricks.neurons.profiling import Profile
from armillary.methods.bricks.neurons.scores import best_interval, functional_scores, null_scores
from armillary.methods.bricks.neurons.sets import (
    magnitude_matched,
    overlap,
    overlaps,
    random_like,
    resident,
    specialised,
    without,
    without_as_many,
)
from armillary.methods.bricks.payloads import Index
from armillary.numerics.ranking import average_precision, average_precision_interval, descending_ranks


def made(means_NLM: np.ndarray, labels_N: np.ndarray) -> Profile:
    """A profile of given activities, of as many capabilities as there are labels."""
    layers, width = means_NLM.shape[1:]
    names = tuple(f"capability {one}" for one in range(labels_N.max() + 1))
    return Profile(
        model="made",
        fingerprint="0",
        config=ProfileConfig(),
        capabilities=names,
        labels_N=labels_N,
        tokens_N=np.ones(len(means_NLM), np.int64),
        means_NLM=means_NLM.astype(np.float32),
        norms_LM=np.ones((layers, width)),
        histogram_DILH=np.ones((len(means_NLM), 2, layers, 50), np.int64),
        detail_labels_D=labels_N,
        firing_FLM=np.zeros((len(names), layers, width), np.int64),
        firing_tokens_F=np.ones(len(names), np.int64),
    )


@pytest.mark.parametrize("levels", [2, 5, 40, None])
def test_average_precision_is_scikit_learns_with_ties(levels: int | None) -> None:
    generator = np.random.default_rng(0)
    values = generator.random((30, 90))
    values = values if levels is None else np.floor(values * levels)
    labels = generator.random(90) < 0.2
    result = average_precision(descending_ranks(values), np.flatnonzero(labels))
    expected = [average_precision_score(labels, row) for row in values]
    np.testing.assert_allclose(result, expected, rtol=1e-13)


def test_average_precision_of_known_rankings() -> None:
    values = np.array([[4.0, 3, 2, 1], [1, 2, 3, 4], [7, 7, 7, 7], [1, 3, 2, 0]])
    result = average_precision(descending_ranks(values), np.array([0, 1]))
    np.testing.assert_allclose(result, [1, (1 / 3 + 2 / 4) / 2, 0.5, (1 + 2 / 3) / 2])


def test_the_interval_is_of_the_weighted_average_precision() -> None:
    generator = np.random.default_rng(1)
    labels = np.repeat([0, 1, 2], 40)
    values = np.floor(generator.random((3, 120)) * 12 + (labels == 1) * 4)
    result = average_precision_interval(values, labels, 1, seed=0)
    assert result.estimate == pytest.approx(np.mean([average_precision_score(labels == 1, row) for row in values]))
    redrawn = []
    for _ in range(400):
        rows = np.concatenate([generator.choice(np.flatnonzero(labels == one), 40) for one in range(3)])
        redrawn.append(np.mean([average_precision_score(labels[rows] == 1, row[rows]) for row in values]))
    assert (result.low, result.high) == pytest.approx(np.quantile(redrawn, [0.025, 0.975]), abs=0.02)


def test_scores_of_every_neuron_and_capability() -> None:
    generator = np.random.default_rng(2)
    labels = np.repeat([0, 1], [20, 30])
    means = generator.random((50, 2, 6))
    means[:, 1, 4] = (labels == 1) + 0.5 * generator.random(50)  # tells capability 1, falls silent for the other
    scores = functional_scores(made(means, labels))
    for layer in range(2):
        for neuron in range(6):
            row = means[:, layer, neuron].astype(np.float32)
            for label in range(2):
                expected = average_precision_score(labels == label, row)
                assert scores.scores_FLM[label, layer, neuron] == pytest.approx(expected, rel=1e-12)
                silent = average_precision_score(labels == label, -row)
                assert scores.suppressor_FLM[label, layer, neuron] == pytest.approx(silent, rel=1e-12)
    assert scores.best("capability 1")[1] == 1 and scores.suppressor_FLM[0, 1, 4] == 1
    assert scores.chance("capability 0") == 0.4
    assert scores.at_share("capability 1", 1 / 3).tolist() == np.sort(scores.of("capability 1"))[:, -2].tolist()
    assert best_interval(made(means, labels), scores, "capability 1").estimate == pytest.approx(
        scores.best("capability 1").mean()
    )


def test_relative_scores_forget_the_level_of_a_layer() -> None:
    generator = np.random.default_rng(3)
    labels = np.repeat([0, 1], 40)
    means = (0.9 + 0.2 * generator.random((80, 1, 50))) * np.where(labels == 0, 3.0, 1.0)[:, None, None]
    plain, relative = (functional_scores(made(means, labels), relative=flag) for flag in (False, True))
    assert plain.of("capability 0").min() == 1
    assert abs(relative.of("capability 0").mean() - 0.5) < 0.05


def test_the_null_is_the_best_of_permuted_labels() -> None:
    generator = np.random.default_rng(4)
    labels = np.repeat([0, 1, 2], [20, 20, 30])
    means = generator.random((70, 2, 15))
    means[:, 0, 3] += 2 * (labels == 0)
    held: dict[str, dict[str, np.ndarray]] = {}
    nulls = null_scores(made(means, labels), permutations=200, store=lambda n, c: held.setdefault(n, c()))
    assert [one.positives for one in nulls] == [20, 30] and len(held) == 2
    # The first permutation by hand.
    chosen = np.random.default_rng(0).permutation(70)[:20]
    truth = np.isin(np.arange(70), chosen)
    by_hand = [average_precision_score(truth, means[:, 1, i].astype(np.float32)) for i in range(15)]
    assert nulls[0].best_RL[0, 1] == pytest.approx(max(by_hand))
    assert nulls[0].mean_RL[0, 1] == pytest.approx(np.mean(by_hand))
    scores = functional_scores(made(means, labels))
    assert scores.beating("capability 0", nulls[0]).estimate == 0.5  # the first layer alone
    assert nulls[0].p_values(scores.best("capability 0"))[0] == pytest.approx(1 / 201)
    assert nulls[0].p_values(scores.best("capability 0"))[1] > 0.01
    layers = scores.summary(nulls).capabilities
    assert layers["capability 0"].best_of_null == nulls[0].quantile().tolist()
    assert layers["capability 2"].best_of_null == nulls[1].quantile().tolist()
    # Chosen among noise, the best neuron falls back to chance on other texts.
    other = functional_scores(made(np.random.default_rng(5).random((70, 2, 15)), labels))
    held_out = scores.best_held_out("capability 0", other)
    assert held_out[1] == other.of("capability 0")[1, scores.of("capability 0")[1].argmax()]


def test_scores_need_two_capabilities_and_twenty_texts() -> None:
    with pytest.raises(UsageError, match="at least two"):
        functional_scores(made(np.ones((30, 1, 3)), np.zeros(30, np.int64)))
    with pytest.raises(UsageError, match="'capability 1' has 10 texts"):
        functional_scores(made(np.ones((40, 1, 3)), np.repeat([0, 1], [30, 10])))
    scores = functional_scores(made(np.ones((40, 1, 3)), np.repeat([0, 1], 20)))
    np.testing.assert_allclose(scores.scores_FLM, 0.5)  # a constant neuron is at chance
    with pytest.raises(UsageError, match="maths"):
        scores.of("maths")


def test_specialised_sets() -> None:
    scores = np.array([[0.1, 0.9, 0.9, 0.3], [0.8, 0.2, 0.7, 0.95]])
    assert specialised(scores, 0.5).mask(2, 4).tolist() == [[False, True, True, False], [True, False, False, True]]
    assert specialised(scores, 0.25).neurons[0].tolist() == [1]
    assert specialised(scores, 0.375, scope="global").mask(2, 4).sum(1).tolist() == [2, 1]
    with pytest.raises(UsageError, match="share"):
        specialised(scores, 0)
    result = resident(np.array([[0.96, 0.5], [0.1, 0.2]]))
    assert {layer: row.tolist() for layer, row in result.neurons.items()} == {0: [0]}
    left = without(Index({0: np.array([0, 1]), 1: np.array([5])}), Index({0: np.array([1, 7]), 1: np.array([5])}))
    assert {layer: row.tolist() for layer, row in left.neurons.items()} == {0: [0]}


def test_random_sets_have_the_sizes_and_magnitudes() -> None:
    generator = np.random.default_rng(6)
    magnitude = np.exp(2 * generator.standard_normal((2, 400)))
    largest = Index({0: np.sort(magnitude[0].argsort()[-60:-20]), 1: np.arange(10)})
    drawn = random_like(largest, 400, seed=0)
    assert [len(row) for row in drawn.neurons.values()] == [40, 10]
    assert not np.array_equal(drawn.neurons[0], random_like(largest, 400, seed=1).neurons[0])
    matched = magnitude_matched(largest, magnitude, seed=0)
    assert [len(np.unique(row)) for row in matched.neurons.values()] == [40, 10]
    assert not np.intersect1d(matched.neurons[0], largest.neurons[0]).size
    logs = np.log(magnitude)
    ours, theirs, plain = (logs[0, one.neurons[0]].mean() for one in (largest, matched, drawn))
    assert abs(theirs - ours) < 0.8 < ours - plain
    assert abs(logs[1, matched.neurons[1]].mean() - logs[1, :10].mean()) < 0.3
    with pytest.raises(UsageError, match="can't be matched"):
        magnitude_matched(Index({0: np.arange(201)}), magnitude, seed=0)


def test_overlap_of_known_sets() -> None:
    a = Index({layer: np.arange(10) for layer in range(3)})
    same = overlap(a, a, width=200)
    assert same.share.estimate == 1 and same.by_layer == (1, 1, 1) and same.expected == pytest.approx(0.05)
    half = Index({0: np.arange(5, 15), 1: np.arange(10), 2: np.arange(50, 60)})
    result = overlap(a, half, width=200)
    assert result.share.estimate == 0.5 and result.by_layer == (0.5, 1, 0)
    assert overlaps({"a": a, "b": half, "c": a}, width=200)["a", "c"].share.estimate == 1
    with pytest.raises(UsageError, match="at least one"):
        overlap(a, Index({}), width=200)
    with pytest.raises(UsageError, match="outside"):
        overlap(a, a, width=9)


def test_overlap_of_random_sets_follows_the_law() -> None:
    width, size, layers = 120, 12, 4
    whole = Index({layer: np.arange(size) for layer in range(layers)})
    shares = [overlap(whole, random_like(whole, width, seed=seed), width=width).share.estimate for seed in range(400)]
    result = overlap(whole, whole, width=width)
    assert np.mean(shares) == pytest.approx(result.expected, abs=0.01) and result.expected == pytest.approx(0.1)
    variance = size / width * (1 - size / width) * (width - size) / (width - 1) / size / layers
    assert np.var(shares) == pytest.approx(variance, rel=0.25)
    inside = np.mean([result.random_low <= share <= result.random_high for share in shares])
    assert 0.93 <= inside <= 1
    alone = overlap(Index({0: np.arange(12)}), Index({0: np.arange(12)}), width=width)
    assert alone.random_high == hypergeom(width, 12, 12).ppf(0.975) / 12


def test_without_as_many_takes_others_and_leaves_the_removed() -> None:
    chosen, removed = Index({0: np.arange(10), 1: np.array([3, 4])}), Index({0: np.array([1, 7, 40])})
    left = without_as_many(chosen, removed, seed=0)
    assert left.size == chosen.size - 2 and {1, 7} <= set(left.neurons[0].tolist())
    assert left.neurons[1].tolist() == [3, 4]
    assert without_as_many(chosen, removed, seed=1).neurons[0].tolist() != left.neurons[0].tolist()
