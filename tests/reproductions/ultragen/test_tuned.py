"""What the tuned model is judged by: no text on both sides, matching and slopes with known answers, gains by hand."""

import math

import numpy as np
import pytest
import torch

from armillary.methods.ultragen.evaluation import EvaluatedSet, ScoredResponse
from armillary.methods.ultragen.quality import quality_of
from armillary.models.prompts import bare_ids, text_ids
from armillary.models.tiny_models import tiny
from armillary.numerics.intervals import Interval
from armillary.records.claims import judge
from reproductions.ultragen.real.texts import split_by_package
from reproductions.ultragen.scale import TUNED_COUNTS
from reproductions.ultragen.tuned.answers import Asked, greedy_f1, nats_of, read_by, states_of
from reproductions.ultragen.tuned.claims import TUNED_CLAIMS, tuned_claims
from reproductions.ultragen.tuned.measures import asked_for, best, csr, follows, slope_replicates


def test_no_package_stands_on_both_sides_of_the_split() -> None:
    documents = [(f"text {number} of {name}", name) for name, size in (("large", 30), ("a", 2), ("b", 3), ("c", 4))
                 for number in range(size)]  # fmt: skip
    train, held_out = split_by_package(documents, 6)
    assert len(train) + len(held_out) == len(documents) and len(held_out) >= 6
    assert {text.split()[-1] for text in train}.isdisjoint(text.split()[-1] for text in held_out)
    assert all(text.split()[-1] != "large" for text in held_out)  # more than may stand there


def test_greedy_matching_by_hand() -> None:
    answer, source = np.array([[1.0, 0.0], [3.0, 3.0]]), np.array([[2.0, 0.0]])
    precision, recall = (1 + math.sqrt(0.5)) / 2, 1.0  # the second token is at 45 degrees
    assert greedy_f1(answer, source) == pytest.approx(2 * precision * recall / (precision + recall))
    assert greedy_f1(answer, answer[::-1]) == pytest.approx(1)
    assert greedy_f1(answer, -source) == 0  # nothing alike: never below none


def test_greedy_matching_is_that_of_the_package_bert_score() -> None:
    utils = pytest.importorskip("bert_score.utils")
    draw = torch.Generator().manual_seed(0)
    answer, source = torch.randn((5, 8), generator=draw), torch.randn((7, 8), generator=draw)
    unit = [torch.nn.functional.normalize(rows, dim=-1)[None] for rows in (source, answer)]
    masks = [torch.ones(rows.shape[:2]) for rows in unit]
    _, _, theirs = utils.greedy_cos_idf(unit[0], masks[0], masks[0], unit[1], masks[1], masks[1])
    assert greedy_f1(answer.double().numpy(), source.double().numpy()) == pytest.approx(float(theirs), abs=1e-5)


def test_the_loss_of_a_held_out_text_is_that_of_its_tokens_behind_the_prompt() -> None:
    loaded = tiny("llama")
    request, text = "Write two words.", "old mill"
    row = [*text_ids(loaded, f"{request}\n\n"), *bare_ids(loaded.tokenizer, [text])[0]]
    with torch.no_grad():
        logits = loaded.model(torch.tensor([row])).logits[0, :-1].double()
    own = len(bare_ids(loaded.tokenizer, [text])[0])
    nll = -torch.log_softmax(logits, -1)[range(len(row) - 1), row[1:]]
    assert nats_of(loaded, request, text) == pytest.approx(float(nll[-own:].mean()), abs=1e-4)


def test_a_reader_finds_the_same_text_nearest_and_knows_no_text_without_words() -> None:
    reader = tiny("gemma3")
    texts = ["the old mill stands by the river", "a list of names is sorted twice", "it rains"]
    reading = read_by(reader, [texts[0], "", texts[2]], texts)
    assert reading.match[1] is None and reading.nats[1] is None and reading.match_other[1] is None
    assert reading.match[0] == pytest.approx(1) and reading.match[2] == pytest.approx(1)
    assert reading.match_other[0] is not None and reading.match_other[0] < 0.99
    assert len(states_of(reader, texts[0])) == len(text_ids(reader, texts[0]))


