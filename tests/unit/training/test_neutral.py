"""With nothing asked of them our trainers are the stock one bit for bit: with adapters and in half precision too."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import Trainer, TrainingArguments

from armillary.methods.commit import CoMMITConfig, CoMMITTrainer
from armillary.methods.mdgd.config import MDGDSettings
from armillary.methods.mdgd.trainer import MDGDTrainer
from armillary.models.tiny_vision_models import tiny_vision
from armillary.training.components import ComponentTrainer

from ..methods.mdgd.mdgd_toy import ToyImages, collated

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:.*below the floor")  # the first is PEFT's


def lora(model: nn.Module) -> nn.Module:
    """On tower and decoder, with the connector unfrozen beside it: something of each component is trained."""
    torch.manual_seed(0)
    made = get_peft_model(model, LoraConfig(r=2, target_modules=r".*(q|v)_proj", lora_dropout=0.1))  # type: ignore
    for name, parameter in made.named_parameters():
        parameter.requires_grad_(parameter.requires_grad or "multi_modal_projector" in name)
    return made


def half(model: nn.Module) -> nn.Module:
    return model.bfloat16()


NETWORKS: dict[str, tuple[Callable[[nn.Module], nn.Module], dict[str, Any]]] = {
    "bf16": (lambda model: model, {"bf16": True}),
    "bf16 weights": (half, {"bf16": True, "learning_rate": 1e-2}),
    "LoRA": (lora, {}),
    "LoRA, bf16, checkpointing": (lora, {"bf16": True, "gradient_checkpointing": True}),
    "LoRA on bf16 weights": (lambda model: lora(half(model)), {"bf16": True}),
}
NOTHING = MDGDSettings(projection="none", visual_align_weight=0.0, freeze_vision=False)
WATCHED = CoMMITConfig(gamma=0.0, interval=1, first_probe=1)
TRAINERS: dict[str, tuple[type[Trainer], dict[str, Any]]] = {
    "mdgd": (MDGDTrainer, {"settings": NOTHING}),
    "components": (ComponentTrainer, {}),
    "commit": (CoMMITTrainer, {"commit": WATCHED}),
}


def trained(kind: type[Trainer], network: str, folder: Path, **more: Any) -> tuple[torch.Tensor, list[float]]:
    wrap, changes = NETWORKS[network]
    arguments = TrainingArguments(
        **{
            "output_dir": str(folder), "max_steps": 3, "per_device_train_batch_size": 2, "learning_rate": 1e-3,
            "gradient_accumulation_steps": 2, "weight_decay": 0.1, "logging_steps": 1, "save_strategy": "no",
            "disable_tqdm": True, "use_cpu": True, "dataloader_pin_memory": False, "remove_unused_columns": False,
            **changes,
        }
    )  # fmt: skip
    model = wrap(tiny_vision().model)
    trainer = kind(model=model, args=arguments, train_dataset=ToyImages(tiny_vision()), data_collator=collated, **more)
    trainer.train()
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    return torch.cat([parameter.detach().float().flatten() for parameter in model.parameters()]), losses


@pytest.mark.parametrize("network", NETWORKS)
def test_nothing_asked_is_the_stock_trainer(network: str, tmp_path: Path) -> None:
    weights, losses = trained(Trainer, network, tmp_path / "stock")
    for name, (kind, more) in TRAINERS.items():
        ours, our_losses = trained(kind, network, tmp_path / name, **more)
        assert torch.equal(weights, ours) and losses == our_losses, name
