"""Named groups hold each parameter once; rates are schedule times multiplier; one rate is the stock Trainer."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, AdamW
from torch.optim.lr_scheduler import StepLR
from transformers import Trainer, TrainingArguments

from armillary.errors import ModelError, UsageError
from armillary.models import tiny
from armillary.models.tiny_vision_models import VISION_KINDS, tiny_vision
from armillary.training.components import (
    ComponentLR,
    ComponentTrainer,
    RateMultipliers,
    RatesLog,
    component_groups,
    component_parameters,
    component_schedule,
    group_rates,
    set_multipliers,
    split_groups,
    vision_components,
)

PARTS = {"encoder": ["^0"], "head": ["^1", "^2"]}


def small() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))


def names_of(model: nn.Module, group: dict[str, Any]) -> list[str]:
    return [name for name, parameter in model.named_parameters() if any(parameter is p for p in group["params"])]


def test_groups_keep_decay_apart() -> None:
    model = small()
    groups = component_groups(model, PARTS, {"encoder": 1e-3, "head": 1e-2}, 0.1)
    found = [(group["name"], names_of(model, group), group["weight_decay"], group["lr"]) for group in groups]
    assert found == [
        ("encoder", ["0.weight"], 0.1, 1e-3),
        ("encoder", ["0.bias"], 0.0, 1e-3),
        ("head", ["2.weight"], 0.1, 1e-2),
        ("head", ["1.weight", "1.bias", "2.bias"], 0.0, 1e-2),
    ]
    optimizer = AdamW(groups, lr=1.0)
    assert group_rates(optimizer) == {"learning_rate/encoder": 1e-3, "learning_rate/head": 1e-2}
    assert all("lr" not in group for group in component_groups(model, PARTS))


def test_every_parameter_has_one_home() -> None:
    model = small()
    with pytest.raises(UsageError, match=r"in no component: 1.weight, 1.bias, 2.weight, 2.bias\.$"):
        component_parameters(model, {"encoder": ["^0"]})
    with pytest.raises(UsageError, match=r"in more than one component: 0.weight, 0.bias\.$"):
        component_parameters(model, {"encoder": ["^0"], "head": [""]})
    model[0].requires_grad_(False)
    with pytest.raises(UsageError, match="'encoder' has no trainable parameter"):
        component_parameters(model, PARTS)
    assert list(component_parameters(model, {"head": [r"^\d"]})["head"]) == [
        "1.weight",
        "1.bias",
        "2.weight",
        "2.bias",
    ]
    with pytest.raises(UsageError, match="components encoder, head; got encoder"):
        component_groups(small(), PARTS, {"encoder": 1e-3})
    wide = nn.ModuleList(nn.Linear(1, 1) for _ in range(4))
    with pytest.raises(UsageError, match="and 3 more"):
        component_parameters(wide, {"other": ["nothing"]})


@pytest.mark.parametrize("kind", VISION_KINDS)
def test_the_parts_of_image_text_models(kind: str) -> None:
    model = tiny_vision(kind).model
    parts = component_parameters(model, vision_components(model))
    assert set(parts) == {"feature_encoder", "llm"}
    assert sum(map(len, parts.values())) == len(list(model.named_parameters()))
    assert all(("vision" in name or "visual" in name) <= (name in parts["feature_encoder"]) for name in parts["llm"])


def test_a_text_model_has_no_such_parts() -> None:
    with pytest.raises(ModelError, match="text model"):
        vision_components(tiny().model)


def test_rates_are_schedule_times_multiplier() -> None:
    optimizer = SGD(component_groups(small(), PARTS, {"encoder": 1.0, "head": 10.0}))
    schedule = component_schedule(optimizer, {"encoder": lambda step: 0.5**step, "head": lambda step: 1 / (1 + step)})
    wanted = {0: (1.0, 1.0), 2: (3.0, 1.0), 4: (0.5, 2.0)}
    now = wanted[0]
    for step in range(6):
        assert group_rates(optimizer) == pytest.approx(
            {"learning_rate/encoder": 0.5**step * now[0], "learning_rate/head": 10 / (1 + step) * now[1]}
        )
        optimizer.step()
        if step + 1 in wanted:
            now = wanted[step + 1]
            set_multipliers(optimizer, {"encoder": now[0], "head": now[1]})
        schedule.step()
    set_multipliers(optimizer, {"encoder": 7.0})
    schedule.refresh()
    assert group_rates(optimizer)["learning_rate/encoder"] == pytest.approx(7 * 0.5**6)
    assert schedule.get_last_lr()[0] == optimizer.param_groups[0]["lr"]


def test_multipliers_are_saved_with_the_optimiser() -> None:
    def made() -> tuple[SGD, ComponentLR]:
        optimizer = SGD(component_groups(small(), PARTS, 1.0))
        return optimizer, component_schedule(optimizer, lambda step: 0.9**step)

    first, schedule = made()
    first.step()
    set_multipliers(first, {"encoder": 3.0, "head": 0.1})
    schedule.step()
    second, later = made()
    second.load_state_dict(first.state_dict())
    later.load_state_dict(schedule.state_dict())
    for optimizer, its in ((first, schedule), (second, later)):
        optimizer.step()
        its.step()
    assert group_rates(first) == group_rates(second)
    assert group_rates(second)["learning_rate/encoder"] == pytest.approx(3 * 0.81)


def test_multipliers_need_named_groups() -> None:
    with pytest.raises(UsageError, match="no group named encoder"):
        set_multipliers(SGD(small().parameters(), lr=1.0), {"encoder": 1.0})
    with pytest.raises(UsageError, match="schedules are for"):
        component_schedule(SGD(component_groups(small(), PARTS, 1.0)), {"encoder": lambda step: 1.0})


def test_splitting_keeps_what_a_group_had() -> None:
    model = small()
    optimizer = SGD([{"params": list(model.parameters()), "momentum": 0.5}], lr=0.1)
    split_groups(optimizer, model, PARTS, {"encoder": 1.0, "head": 2.0})
    assert [(group["name"], group["momentum"], group["lr"]) for group in optimizer.param_groups] == [
        ("encoder", 0.5, 1.0),
        ("head", 0.5, 2.0),
    ]
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 6


def test_rates_of_one_name_are_numbered_where_they_differ() -> None:
    optimizer = SGD(component_groups(small(), PARTS, 1.0))
    optimizer.param_groups[1]["lr"] = 2.0
    assert list(group_rates(optimizer)) == ["learning_rate/encoder/0", "learning_rate/encoder/1", "learning_rate/head"]


def arguments(folder: Path, **settings: Any) -> TrainingArguments:
    fixed: dict[str, Any] = {"logging_steps": 1, "disable_tqdm": True, "use_cpu": True, "save_strategy": "no"}
    sizes = {"per_device_train_batch_size": 2, "max_steps": 4, "warmup_steps": 1, "learning_rate": 1e-2}
    return TrainingArguments(output_dir=str(folder), weight_decay=0.1, **{**fixed, **sizes, **settings})


def rows(kind: str = "llava") -> list[dict[str, torch.Tensor]]:
    batch = tiny_vision(kind).batch(8)
    return [{name: value[row] for name, value in batch.items()} for row in range(8)]


@pytest.mark.parametrize("accumulation", [1, 2])
def test_one_rate_for_all_is_the_stock_trainer(tmp_path: Path, accumulation: int) -> None:
    weights = []
    for kind in (Trainer, ComponentTrainer):
        model = tiny_vision("llava").model
        settings = arguments(tmp_path, gradient_accumulation_steps=accumulation, lr_scheduler_type="cosine")
        trainer = kind(model=model, args=settings, train_dataset=rows())
        trainer.train()
        weights.append(model.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_all_rates_are_logged(tmp_path: Path) -> None:
    rates = {"feature_encoder": 1e-3, "llm": 1e-2}
    trainer = ComponentTrainer(
        model=tiny_vision("llava").model, args=arguments(tmp_path), train_dataset=rows(), learning_rates=rates
    )
    trainer.train()
    assert isinstance(trainer.lr_scheduler, ComponentLR)
    lines = [line for line in trainer.state.log_history if "loss" in line]
    assert [line["learning_rate/llm"] for line in lines] == pytest.approx([0, 1e-2, 1e-2 * 2 / 3, 1e-2 / 3])
    for line in lines:
        assert line["learning_rate/llm"] == pytest.approx(10 * line["learning_rate/feature_encoder"])


@pytest.mark.parametrize("schedule", ["plateau", "steps"])
def test_multipliers_under_a_foreign_schedule(tmp_path: Path, schedule: str) -> None:
    model, log = tiny_vision("llava").model, RatesLog()
    optimizer = SGD(component_groups(model, vision_components(model), 1e-2))
    foreign = StepLR(optimizer, 2, 0.5)
    options = {"lr_scheduler_type": "reduce_lr_on_plateau", "eval_strategy": "steps", "eval_steps": 10}
    settings = arguments(tmp_path, **(options if schedule == "plateau" else {}))
    pair = (optimizer, None if schedule == "plateau" else foreign)
    data = rows()
    trainer = Trainer(
        model=model,
        args=settings,
        train_dataset=data,
        eval_dataset=data,
        optimizers=pair,  # type: ignore[arg-type]
        callbacks=[RateMultipliers(), log],
    )
    set_multipliers(optimizer, {"feature_encoder": 3.0, "llm": 1.0})
    trainer.train()
    decay = [1.0, 1.0, 0.5, 0.5] if schedule == "steps" else [1.0] * 4
    assert [line["learning_rate/feature_encoder"] for line in log.steps] == pytest.approx([3e-2 * d for d in decay])
    assert [line["learning_rate/llm"] for line in log.steps] == pytest.approx([1e-2 * d for d in decay])
    assert math.isclose(optimizer.param_groups[0]["lr"], 1e-2 * (0.25 if schedule == "steps" else 1.0))
