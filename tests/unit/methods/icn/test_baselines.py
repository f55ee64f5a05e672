"""Every baseline gives as many answers as it is asked for, by its own rule."""

import pytest

from armillary.errors import UsageError
from armillary.methods.icn.baselines import baseline_answers, generated, items, listed_at_once
from armillary.methods.icn.keys import KeySpace
from armillary.methods.icn.probing import Probing
from armillary.models import tiny

INSTRUCTION = "Please show me some cities."


def test_every_baseline_gives_answers() -> None:
    loaded = tiny()
    keys = KeySpace.from_model(loaded)
    one = Probing(loaded, INSTRUCTION, max_new_tokens=4)
    arms = baseline_answers(one, 5, keys.cluster(12).labels_V, keys, seed=0)
    found = {name: run() for name, run in arms.items()}
    assert {len(texts) for texts in found.values()} == {5}
    assert found["static"] == one.answers(one.ranked(5))
    assert found["temperature 1"] == generated(one, 5, 0, temperature=1.0, top_k=0)
    assert found["temperature 1"] != generated(one, 5, 1, temperature=1.0, top_k=0)
    labels = keys.cluster(12).labels_V.tolist()
    capped = [labels[token] for token in _first(one, found["cluster cap"])]
    assert max(capped.count(cluster) for cluster in capped) <= 2


def test_a_list_in_one_answer() -> None:
    loaded = tiny()
    lists = listed_at_once(loaded, [INSTRUCTION, "Please show me some colors."], 3, item_tokens=4, seed=1)
    assert lists == listed_at_once(loaded, [INSTRUCTION, "Please show me some colors."], 3, item_tokens=4, seed=1)
    assert all(len(each.items) <= 3 and 1 <= each.tokens <= 12 for each in lists)
    with pytest.raises(UsageError, match="no way to ask"):
        listed_at_once(loaded, [INSTRUCTION], 3, way="shouting")


def test_items_of_a_list() -> None:
    text = '1. "Paris"\n2. "Rome" - in Italy\n3) **Oslo**: a capital\n- Bern (0.2)\nThat is all.\n4. "Lim'
    assert items(text) == ["Paris", "Rome", "Oslo", "Bern", "Lim"]


def _first(one: Probing, texts: list[str]) -> list[int]:
    """First tokens whose answers these are."""
    return [next(token for token in one.ranked(400) if one.answers([token]) == [text]) for text in texts]
