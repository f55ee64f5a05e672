"""The two ways of keeping a task's gradient off image states do that and nothing else."""

import copy
from typing import Any

import pytest
import torch
from torch import nn
from transformers import LlavaForConditionalGeneration, Trainer

from armillary.models.vision import find_vision_anatomy
from armillary.runs.parts import Parts
from reproductions.images.dataset import MEDIA, Shape
from reproductions.mdgd.off_images import OffImagesTrainer, image_spans
from reproductions.mdgd.run import dataset
from reproductions.mdgd.scale import ARMS, PLAIN, SCALES, Arm
from reproductions.mdgd.small_models import Context

Gradients = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def context() -> Context:
    return Context(dataset(SCALES["quick"], 0), SCALES["quick"], 0, Parts(None, "test"))


def gradients(context: Context, arm: Arm) -> tuple[Trainer, Gradients]:
    """The trainer, and the gradients of its first batch."""
    trainer = context.trainer_of(arm, copy.deepcopy(context.pretrained), 1e-3, 1)
    trainer.create_optimizer()
    trainer.current_gradient_accumulation_steps = 1  # which training sets
    model = trainer.model
    assert isinstance(model, nn.Module)
    trainer.training_step(model, context.dataset.collate(context.target_rows[:6]))
    return trainer, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.fixture(scope="module")
def plain(context: Context) -> Gradients:
    return gradients(context, Arm(title="", settings=PLAIN))[1]


def test_held_back_gradients_are_those_behind_constant_keys_and_values(context: Context, plain: Gradients) -> None:
    """The other way to the same: the image part runs without a graph, the text part from its cache."""
    _, own = gradients(context, ARMS["text_gradient"])
    model: Any = copy.deepcopy(context.pretrained)
    batch = context.dataset.collate(context.target_rows[:6])
    images = int((batch["input_ids"][0] == MEDIA).sum())
    with torch.no_grad():
        seen = model(input_ids=batch["input_ids"][:, :images], pixel_values=batch["pixel_values"], use_cache=True)
    text = {name: batch[name][:, images:] for name in ("input_ids", "labels")}
    model(**text, attention_mask=batch["attention_mask"], past_key_values=seen.past_key_values).loss.backward()
    expected = {name: p.grad for name, p in model.named_parameters()}
    for name, gradient in own.items():
        other = expected[name]
        assert torch.allclose(gradient, torch.zeros_like(gradient) if other is None else other, atol=1e-6), name
    assert not any(own[name].any() for name in own if "multi_modal_projector" in name)
    first = next(name for name in own if "layers.0.self_attn.k_proj" in name)
    assert not torch.allclose(own[first], plain[first], atol=1e-6)


def test_gradients_off_the_span_are_the_plain_ones_without_it(context: Context, plain: Gradients) -> None:
    trainer, own = gradients(context, ARMS["off_images"])
    assert isinstance(trainer, OffImagesTrainer) and isinstance(trainer.model, nn.Module)
    names = {parameter: name for name, parameter in trainer.model.named_parameters()}
    spans = {names[parameter]: span for parameter, span in trainer._spans.items()}
    for name, gradient in own.items():
        if name in spans:
            assert float((gradient @ spans[name]).abs().max()) < 1e-5
            expected = plain[name] - plain[name] @ spans[name] @ spans[name].T
            assert torch.allclose(gradient, expected, atol=1e-6)
        else:
            assert torch.allclose(gradient, plain[name], atol=1e-6)
    assert any("norm" in name for name in own if name not in spans)


def test_spans_hold_the_inputs_at_image_tokens(context: Context) -> None:
    model: LlavaForConditionalGeneration = context.dataset.new_model(Shape(layers=3, width=32, heads=2, inner=48), 1)
    images = context.quiz.prefix(context.quiz.examples["code"])
    seen: list[torch.Tensor] = []
    linear = find_vision_anatomy(model).layers[1].mlp.gate_proj
    handle = linear.register_forward_pre_hook(lambda _module, args: seen.append(args[0].flatten(0, 1)))
    spans = image_spans(model, images, energy=0.9)
    handle.remove()
    name = next(name for name, module in model.named_modules() if module is linear)
    span = spans[f"{name}.weight"]
    assert torch.allclose(span.T @ span, torch.eye(span.shape[1]), atol=1e-5)
    inside = (seen[0] @ span).square().sum() / seen[0].square().sum()
    fewer = (seen[0] @ span[:, :-1]).square().sum() / seen[0].square().sum()
    assert fewer < 0.9 <= inside + 1e-6
    assert not any("embed_tokens" in other or "lm_head" in other for other in spans)
