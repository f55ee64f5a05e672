"""Every baseline gives as many answers as it is asked for, by its own rule."""

import pytest

from armillary.errors import UsageError
from armillary.methods.icn.baselines import SAMPLINGS, first_token_orders, generated, items, listed_at_once
from armillary.methods.icn.keys import KeySpace
from armillary.methods.icn.probing import Probing
from armillary.models import tiny

INSTRUCTION = "Please show me some cities."


def test_every_baseline_gives_answers() -> None:
    loaded = tiny()
    keys = KeySpace.from_model(loaded)
    one = Probing(loaded, INSTRUCTION, max_new_tokens=4)
    orders = first_token_orders(one, 5, keys.cluster(12).labels_V, keys)
    assert {len(tokens) for tokens in orders.values()} == {5}
    assert orders["static"] == one.ranked(5)
    for settings in SAMPLINGS.values():
        assert len(generated(one, 5, 0, **settings)) == 5
    assert generated(one, 5, 0, temperature=1.0) == generated(one, 5, 0, temperature=1.0)
    assert generated(one, 5, 0, temperature=1.0) != generated(one, 5, 1, temperature=1.0)
    labels = keys.cluster(12).labels_V.tolist()
    capped = [labels[token] for token in orders["cluster cap"]]
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
