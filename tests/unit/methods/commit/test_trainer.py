"""CoMMIT inside the stock Trainer: null, rates, resuming, LoRA, accumulation, the regulariser, the monitor."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from torch.optim import SGD
from transformers import Trainer, TrainingArguments

from armillary.errors import UsageError
from armillary.methods.commit import BalanceMonitor, CoMMITCallback, CoMMITConfig, CoMMITTrainer
from armillary.models.tiny_vision_models import VISION_KINDS, tiny_vision
from armillary.training.components import RatesLog, component_groups, vision_components

RATES = {"feature_encoder": 1e-4, "llm": 3e-3}
OFTEN: dict[str, Any] = {"interval": 2, "first_probe": 1, "ema": 0.5}
PATTERNS = {"feature_encoder": ["vision", "multi_modal_projector"], "llm": ["language_model", "lm_head"]}


def arguments(folder: Path, **settings: Any) -> TrainingArguments:
    fixed: dict[str, Any] = {"logging_steps": 1, "disable_tqdm": True, "use_cpu": True, "save_strategy": "no"}
    sizes = {"per_device_train_batch_size": 2, "max_steps": 8, "warmup_steps": 1, "learning_rate": 1e-3}
    return TrainingArguments(output_dir=str(folder), **{**fixed, **sizes, **settings})


def rows(kind: str = "llava") -> list[dict[str, torch.Tensor]]:
    batch = tiny_vision(kind).batch(6)
    if kind == "qwen2_vl":  # patches of all images stand in one list
        batch["pixel_values"] = batch["pixel_values"].view(6, 16, -1)
    return [{name: value[row] for name, value in batch.items()} for row in range(6)]


def collate(examples: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    batch = {name: torch.stack([example[name] for example in examples]) for name in examples[0]}
    if "image_grid_thw" in batch:
        batch["pixel_values"] = batch["pixel_values"].flatten(0, 1)
    return batch


def dropping(model: nn.Module) -> nn.Module:
    """With dropout in the attention of both components, so that training draws random numbers."""
    for module in model.modules():
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = 0.2
        elif isinstance(getattr(module, "dropout", None), float):
            module.dropout = 0.2  # type: ignore[assignment]
    return model


def trained(folder: Path, config: CoMMITConfig, **settings: Any) -> CoMMITTrainer:
    resume = settings.pop("resume", None)
    model = settings.pop("model", None) or dropping(tiny_vision("llava").model)
    options = {"learning_rates": RATES, **settings.pop("options", {})}
    trainer = CoMMITTrainer(
        model=model, args=arguments(folder, **settings), train_dataset=rows(), commit=config, **options
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def rates_of(trainer: Trainer) -> list[dict[str, float]]:
    return next(callback for callback in trainer.callback_handler.callbacks if isinstance(callback, RatesLog)).steps


def same(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(*pair) for pair in pairs)


@pytest.mark.parametrize("accumulation", [1, 2])
def test_at_gain_zero_it_is_plain_training(tmp_path: Path, accumulation: int) -> None:
    """Bit for bit, with dropout: probes draw no random number of the training's."""
    settings = {"gradient_accumulation_steps": accumulation, "max_steps": 4}
    plain = Trainer(
        model=dropping(tiny_vision("llava").model), args=arguments(tmp_path, **settings), train_dataset=rows()
    )
    plain.train()
    config = CoMMITConfig(gamma=0.0, **OFTEN)
    ours = trained(tmp_path, config, options={"learning_rates": None}, **settings)
    controller = ours.commit_callback.controller
    assert controller is not None and len(controller.trace) == 1 and controller.step == 4
    assert same(plain.model, ours.model)
    losses = [[line["loss"] for line in t.state.log_history if "loss" in line] for t in (plain, ours)]
    assert losses[0] == losses[1]
    other = trained(tmp_path, CoMMITConfig(gamma=0.25, **OFTEN), options={"learning_rates": None}, **settings)
    assert not same(plain.model, other.model)


def test_rates_are_schedule_times_multiplier(tmp_path: Path) -> None:
    trainer = trained(tmp_path, CoMMITConfig(**OFTEN))
    controller = trainer.commit_callback.controller
    assert controller is not None and [probe.step for probe in controller.trace] == [2, 4, 6]
    assert controller.multipliers["feature_encoder"] > 1.5 and controller.multipliers["llm"] == 1
    held = [(1.0, 1.0)] * 3 + [probe.multipliers for probe in controller.trace[:2] for _ in range(2)]
    held.append(controller.trace[2].multipliers)
    for step, (rates, multipliers) in enumerate(zip(rates_of(trainer), held, strict=True)):
        base = 0.0 if step == 0 else (8 - step) / 7
        for name, multiplier in zip(controller.names, multipliers, strict=True):
            assert rates[f"learning_rate/{name}"] == pytest.approx(RATES[name] * base * multiplier)
    last = [line for line in trainer.state.log_history if "loss" in line][-1]
    assert last["commit/log_kappa"] == controller.log_kappas[-1]
    assert last["commit/multiplier/feature_encoder"] == controller.multipliers["feature_encoder"]


