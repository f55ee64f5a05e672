"""Every baseline gives as many answers as it is asked for, by its own rule."""

from armillary.methods.icn.baselines import baseline_answers, generated
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
    assert {len(texts) for name, texts in found.items() if name != "list at once"} == {5}
    assert len(found["list at once"]) <= 5
    assert found["static"] == one.answers(one.ranked(5))
    assert found["temperature 1"] == generated(one, 5, 0, temperature=1.0, top_k=0)
    assert found["temperature 1"] != generated(one, 5, 1, temperature=1.0, top_k=0)
    labels = keys.cluster(12).labels_V.tolist()
    capped = [labels[token] for token in _first(one, found["cluster cap"])]
    assert max(capped.count(cluster) for cluster in capped) <= 2


def _first(one: Probing, texts: list[str]) -> list[int]:
    """First tokens whose answers these are."""
    return [next(token for token in one.ranked(400) if one.answers([token]) == [text]) for text in texts]
