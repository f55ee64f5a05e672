"""The space of attributes: what goes together lies close; sets are chosen as the rules say."""

import math
import warnings
import zlib

import numpy as np
import pytest
import torch
from torch import nn

from armillary.attributes.attribute import Attribute
from armillary.attributes.attribute_set import AttributeSet
from armillary.attributes.conflicts import conflicts
from armillary.errors import UsageError
from armillary.methods.ultragen.config import ExpansionConfig, SpaceConfig, Strategy
from armillary.methods.ultragen.encoders import HashedWords, OnFeatures
from armillary.methods.ultragen.expansion import Quota, in_order, least_similar, nearest, unit
from armillary.methods.ultragen.space import AttributeSpace, draw_triplets, pooled

from .set_toy import include, theme_of, themed

# Of a few triplets no encoder tells more than chance would; one test is of the warning itself.
pytestmark = pytest.mark.filterwarnings("ignore:The space tells")

SMALL = SpaceConfig(triplets=600, epochs=2)


def on_a_circle(*degrees: float) -> np.ndarray:
    return np.array([[math.cos(math.radians(d)), math.sin(math.radians(d))] for d in degrees], np.float32)


def words() -> HashedWords:
    return HashedWords(width=32, buckets=2**10)


def always(chosen: list[int], candidate: int) -> bool:
    return True


@pytest.mark.parametrize(("rule", "order"), [("farthest", [0, 3, 1, 2]), ("released", [0, 3, 2, 1])])
def test_both_rules_pick_90_first_and_then_part(rule: str, order: list[int]) -> None:
    vectors = on_a_circle(0, 30, 80, 90)
    hard = np.zeros(4, bool)
    assert least_similar(vectors, np.arange(1, 4), hard, Quota(soft=0, hard=4), rule, always, 0) == order
    # The candidates' order does not matter, and equal ones are taken by their place in the pool.
    assert least_similar(vectors, np.array([3, 1, 2]), hard, Quota(soft=0, hard=4), rule, always, 0) == order
    same = on_a_circle(0, 90, 90, 30)
    assert least_similar(same, np.array([2, 1, 3]), hard, Quota(soft=0, hard=2), rule, always, 0) == [0, 1]


def test_quotas_and_what_is_not_allowed() -> None:
    vectors, soft = on_a_circle(0, 30, 80, 90, 120), np.array([True, False, False, True, False])
    everyone = np.arange(1, 5)
    assert least_similar(vectors, everyone, soft, Quota(soft=1, hard=2), "farthest", always, 0) == [0, 4, 2]

    def without_4(chosen: list[int], candidate: int) -> bool:
        return candidate != 4

    assert least_similar(vectors, everyone, soft, Quota(soft=1, hard=3), "farthest", without_4, 0) == [0, 2, 1]
    assert in_order(everyone, soft, Quota(soft=2, hard=1), always, 0) == [0, 1, 3]


def test_neighbours_are_those_of_a_sort_by_distance() -> None:
    vectors = unit(np.random.default_rng(0).standard_normal((40, 8)).astype(np.float32))
    for seed, row in zip((3, 17), nearest(vectors, np.array([3, 17]), 12), strict=True):
        distances = ((vectors - vectors[seed]) ** 2).sum(1)
        assert row.tolist() == [index for index in np.argsort(distances) if index != seed][:12]


def test_triplets_take_all_eight_patterns_alike() -> None:
    sets = themed(12)
    of = {attribute.text: set() for own in sets for attribute in own.attributes}
    for own in sets:
        for attribute in own.attributes:
            of[attribute.text].add(own.id)
    triplets = draw_triplets(sets, 160)
    patterns: dict[tuple[bool, bool, bool], int] = {}
    for triplet in triplets:
        anchor, same, other = triplet.anchor, triplet.same, triplet.other
        assert anchor != same
        assert any(other.text not in {each.text for each in own.attributes} and {anchor, same} <= set(own.attributes)
                   for own in sets)  # fmt: skip
        key = (anchor.hard, same.hard, other.hard)
        patterns[key] = patterns.get(key, 0) + 1
    assert set(patterns.values()) == {20}
    with pytest.raises(UsageError, match="make no triplets"):
        draw_triplets([sets[0], sets[0]], 10)


def test_the_tuned_space_brings_together_what_occurs_together() -> None:
    space = AttributeSpace.fit(themed(24), encoder=words(), config=SMALL)
    assert space.accuracy[0] < 0.85 < max(space.accuracy)
    seed = next(index for index, attribute in enumerate(space.pool) if attribute.params.get("w") == "oven")
    near = [space.pool[index] for index in nearest(space.tuned, np.array([seed]), 8)[0]]
    assert theme_of(near) == (8, 0)
    again = AttributeSpace.fit(themed(24), encoder=words(), config=SMALL)
    assert np.array_equal(space.tuned, again.tuned)


