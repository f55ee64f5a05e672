"""Whole words against first words of phrases, with equally many of each."""

import json
from dataclasses import replace

import numpy as np
import pytest

from armillary.errors import UsageError
from armillary.methods.lincorr import LinCorrConfig, by_completeness, whole_word_advantage
from armillary.records.plain import plain

FAST = LinCorrConfig(replicates=200, permutations=2)


@pytest.fixture(scope="module")
def tables(make):
    """Thirty sources: the first twenty drive their own target, the last ten drive one that is not gold."""
    generator = np.random.default_rng(0)
    source = generator.normal(size=(900, 30))
    driven = [*range(20), *((i + 5) % 20 for i in range(10))]
    target = np.zeros((900, 20))
    for i, j in enumerate(driven):
        target[:, j] += source[:, i]
    target += 0.5 * generator.normal(size=target.shape)
    gold = [{i} for i in range(20)] + [{(i + 11) % 20} for i in range(10)]
    made = make(source, target, FAST, gold)
    statuses = ("whole",) * 20 + ("first-word",) * 10
    words = replace(made.source.words, statuses=statuses)
    return replace(made, source=replace(made.source, words=words))


def test_precision_differs_at_equal_numbers(tables):
    found = by_completeness(tables, FAST)
    assert set(found) == {"whole", "first-word"}
    assert {len(kind.words) for kind in found.values()} == {10}
    assert found["whole"].hit_rate.estimate == 1
    assert found["first-word"].hit_rate.estimate < 0.7
    assert found["whole"].correlation.estimate == pytest.approx(found["first-word"].correlation.estimate, abs=0.25)
    assert found["whole"].excess.estimate == pytest.approx(np.mean(found["whole"].gains))
    assert 0.5 < found["whole"].excess.estimate < 0.9 and found["whole"].behind is None
    behind = found["first-word"].behind
    assert behind is not None and behind.estimate == pytest.approx(
        found["whole"].correlation.estimate - found["first-word"].correlation.estimate
    )
    advantage = whole_word_advantage(found, "first-word", FAST)
    assert advantage.low > 0 and advantage.n == 20
    assert json.dumps(plain(found))


def test_one_kind_is_not_enough(tables):
    with pytest.raises(UsageError, match=r"at least two kinds of source words with 15 tokens .* got 1"):
        by_completeness(tables, FAST, least=15)
    with pytest.raises(
        UsageError, match="'whole' and 'sub-word' source words are needed; there are first-word, whole"
    ):
        whole_word_advantage(by_completeness(tables, FAST), "sub-word", FAST)
