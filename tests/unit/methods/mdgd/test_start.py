"""Drift is measured from the model that training began with, whatever is an adapter's and whatever is not."""

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import IA3Config, LoraConfig, PrefixTuningConfig, PromptTuningConfig, get_peft_model
from torch import nn

from armillary.errors import UsageError
from armillary.methods.mdgd.callbacks import VisualRankCallback
from armillary.methods.mdgd.drift import image_token_mask, visual_hidden_states
from armillary.methods.mdgd.reference import AdapterReference, CopiedReference, evaluating
from armillary.models.tiny_vision_models import tiny_vision
from armillary.models.vision import find_vision_anatomy

from .mdgd_toy import ToyImages, collated, logged, make

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # of transformers, raised inside PEFT

LAYERS = r".*language_model.*\.(q|v)_proj"
EVERYWHERE = r".*(q|v)_proj"


def lora(model: nn.Module, **settings: Any) -> nn.Module:
    torch.manual_seed(0)
    config = LoraConfig(**{"r": 2, "lora_alpha": 8, "target_modules": LAYERS, **settings})
    return get_peft_model(model, config)  # type: ignore[arg-type]


def unfrozen(model: nn.Module, part: str) -> nn.Module:
    for name, parameter in model.named_parameters():
        if part in name:
            parameter.requires_grad_(True)
    return model


