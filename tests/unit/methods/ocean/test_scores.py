"""Log-probabilities of chains against a plain forward pass, and estimates of models."""

from typing import Any

import numpy as np
import pytest
import torch

from armillary.errors import UsageError
from armillary.methods.ocean import scores
from armillary.methods.ocean.objectives import expected_reward, graph_factor
from armillary.methods.ocean.rows import ChainRow, read_chains, token_rows
from armillary.methods.ocean.scores import ChainBatch, references, score_chains, token_log_probs
from armillary.models.tiny_models import tiny

from .ocean_toy import chain, chains, model, spelling


def rows(**settings: Any) -> list[ChainRow]:
    return token_rows(model().tokenizer, read_chains(chains(), **settings)).rows


def plain(network: Any, row: ChainRow) -> torch.Tensor:
    """Log-probabilities of a row's tokens behind those before, ``[L - 1, V]``, alone and without padding."""
    with torch.no_grad():
        return network(torch.tensor([row.input_ids])).logits[0, :-1].double().log_softmax(-1)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma2"])
@pytest.mark.parametrize("at_once", [5, 512])
def test_log_probabilities_are_those_of_a_plain_pass(kind: str, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores, "AT_ONCE", at_once)
    network, own = tiny(kind).model, rows()
    batch = ChainBatch.of(own)
    found = token_log_probs(network.eval(), batch).detach()
    for index, row in enumerate(own):
        log_p = plain(network, row)
        for place, (token, step) in enumerate(zip(row.input_ids, row.step_ids, strict=True)):
            expected = float(log_p[place - 1, token]) if step >= 0 else 0.0
            assert float(found[index, place]) == pytest.approx(expected, abs=2e-5)


def test_its_gradient_is_that_of_the_plain_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores, "AT_ONCE", 7)
    network, batch = model().model, ChainBatch.of(rows())
    token_log_probs(network, batch).sum().backward()
    ours = [parameter.grad.clone() for parameter in network.parameters() if parameter.grad is not None]
    network.zero_grad()
    log_p = network(batch.input_ids_BL, attention_mask=batch.attention_mask_BL).logits[:, :-1].log_softmax(-1)
    picked = log_p.gather(2, batch.input_ids_BL[:, 1:, None])[..., 0]
    (picked * batch.scored_BL[:, 1:]).sum().backward()
    theirs = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_references_are_exact_over_the_vocabulary() -> None:
    own = rows()[:3]
    base, kg, batch = model().model, model(1).model, ChainBatch.of(own)
    shaped = torch.tensor([True, False, True])
    read = references(base, kg, batch, ratio_clip=4.0, shaped_B=shaped)
    for index, row in enumerate(own):
        log_base, log_kg = plain(base, row), plain(kg, row)
        for place, (token, step, span) in enumerate(zip(row.input_ids, row.step_ids, row.span_ids, strict=True)):
            if step < 0:
                continue
            entity = torch.tensor([span >= 0 and bool(shaped[index])])
            before = log_base[place - 1 : place], log_kg[place - 1 : place]
            factor = graph_factor(*before, entity.expand_as(before[0]), 4.0)
            assert float(read.baseline_BL[index, place]) == pytest.approx(
                float((before[0].exp() * factor * before[0]).sum()), abs=2e-5
            )
            assert float(expected_reward(*before, entity, 4.0)) == pytest.approx(
                float(read.baseline_BL[index, place]), abs=2e-5
            )
            assert float(read.logp_base_BL[index, place]) == pytest.approx(float(before[0][0, token]), abs=2e-5)
            graph = float(before[1][0, token]) if span >= 0 else 0.0
            assert float(read.logp_kg_BL[index, place]) == pytest.approx(graph, abs=2e-5)


def test_a_policy_has_ratio_one_to_itself_also_from_train_mode() -> None:
    network = model().model.train()
    for module in network.modules():
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = 0.5
    scored = score_chains(network, network, network, rows(), batch_size=3)
    assert np.array_equal(scored.logp_target, scored.logp_base)
    result = scored.estimate()
    assert result.max_weight == 1 and result.ess == result.tokens and network.training
    assert result.logging == "base" and 0 < result.entity_share < 1
    assert score_chains(network, network, network, rows(logged_by="lambda")).logging == "lambda"
    mixed = token_rows(model().tokenizer, read_chains([chain(0, "lambda"), chain(1)])).rows
    assert score_chains(network, network, network, mixed).logging == "unknown"


@pytest.mark.parametrize("floor", [None, 1e-3])
def test_the_known_reward_gives_the_exact_mean_at_visited_states(floor: float | None) -> None:
    """Also with a floor, which lifts most words here."""
    target, base, own = model(2).model, model().model, rows(logged_by="lambda")
    least = -np.inf if floor is None else np.log(floor)
    scored = score_chains(target, base, model(1).model, own, propensity_floor=floor)
    terms = []
    for row in own:
        means = (plain(target, row).exp() * plain(base, row).clamp(min=least)).sum(-1)
        steps = np.array(row.step_ids)[1:]
        terms.append(np.mean([means.numpy()[steps == step].mean() for step in range(max(steps) + 1)]))
    result = scored.doubly_robust(propensity_floor=floor)
    assert result.per_chain == pytest.approx(terms, abs=1e-5) and result.estimator == "doubly robust"
    # The same expectation as with weights, by chains that are far too few for it.
    assert result.stderr is not None and result.stderr < (scored.estimate(propensity_floor=floor).stderr or 0)


@pytest.mark.filterwarnings("ignore:the effective sample size")
def test_whole_spans_need_no_common_tokenizer() -> None:
    """A graph policy that spells: its span has the probability of its letters, spread over our tokens."""
    own, kg = rows(), spelling()
    chains_read = read_chains(chains())
    theirs = token_rows(kg.tokenizer, chains_read).rows
    scored = score_chains(model().model, model().model, kg.model, own, kg_rows=theirs)
    log_p = plain(kg.model, theirs[1])
    span = [place for place, number in enumerate(theirs[1].span_ids) if number == 0]
    total = sum(float(log_p[place - 1, theirs[1].input_ids[place]]) for place in span)
    mine = np.array(own[1].span_ids) == 0
    assert scored.logp_kg[1, : len(mine)][mine].sum() == pytest.approx(total, abs=1e-4)
    assert scored.span_ids is not None and np.isfinite(scored.estimate().value)


def test_other_vocabularies_are_refused() -> None:
    larger = tiny("llama", vocabulary=len(model().tokenizer) + 8).model
    with pytest.raises(UsageError, match="the graph's policy has"):
        score_chains(model().model, model().model, larger, rows())
    with pytest.raises(UsageError, match="the model has"):
        score_chains(larger, model().model, model().model, rows())