def test_a_space_that_tells_no_more_than_chance_is_told() -> None:
    class Alike(nn.Module):
        """A vector at random for each text: nothing to learn, since nothing of the text is in it."""

        learning_rate = 0.0

        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, texts: list[str]) -> torch.Tensor:
            rows = [np.random.default_rng(zlib.crc32(text.encode())).standard_normal(8) for text in texts]
            return torch.tensor(np.array(rows), dtype=torch.float32) * self.scale

    with pytest.warns(UserWarning, match=r"tells [45]\d% of 200 held-out triplets rightly, which is not above chance"):
        AttributeSpace.fit(themed(24), encoder=Alike(), config=SpaceConfig(triplets=1000, epochs=0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        AttributeSpace.fit(themed(24), encoder=words(), config=SMALL)


def test_any_module_and_any_features_will_do() -> None:
    class Lengths(nn.Module):
        learning_rate = 1e-2

        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(2))

        def forward(self, texts: list[str]) -> torch.Tensor:
            return torch.tensor([[len(text), text.count("e")] for text in texts]) * self.scale

    base = Lengths()
    for encoder in (base, lambda texts: [[len(text), 1.0, text.count("o")] for text in texts]):
        space = AttributeSpace.fit(themed(6), encoder=encoder, config=SpaceConfig(triplets=40, epochs=1))
        assert len(space.tuned) == len(space.pool) == len(pooled(themed(6)))
    assert torch.equal(base.scale, torch.ones(2))  # a copy is tuned
    with pytest.raises(UsageError, match="a row for each text"):
        OnFeatures(lambda texts: [1.0, 2.0])
    hashed = words()
    torch.testing.assert_close(hashed(["bread and butter"]), hashed(["Butter and BREAD"]))


def test_counted_keywords_of_the_pool_stay_included_or_get_a_new_count() -> None:
    def times(word: str, k: int) -> Attribute:
        return Attribute(kind="keyword_count", params={"w": word, "rel": "=", "k": k}, text=f'Use "{word}" {k} times.')

    sets = [
        AttributeSet(attributes=(times("oven", 4), times("spade", 5))),
        AttributeSet(attributes=(include("oven"),)),
    ]
    pool = pooled([*sets, *sets])
    assert [(each.kind, each.params["w"]) for each in pool] == [
        ("keyword_count", "spade"),
        ("keyword_include", "oven"),
    ]
    assert pool[0].params["k"] in (2, 3)


@pytest.mark.parametrize("strategy", ["random", "high_correlation", "low_similarity", "hclr"])
def test_sets_are_of_the_sizes_drawn_whatever_the_strategy(strategy: Strategy) -> None:
    sets = themed(24)
    counted = Attribute(kind="word_count", params={"lo": 1, "hi": 10}, text="Write 1 to 10 words.")
    other = Attribute(kind="word_count", params={"lo": 50, "hi": 60}, text="Write 50 to 60 words.")
    sets += [AttributeSet(attributes=(counted, include("oven"))), AttributeSet(attributes=(other, include("spade")))]
    space = AttributeSpace.fit(sets, encoder=words(), config=SpaceConfig(triplets=40, epochs=1))
    config = ExpansionConfig(size=(3, 6), soft=(1, 2), candidates=20, strategy=strategy)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some run out of candidates
        expanded = space.expand(8, config=config)
    sizes = [(len(own.attributes), sum(not each.hard for each in own.attributes)) for own in expanded]
    assert all(size <= 6 and soft <= 2 for size, soft in sizes)
    assert len(expanded) == 8
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        random = space.expand(8, strategy="random", config=config)
    pairs = zip(expanded, random, strict=True)
    assert sum(len(own.attributes) == len(as_random.attributes) for own, as_random in pairs) >= 7
    for own in expanded:
        assert not own.attributes[0].hard
        assert len({each.text for each in own.attributes}) == len(own.attributes)
        assert conflicts(own.attributes) == []
    if strategy == "high_correlation":
        trained = AttributeSpace.fit(sets, encoder=words(), config=SMALL)
        assert min(theme_of(trained.expand([include("yeast")], config=config)[0].attributes)) == 0


def test_a_pool_that_runs_out_is_told() -> None:
    space = AttributeSpace.fit(themed(4), encoder=words(), config=SpaceConfig(triplets=40, epochs=0))
    assert space.accuracy == [space.accuracy[0]]
    with pytest.warns(UserWarning, match="1 of 1 sets are smaller than was drawn"):
        space.expand(1, config=ExpansionConfig(size=(50, 50), candidates=3))
    with pytest.raises(UsageError, match="no attribute of the pool"):
        space.expand([include("piano")])