def shaken(model: nn.Module) -> nn.Module:
    """An adapter that has been trained before."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return model


def twice(model: nn.Module) -> nn.Module:
    """A trained adapter that stays active, and a new one beside it."""
    both = shaken(lora(model))
    both.add_adapter("new", LoraConfig(r=2, target_modules=LAYERS))  # type: ignore[operator]
    both.base_model.set_adapter(["default", "new"])  # type: ignore[union-attr, operator]
    return both


SET_UPS: dict[str, tuple[Callable[[nn.Module], nn.Module], type]] = {
    "LoRA": (lora, AdapterReference),
    "LoRA everywhere": (lambda model: lora(model, target_modules=EVERYWHERE), AdapterReference),
    "DoRA": (lambda model: lora(model, use_dora=True), AdapterReference),
    "(IA)^3": (
        lambda model: get_peft_model(
            model,
            IA3Config(target_modules=LAYERS, feedforward_modules=[]),  # type: ignore[arg-type]
        ),
        AdapterReference,
    ),
    "modules to save": (lambda model: lora(model, modules_to_save=["multi_modal_projector"]), AdapterReference),
    "connector unfrozen by hand": (lambda model: unfrozen(lora(model), "multi_modal_projector"), CopiedReference),
    "norms unfrozen by hand": (lambda model: unfrozen(lora(model), "input_layernorm"), CopiedReference),
    "bias of all": (lambda model: lora(model, bias="all", target_modules=EVERYWHERE), CopiedReference),
    "bias of LoRA's": (lambda model: lora(model, bias="lora_only", target_modules=EVERYWHERE), CopiedReference),
    "second stage": (lambda model: shaken(lora(model)), CopiedReference),
    "a new adapter on a trained one": (twice, CopiedReference),
    "principal components": (lambda model: lora(model, init_lora_weights="pissa"), CopiedReference),
    "whole model": (lambda model: model, CopiedReference),
}
STEP = {"max_steps": 3, "learning_rate": 1e-2, "gradient_accumulation_steps": 1}
PRECISIONS: list[dict[str, Any]] = [{"gradient_checkpointing": True}, {"bf16": True}]
ROWS = [(name, {}) for name in SET_UPS] + [
    (name, how)
    for name in ("LoRA", "connector unfrozen by hand", "bias of all", "second stage", "whole model")
    for how in PRECISIONS
]


def model_of(name: str) -> tuple[nn.Module, nn.Module]:
    """The network that is trained, and the same before training, apart from it."""
    network = SET_UPS[name][0](tiny_vision().model)
    return network, copy.deepcopy(network)


@pytest.mark.parametrize(("name", "how"), ROWS, ids=[f"{name} {' '.join(how)}" for name, how in ROWS])
def test_drift_is_from_where_training_began(name: str, how: dict[str, Any], tmp_path: Path) -> None:
    network, before = model_of(name)
    trainable = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    trainer = make(tmp_path, model=network, freeze_vision=False, **STEP, **how)
    trainer.train()
    batch = collated(ToyImages(tiny_vision(), 2).rows)
    mask = image_token_mask(trainer.anatomy, batch)
    with evaluating(before), trainer.accelerator.autocast():
        truth = visual_hidden_states(before, batch, trainer.layers, find_vision_anatomy(before))
    with trainer.accelerator.autocast():
        kept = trainer._reference.states(batch, mask)
        now = visual_hidden_states(network.eval(), batch, trainer.layers, trainer.anatomy)
    moved = float(trainer.drift(now, truth))
    assert moved > 0.005 and float(trainer.drift(kept, truth)) < 0.02 * moved
    assert logged(trainer, "visual_drift")[0] == 0  # at the first step nothing has moved
    assert isinstance(trainer._reference, SET_UPS[name][1])
    assert {name for name, parameter in network.named_parameters() if parameter.requires_grad} == trainable


def test_what_was_frozen_of_an_adapter_stays_frozen(tmp_path: Path) -> None:
    network = lora(tiny_vision().model, target_modules=EVERYWHERE)
    trainer = make(tmp_path, model=network, **STEP)  # which freezes the vision tower
    frozen = {name: p.detach().clone() for name, p in network.named_parameters() if not p.requires_grad}
    assert any("vision_tower" in name and "lora_A" in name for name in frozen)
    trainer.train()
    after = dict(network.named_parameters())
    assert all(not after[name].requires_grad and torch.equal(after[name], old) for name, old in frozen.items())
    assert all(after[name].grad is None for name in frozen)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("connector unfrozen by hand", r"multi_modal_projector\S+ is trained too"),
        ("bias of all", "bias is trained too"),
        ("second stage", "has moved the image states already, by 0"),
        ("a new adapter on a trained one", "has moved the image states already"),
    ],
)
def test_an_adapter_that_is_not_the_difference_is_refused_by_name(name: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=words):
        make(tmp_path, model=model_of(name)[0], reference="adapter", **STEP).train()
    with pytest.raises(UsageError, match="needs a PEFT model"):
        make(tmp_path, reference="adapter", **STEP).train()
    other = {"reference_model": tiny_vision().model}
    with pytest.raises(UsageError, match="another model was given as reference_model"):
        make(tmp_path, model=model_of("LoRA")[0], reference="adapter", extra=other, **STEP).train()


def test_a_reference_model_that_is_an_adapter_is_taken_with_it(tmp_path: Path) -> None:
    before = shaken(lora(tiny_vision().model))
    trainer = make(tmp_path, model=shaken(lora(tiny_vision().model)), extra={"reference_model": before}, **STEP)
    trainer.train()
    assert isinstance(trainer._reference, CopiedReference) and logged(trainer, "visual_drift")[0] == 0


@pytest.mark.parametrize("name", ["LoRA", "connector unfrozen by hand", "second stage"])
def test_a_resumed_run_goes_on_from_the_same_start_or_refuses(name: str, tmp_path: Path) -> None:
    changes: dict[str, Any] = {**STEP, "max_steps": 4, "save_strategy": "steps", "save_steps": 2}
    batch = collated(ToyImages(tiny_vision(), 2).rows)

    def trainer(network: nn.Module) -> tuple[Any, VisualRankCallback]:
        readings = VisualRankCallback([batch], every=1)
        return make(tmp_path, model=network, extra={"callbacks": [readings]}, **changes), readings

    whole, first = trainer(model_of(name)[0])
    whole.train()
    shutil.rmtree(tmp_path / "checkpoint-4")
    resumed, second = trainer(model_of(name)[0])
    resumed.train(resume_from_checkpoint=True)
    assert logged(resumed, "visual_drift") == pytest.approx(logged(whole, "visual_drift"))
    assert [rank.drift for rank in second.history[-1][1]] == pytest.approx([r.drift for r in first.history[-1][1]])
    with pytest.raises(UsageError, match="is not the one that the run began with"):
        trainer(whole.model)[0].train(resume_from_checkpoint=True)
    (tmp_path / "visual_reference.json").unlink()
    if name != "LoRA":  # a new adapter does nothing, which needs no record
        with pytest.raises(UsageError, match="so far as is known"):
            trainer(model_of(name)[0])[0].train(resume_from_checkpoint=True)


def test_resuming_without_the_reference_model_is_refused(tmp_path: Path) -> None:
    changes: dict[str, Any] = {**STEP, "save_strategy": "steps", "save_steps": 2}
    make(tmp_path, extra={"reference_model": tiny_vision(seed=1).model}, **changes).train()
    with pytest.raises(UsageError, match="or reference_model"):
        make(tmp_path, **changes).train(resume_from_checkpoint=True)


@pytest.mark.parametrize("config", [PromptTuningConfig, PrefixTuningConfig])
def test_an_adapter_that_image_states_would_not_show_is_refused(config: Any, tmp_path: Path) -> None:
    network = get_peft_model(tiny_vision().model, config(task_type="CAUSAL_LM", num_virtual_tokens=3))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="TuningConfig puts learned states before the image"):
        make(tmp_path, model=network, **STEP)
    with pytest.raises(UsageError, match="TuningConfig puts learned states before the image"):
        VisualRankCallback([collated(ToyImages(tiny_vision(), 2).rows)]).take_baseline(network)


def test_what_is_unfrozen_for_a_second_stage_is_no_reference(tmp_path: Path) -> None:
    network = tiny_vision().model
    network.model.multi_modal_projector.requires_grad_(False)
    trainer = make(tmp_path, model=network, **STEP)
    trainer.train()
    network.model.multi_modal_projector.requires_grad_(True)
    with pytest.raises(UsageError, match=r"multi_modal_projector\S+ was frozen .* make a new trainer"):
        trainer.train()
