"""CoMMIT on an audio-text model: the parts are found by themselves, and what lags behind is sped up."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Trainer, TrainingArguments

from armillary.methods.commit import CoMMITConfig, CoMMITTrainer
from tiny_audio import tiny_audio

STEPS = 6


def arguments(folder: Path) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=STEPS,
        per_device_train_batch_size=3,
        learning_rate=1e-3,
        lr_scheduler_type="constant",
        save_strategy="no",
        logging_steps=1,
        disable_tqdm=True,
        use_cpu=True,
    )


def rows() -> list[dict[str, torch.Tensor]]:
    batch = tiny_audio().batch(6)
    return [{name: value[row] for name, value in batch.items()} for row in range(6)]


def trained(folder: Path, rates: dict[str, float] | None = None, **settings: Any) -> CoMMITTrainer:
    config = CoMMITConfig(interval=2, first_probe=0, **settings)
    trainer = CoMMITTrainer(
        model=tiny_audio().model, args=arguments(folder), train_dataset=rows(), commit=config, learning_rates=rates
    )
    trainer.train()
    return trainer


@pytest.mark.parametrize("slow", ["feature_encoder", "llm"])
def test_the_slow_part_is_sped_up(tmp_path: Path, slow: str) -> None:
    rates = {"feature_encoder": 1e-3, "llm": 1e-3} | {slow: 1e-5}
    trainer = trained(tmp_path, rates)
    controller = trainer.commit_callback.controller
    assert controller is not None and controller.names == ("feature_encoder", "llm")
    assert [probe.step for probe in controller.trace] == [0, 2, 4]
    assert all((kappa > 0) == (slow == "feature_encoder") for kappa in controller.log_kappas)
    other = "llm" if slow == "feature_encoder" else "feature_encoder"
    assert controller.multipliers[slow] > 2 and controller.multipliers[other] == 1


def test_measuring_alone_trains_as_the_stock_trainer_does(tmp_path: Path) -> None:
    ours = trained(tmp_path / "ours", gamma=0.0)
    stock = Trainer(model=tiny_audio().model, args=arguments(tmp_path / "stock"), train_dataset=rows())
    stock.train()
    assert ours.model is not None and stock.model is not None
    theirs = dict(stock.model.named_parameters())
    assert all(torch.equal(parameter, theirs[name]) for name, parameter in ours.model.named_parameters())


def test_the_regulariser_changes_training(tmp_path: Path) -> None:
    weights = []
    for place, weight in enumerate((0.0, 1.0)):
        model = trained(tmp_path / str(place), aux_weight=weight).model
        assert model is not None
        weights.append(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]))
    assert torch.isfinite(weights[1]).all() and not torch.equal(*weights)
