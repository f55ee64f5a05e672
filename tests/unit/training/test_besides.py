"""What is trained beside an adapter is in the checkpoint, though PEFT leaves it out."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import Trainer, TrainingArguments

from armillary.errors import UsageError
from armillary.models.tiny_vision_models import tiny_vision
from armillary.training.checkpoints import BESIDES, CheckpointWeightsMixin, trained_besides, without_adapter
from armillary.training.components import ComponentTrainer

from ..methods.mdgd.mdgd_toy import ToyImages, collated

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # of transformers, raised inside PEFT


class Plain(CheckpointWeightsMixin, Trainer):
    pass


def network(part: str = "multi_modal_projector", **settings: Any) -> nn.Module:
    torch.manual_seed(0)
    lora = LoraConfig(**{"r": 2, "target_modules": r".*language_model.*\.q_proj", **settings})
    model = get_peft_model(tiny_vision().model, lora)  # type: ignore[arg-type]
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(parameter.requires_grad or part in name)
    return model


def trained(folder: Path, kind: type[Trainer], model: nn.Module, checkpoint: bool = False) -> dict[str, torch.Tensor]:
    arguments = TrainingArguments(
        output_dir=str(folder), max_steps=4, save_steps=2, per_device_train_batch_size=2, learning_rate=1e-2,
        disable_tqdm=True, use_cpu=True, dataloader_pin_memory=False, remove_unused_columns=False, report_to="none",
    )  # fmt: skip
    trainer = kind(model=model, args=arguments, train_dataset=ToyImages(tiny_vision()), data_collator=collated)
    trainer.train(resume_from_checkpoint=checkpoint)
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("kind", [Plain, ComponentTrainer])
@pytest.mark.parametrize("settings", [{}, {"bias": "all"}, {"modules_to_save": ["lm_head"]}])
def test_a_resumed_run_has_the_connector_too(kind: type[Trainer], settings: dict[str, Any], tmp_path: Path) -> None:
    whole = trained(tmp_path, kind, network(**settings))
    shutil.rmtree(tmp_path / "checkpoint-4")
    resumed = trained(tmp_path, kind, network(**settings), checkpoint=True)
    assert all(torch.equal(whole[name], value) for name, value in resumed.items())
    assert (tmp_path / "checkpoint-2" / BESIDES).exists()
    (tmp_path / "checkpoint-2" / BESIDES).unlink()
    shutil.rmtree(tmp_path / "checkpoint-4")
    with pytest.raises(UsageError, match=r"holds an adapter alone, but \S+ is trained too"):
        trained(tmp_path, kind, network(**settings), checkpoint=True)


def test_an_adapter_alone_has_no_other_file(tmp_path: Path) -> None:
    trained(tmp_path, Plain, network("nothing"))
    assert not list(tmp_path.rglob(BESIDES)) and not trained_besides(network("nothing"))
    assert not trained_besides(tiny_vision().model)


def test_switching_an_adapter_off_and_on_thaws_nothing() -> None:
    model = network()
    for name, parameter in model.named_parameters():
        if "lora_A" in name:
            parameter.requires_grad_(False)
    before = [parameter.requires_grad for parameter in model.parameters()]
    with pytest.raises(ZeroDivisionError), without_adapter(model):
        raise ZeroDivisionError
    assert [parameter.requires_grad for parameter in model.parameters()] == before
