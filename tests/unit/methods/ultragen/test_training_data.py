"""Rows to reconstruct, pairs to prefer and rewards: each attribute holds, each guard guards."""

import asyncio
import json
import math

import pytest

from armillary.attributes.attribute import soft
from armillary.attributes.attribute_set import AttributeSet
from armillary.attributes.text_stats import TextStats
from armillary.errors import UsageError
from armillary.methods.ultragen.config import PairConfig
from armillary.methods.ultragen.corpus.checking import response_row
from armillary.methods.ultragen.pairing import Preferences, chosen_pair, preferences
from armillary.methods.ultragen.quality import distinct, quality_of, repeated_ngrams, word_f1
from armillary.methods.ultragen.rewards import AttributeVerifier, reward_fn, reward_with
from armillary.methods.ultragen.training_data import (
    attributes_of,
    build_ar_dataset,
    reconstructions,
    split_documents,
    truncated,
)

from .set_toy import TEXT, include

SET = AttributeSet(attributes=(include("mill"), include("river"), include("piano"), include("violin")), id="four")


def test_a_long_text_is_cut_at_a_sentence_and_keeps_its_lines() -> None:
    assert truncated(TEXT) == TEXT
    words = len(TextStats(TEXT).pairs)
    shorter = truncated(TEXT, words - 3)
    assert TEXT.startswith(shorter)
    assert shorter.endswith("In winter the river freezes.")
    assert "\n- bran for the horses\n\n" in shorter
    assert truncated(TEXT, 3) == "The old mill"  # the first sentence is longer
    assert truncated("  \n ") == ""


def test_documents_are_on_one_side_alone() -> None:
    texts = [f"Text number {number} of the lot." for number in range(20)] + ["TEXT number 3, of the lot!", " "]
    split = split_documents(texts, 0.25, seed=1)
    assert sorted([*split.train, *split.test]) == list(range(20))
    assert (len(split.test), split.repeated) == (5, 1)
    assert split_documents(texts, 0.25, seed=1) == split
    assert split_documents(texts, 0.25, seed=2) != split


def test_a_reconstructed_text_has_every_attribute_of_its_prompt() -> None:
    (row,) = reconstructions(["...", TEXT], n=20)
    report = row.attributes.check(row.text)
    assert report.csr == 1.0
    assert len(row.attributes.attributes) > 10
    lines = row.request.splitlines()
    assert [each.text for each in row.attributes.attributes] == lines[1:]
    columns = row.row(chat=True)
    assert columns["prompt"] == [{"role": "user", "content": row.request}]
    assert columns["completion"] == [{"role": "assistant", "content": TEXT}]
    assert attributes_of(columns["attributes"]).attributes == row.attributes.attributes
    assert row.row(chat=False)["prompt"] == row.request + "\n\n"
    with pytest.raises(UsageError, match="begin as a JSON list but are none"):
        attributes_of("[nothing")
    with pytest.raises(UsageError, match="a row: its attributes are 3; accepted are a list of objects or sentences"):
        attributes_of(3)
    with pytest.raises(UsageError, match="a row has no attributes"):
        attributes_of([])


def test_rows_as_a_data_set() -> None:
    pytest.importorskip("datasets", exc_type=ImportError)
    data = build_ar_dataset([TEXT, TEXT.replace("mill", "forge")], n=12)
    assert data.column_names == ["prompt", "completion", "attributes"]
    rows = [reward_fn([row["prompt"]], [row["completion"]], [row["attributes"]]) for row in data]
    assert rows == [[1.0], [1.0]]
    with pytest.raises(UsageError, match="nothing to reconstruct"):
        build_ar_dataset(["", "?!"])


def pair(responses: list[str], scores: list[float], **settings: float) -> object:
    return chosen_pair(SET, "request", responses, scores, PairConfig(**settings))


LOOP = "the mill and the river " * 6


def test_a_pair_is_the_best_and_the_worst() -> None:
    made = pair(["one mill", "a river here", "no such thing", "a piano there"], [0.25, 0.75, 0.0, 0.75])
    assert not isinstance(made, str)
    assert (made.chosen, made.rejected) == ("a river here", "no such thing")  # of equal scores the first
    assert (made.score_chosen, made.score_rejected) == (0.75, 0.0)


@pytest.mark.parametrize(
    ("responses", "scores", "reason"),
    [
        (["a mill", ""], [0.25, 0.0], "fewer than two"),
        (["a mill", LOOP], [0.25, 0.9], "fewer than two"),
        (["a mill", "a river"], [0.25, 0.2], "about the same"),
        (["a mill", "a river"], [0.4, 0.3], None),  # 0.1 by rounding
        (["a mill", "a river by the old mill"], [0.25, 0.75], "very different lengths"),
    ],
)
def test_guards(responses: list[str], scores: list[float], reason: str | None) -> None:
    made = pair(responses, scores)
    assert (reason is None) == (not isinstance(made, str))
    assert reason is None or reason in str(made)


