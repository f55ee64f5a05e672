"""Answers by first token, what lists do to explored tokens, the baselines, and the measures of diversity."""

import pytest
import torch

from armillary.errors import UsageError
from armillary.methods.icn.baselines import baseline_answers, generated
from armillary.methods.icn.key_survey import kept_neighbours, survey
from armillary.methods.icn.keys import KeySpace
from armillary.methods.icn.navigator import Navigator
from armillary.methods.icn.probing import Probing, unreachable
from armillary.methods.icn.report import finding, measures, section
from armillary.methods.icn.result import diversity, is_sentence
from armillary.methods.icn.templates import NUMBERED_LIST
from armillary.models import tiny

ASKED = "Please show me some cities."


def test_answers_are_those_of_the_static_ranking() -> None:
    loaded = tiny()
    one = Probing(loaded, ASKED, max_new_tokens=5)
    static = Navigator(loaded, rounds=1, per_round=6, max_new_tokens=5, navigate=False).explore(ASKED)
    tokens = one.ranked(6)
    assert tokens == [answer.token for answer in static.answers]
    assert one.answers(tokens) == static.texts
    assert one.answers([tokens[3], tokens[3], tokens[0]]) == [static.texts[3], static.texts[3], static.texts[0]]


def test_ranks_after_a_list_are_those_of_the_whole_prompt() -> None:
    loaded = tiny("gemma3")
    one = Probing(loaded, ASKED, max_new_tokens=5)
    tokens = one.ranked(5)
    nothing = one.after_list([], tokens)
    assert nothing.ranks == sorted(nothing.ranks)
    listed = ["Paris", "Rome"]
    found = one.after_list(listed, tokens)
    ids = one.base + loaded.tokenizer.encode(NUMBERED_LIST.listed("", listed), add_special_tokens=False)
    with torch.inference_mode():
        logits = loaded.model(torch.tensor([ids])).logits[0, -1]
    assert found.ranks == [int((logits > logits[token]).sum()) + 1 for token in tokens]
    assert found.logprobs == pytest.approx(logits.log_softmax(0)[tokens].tolist(), abs=1e-4)


def test_every_baseline_gives_answers() -> None:
    loaded = tiny()
    keys = KeySpace.from_model(loaded)
    one = Probing(loaded, ASKED, max_new_tokens=4)
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


def test_more_first_tokens_than_the_vocabulary_has() -> None:
    with pytest.raises(UsageError, match="can begin an answer"):
        Probing(tiny(), ASKED).ranked(5000)


def test_answers_out_of_reach() -> None:
    loaded = tiny()
    assert unreachable(loaded, [("Paris", "Lutetia"), ("Zürich",)]) == []
    blind = tiny()
    decode = blind.tokenizer.decode
    blind.tokenizer.decode = lambda ids, **settings: decode(ids, **settings).replace("Z", "?")  # type: ignore[method-assign, assignment]
    assert unreachable(blind, [("Paris",), ("Zürich",)]) == ["Zürich"]
    with pytest.raises(UsageError, match="None of the 1 answers"):
        unreachable(blind, [("Zürich",)])


def test_diversity_by_hand() -> None:
    found = diversity(["a b c", "a b d"])
    assert found.distinct_1 == 4 / 6 and found.distinct_2 == 3 / 4 and found.overlap == 1 / 3 and found.valid == 0
    assert diversity(["Same words here now."] * 3).overlap == 1.0
    assert diversity([]).distinct_1 == 0.0


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("I love this film.", True),
        ("Where do they go now?", True),
        ("I love this film", False),
        ("No.", False),
        ("1 2 3 4 5 6 7.", False),
        ("", False),
    ],
)
def test_sentences(text: str, sentence: bool) -> None:
    assert is_sentence(text) is sentence


def test_a_survey_tells_planted_clusters_from_none() -> None:
    loaded = tiny()
    planted, plain = tiny(), survey(loaded, clusters=6)
    weight = planted.anatomy.head.weight
    assert isinstance(weight, torch.Tensor)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        groups = torch.arange(len(weight)) % 6
        centres = 10 * torch.nn.functional.one_hot(torch.arange(6), weight.shape[1]).float()
        weight.copy_(centres[groups] + 0.1 * torch.randn(weight.shape, generator=generator))
    found = survey(planted, clusters=6)
    name = "keys/within minus between"
    assert measures(found)[name].estimate > 1.0 > measures(plain)[name].estimate
    told = section(found)
    assert "6 clusters" in told.summary and told.figures[0].kind == "points"
    assert finding(found).section == told.id == "keys"
    assert survey(planted, clusters=6) == found


def test_kept_neighbours_by_hand() -> None:
    points = torch.arange(30).double().view(30, 1).numpy()
    assert kept_neighbours(points, points) == 1.0
    mixed = points[torch.randperm(30, generator=torch.Generator().manual_seed(0)).numpy()]
    assert kept_neighbours(points, mixed) < 0.7