@pytest.mark.parametrize(("restore", "aux_weight"), [(False, 0.5), (True, 0.0)])
def test_resuming_goes_on_as_if_never_stopped(tmp_path: Path, restore: bool, aux_weight: float) -> None:
    config = CoMMITConfig(aux_weight=aux_weight, **OFTEN)
    settings = {"save_strategy": "steps", "save_steps": 4, "restore_callback_states_from_checkpoint": restore}
    whole = trained(tmp_path, config, **settings)
    resumed = trained(tmp_path, config, resume=str(tmp_path / "checkpoint-4"), **settings)
    assert rates_of(resumed) == rates_of(whole)[4:]
    assert same(whole.model, resumed.model)
    first, second = whole.commit_callback.controller, resumed.commit_callback.controller
    assert first is not None and second is not None
    assert first.state_dict() == second.state_dict() and len(first.trace) == 3


def test_a_checkpoint_without_its_snapshot_is_refused(tmp_path: Path) -> None:
    config = CoMMITConfig(aux_weight=0.5, **OFTEN)
    settings = {"save_strategy": "steps", "save_steps": 4}
    trained(tmp_path, config, **settings)
    (tmp_path / "checkpoint-4" / "commit_reference.safetensors").unlink()
    with pytest.raises(UsageError, match=r"commit_reference\.safetensors is missing, so this checkpoint would not go"):
        trained(tmp_path, config, resume=str(tmp_path / "checkpoint-4"), **settings)


@pytest.mark.parametrize("kind", VISION_KINDS)
def test_a_cut_image_is_told_with_both_numbers(tmp_path: Path, kind: str) -> None:
    data = rows(kind)
    image = tiny_vision(kind).anatomy.image_token_id
    for row in data:
        place = int((row["input_ids"] == image).nonzero()[-1])
        row["input_ids"] = row["input_ids"].clone()
        row["input_ids"][place] = 7
    there = 2 * int((data[0]["input_ids"] == image).sum())
    trainer = CoMMITTrainer(
        model=tiny_vision(kind).model, args=arguments(tmp_path), train_dataset=data, data_collator=collate
    )
    with pytest.raises(UsageError, match=rf"the batch has {there} image tokens for {there + 2} image features; give"):
        trainer.train()


@pytest.mark.parametrize("aux", [{}, {"aux_weight": 0.1, "aux_gate": True}])
def test_batches_without_images_are_passed_over(tmp_path: Path, aux: dict[str, Any]) -> None:
    """The encoder moves no answer of theirs: such a probe is skipped, and the training goes on."""
    batch = tiny_vision("llava").batch(6, images=False)
    data = [{name: value[row] for name, value in batch.items()} for row in range(6)]
    trainer = CoMMITTrainer(
        model=tiny_vision("llava").model,
        args=arguments(tmp_path),
        train_dataset=data,
        commit=CoMMITConfig(**OFTEN, **aux),
    )
    trainer.train()
    controller = trainer.commit_callback.controller
    assert (
        controller is not None and not controller.trace and controller.multipliers == {"feature_encoder": 1, "llm": 1}
    )
    assert controller.skipped + controller.invalid > 0 and trainer.state.global_step == 8


@pytest.mark.parametrize("setting", [{"deepspeed": "x"}, {"fsdp": "full_shard"}])
def test_shards_are_refused_in_one_sentence(tmp_path: Path, setting: dict[str, str]) -> None:
    trainer = CoMMITTrainer(model=tiny_vision("llava").model, args=arguments(tmp_path), train_dataset=rows())
    for name, value in setting.items():
        setattr(trainer.args, name, value)
    with pytest.raises(UsageError, match="tested on one process and on plain data parallelism"):
        trainer.commit_callback.on_train_begin(trainer.args, trainer.state, trainer.control, model=trainer.model)


def test_the_regulariser_is_in_the_loss(tmp_path: Path) -> None:
    """A large weight moves the output more; with accumulation it counts once, not once a micro-batch."""
    moved = {}
    for weight in (0.0, 20.0):
        trainer = trained(tmp_path, CoMMITConfig(gamma=0.0, aux_weight=weight, aux_cap=1e9, **OFTEN))
        losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
        moved[weight] = losses
    assert moved[0.0][:3] == moved[20.0][:3]  # nothing before the first probe
    assert moved[0.0][3:] != moved[20.0][3:]


