"""Probes read what the whole forward would give at the answer tokens, and leave no trace in the model."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from armillary.errors import ModelError
from armillary.methods.commit.reading import (
    answer_logits,
    answer_mask,
    evaluation,
    refuse_sharded,
    snapshot,
    swapped,
)
from armillary.models import tiny
from armillary.models.tiny_vision_models import VISION_KINDS, tiny_vision

from .commit_toy import Modules, modules_batch


def test_answer_tokens_are_one_place_before_their_labels() -> None:
    labels = torch.tensor([[-100, -100, 5, 6], [7, -100, -100, 8]])
    assert answer_mask(labels, 10).tolist() == [[False, True, True, False], [False, False, True, False]]
    many = answer_mask(torch.ones(3, 101, dtype=torch.long), 60)
    assert many.sum() == 60 and many.sum(1).tolist() == [20, 20, 20]
    assert not answer_mask(torch.tensor([[3], [4]]), 5).any()


@pytest.mark.parametrize("kind", [*VISION_KINDS, "text"])
def test_logits_are_the_whole_forward_s(kind: str) -> None:
    ids = torch.arange(24).view(2, 12) + 3
    labels = torch.where(ids % 3 == 0, ids, -100)
    if kind == "text":
        model, batch = tiny("gemma2").model, {"input_ids": ids, "labels": labels}
    else:
        model, batch = tiny_vision(kind).model, tiny_vision(kind).batch(2)
    model.train()
    whole = model.eval()(**{name: value for name, value in batch.items() if name != "labels"}).logits
    found = answer_logits(model, batch, 256)
    assert found is not None
    torch.testing.assert_close(found, whole[:, :-1][batch["labels"][:, 1:] != -100])
    assert len(answer_logits(model, batch, 3)) == 3


def test_the_head_never_reads_other_tokens() -> None:
    model, seen = tiny_vision("llava").model, []
    handle = model.get_output_embeddings().register_forward_hook(lambda _, given, out: seen.append(out.shape))
    answer_logits(model, tiny_vision("llava").batch(5), 4)
    handle.remove()
    assert [tuple(shape) for shape in seen] == [(1, 4, 128)]


def test_a_batch_without_answers_gives_nothing() -> None:
    model, batch = tiny_vision("llava").model, tiny_vision("llava").batch(2)
    assert answer_logits(model, {**batch, "labels": torch.full_like(batch["labels"], -100)}, 5) is None
    assert answer_logits(model, {"input_ids": batch["input_ids"]}, 5) is None


def test_models_that_cannot_be_read() -> None:
    model, batch = tiny_vision("llava").model, tiny_vision("llava").batch(2)
    with pytest.raises(ModelError, match=r"\(2, 10, 32\), which do not fit labels of 2 rows of 13 tokens"):
        answer_logits(model, {**batch, "labels": torch.ones(2, 13, dtype=torch.long)}, 5)
    assert not model.get_output_embeddings()._forward_pre_hooks
    toy = Modules()
    toy.config = SimpleNamespace(is_encoder_decoder=True)  # type: ignore[assignment]
    with pytest.raises(ModelError, match="encoder-decoder"):
        answer_logits(toy, modules_batch(), 5)
    shard = nn.Parameter(torch.zeros(2))
    shard.ds_id = 3  # type: ignore[attr-defined]
    with pytest.raises(ModelError, match="parameter a is sharded"):
        refuse_sharded({"a": shard})


def test_a_swap_leaves_no_trace() -> None:
    model, batch = Modules(), modules_batch()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    model(batch["features"]).sum().backward()
    optimizer.step()
    model.head.weight.requires_grad_(False)
    parameters = dict(model.named_parameters())
    old = {name: torch.randn_like(value) for name, value in parameters.items()}
    model.train()
    model.dropout.eval()
    before = {name: (value.data_ptr(), value.clone(), value.requires_grad) for name, value in parameters.items()}
    buffers = {name: value.clone() for name, value in model.named_buffers()}
    gradients = {name: None if value.grad is None else value.grad.clone() for name, value in parameters.items()}
    moments = {index: value["exp_avg"].clone() for index, value in enumerate(optimizer.state.values())}
    random = torch.get_rng_state()
    with torch.no_grad(), evaluation(model), swapped(parameters, old):
        inside = model(batch["features"])
        torch.rand(3)
        assert not model.training and torch.equal(model.head.weight, old["head.weight"])
    for name, (place, value, needed) in before.items():
        now = parameters[name]
        assert (now.data_ptr(), now.requires_grad) == (place, needed) and torch.equal(now, value)
        assert now.grad is gradients[name] or torch.equal(now.grad, gradients[name])  # type: ignore[arg-type]
    assert all(torch.equal(value, buffers[name]) for name, value in model.named_buffers())
    assert all(torch.equal(v["exp_avg"], moments[i]) for i, v in enumerate(optimizer.state.values()))
    assert torch.equal(random, torch.get_rng_state())
    assert model.training and model.norm.training and not model.dropout.training
    assert not torch.allclose(inside, model.eval()(batch["features"]))


def test_a_swap_is_undone_after_an_error() -> None:
    model = Modules()
    parameters = dict(model.named_parameters())
    before = snapshot(parameters)
    with pytest.raises(KeyError), swapped(parameters, {"encoder.weight": torch.zeros(6, 6)}):
        pass
    assert all(torch.equal(before[name], value) for name, value in parameters.items())


@pytest.mark.parametrize("kind", ["llava", "gemma3"])
def test_overrides_and_swaps_agree(kind: str) -> None:
    """Gemma ties its head to its embedding: both ways must change both."""
    model, batch = tiny_vision(kind).model, tiny_vision(kind).batch(2)
    parameters = {name: value for name, value in model.named_parameters() if "language" in name}
    old = {name: value + 0.1 * torch.randn_like(value) for name, value in snapshot(parameters).items()}
    with torch.no_grad():
        plain = answer_logits(model, batch, 99)
        overridden = answer_logits(model, batch, 99, old)
        with swapped(parameters, old):
            exchanged = answer_logits(model, batch, 99)
    torch.testing.assert_close(overridden, exchanged)
    assert (overridden - plain).abs().max() > 0.01