def response(
    satisfied: list[bool], negative: list[bool] | None = None, kinds: list[str] | None = None
) -> ScoredResponse:
    return ScoredResponse(
        text="a text", kinds=kinds or ["kind"] * len(satisfied), satisfied=[*satisfied], hard=[True] * len(satisfied),
        negative=negative or [False] * len(satisfied), csr=sum(satisfied) / len(satisfied),
        quality=quality_of("a text"),
    )  # fmt: skip


def test_shares_are_means_over_answers_and_best_is_of_four() -> None:
    rows = ([True, False], [True, True], [False, False], [True, False])
    asked = Asked(sets=[EvaluatedSet(id="", responses=[response(row, [True, False]) for row in rows])], swapped=[0.25])
    assert csr(asked).tolist() == [0.5] and best(asked).tolist() == [1.0]
    assert asked_for(asked).tolist() == [0.25]  # the second attribute alone
    assert follows(asked).tolist() == [0.25]


def test_a_slope_over_the_place_is_found_and_a_kind_that_always_passes_says_nothing() -> None:
    draw = np.random.default_rng(0)
    places = np.linspace(0, 1, 30)
    sets = []
    for _ in range(60):
        met = draw.random(30) < 1 / (1 + np.exp(1 - 2 * places))  # a slope of 2
        satisfied, kinds = [bool(one) for one in met], ["word"] * 30
        kinds[0], satisfied[0] = "free", True
        sets.append(EvaluatedSet(id="", responses=[response(satisfied, kinds=kinds)]))
    slopes = slope_replicates(sets, np.concatenate([np.ones((1, 60)), draw.multinomial(60, [1 / 60] * 60, 20)]))
    assert abs(slopes[0] - 2) < 2 * slopes[1:].std() + 0.05
    constant = [EvaluatedSet(id="", responses=[response([True, True])])]
    assert slope_replicates(constant, np.ones((3, 1))).tolist() == [0, 0, 0]


def outcome(claim: str, measures: dict[str, Interval]) -> str:
    (chosen,) = [one for one in TUNED_CLAIMS if one.id == claim]
    good = dict.fromkeys(chosen.names, Interval(estimate=0.5, low=0.4, high=0.6))
    good |= {name: Interval(estimate=0.0) for name in chosen.names if name.endswith("beyond twice")}
    good |= {name: Interval(estimate=30.0) for name in chosen.names if name.endswith("rows")}
    return judge([chosen], good | measures)[0].outcome


def test_a_gain_is_none_that_repetition_or_no_learning_stands_behind() -> None:
    assert outcome("tuned-ar-helps", {}) == "holds"
    assert outcome("tuned-ar-helps", {"ar/beyond untuned, 40": Interval(estimate=0.0)}) == "fails"
    looped = {"ar/repeated beyond twice": Interval(estimate=0.1)}
    assert outcome("tuned-ar-helps", looped) == "undecided: control failed"
    assert (
        outcome("tuned-ar-helps", {"ar/nats below untuned's": Interval(estimate=0.0)}) == "undecided: model too small"
    )
    assert outcome("tuned-position", {"untuned/slope": Interval(estimate=0.1, low=-1, high=1)}) == (
        "undecided: control failed"
    )
    for gain, verdict in ((0.05, "holds"), (0.001, "fails"), (0.02, "undecided: interval too wide")):
        assert outcome("tuned-gpo-generalises", {"gpo/global beyond ar": Interval(estimate=gain)}) == verdict
    assert outcome("tuned-gpo-generalises", {"preferences/rows": Interval(estimate=5.0)}).startswith("undecided")


def test_claims_ask_for_the_numbers_of_attributes_that_the_scale_has() -> None:
    assert tuned_claims(TUNED_COUNTS) and {claim.id for claim in tuned_claims((2, 6, 8))} == {
        claim.id for claim in TUNED_CLAIMS
    }
    assert "ar/beyond untuned, 8" in tuned_claims((2, 6, 8))[0].names
