"""Experts: what a mixture computes, what a closed expert costs, and how an upcycled model leaves."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from armillary.errors import ModelError
from armillary.methods.bricks.growth.grown import preservation, reopened
from armillary.methods.bricks.growth.mixture import (
    Mixture,
    balance_loss,
    mixtures,
    open_experts,
    router_losses,
    through_expert,
)
from armillary.methods.bricks.growth.partial_training import train_on_texts, train_only_new
from armillary.methods.bricks.growth.upcycling import add_expert, to_mixtral, upcycle
from armillary.models import tiny
from armillary.scoring import sequence_nll

TEXTS = ["Paris is the capital of France.", "one two three four five", "red and blue and green"]


def test_old_text_keeps_its_nll_where_new_parts_are_not_read() -> None:
    loaded = tiny("llama")
    grown = add_expert(upcycle(loaded, 2).loaded)
    before = sequence_nll(grown.loaded, TEXTS).nll
    with train_only_new(grown) as new, through_expert(grown.loaded.model, 2):
        rows = [one for one in new if one.dim() == 2]
        losses = train_on_texts(grown.loaded, rows, ["Oslo and Rome and Oslo"], steps=8, rate=0.02)
    assert losses[-1] < losses[0]
    assert sequence_nll(grown.loaded, TEXTS).nll == before
    open_experts(grown.loaded.model)
    assert sequence_nll(grown.loaded, TEXTS).nll != before


def test_zero_writes_instead_of_a_closed_logit_are_not_exact() -> None:
    loaded = tiny("llama")
    grown = add_expert(upcycle(loaded, 2, top_k=2, spread=2.0).loaded)
    for mixture in mixtures(grown.loaded.model).values():
        mixture.top_k = 3
        with torch.no_grad():
            mixture.experts[2].down_proj.weight.zero_()  # type: ignore[union-attr, operator]
    assert preservation(loaded, grown.loaded, TEXTS).prefill < 1e-4
    open_experts(grown.loaded.model)
    assert preservation(loaded, grown.loaded, TEXTS).prefill > 1e-2


def test_a_mixture_equals_its_definition() -> None:
    generator = torch.Generator().manual_seed(0)
    experts = [torch.nn.Linear(6, 6, bias=False) for _ in range(4)]
    mixture = Mixture(experts, [torch.randn(6, generator=generator) for _ in range(4)], 2)
    x_ND = torch.randn(3, 5, 6, generator=generator)
    logits = mixture.router_logits(x_ND)
    for batch in range(3):
        for token in range(5):
            best = logits[batch, token].argsort(descending=True)[:2]
            weight = logits[batch, token][best].softmax(0)
            wanted = sum(w * experts[int(e)](x_ND[batch, token]) for w, e in zip(weight, best, strict=True))
            torch.testing.assert_close(mixture(x_ND)[batch, token], wanted)


def test_balance_is_one_when_even_and_larger_when_not() -> None:
    even = torch.eye(4).repeat(3, 1) * 50
    assert float(balance_loss(even, 1)) == pytest.approx(1.0, abs=1e-6)
    lopsided = torch.tensor([[50.0, 0.0, 0.0, 0.0]]).repeat(12, 1)
    assert float(balance_loss(lopsided, 1)) == pytest.approx(4.0, abs=1e-6)
    grown = upcycle(tiny("llama"), 2)
    with router_losses(grown.loaded.model) as losses:
        grown.loaded.model(input_ids=torch.tensor([[5, 6, 7]]))
    assert len(losses) == 2 and all(0.5 < float(loss.detach()) < 2.1 for loss in losses)


def test_an_upcycled_llama_leaves_as_mixtral(tmp_path: Path) -> None:
    loaded = tiny("llama")
    grown = upcycle(loaded, 3, top_k=2)
    with train_only_new(grown) as new:
        train_on_texts(grown.loaded, new, TEXTS, steps=3, rate=0.02)
    stock = to_mixtral(grown.loaded)
    assert preservation(grown.loaded, stock, TEXTS).prefill < 1e-4
    assert preservation(loaded, stock, TEXTS).prefill > 1e-3
    stock.model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert preservation(stock, reopened(stock, again, "opened"), TEXTS).prefill < 1e-5
    with pytest.raises(ModelError, match="closed"):
        to_mixtral(add_expert(grown.loaded).loaded)
    with pytest.raises(ModelError, match="no Llama"):
        to_mixtral(upcycle(tiny("gemma3")).loaded)


def test_a_head_of_its_own_stays_one_whatever_the_configuration_says(tmp_path: Path) -> None:
    loaded = tiny("llama", settings={"tie_word_embeddings": False})
    loaded.model.config.tie_word_embeddings = True
    made = to_mixtral(upcycle(loaded, 2).loaded)
    made.model.save_pretrained(tmp_path / "mixtral")
    ids = torch.arange(5, 15)[None]
    with torch.no_grad():
        again = AutoModelForCausalLM.from_pretrained(tmp_path / "mixtral")
        torch.testing.assert_close(again(ids).logits, loaded.model(ids).logits, rtol=1e-5, atol=1e-5)


def test_what_mixtral_computes_otherwise_is_refused() -> None:
    grown = upcycle(tiny("llama"), 2)
    grown.loaded.model.model.norm.variance_epsilon = 0.5  # not what its configuration says
    with pytest.raises(ModelError, match="says something else as a Mixtral"):
        to_mixtral(grown.loaded)