def test_a_worse_written_response_is_not_preferred() -> None:
    def quality(text: str) -> float:
        return 0.2 if "river" in text else 0.9

    made = chosen_pair(SET, "request", ["a river", "a mill"], [0.5, 0.25], PairConfig(), quality)
    assert made == "the better response is worse written"


def test_preferences_tell_what_became_of_each_set() -> None:
    def sampler(requests: list[str], k: int, seed: int) -> list[list[str]]:
        return [["a mill by the river", "nothing at all here"], ["no", "no"]][: len(requests)]

    made = preferences([SET, SET], sampler, config=PairConfig(k=2))
    assert [(each.chosen, each.score_chosen) for each in made.pairs] == [("a mill by the river", 0.5)]
    assert made.scores == [[0.5, 0.0], [0.0, 0.0]]
    assert made.left_out == {"responses of about the same score": 1}
    with pytest.raises(UsageError, match="must give 3 responses"):
        preferences([SET], sampler, config=PairConfig(k=3))
    pytest.importorskip("datasets", exc_type=ImportError)
    columns = ["prompt", "chosen", "rejected", "score_chosen", "score_rejected", "attributes"]
    assert made.to_dataset().column_names == columns
    with pytest.raises(UsageError, match="no set gave a pair"):
        Preferences(pairs=[], scores=[], left_out={}).to_dataset()


def test_rewards_of_text_and_of_messages() -> None:
    column = json.dumps([each.to_json() for each in SET.attributes])
    answer = [{"role": "assistant", "content": "a mill"}]
    assert reward_fn(["p"] * 3, ["mill and river", answer, " "], [column, SET, column], extra=[1]) == [0.5, 0.25, 0.0]
    with pytest.raises(UsageError, match="2 completions came with attributes of 1 rows"):
        reward_fn(["p"] * 2, ["a", "b"], [column])
    judged = AttributeSet(attributes=(soft("Be kind."),))
    with pytest.raises(UsageError, match="reward_with"):
        reward_fn(["p"], ["a"], [judged])
    assert reward_with(lambda response, attributes: [response == "a"])(["p"] * 2, ["a", "b"], [judged] * 2) == [1, 0]


def test_rewards_read_rows_as_the_check_does() -> None:
    ids = ["punctuation:no_comma", "keywords:existence"]
    kwargs = [{}, {"keywords": ["mill"], "relation": None}]
    rows: list[dict[str, object]] = [
        {"attributes": [each.to_json() for each in SET.attributes]},
        {"attributes": [each.text for each in SET.attributes]},
        {"attributes": json.dumps([each.text for each in SET.attributes])},
        {"attributes": "\n".join(each.text for each in SET.attributes)},
        # A table with a column for every parameter, as Arrow makes it.
        {"attributes": [{**each.to_json(), "params": {**each.params, "k": None}} for each in SET.attributes]},
        {"prompt": SET.render()},
        {"prompt": [{"role": "user", "content": SET.render()}]},
        {"prompt": "p", "instruction_id_list": ids, "kwargs": kwargs},
        {"prompt": "p", "hard_constraints": {"instruction_id_list": ["linguistic:no_comma"], "kwargs": [{}]}},
    ]
    answer = "A mill, by the river."
    for row in rows:
        columns = {name: [value] * 2 for name, value in row.items() if name != "prompt"}
        checked = response_row("row 1", {**row, "response": answer})
        share = AttributeSet(attributes=checked.attributes).check(answer).csr
        assert reward_fn([row.get("prompt", "p")] * 2, [answer, ""], **columns) == [share, 0.0]
    with pytest.raises(UsageError, match="row 1 of the batch has no attributes"):
        reward_fn(["Do it."], ["x"])
    with pytest.warns(UserWarning, match="1 sentence is of no known kind, which only reward_with"):
        assert reward_fn(["p"], ["mill"], [['Include "mill".', "Sing of it."]]) == [1.0]


def test_the_form_of_a_verifier() -> None:
    verifier = AttributeVerifier()
    label = json.dumps([each.to_json() for each in SET.attributes])
    result = verifier([], "<think>piano</think> a mill by the river", label, query="q")
    assert (result.score, result.cost) == (0.5, 0.0)
    assert result.reasoning is not None
    assert "piano" in result.reasoning
    assert asyncio.run(verifier.async_call([], "mill", label)).score == 0.25


def test_numbers_of_a_text() -> None:
    assert repeated_ngrams("a b c d a b c d") == pytest.approx(1 - 4 / 5)
    assert (repeated_ngrams("a b c"), distinct("a a a", 1), distinct("")) == (0.0, pytest.approx(1 / 3), 0.0)
    assert word_f1("the cat", "The cat sat") == pytest.approx(4 / 5)
    assert word_f1("", "x") == 0.0
    assert quality_of("One two.").f1 is None
    assert not math.isnan(quality_of("").repeated)