@pytest.mark.parametrize("scaled", [False, True])
def test_the_regulariser_is_divided_like_the_loss(tmp_path: Path, scaled: bool) -> None:
    trainer = trained(tmp_path, CoMMITConfig(aux_weight=1.0, aux_cap=1e9, **OFTEN), max_steps=3)
    trainer.loss_is_scaled_for_ga = scaled
    trainer.current_gradient_accumulation_steps = 4
    batch = trainer.data_collator(rows()[:2])  # type: ignore[arg-type]
    loss = trainer._regularised(torch.zeros(()), batch, None)
    trainer.current_gradient_accumulation_steps = 1
    whole = trainer._regularised(torch.zeros(()), batch, None)
    assert whole.item() < -1e-9
    torch.testing.assert_close(loss * (4 if scaled else 1), whole)
    trainer.model.eval()
    quiet = trainer.compute_loss(trainer.model, dict(batch))
    torch.testing.assert_close(quiet, trainer.model(**batch).loss)


def test_the_callback_needs_the_trainer_for_the_regulariser(tmp_path: Path) -> None:
    model = tiny_vision("llava").model
    callback = CoMMITCallback(CoMMITConfig(aux_weight=0.01))
    trainer = Trainer(model=model, args=arguments(tmp_path), train_dataset=rows(), callbacks=[callback])
    with pytest.raises(UsageError, match=r"aux_weight = 0.01 changes the loss"):
        trainer.train()
    plain = Trainer(model=model, args=arguments(tmp_path), train_dataset=rows(), callbacks=[CoMMITCallback()])
    with pytest.raises(UsageError, match="no group named feature_encoder, llm"):
        plain.train()


def test_the_callback_alone_does_the_same(tmp_path: Path) -> None:
    """In a stock Trainer with an optimiser of one's own; multipliers are applied around each step."""
    config = CoMMITConfig(**OFTEN)
    ours = trained(tmp_path, config, model=tiny_vision("llava").model, optim="sgd", max_grad_norm=0.0)
    model, log = tiny_vision("llava").model, RatesLog()
    optimizer = SGD(component_groups(model, vision_components(model), RATES))
    stock = Trainer(
        model=model,
        args=arguments(tmp_path, max_grad_norm=0.0),
        train_dataset=rows(),
        optimizers=(optimizer, None),
        callbacks=[CoMMITCallback(config, PATTERNS), log],
    )
    stock.train()
    assert [line.values() for line in log.steps] != []
    for one, other in zip(log.steps, rates_of(ours), strict=True):
        assert one == pytest.approx(other)
    for one, other in zip(stock.model.parameters(), ours.model.parameters(), strict=True):
        torch.testing.assert_close(one, other)
    assert not model._forward_pre_hooks


def test_the_monitor_only_watches(tmp_path: Path) -> None:
    weights = []
    for callbacks in ([], [BalanceMonitor(CoMMITConfig(**OFTEN))]):
        model = dropping(tiny_vision("llava").model)
        trainer = Trainer(model=model, args=arguments(tmp_path), train_dataset=rows(), callbacks=list(callbacks))
        trainer.train()
        weights.append(model)
    assert same(*weights)
    lines = [line for line in trainer.state.log_history if "commit/log_kappa" in line]
    assert len(lines) == 6 and "commit/multiplier/llm" not in lines[0]


@pytest.mark.parametrize("kind", VISION_KINDS)
def test_all_kinds_of_models(tmp_path: Path, kind: str) -> None:
    trainer = CoMMITTrainer(
        model=tiny_vision(kind).model,
        args=arguments(tmp_path, max_steps=3, remove_unused_columns=False),
        train_dataset=rows(kind),
        data_collator=collate,
        commit=CoMMITConfig(aux_weight=0.01, **{**OFTEN, "interval": 1}),
    )
    trainer.train()
    controller = trainer.commit_callback.controller
    assert controller is not None and len(controller.trace) == 2


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of transformers, raised inside PEFT
def test_lora_on_the_language_model(tmp_path: Path) -> None:
    base = tiny_vision("llava").model
    lora = LoraConfig(
        r=2, target_modules=r".*language_model.*\.(q_proj|v_proj)", modules_to_save=["multi_modal_projector"]
    )
    model = get_peft_model(base, lora)
    assert isinstance(model, PeftModel)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trainer = trained(tmp_path, CoMMITConfig(aux_weight=0.01, **OFTEN), model=model)
    controller = trainer.commit_callback.controller
    assert controller is not None and len(controller.trace) == 3
    assert all("lora" in name for name in controller.parts["llm"])
    assert all("multi_modal_projector" in name for name in controller.parts["feature_encoder"])
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved and all("lora" in name or "modules_to_save" in name for name in moved)


def test_labels_that_smoothing_takes_out_are_seen(tmp_path: Path) -> None:
    trainer = trained(tmp_path, CoMMITConfig(**OFTEN), label_smoothing_factor=0.1, max_steps=4)
    controller = trainer.commit_callback.controller
    assert controller is not None and len(controller.trace) == 1 and controller.skipped == 0
