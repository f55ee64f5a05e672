"""Edits: what they measure where the truth is known, and that the weights come back bit for bit."""

import json

import numpy as np
import pytest
import torch

from armillary.errors import NumericError, UsageError
from armillary.methods.lincorr import EditOutcome, LinCorrConfig, edit_and_trace, editing as edit, lincorr
from armillary.methods.lincorr.gradient import last_hidden
from armillary.models import KINDS, tiny
from armillary.records.plain import decode, plain

FAST = LinCorrConfig(n=300, replicates=20, permutations=2, control_tokens=0)
SUBJECTS = ["snow", "red blue green"]
STRONG = {"learning_rate": 3e-2, "max_steps": 40, "threshold": 0.02}


@pytest.fixture(scope="module")
def fit(exact, relation):
    return lincorr(exact[0], relation, FAST, ridge=0.0).fit


def state(loaded):
    return {name: value.detach().clone() for name, value in loaded.model.state_dict().items()}


def unchanged(loaded, before) -> bool:
    return all(torch.equal(before[name], value) for name, value in loaded.model.state_dict().items())


def test_a_linear_model_moves_exactly_as_predicted(exact, fit):
    loaded, _ = exact
    before = state(loaded)
    found = edit_and_trace(loaded, fit, "Oslo", SUBJECTS, **STRONG)
    assert found.steps > 0 and not found.failed and found.probability >= 0.02
    assert np.abs(found.target_change).max() > 0.1
    np.testing.assert_allclose(
        found.predicted_change, found.target_change, atol=0.02 * np.abs(found.target_change).max()
    )
    assert found.agreement > 0.98
    assert abs(found.agreement_permuted) < 0.3
    # Both prompts end in one hidden state here, so that a target word changes at both alike.
    np.testing.assert_allclose(found.same_token_change, found.target_change, atol=1e-4)
    assert found.agreement_same_tokens > 0.999 and -1 <= found.agreement_taught_row < 0.98
    column = fit.source.column("Oslo")
    assert (found.source_change[:, column] > 0).all(), "the taught word became likelier"
    assert found.gold == ("Norway",)
    assert found.weight_reference == fit.influence("Oslo", "Norway")
    assert found.weight_largest == fit.influenced("Oslo", 1)[0][1]
    assert unchanged(loaded, before)


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
@pytest.mark.parametrize("parameters", ["ffn-last-half", "ffn", "all"])
def test_weights_come_back_bit_for_bit(exact, fit, optimiser, parameters):
    loaded, _ = exact
    before = state(loaded)
    flags = [p.requires_grad for p in loaded.model.parameters()]
    found = edit_and_trace(
        loaded, fit, "Rome", SUBJECTS, learning_rate=1e-2, max_steps=2, optimiser=optimiser, parameters=parameters
    )
    assert found.steps == 2 and np.abs(found.source_change).max() > 0
    assert unchanged(loaded, before)
    assert [p.requires_grad for p in loaded.model.parameters()] == flags
    assert all(p.grad is None for p in loaded.model.parameters())


def test_weights_come_back_after_an_error(exact, fit, monkeypatch):
    loaded, _ = exact
    before = state(loaded)
    with pytest.raises(NumericError, match="diverged at step 1"):
        edit_and_trace(loaded, fit, "Rome", SUBJECTS, learning_rate=float("inf"))
    assert unchanged(loaded, before)
    calls = []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return last_hidden(*arguments)

    monkeypatch.setattr(edit, "last_hidden", interrupted)
    with pytest.raises(KeyboardInterrupt):
        edit_and_trace(loaded, fit, "Rome", SUBJECTS, learning_rate=1e-2)
    assert unchanged(loaded, before) and all(p.requires_grad for p in loaded.model.parameters())


def test_an_edit_that_does_not_take_is_marked(exact, fit):
    found = edit_and_trace(exact[0], fit, "Rome", SUBJECTS, learning_rate=1e-6, max_steps=1, threshold=0.9)
    assert found.failed and found.steps == 1 and found.probability < 0.9


def test_a_word_that_is_said_already_takes_no_step(exact, fit):
    found = edit_and_trace(exact[0], fit, "Rome", SUBJECTS, threshold=1e-9)
    assert found.steps == 0 and not found.failed
    assert not found.source_change.any() and np.isnan(found.agreement)
    told = json.loads(json.dumps(plain(found.outcome()), allow_nan=False))
    assert told["agreement"] is None and np.isnan(decode(EditOutcome, told, "the edit").agreement)


def test_an_edit_survives_its_plain_form(exact, fit):
    found = edit_and_trace(exact[0], fit, "Paris", SUBJECTS, **STRONG)
    back = decode(EditOutcome, json.loads(json.dumps(plain(found.outcome()), allow_nan=False)), "the edit")
    assert back == found.outcome() and back.took


def test_shares_and_ranks_by_hand(fit):
    column = fit.source.column("Paris")
    france = fit.target.column("France")
    order = fit.weight_ST[column].argsort()
    before, after = torch.zeros(2, 10), torch.zeros(2, 10)
    after[0, france], after[1, order[-1]] = 5.0, 5.0
    after[0, (france + 1) % 10], before[0, (france + 1) % 10] = 5.5, 5.4  # the largest, but not the most raised
    still = torch.zeros(2, len(fit.source.labels), dtype=torch.float64)
    found = edit._compared(
        fit,
        "Paris",
        (still, before.double(), before.double()),
        (still, after.double(), after.double()),
        steps=1,
        probability=1.0,
        threshold=0.5,
        seed=0,
    )
    largest = int(order[-1]) == france
    assert found.success == (0.5 if largest else 0.0)
    assert found.success_by_rise == (1.0 if largest else 0.5)
    assert found.most_raised[0] == "France" and found.after[0] == fit.target.labels[(france + 1) % 10]
    rank = int((fit.weight_ST[column] < fit.weight_ST[column, (france + 1) % 10]).sum()) / 9
    assert found.generalised_rank == pytest.approx((rank + 1) / 2)


@pytest.mark.parametrize(
    ("word", "settings", "message"),
    [
        ("Atlantis", {}, "not among the words"),
        ("Tokyo", {}, "no gold target"),
        ("Rome", {"learning_rate": 0.0}, "positive rate"),
        ("Rome", {"max_steps": 0}, "max_steps"),
        ("Rome", {"optimiser": "lion"}, "'adam' or 'sgd'"),
        ("Rome", {"parameters": "some"}, "ffn-last-half"),
    ],
)
def test_refusals(exact, fit, word, settings, message):
    before = state(exact[0])
    with pytest.raises(UsageError, match=message):
        edit_and_trace(exact[0], fit, word, SUBJECTS, **settings)
    assert unchanged(exact[0], before)


def test_a_fit_of_another_model_is_refused(fit):
    with pytest.raises(UsageError, match="fit it on this one"):
        edit_and_trace(tiny(seed=4), fit, "Rome", SUBJECTS)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_padded_prompts_end_in_the_state_of_single_ones(kind):
    loaded = tiny(kind)
    prompts = ["snow lives in", "red blue green yellow lives in the city of", "sun"]
    batch = last_hidden(loaded, prompts)
    for row, prompt in zip(batch, prompts, strict=True):
        ids = loaded.tokenizer(prompt, return_tensors="pt")["input_ids"]
        expected = loaded.anatomy.base(input_ids=ids).last_hidden_state[0, -1]
        torch.testing.assert_close(row, expected, atol=1e-5, rtol=0)
