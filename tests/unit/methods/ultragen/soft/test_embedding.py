"""A judge by vectors: calibrated on pairs, told how far it can be trusted, and silent where it can't."""

from collections.abc import Sequence

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from armillary.attributes.attribute import soft
from armillary.errors import UsageError
from armillary.methods.ultragen.soft.embedding import (
    Array,
    EmbeddingJudge,
    LabelledPair,
    area_under_curve,
    best_threshold,
)
from armillary.methods.ultragen.soft.judges import OracleJudge

WORDS = ["harbour", "ferry", "fog", "pan", "soup", "salt", "loom", "wool", "thread", "frost"]


class Bag:
    """Vectors of how often each of ten words stands in a text."""

    def encode(self, texts: Sequence[str], /) -> Array:
        lists = [text.casefold().replace(".", " ").split() for text in texts]
        return np.array([[words.count(word) for word in WORDS] for words in lists], dtype=np.float64)


def pairs(n: int, seed: int = 0, noise: float = 0.0) -> list[LabelledPair]:
    """Responses of three sentences, of which one has the attribute's words where it is met."""
    generator = np.random.default_rng(seed)
    made = []
    for number in range(n):
        met = number % 2 == 0
        about = str(generator.choice(WORDS))
        others = [word for word in WORDS if word != about]
        words = [*generator.choice(others, 2), about if met else generator.choice(others)]
        response = " ".join(f"The {word} was there." for word in generator.permutation(words))
        made.append(LabelledPair(response=response, attribute=f"Be about {about}.",
                                 met=met != (generator.random() < noise)))  # fmt: skip
    return made


def test_the_area_is_that_of_mann_and_whitney() -> None:
    generator = np.random.default_rng(0)
    met, unmet = np.round(generator.normal(0.5, 1, 40), 1), np.round(generator.normal(0, 1, 60), 1)
    labels = np.r_[np.ones(40), np.zeros(60)]
    assert area_under_curve(met, unmet) == pytest.approx(roc_auc_score(labels, np.r_[met, unmet]))
    assert area_under_curve(np.ones(3), np.ones(4)) == 0.5
    assert best_threshold(np.array([0.6, 0.8]), np.array([0.1, 0.2])) == pytest.approx(0.4)


def test_a_calibrated_judge_reads_single_sentences() -> None:
    judge = EmbeddingJudge(encoder=Bag())
    calibration = judge.calibrate(pairs(60))
    assert calibration.auc.estimate == 1.0 and calibration.right.estimate == 1.0 and calibration.auc.n == 60
    response = "The soup was there. The fog was there. The loom was there."
    assert judge(response, [soft("Be about fog."), soft("Be about frost.")]) == [True, False]
    assert judge("", [soft("Be about fog.")]) == [False]
    assert judge.judge([]) == []


def test_noise_in_the_labels_shows_in_the_area() -> None:
    noisy = EmbeddingJudge(encoder=Bag()).calibrate(pairs(200, noise=0.2))
    assert noisy.auc.lower < 0.8 < noisy.auc.upper and noisy.right.lower < 0.8 < noisy.right.upper


def test_it_refuses_uncalibrated_and_where_it_tells_nothing() -> None:
    judge = EmbeddingJudge(encoder=Bag())
    with pytest.raises(UsageError, match="calibrate"):
        judge("x", [soft("Be about fog.")])
    with pytest.raises(UsageError, match="20 pairs that are met and as many that are not; got 5 and 5"):
        judge.calibrate(pairs(10))
    judge.calibrate(pairs(100, noise=0.5))
    with pytest.raises(UsageError, match=r"do not tell whether an attribute is met: AUC 0\.\d\d"):
        judge("x", [soft("Be about fog.")])


def test_an_oracle_knows() -> None:
    oracle = OracleJudge(rule=lambda response, attribute: attribute.text in response)
    assert oracle("a b", [soft("a"), soft("c")]) == [True, False]
    assert oracle.judge([("a", [soft("a")]), ("b", [])]) == [[True], []]
