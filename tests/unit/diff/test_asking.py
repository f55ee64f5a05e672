"""Answers, scores and comparisons in batches with shared beginnings, against one plain forward pass a text."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from armillary.diff.asking import WAYS, Authored, Visit, gathered, group_of, read_texts, visit_batch
from armillary.diff.kept import Crossed, Scored
from armillary.errors import NumericError
from armillary.models import LoadedModel, tiny
from armillary.models.batches import encode
from armillary.runs.parts import Arrays
from armillary.scoring.decoding import end_tokens

PROMPTS = ["red or blue or", "red or", "red or blue is the color of the sky and", "red or green or black or white or"]
TOKENS = 7


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return tiny("llama", seed=3)


@pytest.fixture(scope="module")
def visit(model: LoadedModel) -> Visit:
    rows = encode(model, PROMPTS)
    expected = [[[40, 41], [50]], [], [[60, 61, 62]], [[70]]]
    return Visit(rows=rows, tokens=TOKENS, seed=(5, 0), expected=expected, batch=3)


def visited(model: LoadedModel, visit: Visit) -> Arrays:
    return gathered(visit, [visit_batch(model, visit, number) for number in range(len(visit.order))])


@torch.inference_mode()
def plain(model: LoadedModel, row: list[int]) -> torch.Tensor:
    """Log-probabilities of the next token at every place, float64."""
    logits = model.model(torch.tensor([row])).logits[0].double()
    logits[:, list(model.nameless_ids)] = -torch.inf
    return logits.log_softmax(-1)


def test_answers_are_those_of_one_prompt_at_a_time(model: LoadedModel, visit: Visit) -> None:
    written = visited(model, visit)
    ends = set(end_tokens(model))
    own = {way: Scored.of(group_of(way, written)) for way in WAYS}
    for index, row in enumerate(visit.rows):
        answer: list[int] = []
        while len(answer) < TOKENS and not (answer and answer[-1] in ends):
            answer.append(int(plain(model, [*row, *answer])[-1].argmax()))
        assert own["greedy"].ids[own["greedy"].place(index)].tolist() == answer
        for way in WAYS:
            scored = own[way]
            place = scored.place(index)
            ids = scored.ids[place].tolist()
            truth = plain(model, [*row, *ids])[len(row) - 1 : -1]
            np.testing.assert_allclose(scored.logprob[place], truth[range(len(ids)), ids], atol=1e-4)
            top = truth.topk(scored.top_ids.shape[1], dim=-1)
            np.testing.assert_allclose(scored.top_logprob[place], top.values, atol=1e-4)
            rest = 1 - top.values.exp().sum(-1)
            np.testing.assert_allclose(np.exp(scored.tail[place]), rest, atol=1e-5)
            assert written[f"{way}.ended"][index] == (ids[-1] in ends)
    text = model.tokenizer.decode(own["sampled"].ids[own["sampled"].place(1)], skip_special_tokens=True)
    assert written["sampled.text"][1] == text


def test_batches_and_their_order_change_nothing(model: LoadedModel, visit: Visit) -> None:
    first, second = visited(model, visit), visited(model, replace(visit, batch=2, reverse=True))
    assert first.keys() == second.keys()
    for name, values in first.items():
        if values.dtype.kind == "f":
            np.testing.assert_allclose(values, second[name], atol=1e-4)
        elif "top_ids" not in name:
            assert values.tolist() == second[name].tolist()
    other = visited(model, replace(visit, seed=(5, 1)))
    assert other["greedy.ids"].tolist() == first["greedy.ids"].tolist()
    assert other["sampled.ids"].tolist() != first["sampled.ids"].tolist()


def test_expected_answers_are_scored_whole(model: LoadedModel, visit: Visit) -> None:
    scores = visited(model, replace(visit, tokens=0))
    assert scores["expected.offsets"].tolist() == [0, 2, 2, 3, 4]
    wanted = [
        plain(model, [*row, *answer])[range(len(row) - 1, len(row) + len(answer) - 1), answer].sum()
        for row, answers in zip(visit.rows, visit.expected, strict=True)
        for answer in answers
    ]
    np.testing.assert_allclose(scores["expected.nats"], wanted, atol=1e-4)


def test_anothers_answers_are_compared_where_it_gave_them(model: LoadedModel, visit: Visit) -> None:
    reader = tiny("llama", seed=4)
    written = visited(model, visit)
    own = {way: Scored.of(group_of(way, written)) for way in WAYS}
    ids = {way: [own[way].ids[own[way].place(row)].tolist() for row in range(len(PROMPTS))] for way in WAYS}
    ids["sampled"][2] = []  # an answer of which the reader knows no token
    reads = replace(visit, tokens=0, expected=(), authored=Authored(ids=ids, scored=own))
    for way in WAYS:
        crossed = Crossed.of(group_of(f"{way} crossed", visited(reader, reads)))
        for index, row in enumerate(visit.rows):
            answer = ids[way][index]
            assert crossed.lengths[index] == len(answer)
            place = range(len(row) - 1, len(row) + len(answer) - 1)
            theirs, ours = plain(model, [*row, *answer])[place], plain(reader, [*row, *answer])[place]
            np.testing.assert_allclose(
                crossed.logprob[crossed.place(index)], ours[range(len(answer)), answer], atol=1e-4
            )
            known = theirs.exp() > 0
            kl = torch.where(known, theirs.exp() * (theirs - ours), 0.0).sum(-1).numpy()
            assert (crossed.lower[crossed.place(index)] <= kl + 1e-4).all()
            assert (crossed.upper[crossed.place(index)] >= kl - 1e-4).all()
            agree = (theirs.argmax(-1) == ours.argmax(-1)).float().tolist()
            assert crossed.agrees[crossed.place(index)].tolist() == agree
    sums = replace(reads, authored=Authored(ids=ids, scored=None))
    alone = Crossed.of(group_of("greedy crossed", visited(reader, sums)))
    first = Crossed.of(group_of("greedy crossed", visited(reader, reads)))
    np.testing.assert_allclose(alone.logprob, first.logprob, atol=1e-4)
    assert np.isnan(alone.estimate).all()


def test_texts_are_scored_as_alone_and_a_model_agrees_with_itself(model: LoadedModel) -> None:
    rows = encode(model, ["The sky is blue and the sea is green.", "one two three", "a dog and a cat " * 9], least=2)
    scored = Scored.of(read_texts(model, rows))
    for index, row in enumerate(rows):
        truth = plain(model, row)[range(len(row) - 1), row[1:]]
        np.testing.assert_allclose(scored.logprob[scored.place(index)], truth, atol=1e-4)
    again = Crossed.of(read_texts(model, [rows[2], rows[0]], scored, theirs=[2, 0], tokens_per_batch=8))
    np.testing.assert_allclose(again.sums(again.logprob), scored.sums(scored.logprob)[[2, 0]], atol=1e-3)
    np.testing.assert_allclose(again.upper - again.lower, 0, atol=10)
    assert np.abs(again.lower).max() < 1e-5 and again.agrees.all()


def test_logits_that_are_no_numbers_are_named(visit: Visit) -> None:
    broken = tiny("llama", seed=3)
    with torch.no_grad():
        next(broken.model.parameters()).fill_(torch.nan)
    with pytest.raises(NumericError, match="tiny-llama gives NaN or infinite logits"):
        read_texts(broken, visit.rows)
