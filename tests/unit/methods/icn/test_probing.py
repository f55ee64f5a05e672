"""Answers by first token, what lists do to explored tokens, and answers that a tokenizer can't write."""

import pytest
import torch

from armillary.errors import UsageError
from armillary.methods.icn.navigator import Navigator
from armillary.methods.icn.probing import Probing, unreachable
from armillary.methods.icn.templates import NUMBERED_LIST
from armillary.models import tiny

INSTRUCTION = "Please show me some cities."


def test_answers_are_those_of_the_static_ranking() -> None:
    loaded = tiny()
    one = Probing(loaded, INSTRUCTION, max_new_tokens=5)
    static = Navigator(loaded, rounds=1, per_round=6, max_new_tokens=5, navigate=False).explore(INSTRUCTION)
    tokens = one.ranked(6)
    assert tokens == [answer.token for answer in static.answers]
    assert one.answers(tokens) == static.texts
    assert one.answers([tokens[3], tokens[3], tokens[0]]) == [static.texts[3], static.texts[3], static.texts[0]]


def test_ranks_after_a_list_are_those_of_the_whole_prompt() -> None:
    loaded = tiny("gemma3")
    one = Probing(loaded, INSTRUCTION, max_new_tokens=5)
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


def test_more_first_tokens_than_the_vocabulary_has() -> None:
    with pytest.raises(UsageError, match="can begin an answer"):
        Probing(tiny(), INSTRUCTION).ranked(5000)


def test_answers_out_of_reach() -> None:
    loaded = tiny()
    assert unreachable(loaded, [("Paris", "Lutetia"), ("Zürich",)]) == []
    blind = tiny()
    decode = blind.tokenizer.decode
    blind.tokenizer.decode = lambda ids, **settings: decode(ids, **settings).replace("Z", "?")  # type: ignore[method-assign, assignment]
    assert unreachable(blind, [("Paris",), ("Zürich",)]) == ["Zürich"]
    with pytest.raises(UsageError, match="None of the 1 answers"):
        unreachable(blind, [("Zürich",)])
